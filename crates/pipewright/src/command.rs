//! What to run: program, arguments, environment, descriptors, credentials.

mod attributes;
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
/// What a child gets unless told otherwise: this process's 0, 1, 2 and **no other descriptor**,
/// whatever other threads open meanwhile and with or without close-on-exec (unless
/// [`inherit`](Self::inherit) or [`inherit_all`](Self::inherit_all) lets it through); this process's
/// environment, directory, credentials and limits; no blocked signal, no handler, SIGPIPE at its
/// default. Signals that this process *ignores* stay ignored, as exec keeps them (`nohup` relies on
/// that); only SIGPIPE is reset, because Rust's runtime ignores it and a filter must die of it.
///
/// A start costs the same however large this process is: it never copies page tables, whichever
/// options are set.
///
/// # What is left to others
///
/// - **Namespaces, cgroups, capabilities**: they take files to write, several steps or a second process.
///   Name `unshare`, `systemd-run` or `setpriv` as the program; or start this program again and set up
///   there what is needed, before it executes the other one, by the crate `pipewright-handoff`.
/// - **`Clone`**: a command owns descriptors. A copy would hold a pipe open that everybody else has
///   closed, and its reader would wait for ever. For a second try, keep a function that makes the
///   command.
///
/// # Privileges
///
/// The program gets the credentials of the *thread* that starts it, with its capabilities, its
/// seccomp filters, its namespaces and its no_new_privs bit, changed by what was asked for:
///
/// | | [`groups`](Self::groups) | [`gid`](Self::gid) | [`uid`](Self::uid) |
/// |---|---|---|---|
/// | real, effective and saved group id | | set | **not touched** |
/// | supplementary groups | set | not touched | dropped, unless `groups` is set |
/// | real, effective and saved user id | | | set |
///
/// - They are carried out in this order: groups, group, user. So root can set all three.
/// - `uid` alone leaves the group id: started by root, **the program keeps group 0**, and with it
///   whatever root's group may read and write. Set `gid` as well.
/// - Dropping the supplementary groups takes CAP_SETGID (not user id 0). Where the kernel forbids it,
///   they stay, as with std. To have that told, set `groups([])`: it is then an error.
/// - Capabilities are not set. The kernel takes them away: when the user id changes from 0 to another
///   one, all permitted, effective and ambient capabilities go; otherwise the program keeps the ambient
///   ones, and a program of user 0 gets all that the bounding set has. The inheritable and the bounding
///   set stay. `setpriv --bounding-set … --inh-caps … PROGRAM` changes them.
/// - no_new_privs and seccomp filters are this thread's and stay. Securebits such as keep-caps are
///   honoured up to the exec.
/// - An id of all ones ([`u32::MAX`]) is refused before anything starts: the kernel would read it as
///   "leave it as it is".
/// - Names of users are not looked up. Reading `/etc/passwd` would miss users that come from LDAP,
///   systemd or another service; the C library's `getpwnam_r`, as the crate `uzers` calls it, asks
///   them all.
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
    /// A name without `/` is searched in the `PATH` of the *child's* environment, as execvp does
    /// it, by the child, after it changed directory and credentials. So is a relative path resolved:
    /// against [`current_dir`](Command::current_dir). Without a `PATH`, `/bin` and `/usr/bin` are
    /// searched. A directory that may not be searched holds no program, as a shell has it: the
    /// error is then "not found", where execvp says "permission denied". A script without `#!` is run by
    /// a shell: see [`script_shell`](Command::script_shell).
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
    ///
    /// ```
    /// let command = pipewright::Command::new("printf").arg("%s").arg("$HOME;  'as it is'");
    /// assert_eq!(command.capture().read()?, "$HOME;  'as it is'");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    ///
    /// ```
    /// let between_brackets = pipewright::Command::new("printf").args(["[%s]", "one", "two words"]);
    /// assert_eq!(between_brackets.capture().read()?, "[one][two words]");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        self
    }

    /// Sets the program's zeroth argument, the name under which it sees itself.
    ///
    /// ```
    /// let command = pipewright::Command::new("sh").arg0("renamed").args(["-c", "echo I am $0"]);
    /// assert_eq!(command.capture().read()?, "I am renamed");
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
    /// ```
    /// let file = std::fs::File::open("/bin/true")?;
    /// assert!(pipewright::Command::new("true").executable(file).spawn()?.wait()?.success());
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
    ///
    /// ```
    /// use std::os::unix::fs::PermissionsExt;
    ///
    /// let directory = tempfile::tempdir()?;
    /// let script = directory.path().join("script");
    /// std::fs::write(&script, "echo $((6 * $1))")?;
    /// std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    /// let command = pipewright::Command::new(&script).arg("7").script_shell("/bin/sh");
    /// assert_eq!(command.capture().read()?, "42");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn script_shell(mut self, shell: impl Into<PathBuf>) -> Self {
        self.shell = Some(shell.into());
        self
    }

    /// Sets an environment variable.
    ///
    /// ```
    /// let command = pipewright::Command::new("printenv").arg("COLOUR").env("COLOUR", "blue");
    /// assert_eq!(command.capture().read()?, "blue");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .changes
            .insert(name.as_ref().to_owned(), Some(value.as_ref().to_owned()));
        self
    }

    /// Sets environment variables.
    ///
    /// ```
    /// let figures = [("WIDTH", "6"), ("HEIGHT", "7")];
    /// let command = pipewright::Command::new("sh").args(["-c", "echo $((WIDTH * HEIGHT))"]).envs(figures);
    /// assert_eq!(command.capture().read()?, "42");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn envs<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        variables
            .into_iter()
            .fold(self, |command, (name, value)| command.env(name, value))
    }

    /// Keeps a variable of this process from the child.
    ///
    /// ```
    /// assert!(std::env::var_os("PATH").is_some());
    /// let seen = pipewright::Command::new("env").env_remove("PATH").capture().read()?;
    /// assert!(seen.lines().all(|variable| !variable.starts_with("PATH=")));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.environment
            .changes
            .insert(name.as_ref().to_owned(), None);
        self
    }

    /// Starts from an empty environment, and forgets the changes made so far.
    ///
    /// ```
    /// let command = pipewright::Command::new("env").env("BEFORE", "1").env_clear().env("AFTER", "2");
    /// assert_eq!(command.capture().read()?, "AFTER=2");
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
    /// ```
    /// use pipewright::Command;
    ///
    /// assert_eq!(Command::new("pwd").current_dir("/").capture().read()?, "/");
    /// let found_from_there = Command::new("./sh").args(["-c", "exit 5"]).current_dir("/bin");
    /// assert_eq!(found_from_there.spawn()?.wait()?.code(), Some(5));
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
    ///
    /// ```
    /// use std::io::Write;
    /// use pipewright::Command;
    ///
    /// let (reader, mut writer) = pipewright::pipe()?;
    /// writer.write_all(b"three words here")?;
    /// drop(writer); // or wc would wait for more
    /// assert_eq!(Command::new("wc").arg("-w").stdin(reader).capture().read()?, "3");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stdin(mut self, source: impl Into<Stdio>) -> Self {
        self.stdin = Some(source.into());
        self
    }

    /// Where descriptor 1 goes: [`Stdio::Inherit`] (the default), [`Stdio::Null`],
    /// [`Stdio::SameAsStderr`], or anything that owns a descriptor.
    ///
    /// ```
    /// use std::io::{Read, Seek};
    ///
    /// let mut file = tempfile::tempfile()?;
    /// pipewright::Command::new("echo").arg("to a file").stdout(file.try_clone()?).spawn()?.wait()?;
    /// let mut written = String::new();
    /// file.rewind()?;
    /// file.read_to_string(&mut written)?;
    /// assert_eq!(written, "to a file\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stdout(mut self, target: impl Into<Stdio>) -> Self {
        self.stdout = Some(target.into());
        self
    }

    /// Where descriptor 2 goes: as [`stdout`](Command::stdout), or [`Stdio::SameAsStdout`].
    ///
    /// ```
    /// use pipewright::{Command, Stdio};
    ///
    /// let script = "echo out; echo err >&2";
    /// let both = Command::new("sh").args(["-c", script]).stderr(Stdio::SameAsStdout).capture();
    /// assert_eq!(both.read()?, "out\nerr");
    /// # Ok::<(), std::io::Error>(())
    /// ```
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

    /// What one of 0, 1 and 2 was said to be.
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
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let given = Command::new("env").args(["sh", "-c", "echo $LEVEL"]);
    /// assert_eq!(given.first_args(["LEVEL=2"]).capture().read()?, "2");
    /// # Ok::<(), std::io::Error>(())
    /// ```
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

    /// What is wrong with this command, found without touching the system.
    pub(crate) fn check(&self) -> Result<()> {
        self.first_fault()
            .map_or(Ok(()), |reason| Err(self.invalid(reason)))
    }

    fn first_fault(&self) -> Option<InvalidCommand> {
        use InvalidCommand as Fault;
        let standard = [&self.stdin, &self.stdout, &self.stderr];
        let mut numbers: BTreeSet<i32> = (0..)
            .zip(standard)
            .filter_map(|(number, stdio)| stdio.as_ref().map(|_| number))
            .collect();
        for (number, _) in &self.descriptors {
            if *number < 0 {
                return Some(Fault::DescriptorNegative(*number));
            }
            if !numbers.insert(*number) {
                return Some(Fault::DescriptorTwice(*number));
            }
        }
        for number in &self.inherited {
            if *number < 0 {
                return Some(Fault::DescriptorNegative(*number));
            }
            if numbers.contains(number) {
                return Some(Fault::DescriptorTwice(*number));
            }
        }
        for (number, name) in [(0, "stdin"), (1, "stdout"), (2, "stderr")] {
            match self.standard(number) {
                Some(Stdio::SameAsStdout) if number != 2 => return Some(Fault::SameAsStdout(name)),
                Some(Stdio::SameAsStderr) if number != 1 => return Some(Fault::SameAsStderr(name)),
                _ => {}
            }
        }
        if let (Some(Stdio::SameAsStderr), Some(Stdio::SameAsStdout)) = (&self.stdout, &self.stderr)
        {
            return Some(Fault::SameAsEachOther);
        }
        if self.attributes.session && self.attributes.process_group.is_some() {
            return Some(Fault::SessionAndGroup);
        }
        // The kernel reads an id of all ones as "leave it as it is".
        if self.attributes.user == Some(u32::MAX) {
            return Some(Fault::UserId);
        }
        let mut groups = self.attributes.groups.iter().flatten();
        if self.attributes.group == Some(u32::MAX) || groups.any(|group| *group == u32::MAX) {
            return Some(Fault::GroupId);
        }
        let nul = |text: &OsStr| text.as_encoded_bytes().contains(&0);
        if nul(&self.program) || self.argv0.as_deref().is_some_and(nul) {
            return Some(Fault::InteriorNul("the program's name"));
        }
        if self.arguments.iter().any(|argument| nul(argument)) {
            return Some(Fault::InteriorNul("an argument"));
        }
        let mut directories = [&self.directory, &self.root].into_iter().flatten();
        if directories.any(|directory| nul(directory.as_os_str())) {
            return Some(Fault::InteriorNul("the directory"));
        }
        if self.shell.as_ref().is_some_and(|it| nul(it.as_os_str())) {
            return Some(Fault::InteriorNul("the shell"));
        }
        for (name, value) in &self.environment.changes {
            if name.is_empty() || name.as_encoded_bytes().contains(&b'=') {
                return Some(Fault::VariableName(name.to_string_lossy().into_owned()));
            }
            if nul(name) || value.as_deref().is_some_and(nul) {
                return Some(Fault::InteriorNul("an environment variable"));
            }
        }
        None
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
///
/// ```
/// let command = pipewright::Command::new("grep").args(["-c", "two words", "it's"]);
/// assert_eq!(command.to_string(), r#"grep -c 'two words' "it's""#);
/// ```
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
