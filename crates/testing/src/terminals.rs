//! A program in a real pseudo-terminal, read back by a terminal emulator.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use pipewright::{Child, Command, PipeReader, PipeWriter, Signal, Stdio};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::{PATIENCE, signals_at_their_default, state};

/// A terminal with `pipewright` in its foreground, started by a shell.
pub struct Terminal {
    /// The terminal's other side.
    pub master: File,
    /// What has come out of it, and word of more.
    pub seen: Arc<(Mutex<Seen>, Condvar)>,
    /// pipewright's.
    pub pid: u32,
    /// The shell's answers: pipewright's number, and in the end its status.
    answers: PipeReader,
    /// The shell stays for as long as this is open. It leads the session: when it ends, the kernel
    /// throws away what was written to the terminal and has not come out of it.
    leash: Option<PipeWriter>,
    shell: Child,
}

/// What has come out of the terminal: as bytes, and as a screen.
pub struct Seen {
    /// All bytes.
    pub raw: Vec<u8>,
    /// The screen that they make.
    pub screen: vt100::Parser,
    /// Nothing more comes.
    pub ended: bool,
}

/// How to start it.
pub struct Setup {
    /// Started with the argument `run`, the options and the pipeline.
    pub program: &'static str,
    /// Height, in lines.
    pub lines: u16,
    /// Width, in columns.
    pub columns: u16,
    /// TERM.
    pub term: &'static str,
    /// LC_ALL.
    pub locale: &'static str,
    /// Sets NO_COLOR.
    pub no_color: bool,
    /// Where stdout and stderr go. The terminal is descriptor 0.
    pub output: &'static str,
    /// In front of the pipeline.
    pub options: &'static [&'static str],
}

/// A terminal of 24 lines and 100 columns, with stderr on it.
pub const USUAL: Setup = Setup {
    program: "pipewright",
    lines: 24,
    columns: 100,
    term: "xterm",
    locale: "C.UTF-8",
    no_color: false,
    output: ">/dev/null 2>&0",
    options: &[],
};

/// Starts it without anybody who reads what comes out of the terminal, and as the leader of the
/// session; the terminal hangs up when the returned end of it is dropped.
pub fn start(setup: &Setup, pipeline: &str) -> (File, Child) {
    let (master, command) = prepare(setup, "exec \"$@\"", pipeline);
    (master, command.spawn().unwrap())
}

/// A terminal, and a shell that opens it and goes on with a script that runs `"$@"`.
fn prepare(setup: &Setup, script: &str, pipeline: &str) -> (File, Command) {
    let master =
        rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .unwrap();
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    resize(&master, setup.lines, setup.columns);
    // The leader of a session that opens a terminal gets it as its own.
    let script = format!("exec <>\"$TTY_NAME\" {}; {script}", setup.output);
    signals_at_their_default();
    let mut command = Command::new("bash")
        .args(["-c", &script, "bash", setup.program, "run"])
        .args(setup.options)
        .arg(pipeline)
        .env("TTY_NAME", name.to_str().unwrap())
        .env("TERM", setup.term)
        .env("LC_ALL", setup.locale)
        .env_remove("NO_COLOR")
        .stdin(Stdio::Null)
        .new_session();
    if setup.no_color {
        command = command.env("NO_COLOR", "1");
    }
    (File::from(master), command)
}

/// What the shell writes to the terminal when pipewright has ended; a terminal shows nothing of it.
/// The end of file would not do: the kernel may tell of it before all that was written.
const END: &[u8] = b"\x1b_end\x1b\\";

/// Runs `"$@"` as its child in the foreground, writes `END` to the terminal, tells on 9 how it ended,
/// and waits for the end of 8. A signal that it catches is at its default in the child.
const STAY: &str = "trap : HUP INT QUIT TERM; \
     bash -c 'echo $$ >&9; exec \"$@\" 8<&- 9>&-' bash \"$@\"; \
     status=$?; printf '\\e_end\\e\\\\' >&0; echo $status >&9; read -r _ <&8";

