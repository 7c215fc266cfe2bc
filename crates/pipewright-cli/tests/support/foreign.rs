//! Pipelines that somebody else has started, and `ls` and `watch` looking at them.

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use pipewright::poll::poll;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use testing::{PATIENCE, stderr};

use super::pipewright;

/// A mark for the commands of one test. It tells them from those that another run of the tests has,
/// or has left behind: a number of seconds to sleep, to be an argument of any program.
pub fn mark(number: u32) -> String {
    format!("{number}.{}", std::process::id())
}

/// A pipeline started by bash, and ended with the test. It has no descriptor but its own: one that
/// it inherited might lead to another pipeline.
pub struct Running {
    pub shell: pipewright::Child,
    pub stdin: Option<std::io::PipeWriter>,
    pub stdout: Option<std::io::PipeReader>,
}

impl Running {
    pub fn start(text: &str) -> Self {
        let (stdin, feed) = pipewright::pipe().unwrap();
        let (out, stdout) = pipewright::pipe().unwrap();
        let shell = pipewright::Command::new("bash")
            .args(["-c", text])
            .env("LC_ALL", "C.UTF-8")
            .stdin(stdin)
            .stdout(stdout)
            .stderr(pipewright::Stdio::Null)
            .process_group(0)
            .spawn()
            .unwrap();
        Self {
            shell,
            stdin: Some(feed),
            stdout: Some(out),
        }
    }

    pub fn pid(&self) -> String {
        self.shell.id().to_string()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_raw(self.shell.id() as i32).unwrap();
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.shell.wait();
    }
}

pub fn listed(options: &[&str]) -> serde_json::Value {
    let output = pipewright()
        .args(["ls", "--json"])
        .args(options)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The pipeline one of whose commands contains the mark, once it has so many stages and all of them
/// are started. Before that the shell stands for them, with the mark in its own text, and this
/// process may be found as a stage, at the other end of the shell's standard streams.
pub fn find(mark: &str, stages: usize) -> serde_json::Value {
    find_when(mark, stages, |_| true)
}

/// The same once it is also as asked for.
pub fn find_when(
    mark: &str,
    stages: usize,
    asked_for: impl Fn(&serde_json::Value) -> bool,
) -> serde_json::Value {
    let this = std::process::id();
    let begin = Instant::now();
    loop {
        let all = listed(&["--all"]);
        let found = all["pipelines"].as_array().unwrap().iter().find(|found| {
            let found = found["stages"].as_array().unwrap();
            let text = |stage: &serde_json::Value| stage["command"].as_str().unwrap().to_owned();
            // In brackets is the name of a process without a command line: it is at its exec.
            let starts = |text: String| text.starts_with("bash -c") || text.starts_with('[');
            found.len() == stages
                && found.iter().any(|stage| text(stage).contains(mark))
                && !found
                    .iter()
                    .any(|stage| stage["pid"] == this || starts(text(stage)))
        });
        match found {
            Some(found) if asked_for(found) => return found.clone(),
            _ => assert!(begin.elapsed() < PATIENCE, "{mark}: {found:#?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `watch` in a terminal of its own.
pub struct Watch {
    pub child: Child,
    pub master: std::fs::File,
    /// While somebody has this side open, all that was written comes out of the other.
    _slave: std::fs::File,
    pub screen: vt100::Parser,
}

impl Watch {
    /// With its own standard streams on a new terminal.
    pub fn start(pid: &str) -> Self {
        let mut watch = pipewright();
        watch.args(["watch", pid]);
        Self::run(watch)
    }

    /// Any command that becomes it.
    pub fn run(command: Command) -> Self {
        Self::sized(command, 20, 90)
    }

    /// The same in a terminal of this size.
    pub fn sized(mut command: Command, lines: u16, columns: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).unwrap();
        rustix::pty::grantpt(&master).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let size = Winsize {
            ws_row: lines,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&master, size).unwrap();
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
        let slave = || {
            let path = name.to_str().unwrap();
            std::fs::File::options()
                .read(true)
                .write(true)
                // Else a leader of a session gets it as its own, and its hangup.
                .custom_flags(OFlags::NOCTTY.bits() as i32)
                .open(path)
                .unwrap()
        };
        let child = command
            .env("TERM", "xterm")
            .stdin(slave())
            .stdout(slave())
            .stderr(slave())
            .spawn()
            .unwrap();
        Self {
            child,
            master: master.into(),
            _slave: slave(),
            screen: vt100::Parser::new(lines, columns, 0),
        }
    }

    /// Reads until the screen shows all that is asked for: a picture comes out in pieces.
    pub fn wait_for(&mut self, wanted: &[&str]) {
        self.wait_until(|screen| {
            let contents = screen.contents();
            wanted.iter().all(|wanted| contents.contains(wanted))
        });
    }

    /// Reads until the screen is as asked for.
    pub fn wait_until(&mut self, shown: impl Fn(&vt100::Screen) -> bool) {
        let mut bytes = [0; 4096];
        let deadline = Instant::now() + PATIENCE;
        while !shown(self.screen.screen()) {
            let mut polled = [PollFd::new(&self.master, PollFlags::IN)];
            poll(&mut polled, Some(deadline)).unwrap();
            let length = if Instant::now() < deadline {
                self.master.read(&mut bytes).unwrap_or(0)
            } else {
                0
            };
            let contents = self.screen.screen().contents();
            assert!(length > 0, "what is waited for does not come:\n{contents}");
            self.screen.process(&bytes[..length]);
        }
    }

    /// Types these keys.
    pub fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }
}
