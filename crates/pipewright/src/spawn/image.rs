//! A [`Command`] flattened into C strings and plain numbers: all that the child needs between clone
//! and exec, prepared beforehand, because the child may not allocate.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use libc::{c_char, c_long};

use crate::command::{Attributes, Command, Environment, Stdio};
use crate::descriptors::{Plan, Source, plan};
use crate::error::Result;

/// Everything the child reads. Nothing in here changes once it is built, except
/// [`script_arguments`](Self::script_arguments), which belongs to the child.
pub(super) struct Image {
    pub(super) plan: Plan,
    /// Paths to try, in order.
    pub(super) candidates: Vec<Text>,
    /// The candidates come from `PATH`, and not from a name with a slash.
    pub(super) searched: bool,
    pub(super) arguments: Texts,
    pub(super) environment: Texts,
    /// Runs a file without `#!`, by [`script_arguments`](Self::script_arguments).
    pub(super) shell: Text,
    /// The shell, the script, then the arguments. The child fills in the script.
    pub(super) script_arguments: Texts,
    /// `None`: the child stays where it is.
    pub(super) directory: Option<Text>,
    /// `None`: the child keeps this process's root.
    pub(super) root: Option<Text>,
    pub(super) attributes: Attributes,
    /// This process's id, for the child to see whether its parent is still there.
    pub(super) parent: i32,
    /// The strings that the texts point into: on the heap, where they do not move with the image, and
    /// never changed.
    strings: Vec<u8>,
    /// Owners of the sources, open until the child has its copy.
    _sources: Vec<OwnedFd>,
}

/// A C string of an image's, or a constant.
#[derive(Clone, Copy)]
pub(super) struct Text(*const c_char);

impl Text {
    pub(super) const fn constant(text: &'static CStr) -> Self {
        Self(text.as_ptr())
    }

    /// The place for a system call.
    pub(super) fn address(self) -> c_long {
        self.0 as c_long
    }
}

/// Texts with a null behind the last, as execve takes them.
pub(super) struct Texts(Vec<Cell<*const c_char>>);

impl Texts {
    fn new(texts: impl IntoIterator<Item = Text>) -> Self {
        let pointers = texts.into_iter().map(|text| text.0);
        Self(pointers.chain([ptr::null()]).map(Cell::new).collect())
    }

    /// Puts another text in the place of one.
    pub(super) fn set(&self, index: usize, text: Text) {
        if let Some(place) = self.0.get(index) {
            place.set(text.0);
        }
    }

    /// The place for a system call. A cell of a pointer has the layout of the pointer.
    pub(super) fn address(&self) -> c_long {
        self.0.as_ptr() as c_long
    }
}

impl Image {
    /// Flattens a command. It must have passed [`Command::check`].
    pub(super) fn new(command: Command) -> Result<Self> {
        let mut sources = Vec::new();
        let wanted = wanted_table(&command, &mut sources)?;
        let executable = command.executable.as_ref().map(AsRawFd::as_raw_fd);
        let mut plan = plan(&wanted, &closed_numbers(&command), executable);
        if command.inherits_all {
            plan.keep_the_rest(&wanted, executable);
        }

        // Offsets at first: the strings move while more are added.
        let mut strings = Strings::default();
        let path = environment(&command.environment, &mut strings);
        let environment = strings.take();
        strings.add_candidates(command.program.as_bytes(), path.as_deref());
        let candidates = strings.take();
        let name = command.argv0.as_ref().unwrap_or(&command.program);
        for argument in [name].into_iter().chain(&command.arguments) {
            strings.add(&[argument.as_bytes()]);
        }
        let arguments = strings.take();
        if let Some(directory) = &command.directory {
            strings.add(&[directory.as_os_str().as_bytes()]);
        }
        let directory = strings.take();
        if let Some(root) = &command.root {
            strings.add(&[root.as_os_str().as_bytes()]);
        }
        let root = strings.take();
        let shell = command.shell.as_deref().unwrap_or(Path::new("/bin/sh"));
        strings.add(&[shell.as_os_str().as_bytes()]);
        let shell = strings.take();

        let bytes = strings.bytes;
        let text = |offset: usize| Text(bytes.as_ptr().wrapping_add(offset).cast());
        let texts = |offsets: Vec<usize>| offsets.into_iter().map(text);
        let shell = text(shell[0]);
        // The second place is the script's.
        let script = [shell, shell].into_iter();
        let image = Self {
            searched: is_searched(command.program.as_bytes()),
            candidates: texts(candidates).collect(),
            script_arguments: Texts::new(script.chain(texts(arguments.clone()).skip(1))),
            arguments: Texts::new(texts(arguments)),
            environment: Texts::new(texts(environment)),
            shell,
            directory: texts(directory).next(),
            root: texts(root).next(),
            attributes: command.attributes,
            parent: rustix::process::getpid().as_raw_pid(),
            plan,
            strings: bytes,
            _sources: Vec::new(),
        };
        // From here on the image owns every descriptor that the plan names.
        sources.extend(command.descriptors.into_iter().map(|(_, it)| it));
        sources.extend(command.executable);
        for stdio in [command.stdin, command.stdout, command.stderr] {
            if let Some(Stdio::Descriptor(descriptor)) = stdio {
                sources.push(descriptor);
            }
        }
        Ok(Self {
            _sources: sources,
            ..image
        })
    }

