//! A [`Command`] flattened into C strings and plain numbers: all that the child needs between clone
//! and exec, prepared beforehand, because the child may not allocate.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr;

use libc::c_char;
use rustix::io::Errno;
use rustix::process::Resource;

use crate::command::{Command, Environment, Stdio};
use crate::descent::{self, Descent};
use crate::descriptors::{Plan, Source, plan};
use crate::error::{Error, Result, StartError, Step};

/// Everything the child reads. Nothing in here changes once it is built, except
/// [`shell_argv`](Self::shell_argv), which belongs to the child.
pub(super) struct Image {
    program: String,
    /// The strings that the pointers below point into: on the heap, where they do not move with the
    /// image, and never changed.
    strings: Vec<u8>,
    /// Owners of the sources, open until the child has its copy.
    _sources: Vec<OwnedFd>,

    pub(super) plan: Plan,
    /// Paths to try, in order.
    pub(super) candidates: Vec<*const c_char>,
    /// Whether the candidates come from `PATH`, and not from a name with a slash.
    pub(super) searched: bool,
    pub(super) argv: Vec<*const c_char>,
    /// `/bin/sh`, the script, then the arguments: for a file without `#!`. The child fills in the
    /// script, hence the cells.
    pub(super) shell_argv: Vec<Cell<*const c_char>>,
    pub(super) envp: Vec<*const c_char>,
    /// Null: the child stays where it is.
    pub(super) directory: *const c_char,

    pub(super) session: bool,
    pub(super) process_group: Option<i32>,
    pub(super) limits: Vec<Limit>,
    pub(super) nice: Option<i32>,
    pub(super) umask: Option<u32>,
    pub(super) groups: Option<Vec<u32>>,
    pub(super) group: Option<u32>,
    pub(super) user: Option<u32>,
    pub(super) parent_death_signal: Option<i32>,
    /// Bit n-1 stands for signal n, as in the kernel's own set.
    pub(super) signal_mask: u64,
    /// Whether the child is killed when its handle is dropped.
    pub(super) kill_on_drop: bool,
    /// How the child's descendants will be known, for the parent.
    pub(super) descent: Descent,
    /// This process's id, for the child to see whether its parent is still there.
    pub(super) parent: i32,
}

/// One resource limit in the kernel's form.
pub(super) struct Limit {
    pub(super) resource: Resource,
    /// Current and maximum, as in the kernel's `struct rlimit64`.
    pub(super) values: [u64; 2],
}

pub(super) const SHELL: &CStr = c"/bin/sh";

impl Image {
    /// Flattens a command. It must have passed [`Command::check`].
    pub(super) fn new(mut command: Command) -> Result<Self> {
        let mut sources = Vec::new();
        let wanted = wanted_table(&command, &mut sources)?;
        let executable = command.executable.as_ref().map(AsRawFd::as_raw_fd);
        let plan = plan(&wanted, &closed_numbers(&command), executable);

        let mut descent = Descent {
            marker: None,
            leads_group: command.attributes.session || command.attributes.process_group == Some(0),
        };
        if command.attributes.own_tree {
            let failed = |errno: Errno| command.failed(Step::Subreaper, errno.into());
            let marker = descent::new_marker().map_err(failed)?;
            let (name, value) = descent::variable(&marker);
            command.environment.changes.insert(name, Some(value));
            descent.marker = Some(marker);
        }

        // Offsets at first: the strings move while more are added.
        let mut strings = Strings::default();
        let path = environment(&command.environment, &mut strings);
        let envp = std::mem::take(&mut strings.offsets);
        strings.add_candidates(command.program.as_bytes(), path.as_deref());
        let candidates = std::mem::take(&mut strings.offsets);
        strings.add(&[command
            .argv0
            .as_ref()
            .unwrap_or(&command.program)
            .as_bytes()]);
        for argument in &command.arguments {
            strings.add(&[argument.as_bytes()]);
        }
        let argv = std::mem::take(&mut strings.offsets);
        if let Some(directory) = &command.directory {
            strings.add(&[directory.as_os_str().as_bytes()]);
        }
        let directory = strings.offsets.first().copied();

        let strings = strings.bytes;
        let start = strings.as_ptr();
        let place = |offset: usize| start.wrapping_add(offset).cast::<c_char>();
        let array = |offsets: &[usize]| -> Vec<*const c_char> {
            offsets
                .iter()
                .map(|&offset| place(offset))
                .chain([ptr::null()])
                .collect()
        };
        let argv = array(&argv);
        let shell = [SHELL.as_ptr(), ptr::null()]
            .into_iter()
            .chain(argv.iter().skip(1).copied());
        let shell_argv = shell.map(Cell::new).collect();

        let attributes = &command.attributes;
        let mask = |set, signal: &rustix::process::Signal| {
            set | 1_u64.wrapping_shl(signal.as_raw().wrapping_sub(1) as u32)
        };
        let unlimited = |limit: Option<u64>| limit.unwrap_or(u64::MAX);

        let mut image = Self {
            program: command.program_name(),
            searched: is_searched(command.program.as_bytes()),
            candidates: candidates.into_iter().map(place).collect(),
            envp: array(&envp),
            directory: directory.map_or(ptr::null(), place),
            strings,
            _sources: Vec::new(),
            plan,
            argv,
            shell_argv,
            session: attributes.session,
            process_group: attributes.process_group,
            limits: attributes
                .limits
                .iter()
                .map(|(resource, limit)| Limit {
                    resource: *resource,
                    values: [unlimited(limit.current), unlimited(limit.maximum)],
                })
                .collect(),
            nice: attributes.nice,
            umask: attributes.umask,
            groups: attributes.groups.clone(),
            group: attributes.group,
            user: attributes.user,
            parent_death_signal: attributes.parent_death_signal.map(|signal| signal.as_raw()),
            signal_mask: attributes.signal_mask.iter().fold(0, mask),
            kill_on_drop: attributes.kill_on_drop,
            descent,
            parent: rustix::process::getpid().as_raw_pid(),
        };
        // From here on the image owns every descriptor that the plan names.
        let Command {
            stdin,
            stdout,
            stderr,
            descriptors,
            executable,
            ..
        } = command;
        sources.extend(descriptors.into_iter().map(|(_, descriptor)| descriptor));
        sources.extend(executable);
        for stdio in [stdin, stdout, stderr].into_iter().flatten() {
            if let Stdio::Descriptor(descriptor) = stdio {
                sources.push(descriptor);
            }
        }
        image._sources = sources;
        Ok(image)
    }

