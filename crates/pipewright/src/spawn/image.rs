//! A [`Command`] flattened into C strings and plain numbers: all that the child needs between clone
//! and exec, prepared beforehand, because the child may not allocate.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::ptr;

use libc::c_char;
use rustix::process::Resource;

use crate::command::{Command, Environment, Stdio};
use crate::descriptors::{Plan, Source, plan};
use crate::error::{Error, InvalidCommand, Result, StartError, Step};

/// Everything the child reads. Nothing in here changes once it is built, except
/// [`shell_argv`](Self::shell_argv), which belongs to the child.
pub(super) struct Image {
    program: String,
    /// The strings that the pointer arrays below point into. A CString's bytes are on the heap and
    /// do not move with it.
    strings: Vec<CString>,
    /// Owners of the sources, open until the child has its copy.
    _sources: Vec<OwnedFd>,

    pub(super) plan: Plan,
    /// Paths to try, in order.
    pub(super) candidates: Vec<*const c_char>,
    pub(super) argv: Vec<*const c_char>,
    /// `/bin/sh`, the script, then the arguments: for a file without `#!`. The child fills in the
    /// script, hence the cells.
    pub(super) shell_argv: Vec<Cell<*const c_char>>,
    pub(super) envp: Vec<*const c_char>,
    directory: Option<CString>,

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
    pub(super) fn new(command: Command) -> Result<Self> {
        let mut sources = Vec::new();
        let wanted = wanted_table(&command, &mut sources)?;
        let executable = command.executable.as_ref().map(AsRawFd::as_raw_fd);
        let plan = plan(&wanted, executable);

        let mut strings = Strings {
            command: &command,
            owned: Vec::new(),
        };
        let environment = effective(&command.environment, std::env::vars_os());
        let path = environment
            .iter()
            .find(|(name, _)| name == "PATH")
            .map(|(_, value)| value);
        let candidates = candidates(&command.program, path.map(OsString::as_os_str))
            .into_iter()
            .map(|candidate| strings.add(candidate, "the program's name"))
            .collect::<Result<_>>()?;

        let zeroth = command.argv0.as_ref().unwrap_or(&command.program);
        let mut argv = vec![strings.add(zeroth.clone(), "the program's name")?];
        for argument in &command.arguments {
            argv.push(strings.add(argument.clone(), "an argument")?);
        }
        argv.push(ptr::null());

        let mut shell_argv = vec![Cell::new(SHELL.as_ptr()), Cell::new(ptr::null())];
        shell_argv.extend(argv.iter().skip(1).map(|&pointer| Cell::new(pointer)));

        let mut envp = Vec::with_capacity(environment.len() + 1);
        for (name, value) in environment {
            let mut entry = name.into_vec();
            entry.push(b'=');
            entry.extend_from_slice(value.as_bytes());
            envp.push(strings.add(OsString::from_vec(entry), "an environment variable")?);
        }
        envp.push(ptr::null());

        let directory = match &command.directory {
            Some(directory) => Some(strings.convert(directory.clone().into(), "the directory")?),
            None => None,
        };

        let attributes = &command.attributes;
        // As std does: root's supplementary groups must not reach a program that runs as another
        // user only because nobody thought of them.
        let groups = match (&attributes.groups, attributes.user) {
            (None, Some(_)) if rustix::process::geteuid().is_root() => Some(Vec::new()),
            (groups, _) => groups.clone(),
        };
        let mask = |set, signal: &rustix::process::Signal| {
            set | 1_u64.wrapping_shl(signal.as_raw().wrapping_sub(1) as u32)
        };
        let unlimited = |limit: Option<u64>| limit.unwrap_or(u64::MAX);

        let mut image = Self {
            program: command.program_name(),
            strings: strings.owned,
            _sources: Vec::new(),
            plan,
            candidates,
            argv,
            shell_argv,
            envp,
            directory,
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
            groups,
            group: attributes.group,
            user: attributes.user,
            parent_death_signal: attributes.parent_death_signal.map(|signal| signal.as_raw()),
            signal_mask: attributes.signal_mask.iter().fold(0, mask),
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

    /// The directory to change to, or null.
    pub(super) fn directory(&self) -> *const c_char {
        self.directory
            .as_ref()
            .map_or(ptr::null(), |directory| directory.as_ptr())
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
        let path = usize::try_from(index)
            .ok()
            .and_then(|index| self.candidates.get(index))
            .and_then(|&pointer| {
                self.strings
                    .iter()
                    .find(|string| string.as_ptr() == pointer)
            });
        match path {
            Some(path) => PathBuf::from(OsStr::from_bytes(path.to_bytes())),
            None => PathBuf::from(&self.program),
        }
    }

    /// The directory as a path, for errors.
    pub(super) fn directory_path(&self) -> PathBuf {
        let bytes = self
            .directory
            .as_ref()
            .map_or(&[][..], |directory| directory.to_bytes());
        PathBuf::from(OsStr::from_bytes(bytes))
    }
}

/// Which source is wanted at which number. `/dev/null` is opened here, into `opened`.
fn wanted_table(command: &Command, opened: &mut Vec<OwnedFd>) -> Result<BTreeMap<i32, Source>> {
    let mut wanted = BTreeMap::new();
    for (number, stdio) in (0..).zip([&command.stdin, &command.stdout, &command.stderr]) {
        let source = match stdio {
            None | Some(Stdio::Inherit) => continue,
            Some(Stdio::Descriptor(descriptor)) => Source::Owned(descriptor.as_raw_fd()),
            Some(Stdio::Null) => {
                let null = command.open_null()?;
                let source = Source::Owned(null.as_raw_fd());
                opened.push(null);
                source
            }
            // Stdout was seen before; where it is not in the table it is inherited.
            Some(Stdio::SameAsStdout) => wanted.get(&1).copied().unwrap_or(Source::Inherited(1)),
        };
        wanted.insert(number, source);
    }
    for (number, descriptor) in &command.descriptors {
        wanted.insert(*number, Source::Owned(descriptor.as_raw_fd()));
    }
    Ok(wanted)
}

/// The child's environment: what is left of the parent's, then what was set.
fn effective(
    environment: &Environment,
    parent: impl Iterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    let changes = &environment.changes;
    let kept = parent.filter(|(name, _)| !environment.cleared && !changes.contains_key(name));
    let set = changes
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    kept.chain(set).collect()
}

/// The paths that execvp would try, in its order.
fn candidates(program: &OsStr, path: Option<&OsStr>) -> Vec<OsString> {
    if program.is_empty() || program.as_bytes().contains(&b'/') {
        return vec![program.to_owned()];
    }
    path.unwrap_or(OsStr::new("/bin:/usr/bin"))
        .as_bytes()
        .split(|&byte| byte == b':')
        .map(|directory| {
            // An empty entry means the current directory.
            let directory = if directory.is_empty() {
                b"."
            } else {
                directory
            };
            OsString::from_vec([directory, b"/", program.as_bytes()].concat())
        })
        .collect()
}

struct Strings<'a> {
    command: &'a Command,
    owned: Vec<CString>,
}

impl Strings<'_> {
    fn convert(&self, text: OsString, what: &'static str) -> Result<CString> {
        CString::new(text.into_vec())
            .map_err(|_| self.command.invalid(InvalidCommand::InteriorNul(what)))
    }

    /// Keeps the string and returns where its bytes are.
    fn add(&mut self, text: OsString, what: &'static str) -> Result<*const c_char> {
        let string = self.convert(text, what)?;
        let pointer = string.as_ptr();
        self.owned.push(string);
        Ok(pointer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn searched(program: &str, path: Option<&str>) -> Vec<String> {
        candidates(OsStr::new(program), path.map(OsStr::new))
            .into_iter()
            .map(|candidate| candidate.into_string().unwrap())
            .collect()
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
        let parent = || {
            [("A", "1"), ("B", "2")]
                .map(|(k, v)| (k.into(), v.into()))
                .into_iter()
        };
        let mut changes = Environment::default();
        changes.changes.insert("A".into(), None);
        changes.changes.insert("C".into(), Some("3".into()));
        let names = |environment: &Environment| {
            effective(environment, parent())
                .into_iter()
                .map(|(name, value)| format!("{}={}", name.display(), value.display()))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&changes), ["B=2", "C=3"]);
        changes.cleared = true;
        assert_eq!(names(&changes), ["C=3"]);
    }
}