    /// The path at `index` of the candidates, as the child reported it; `None` when it named none.
    pub(super) fn candidate(&self, index: i32) -> Option<PathBuf> {
        let candidate = self.candidates.get(usize::try_from(index).ok()?)?;
        Some(self.path(*candidate))
    }

    /// The directory that the child changes to.
    pub(super) fn directory_path(&self) -> PathBuf {
        self.directory.map(|it| self.path(it)).unwrap_or_default()
    }

    /// The directory that the child makes its root.
    pub(super) fn root_path(&self) -> PathBuf {
        self.root.map(|it| self.path(it)).unwrap_or_default()
    }

    /// One of the image's own texts, as a path.
    fn path(&self, text: Text) -> PathBuf {
        let offset = text.0.addr() - self.strings.as_ptr().addr();
        let string = CStr::from_bytes_until_nul(&self.strings[offset..]);
        PathBuf::from(OsStr::from_bytes(string.map_or(b"", CStr::to_bytes)))
    }

    /// Tells whether the child changes its credentials.
    pub(super) fn changes_credentials(&self) -> bool {
        self.attributes.user.is_some() || self.attributes.group.is_some()
    }
}

/// The source that is wanted at each number. `/dev/null` is opened here, into `opened`.
fn wanted_table(command: &Command, opened: &mut Vec<OwnedFd>) -> Result<BTreeMap<i32, Source>> {
    let mut wanted = BTreeMap::new();
    for number in 0..=2 {
        let (from, stdio) = followed(command, number);
        let source = match stdio {
            Some(Stdio::Descriptor(descriptor)) => Source::Owned(descriptor.as_raw_fd()),
            Some(Stdio::Null) => {
                let null = command.open_null()?;
                let source = Source::Owned(null.as_raw_fd());
                opened.push(null);
                source
            }
            None | Some(Stdio::Inherit) if from != number => command
                .descriptors
                .iter()
                .find(|(place, _)| *place == from)
                .map_or(Source::Inherited(from), |(_, it)| {
                    Source::Owned(it.as_raw_fd())
                }),
            _ => continue,
        };
        wanted.insert(number, source);
    }
    for (number, descriptor) in &command.descriptors {
        wanted.insert(*number, Source::Owned(descriptor.as_raw_fd()));
    }
    for number in &command.inherited {
        wanted.entry(*number).or_insert(Source::Inherited(*number));
    }
    Ok(wanted)
}

/// The numbers among 0, 1 and 2 that the child starts without.
fn closed_numbers(command: &Command) -> Vec<i32> {
    let closed = |number: &i32| matches!(followed(command, *number).1, Some(Stdio::Closed));
    (0..=2).filter(closed).collect()
}

/// What one of 0, 1 and 2 is, and its number: another one's, where it is the same as that.
fn followed(command: &Command, number: i32) -> (i32, Option<&Stdio>) {
    let stdio = command.standard(number);
    match stdio {
        Some(Stdio::SameAsStdout) => (1, command.standard(1)),
        Some(Stdio::SameAsStderr) => (2, command.standard(2)),
        _ => (number, stdio),
    }
}

