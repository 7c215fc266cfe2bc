//! What to run: program, arguments, environment, descriptors, credentials.

mod attributes;
mod check;
mod stdio;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

pub(crate) use attributes::Attributes;
pub use stdio::Stdio;

use crate::error::{Error, InvalidCommand, Result, StartError, Step};

/// A program to run, and everything about how it is to start.
///
/// The methods take the command and return it, so that a command is one expression. [`spawn`]
/// consumes it: when it returns, no descriptor that was given to the child is open in this process.
///
/// Unless the command says otherwise, a child gets:
///
/// - this process's 0, 1, 2 and **no other descriptor**, whatever other threads open meanwhile, with or
///   without close-on-exec. [`inherit`](Self::inherit) and [`inherit_all`](Self::inherit_all) let more
///   through.
/// - this process's environment, directory and limits, and the calling thread's
///   [privileges](Self#privileges).
/// - no blocked signal and no handler. A signal that this process *ignores* stays ignored, because exec
///   keeps it so and `nohup` relies on that. SIGPIPE is the exception: Rust's runtime ignores it, and a
///   filter must die of it.
///
/// A start costs the same however large this process is: it never copies page tables, whichever
/// options are set.
///
/// # What other tools do
///
/// - **Namespaces, cgroups, capabilities** take several steps, files to write or a second process. Run
///   the program by `unshare`, `systemd-run` or `setpriv`. Or re-execute this program by the crate
///   `pipewright-handoff` and set them up there, before it executes the other one.
/// - **`Clone`** is missing because a command owns descriptors. A copy would hold a pipe open that
///   everybody else has closed, and its reader would wait for ever. To try again, keep a function that
///   makes the command.
/// - **User names** are not looked up. Reading `/etc/passwd` would miss users that come from LDAP,
///   systemd or another service. The C library's `getpwnam_r` asks them all; the crate `uzers` calls it.
///
/// # Privileges
///
/// The program gets the credentials of the *thread* that starts it, with its capabilities, seccomp
/// filters, namespaces and no_new_privs bit. Three options change them:
///
/// | | [`groups`](Self::groups) | [`gid`](Self::gid) | [`uid`](Self::uid) |
/// |---|---|---|---|
/// | real, effective and saved group id | | set | **stay** |
/// | supplementary groups | set | stay | dropped, unless `groups` sets them |
/// | real, effective and saved user id | | | set |
///
/// - Groups are set first, then the group id, then the user id, so that root can set all three.
/// - `uid` alone leaves the group id. Started by root, **the program keeps group 0** and may read and
///   write whatever root's group may. Set `gid` as well.
/// - The kernel lets a thread drop supplementary groups if it has CAP_SETGID; user id 0 is not what
///   counts. Where it refuses, they stay, as with std. Set `groups([])` to make that an error.
/// - Capabilities are not set, but the kernel takes them away. When the user id changes from 0 to
///   another one, the permitted, effective and ambient capabilities go. Otherwise the program keeps the
///   ambient ones, and a program of user 0 gets all that are in the bounding set. The inheritable and
///   the bounding set stay.
/// - [`no_new_privs`](Self::no_new_privs) sets that bit. A bit or a filter that this thread has stays.
/// - An id of all ones ([`u32::MAX`]) is an error before anything starts, because the kernel would read
///   it as "leave the id as it is".
///
/// See [credentials(7)](https://man7.org/linux/man-pages/man7/credentials.7.html) and
/// [capabilities(7)](https://man7.org/linux/man-pages/man7/capabilities.7.html).
///
/// [`spawn`]: Command::spawn
///
/// ```
/// use std::io::Read;
/// use pipewright::Command;
///
/// let (mut reader, writer) = pipewright::pipe()?;
/// let child = Command::new("sh").args(["-c", "echo $GREETING from 7 >&7"])
///     .env("GREETING", "hello")
///     .fd(7, writer)
///     .spawn()?;
/// let mut said = String::new();
/// reader.read_to_string(&mut said)?; // ends, since the writer is open only in the child
/// assert_eq!(said, "hello from 7\n");
/// assert!(child.wait()?.success());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a command does nothing until it is spawned"]
pub struct Command {
    pub(crate) program: OsString,
    pub(crate) argv0: Option<OsString>,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) executable: Option<OwnedFd>,
    pub(crate) environment: Environment,
    pub(crate) root: Option<PathBuf>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) stdin: Option<Stdio>,
    pub(crate) stdout: Option<Stdio>,
    pub(crate) stderr: Option<Stdio>,
    pub(crate) descriptors: Vec<(i32, OwnedFd)>,
    /// Numbers at which the child has what this process has there.
    pub(crate) inherited: BTreeSet<i32>,
    pub(crate) inherits_all: bool,
    pub(crate) attributes: Attributes,
    pub(crate) shell: Option<PathBuf>,
    pub(crate) own_tree: bool,
    pub(crate) on_drop: OnDrop,
    /// The statuses that are no failure of it, in a pipeline or a capture.
    pub(crate) forgiven: BTreeSet<u8>,
}

