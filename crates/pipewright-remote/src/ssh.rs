//! The user's own ssh: how it is called, and what is run at its other end.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pipewright::{Child, Command, PipeReader, PipeWriter, Signal};
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};

use crate::error::{Error, Result};
use crate::quote;

/// A host, and how it is reached.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Host {
    /// As ssh takes it: a name of its config, an address, `user@host`, `ssh://…`.
    pub name: String,
    /// The ssh to call.
    pub ssh: PathBuf,
    /// More arguments for it, before its own. What the user's config says holds for the rest.
    pub options: Vec<OsString>,
    /// The pipewright there; without one, it is looked up along PATH, and in the cache.
    pub program: Option<OsString>,
}

/// Whether a connection may be shared with others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Connection {
    /// One for a host, for all that ask within a few seconds.
    Shared,
    /// One of its own: the shared one may be what hangs. It has this many seconds for the first packets,
    /// for one that is begun while the way is closed may never learn that it is open again.
    Own { seconds: u64 },
}

/// A running ssh.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) child: Child,
    /// Its stdin and stdout never block here.
    pub(crate) stdin: PipeWriter,
    pub(crate) stdout: PipeReader,
    /// Until somebody collects it.
    pub(crate) stderr: Option<PipeReader>,
}

/// Signals that a terminal, or somebody who means the whole pipeline, sends to ssh as well: it would take
/// the link away before the stage has told its end.
const NOT_FOR_SSH: [Signal; 7] = [
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::HUP,
    Signal::USR1,
    Signal::USR2,
    Signal::TSTP,
];

impl Host {
    /// A host by its name, reached by the ssh in PATH.
    ///
    /// # Errors
    ///
    /// [`Error::HostName`] for a name that ssh would take for an option.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        if name.is_empty() || name.starts_with('-') {
            return Err(Error::HostName(name));
        }
        Ok(Self {
            name,
            ssh: "ssh".into(),
            options: Vec::new(),
            program: None,
        })
    }

    /// The command that has this text run by the login shell there.
    pub fn command(&self, text: &OsStr) -> Command {
        self.call(text, None)
    }

    fn call(&self, text: &OsStr, connection: Option<Connection>) -> Command {
        let seconds = match connection {
            Some(Connection::Own { seconds }) => seconds,
            _ => 10,
        };
        let mut command = Command::new(&self.ssh).args(&self.options).args([
            "-T",
            "-oBatchMode=yes",
            &format!("-oConnectTimeout={seconds}"),
            "-oServerAliveInterval=5",
            "-oServerAliveCountMax=3",
            "-oRemoteCommand=none",
            "-oClearAllForwardings=yes",
        ]);
        let path = match connection {
            Some(Connection::Own { .. }) => Some(None),
            Some(Connection::Shared) => Some(self.control_path()),
            None => None,
        };
        command = match path {
            Some(Some(path)) => command
                .args(["-oControlMaster=auto", "-oControlPersist=5"])
                .arg([OsStr::new("-oControlPath="), path.as_os_str()].join(OsStr::new(""))),
            Some(None) => command.args(["-oControlMaster=no", "-oControlPath=none"]),
            // As the user's config has it.
            None => command,
        };
        command.args(["--", &self.name]).arg(text)
    }

    /// Where the shared connection's socket lies; `None` where there is no directory that is safe.
    fn control_path(&self) -> Option<PathBuf> {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let directory = private_directory()?;
        // The hash of ssh, %C, knows nothing of -F and -i.
        let mut hasher = DefaultHasher::new();
        (&self.ssh, &self.options).hash(&mut hasher);
        let path = directory.join(format!("{:08x}-%C", hasher.finish() as u32));
        // A socket's name has 107 bytes at most; %C has 40, and ssh appends 17 while it makes it.
        (path.as_os_str().len() + 40 - 2 + 17 <= 107).then_some(path)
    }

    /// Starts ssh with three pipes.
    pub(crate) fn open(&self, text: &OsStr, connection: Connection) -> Result<Call> {
        let pipe = || std::io::pipe().map_err(|error| Error::Local("make a pipe", error));
        let (stdin_reader, stdin) = pipe()?;
        let (stdout, stdout_writer) = pipe()?;
        let (stderr, stderr_writer) = pipe()?;
        let child = self
            .call(text, Some(connection))
            .stdin(stdin_reader)
            .stdout(stdout_writer)
            .stderr(stderr_writer)
            // A key of the terminal is not for it.
            .new_session()
            .signal_mask(NOT_FOR_SSH)
            .kill_on_drop()
            .spawn()
            .map_err(Error::Ssh)?;
        let ready = never_block(&stdin).and_then(|()| never_block(&stdout));
        ready.map_err(|errno| Error::Local("set up a pipe", errno.into()))?;
        // Where the kernel grants no more they stay as they are.
        for pipe in [
            rustix::fd::AsFd::as_fd(&stdin),
            rustix::fd::AsFd::as_fd(&stdout),
        ] {
            let _ = rustix::pipe::fcntl_setpipe_size(pipe, 1 << 20);
        }
        Ok(Call {
            child,
            stdin,
            stdout,
            stderr: Some(stderr),
        })
    }

    /// The text that starts the far half, whatever the login shell, and says so where there is none.
    pub(crate) fn far_half(&self, nonce: &str, cached: Option<&str>) -> OsString {
        let program = match (&self.program, cached) {
            (Some(program), _) => program.clone(),
            (None, Some(_)) => OsString::new(),
            (None, None) => "pipewright".into(),
        };
        const SCRIPT: &str = "for p in \"$0\" \"${XDG_CACHE_HOME:-$HOME/.cache}/pipewright/$2/pipewright\"; do \
            if command -v \"$p\" >/dev/null 2>&1; then exec \"$p\" remote \"$1\"; fi; done; \
            echo \"pipewright-absent-$1 $(uname -sm)\"";
        let words = ["sh", "-c", SCRIPT].map(OsString::from);
        let rest = [program, nonce.into(), cached.unwrap_or("current").into()];
        quote::for_login_shell(&[words, rest].concat())
    }
}

impl Call {
    /// Ends ssh, now.
    pub(crate) fn end(self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Lets it end by itself, for a moment.
    pub(crate) fn finish(self) {
        drop(self.stdin);
        drop(self.stdout);
        let ended = self.child.wait_timeout(Duration::from_secs(1));
        if !matches!(ended, Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

pub(crate) fn never_block(descriptor: impl rustix::fd::AsFd) -> rustix::io::Result<()> {
    let flags = fcntl_getfl(&descriptor)?;
    fcntl_setfl(&descriptor, flags | OFlags::NONBLOCK)
}

/// A directory of this user's that nobody else can put anything into.
fn private_directory() -> Option<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let runtime =
        std::env::var_os("XDG_RUNTIME_DIR").map(|path| PathBuf::from(path).join("pipewright"));
    let temporary = Path::new("/tmp").join(format!("pipewright-{user}"));
    let is_safe = |path: &PathBuf| {
        // There or not, what counts is what it is.
        let _ = rustix::fs::mkdir(path, Mode::RWXU);
        rustix::fs::lstat(path).is_ok_and(|stat| {
            let mode = rustix::fs::FileType::from_raw_mode(stat.st_mode);
            mode.is_dir() && stat.st_uid == user && stat.st_mode & 0o077 == 0
        })
    };
    runtime.into_iter().chain([temporary]).find(is_safe)
}