/// Adds the child's environment: what is left of the parent's, then what was set. Returns its PATH.
fn environment(environment: &Environment, strings: &mut Strings) -> Option<OsString> {
    let changes = &environment.changes;
    let mut path = None;
    let mut add = |name: &OsStr, value: &OsStr| {
        strings.add(&[name.as_bytes(), b"=", value.as_bytes()]);
        if name == "PATH" {
            path = Some(value.to_owned());
        }
    };
    if !environment.cleared {
        for (name, value) in std::env::vars_os() {
            if changes.is_empty() || !changes.contains_key(&name) {
                add(&name, &value);
            }
        }
    }
    for (name, value) in changes {
        if let Some(value) = value {
            add(name, value);
        }
    }
    path
}

/// C strings one after the other, and where each begins. None has a zero byte inside: what a command
/// was given was checked for that, and what comes from this process's environment was C strings.
#[derive(Default)]
struct Strings {
    bytes: Vec<u8>,
    offsets: Vec<usize>,
}

/// The paths that a start would try.
pub(super) fn candidates(command: &Command) -> Vec<Vec<u8>> {
    let mut strings = Strings::default();
    let path = environment(&command.environment, &mut strings);
    strings.take();
    strings.bytes.clear();
    strings.add_candidates(command.program.as_bytes(), path.as_deref());
    let ends = strings.bytes.split(|&byte| byte == 0);
    ends.take(strings.offsets.len())
        .map(<[u8]>::to_vec)
        .collect()
}

/// Tells whether a program of that name is looked for along `PATH`.
fn is_searched(program: &[u8]) -> bool {
    !program.is_empty() && !program.contains(&b'/')
}

impl Strings {
    /// Where the strings begin that were added since the last time.
    fn take(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.offsets)
    }

    /// Adds the parts as one string.
    fn add(&mut self, parts: &[&[u8]]) {
        self.offsets.push(self.bytes.len());
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.bytes.push(0);
    }

    /// Adds the paths that execvp would try, in its order.
    fn add_candidates(&mut self, program: &[u8], path: Option<&OsStr>) {
        if !is_searched(program) {
            return self.add(&[program]);
        }
        let path = path.unwrap_or(OsStr::new("/bin:/usr/bin")).as_bytes();
        for directory in path.split(|&byte| byte == b':') {
            // An empty entry means the current directory.
            let directory = if directory.is_empty() {
                b"."
            } else {
                directory
            };
            self.add(&[directory, b"/", program]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The strings that were added, as text.
    fn added(add: impl FnOnce(&mut Strings)) -> Vec<String> {
        let mut strings = Strings::default();
        add(&mut strings);
        let text = |&offset: &usize| {
            let string = CStr::from_bytes_until_nul(&strings.bytes[offset..]).unwrap();
            string.to_str().unwrap().to_owned()
        };
        strings.offsets.iter().map(text).collect()
    }

    fn searched(program: &str, path: Option<&str>) -> Vec<String> {
        added(|strings| strings.add_candidates(program.as_bytes(), path.map(OsStr::new)))
    }

    #[test]
    fn a_bare_name_is_searched_along_path() {
        assert_eq!(searched("ls", Some("/a:/b")), ["/a/ls", "/b/ls"]);
        assert_eq!(searched("ls", None), ["/bin/ls", "/usr/bin/ls"]);
        assert_eq!(searched("ls", Some("/a::/b")), ["/a/ls", "./ls", "/b/ls"]);
    }

    #[test]
    fn a_name_with_a_slash_is_not_searched() {
        assert_eq!(searched("./ls", Some("/a")), ["./ls"]);
        assert_eq!(searched("", Some("/a")), [""]);
    }

    #[test]
    fn the_environment_is_the_parents_with_the_changes() {
        let mut changes = Environment::default();
        changes.changes.insert("PATH".into(), Some("/only".into()));
        changes.changes.insert("HOME".into(), None);
        let mut path = None;
        let all = added(|strings| path = environment(&changes, strings));
        assert_eq!(path.as_deref(), Some(OsStr::new("/only")));
        let named = |name: &str| all.iter().filter(|entry| entry.starts_with(name)).count();
        assert_eq!((named("PATH="), named("HOME=")), (1, 0));
        let kept = std::env::vars_os().filter(|(name, _)| name != "PATH" && name != "HOME");
        assert_eq!(all.len(), kept.count() + 1);

        changes.cleared = true;
        assert_eq!(
            added(|strings| drop(environment(&changes, strings))),
            ["PATH=/only"]
        );
    }
}