impl Terminal {
    /// Starts the program with this pipeline as its last argument, in the foreground.
    pub fn start(setup: &Setup, pipeline: &str) -> Self {
        let (master, command) = prepare(setup, STAY, pipeline);
        let ((leashed, leash), (answers, answer)) =
            (pipewright::pipe().unwrap(), pipewright::pipe().unwrap());
        let shell = command.fd(8, leashed).fd(9, answer).spawn().unwrap();
        let pid = number(&answers).unwrap();
        let seen = Arc::new((
            Mutex::new(Seen {
                raw: Vec::new(),
                screen: vt100::Parser::new(setup.lines, setup.columns, 0),
                ended: false,
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
                if seen.raw.ends_with(END) {
                    let own = seen.raw.len() - END.len();
                    seen.raw.truncate(own);
                    seen.ended = true;
                }
                seen.ended |= length == 0;
                sink.1.notify_all();
                if length == 0 {
                    return;
                }
            }
        });
        Self {
            master,
            seen,
            pid,
            answers,
            leash: Some(leash),
            shell,
        }
    }

    /// Sends pipewright a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid as i32).unwrap();
        // A failing test sends it to one that may have ended.
        let _ = rustix::process::kill_process(pid, signal);
    }

    /// How pipewright ended, if it does within this time.
    pub fn status(&self, within: Duration) -> Option<ExitStatus> {
        let mut polled = [PollFd::new(&self.answers, PollFlags::IN)];
        let within = Timespec {
            tv_sec: within.as_secs() as i64,
            tv_nsec: within.subsec_nanos().into(),
        };
        if rustix::event::poll(&mut polled, Some(&within)).unwrap() == 0 {
            return None;
        }
        // A shell tells of signal n as 128 + n.
        let status = number(&self.answers).unwrap() as i32;
        Some(match status {
            129.. => ExitStatus::from_raw(status - 128),
            code => ExitStatus::from_raw(code << 8),
        })
    }

    /// Waits until the screen shows what is asked for.
    pub fn wait_for(&self, what: &str, shown: impl Fn(&str) -> bool) {
        let (lock, changed) = &*self.seen;
        let (seen, timeout) = changed
            .wait_timeout_while(lock.lock().unwrap(), PATIENCE, |seen| {
                !shown(&seen.screen.screen().contents())
            })
            .unwrap();
        assert!(
            !timeout.timed_out(),
            "{what} does not come:\n{}",
            seen.screen.screen().contents()
        );
    }

    /// Waits until every stage is started and pipewright sleeps. What comes earlier it passes on also
    /// to stages that have it from the terminal: it cannot know which of them were there already.
    pub fn wait_until_it_waits(&self) {
        let begin = Instant::now();
        while state(self.pid) != Some('S') {
            assert!(begin.elapsed() < PATIENCE, "it does not come to wait");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Reads the screen as text.
    pub fn screen(&self) -> String {
        self.seen.0.lock().unwrap().screen.screen().contents()
    }

    /// Reads all bytes as text.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.seen.0.lock().unwrap().raw).into_owned()
    }

    /// Types these keys.
    pub fn type_in(&self, keys: &str) {
        (&self.master).write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until pipewright has ended and all it wrote has been read.
    pub fn end(&self) -> ExitStatus {
        let status = self.status(PATIENCE).expect("it ends");
        let (lock, changed) = &*self.seen;
        let all = changed.wait_timeout_while(lock.lock().unwrap(), PATIENCE, |seen| !seen.ended);
        assert!(!all.unwrap().1.timed_out(), "its last words do not come");
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
        self.leash = None;
        self.signal(Signal::TERM);
        let _ = self.shell.wait_timeout(Duration::from_secs(10));
    }
}

/// A line with a number; `None` at the end.
fn number(from: &PipeReader) -> Option<u32> {
    let (mut from, mut line, mut byte) = (from, String::new(), [0]);
    while from.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        line.push(byte[0].into());
    }
    line.parse().ok()
}

/// Gives a terminal another size.
pub fn resize(terminal: impl std::os::fd::AsFd, lines: u16, columns: u16) {
    let size = Winsize {
        ws_row: lines,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(terminal, size).unwrap();
}