    /// Whether the child changes its credentials.
    pub(super) fn changes_credentials(&self) -> bool {
        self.user.is_some() || self.group.is_some()
    }

    /// The error for a step that failed.
    pub(super) fn failed(&self, step: Step, errno: i32) -> Error {
        let source = std::io::Error::from_raw_os_error(errno);
        StartError::new(self.program.clone(), step, source).into()
    }

    /// The program as it was named.
    pub(super) fn program(&self) -> &str {
        &self.program
    }

    /// The resource of the limit at `index`, as the child reported it.
    pub(super) fn limited_resource(&self, index: i32) -> Resource {
        self.limits[index as usize].resource
    }

    /// The path at `index` of the candidates; where there is none, the program as it was named.
    pub(super) fn candidate(&self, index: i32) -> PathBuf {
        let candidate = usize::try_from(index)
            .ok()
            .and_then(|index| self.candidates.get(index));
        candidate.map_or_else(|| PathBuf::from(&self.program), |&path| self.path_at(path))
    }

    /// The directory as a path, for errors.
    pub(super) fn directory_path(&self) -> PathBuf {
        self.path_at(self.directory)
    }

    /// The string at one of the image's own pointers.
    fn path_at(&self, pointer: *const c_char) -> PathBuf {
        let offset = pointer.addr() - self.strings.as_ptr().addr();
        let string = CStr::from_bytes_until_nul(&self.strings[offset..]);
        PathBuf::from(OsStr::from_bytes(string.map_or(b"", CStr::to_bytes)))
    }
}

/// Which source is wanted at which number. `/dev/null` is opened here, into `opened`.
fn wanted_table(command: &Command, opened: &mut Vec<OwnedFd>) -> Result<BTreeMap<i32, Source>> {
    let mut wanted = BTreeMap::new();
    for (number, stdio) in (0..).zip([&command.stdin, &command.stdout, &command.stderr]) {
        let source = match stdio {
            None | Some(Stdio::Inherit | Stdio::Closed) => continue,
            Some(Stdio::Descriptor(descriptor)) => Source::Owned(descriptor.as_raw_fd()),
            Some(Stdio::Null) => {
                let null = command.open_null()?;
                let source = Source::Owned(null.as_raw_fd());
                opened.push(null);
                source
            }
            // Stdout was seen before; where it is not in the table it is inherited.
            Some(Stdio::SameAsStdout) if matches!(command.stdout, Some(Stdio::Closed)) => continue,
            Some(Stdio::SameAsStdout) => wanted.get(&1).copied().unwrap_or(Source::Inherited(1)),
        };
        wanted.insert(number, source);
    }
    for (number, descriptor) in &command.descriptors {
        wanted.insert(*number, Source::Owned(descriptor.as_raw_fd()));
    }
    Ok(wanted)
}

/// The numbers among 0, 1 and 2 that the child starts without. stderr follows stdout there, too.
fn closed_numbers(command: &Command) -> Vec<i32> {
    let mut stdout_is_closed = false;
    let mut closed = Vec::new();
    for (number, stdio) in (0..).zip([&command.stdin, &command.stdout, &command.stderr]) {
        let is_closed = match stdio {
            Some(Stdio::Closed) => true,
            Some(Stdio::SameAsStdout) => stdout_is_closed,
            _ => false,
        };
        if is_closed {
            closed.push(number);
        }
        stdout_is_closed = is_closed && number == 1;
    }
    closed
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

/// Whether a program of that name is looked for along `PATH`.
fn is_searched(program: &[u8]) -> bool {
    !program.is_empty() && !program.contains(&b'/')
}

impl Strings {
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
