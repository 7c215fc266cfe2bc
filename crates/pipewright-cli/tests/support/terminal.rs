//! `pipewright run` in a real pseudo-terminal, read back by a terminal emulator.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use pipewright::{Child, Command, Signal, Stdio};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

/// A terminal with `pipewright` in its foreground.
pub struct Terminal {
    pub master: File,
    pub seen: Arc<(Mutex<Seen>, Condvar)>,
    pub child: Child,
}

/// What has come out of the terminal: as bytes, and as a screen.
pub struct Seen {
    pub raw: Vec<u8>,
    pub screen: vt100::Parser,
    pub closed: bool,
}

/// How to start it.
pub struct Setup {
    pub lines: u16,
    pub columns: u16,
    pub term: &'static str,
    pub no_color: bool,
    /// Where stdout and stderr go. The terminal is descriptor 0.
    pub output: &'static str,
    pub options: &'static [&'static str],
}

pub const USUAL: Setup = Setup {
    lines: 24,
    columns: 100,
    term: "xterm",
    no_color: false,
    output: ">/dev/null 2>&0",
    options: &[],
};

/// Starts it without anybody who reads what comes out of the terminal; that hangs up when the
/// returned end of it is dropped.
pub fn start(setup: &Setup, pipeline: &str) -> (File, Child) {
    let master =
        rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .unwrap();
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    resize(&master, setup.lines, setup.columns);
    // The leader of a session that opens a terminal gets it as its own.
    let open = format!("exec <>\"$TTY_NAME\" {}; exec \"$@\"", setup.output);
    super::signals_at_their_default();
    let mut command = Command::new("bash")
        .args(["-c", &open, "bash", env!("CARGO_BIN_EXE_pipewright"), "run"])
        .args(setup.options)
        .arg(pipeline)
        .env("TTY_NAME", name.to_str().unwrap())
        .env("TERM", setup.term)
        .env_remove("NO_COLOR")
        .stdin(Stdio::Null)
        .new_session();
    if setup.no_color {
        command = command.env("NO_COLOR", "1");
    }
    let child = command.spawn().unwrap();
    (File::from(master), child)
}

impl Terminal {
    pub fn start(setup: &Setup, pipeline: &str) -> Self {
        let (master, child) = start(setup, pipeline);
        let seen = Arc::new((
            Mutex::new(Seen {
                raw: Vec::new(),
                screen: vt100::Parser::new(setup.lines, setup.columns, 0),
                closed: false,
            }),
            Condvar::new(),
        ));
        let (mut output, sink) = (master.try_clone().unwrap(), Arc::clone(&seen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                // EIO: nobody has the terminal open any more.
                let length = output.read(&mut bytes).unwrap_or(0);
                let mut seen = sink.0.lock().unwrap();
                seen.raw.extend_from_slice(&bytes[..length]);
                seen.screen.process(&bytes[..length]);
                seen.closed = length == 0;
                sink.1.notify_all();
                if length == 0 {
                    return;
                }
            }
        });
        Self {
            master,
            seen,
            child,
        }
    }

    /// Waits until the screen shows what is asked for.
    pub fn wait_for(&self, what: &str, shown: impl Fn(&str) -> bool) {
        let (lock, changed) = &*self.seen;
        let (seen, timeout) = changed
            .wait_timeout_while(lock.lock().unwrap(), Duration::from_secs(30), |seen| {
                !shown(&seen.screen.screen().contents())
            })
            .unwrap();
        assert!(
            !timeout.timed_out(),
            "{what} does not come:\n{}",
            seen.screen.screen().contents()
        );
    }

    pub fn screen(&self) -> String {
        self.seen.0.lock().unwrap().screen.screen().contents()
    }

    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.seen.0.lock().unwrap().raw).into_owned()
    }

    pub fn type_in(&self, keys: &str) {
        (&self.master).write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until pipewright has ended and all it wrote has been read.
    pub fn end(&self) -> std::process::ExitStatus {
        let status = self
            .child
            .wait_timeout(Duration::from_secs(60))
            .unwrap()
            .expect("it ends");
        let (lock, changed) = &*self.seen;
        let all =
            changed.wait_timeout_while(lock.lock().unwrap(), Duration::from_secs(30), |seen| {
                !seen.closed
            });
        assert!(!all.unwrap().1.timed_out(), "the terminal is still open");
        status
    }

    /// Whether the scrolling region is the whole screen again.
    pub fn region_is_whole(&self) -> bool {
        let raw = self.raw();
        let held = raw.rmatch_indices('r').find(|(at, _)| {
            let before = &raw[..*at];
            before.rfind("\x1b[").is_some_and(|start| {
                before[start + 2..]
                    .chars()
                    .all(|c| c.is_ascii_digit() || c == ';')
            })
        });
        held.is_none_or(|(at, _)| raw[..at].ends_with("\x1b["))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A test that failed must not leave its pipeline behind.
        let _ = self.child.signal(Signal::TERM);
    }
}

pub fn resize(terminal: impl std::os::fd::AsFd, lines: u16, columns: u16) {
    let size = Winsize {
        ws_row: lines,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(terminal, size).unwrap();
}