/// What becomes of the child when its handle is dropped before its end was seen.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnDrop {
    /// It runs on.
    #[default]
    Leave,
    Kill,
    /// It is killed with everything that it started.
    KillTree,
}

/// The changes to this process's environment that the child is to see.
#[derive(Debug, Default, Clone)]
pub(crate) struct Environment {
    pub(crate) cleared: bool,
    /// `None`: the variable is removed.
    pub(crate) changes: BTreeMap<OsString, Option<OsString>>,
}

impl Command {
    /// A command that runs `program` with no arguments.
    ///
    /// The child looks a name without `/` up along the `PATH` of *its* environment, as execvp does,
    /// after it has changed directory and credentials. A relative path begins at
    /// [`current_dir`](Command::current_dir). Without a `PATH`, it looks in `/bin` and `/usr/bin`.
    /// As in a shell, a directory that the child may not search holds no program: the error is "not
    /// found", where execvp says "permission denied". A script without `#!` is run by a shell: see
    /// [`script_shell`](Command::script_shell).
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// assert!(Command::new("true").spawn()?.wait()?.success()); // found in PATH
    /// let error = Command::new("no-such-program").spawn().unwrap_err();
    /// assert!(error.to_string().starts_with(r#"cannot start "no-such-program": exec"#));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// [exec(3)](https://man7.org/linux/man-pages/man3/exec.3.html)
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            argv0: None,
            arguments: Vec::new(),
            executable: None,
            environment: Environment::default(),
            root: None,
            directory: None,
            stdin: None,
            stdout: None,
            stderr: None,
            descriptors: Vec::new(),
            inherited: BTreeSet::new(),
            inherits_all: false,
            attributes: Attributes::default(),
            shell: None,
            own_tree: false,
            on_drop: OnDrop::default(),
            forgiven: BTreeSet::new(),
        }
    }

    /// Adds one argument. It reaches the program as it is; no shell sees it.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        self
    }

    /// Sets the program's zeroth argument, the name under which it sees itself.
    pub fn arg0(mut self, name: impl AsRef<OsStr>) -> Self {
        self.argv0 = Some(name.as_ref().to_owned());
        self
    }

    /// Executes this open file instead of looking the program up. `program` stays the zeroth
    /// argument and the name in errors.
    ///
    /// It works without `/proc`, on a file that was unlinked, and on a memfd. The program does not
    /// get the descriptor; that is why a `#!` script, whose interpreter would have to open it,
    /// cannot be run in this way (ENOENT).
    ///
    /// # References
    ///
    /// AT_EMPTY_PATH in [execveat(2)](https://man7.org/linux/man-pages/man2/execveat.2.html)
    pub fn executable(mut self, file: impl Into<OwnedFd>) -> Self {
        self.executable = Some(file.into());
        self
    }

    /// The shell that runs a script without a `#!` line. Without this call: `/bin/sh`.
    ///
    /// The kernel does not execute such a file (ENOEXEC). As a shell does, and execvp, the start then
    /// executes `SHELL FILE ARGUMENTS`; but only where the file is text, without a zero byte in its
    /// first line. A binary, such as a program for another machine, is an error.
    pub fn script_shell(mut self, shell: impl Into<PathBuf>) -> Self {
        self.shell = Some(shell.into());
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .changes
            .insert(name.as_ref().to_owned(), Some(value.as_ref().to_owned()));
        self
    }

    /// Sets environment variables.
    pub fn envs<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        variables
            .into_iter()
            .fold(self, |command, (name, value)| command.env(name, value))
    }

    /// Keeps a variable of this process from the child.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.environment
            .changes
            .insert(name.as_ref().to_owned(), None);
        self
    }

    /// Starts from an empty environment, and forgets the changes made so far.
    pub fn env_clear(mut self) -> Self {
        self.environment.cleared = true;
        self.environment.changes.clear();
        self
    }

    /// Makes this directory the program's root. The program, its interpreter and
    /// [`current_dir`](Command::current_dir) are found in it; without `current_dir` it starts in its
    /// root. It takes CAP_SYS_CHROOT, also where [`uid`](Command::uid) gives that up.
    ///
    /// A root of its own is no prison for a program that runs as user 0.
    ///
    /// # References
    ///
    /// [chroot(2)](https://man7.org/linux/man-pages/man2/chroot.2.html)
    pub fn chroot(mut self, directory: impl Into<PathBuf>) -> Self {
        self.root = Some(directory.into());
        self
    }

    /// The directory in which the program starts. A program named by a relative path is found from
    /// there.
    ///
    /// The variable PWD stays as it is, as with std. Shells see that it is wrong; for a program that
    /// trusts it, set `.env("PWD", directory)`, which also keeps the names of symbolic links.
    ///
    /// # References
    ///
    /// [chdir(2)](https://man7.org/linux/man-pages/man2/chdir.2.html)
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Where descriptor 0 comes from: [`Stdio::Inherit`] (the default), [`Stdio::Null`], or
    /// anything that owns a descriptor.
    pub fn stdin(mut self, source: impl Into<Stdio>) -> Self {
        self.stdin = Some(source.into());
        self
    }

    /// Where descriptor 1 goes: [`Stdio::Inherit`] (the default), [`Stdio::Null`],
    /// [`Stdio::SameAsStderr`], or anything that owns a descriptor.
    pub fn stdout(mut self, target: impl Into<Stdio>) -> Self {
        self.stdout = Some(target.into());
        self
    }

    /// Where descriptor 2 goes: as [`stdout`](Command::stdout), or [`Stdio::SameAsStdout`].
    pub fn stderr(mut self, target: impl Into<Stdio>) -> Self {
        self.stderr = Some(target.into());
        self
    }

    /// Gives the child a descriptor at `number`, whatever its number here.
    ///
    /// Any table works: numbers may be swapped, and a number may be the place of one descriptor and
    /// the present number of another. `number` must be below the limit RLIMIT_NOFILE.
    ///
    /// Naming a number twice, or a negative one, is an error of [`spawn`](Command::spawn) before
    /// anything starts.
    ///
    /// ```
    /// use std::os::fd::OwnedFd;
    /// use pipewright::{Command, Error, InvalidCommand};
    ///
    /// let (reader, writer) = pipewright::pipe()?;
    /// let error = Command::new("true").fd(3, reader).fd(3, writer).spawn().unwrap_err();
    /// assert!(matches!(error, Error::Invalid { reason: InvalidCommand::DescriptorTwice(3), .. }));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// dup3 in [dup(2)](https://man7.org/linux/man-pages/man2/dup.2.html)
    pub fn fd(mut self, number: i32, descriptor: impl Into<OwnedFd>) -> Self {
        self.descriptors.push((number, descriptor.into()));
        self
    }

    /// Tells whether it says itself what one of 0, 1 and 2 is.
    pub(crate) fn chooses(&self, number: i32) -> bool {
        self.standard(number).is_some() || self.descriptors.iter().any(|(fd, _)| *fd == number)
    }

    /// The source that was named for one of 0, 1 and 2.
    pub(crate) fn standard(&self, number: i32) -> Option<&Stdio> {
        let stdio = match number {
            0 => &self.stdin,
            1 => &self.stdout,
            _ => &self.stderr,
        };
        stdio.as_ref()
    }

    /// Lets a descriptor of this process through, at the same number, close-on-exec or not.
    ///
    /// It is for one that this process was started with and that nothing here owns: the pipe of make's
    /// jobserver, a socket that systemd passes on. It stays open here. [`fd`](Command::fd) is for a
    /// descriptor of your own.
    ///
    /// It must be open when the command is started; otherwise the start fails with
    /// [`Step::PlaceDescriptor`].
    ///
    /// ```
    /// use std::os::fd::AsRawFd;
    ///
    /// let file = std::fs::File::open("/dev/null")?; // as if it had been open from the start
    /// let number = file.as_raw_fd();
    /// let command = pipewright::Command::new("readlink").arg(format!("/proc/self/fd/{number}"));
    /// assert_eq!(command.inherit(number).capture().read()?, "/dev/null");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn inherit(mut self, number: i32) -> Self {
        self.inherited.insert(number);
        self
    }

    /// Lets every descriptor through that is open here and not close-on-exec, at its number, as a
    /// shell does.
    ///
    /// Whatever Rust's std and this crate open is close-on-exec, so what is left is mostly what this
    /// process was started with. But a C library may open one without the flag, in another thread,
    /// just then: what leaks can hold a pipe open. [`inherit`](Command::inherit) names those that are
    /// meant.
    pub fn inherit_all(mut self) -> Self {
        self.inherits_all = true;
        self
    }

    /// The numbers given to [`fd`](Command::fd) so far, for a caller that adds a descriptor at a free
    /// one.
    pub fn fd_numbers(&self) -> impl Iterator<Item = i32> {
        self.descriptors.iter().map(|(number, _)| *number)
    }

    /// Puts arguments before those given so far, as a program does that wraps another one's command.
    pub fn first_args(mut self, args: impl IntoIterator<Item: AsRef<OsStr>>) -> Self {
        let first = args.into_iter().map(|arg| arg.as_ref().to_owned());
        self.arguments.splice(..0, first);
        self
    }

    /// The program that is to be run, as it was given.
    pub fn get_program(&self) -> &OsStr {
        &self.program
    }

    /// The error of a command that was put together wrongly.
    pub(crate) fn invalid(&self, reason: InvalidCommand) -> Error {
        Error::Invalid {
            program: self.program_name(),
            reason,
        }
    }

    /// The program's name as errors tell it.
    pub(crate) fn program_name(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    /// Opens `/dev/null` where it was asked for, so that every [`Stdio`] left is a descriptor.
    pub(crate) fn open_null(&self) -> Result<OwnedFd> {
        std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map(OwnedFd::from)
            .map_err(|source| self.failed(Step::OpenNull, source))
    }

    pub(crate) fn failed(&self, step: Step, source: std::io::Error) -> Error {
        StartError::new(self.program_name(), step, source).into()
    }
}

/// The command as one would type it at a shell, for messages: words with special characters are
/// quoted, control characters escaped.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_word(f, &self.program)?;
        for argument in &self.arguments {
            f.write_str(" ")?;
            write_word(f, argument)?;
        }
        Ok(())
    }
}

fn write_word(f: &mut fmt::Formatter<'_>, word: &OsStr) -> fmt::Result {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%^".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return f.write_str(&text);
    }
    if text.chars().any(char::is_control) {
        // The one form of quotes in which a shell takes escapes.
        f.write_str("$'")?;
        for c in text.chars() {
            match c {
                '\\' | '\'' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        return f.write_str("'");
    }
    if text.contains('\'') && !text.contains(['"', '$', '`', '\\', '!']) {
        return write!(f, "\"{text}\"");
    }
    write!(f, "'{}'", text.replace('\'', r"'\''"))
}
