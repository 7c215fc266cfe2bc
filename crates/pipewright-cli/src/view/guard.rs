//! A small process that gives the terminal back when this one was killed.
//!
//! Nobody can tidy up after SIGKILL but somebody else. The guard reads a pipe that only pipewright
//! writes to, and so learns of its end, whatever that was, by the end of file. It has neither the
//! terminal nor a pipe of the stages open, and is in a process group of its own, so that no key of
//! the terminal and no shell has to do with it.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use pipewright::{Child, Command, PipeWriter, Signal, Stdio};
use rustix::fs::{OFlags, fcntl_setfl};

/// The name that it is started by.
const NAME: &str = "pipewright-guard";

/// How long it may take to end when nothing is left to do.
const TO_END: Duration = Duration::from_secs(1);

/// The guard, seen from the process that is guarded.
#[derive(Debug)]
pub(crate) struct Guard {
    orders: Option<PipeWriter>,
    process: Child,
}

impl Guard {
    /// Starts it. `None` where that cannot be done: then nobody tidies up after a kill -9.
    pub(crate) fn start() -> Option<Self> {
        let (reader, writer) = pipewright::pipe().ok()?;
        // A guard that somebody has stopped must not stop us.
        fcntl_setfl(&writer, OFlags::NONBLOCK).ok()?;
        let guard = Command::new("/proc/self/exe")
            .arg0(NAME)
            .env_clear()
            .current_dir("/")
            .stdin(reader)
            .stdout(Stdio::Null)
            .stderr(Stdio::Null)
            .process_group(0)
            // To write from the background stops nobody who blocks this signal (`stty tostop`).
            .signal_mask([Signal::TTOU, Signal::HUP]);
        Some(Self {
            orders: Some(writer),
            process: guard.spawn().ok()?,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sets what to write to the terminal if this process ends now; nothing, if that is empty.
    pub(crate) fn set(&mut self, text: &str) {
        if let (Some(orders), Ok(length)) = (&mut self.orders, u8::try_from(text.len())) {
            // One write of less than a page, so that it comes whole or not at all.
            let order = [&[length], text.as_bytes()].concat();
            // A guard that was killed guards no more.
            let _ = orders.write_all(&order);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.set("");
        self.orders = None;
        let _ = self.process.wait_timeout(TO_END);
    }
}

/// Tells whether this process was started as a guard.
pub(crate) fn is_wanted() -> bool {
    std::env::args_os().next().is_some_and(|name| name == NAME)
}

/// The guard's whole life.
pub(crate) fn run() -> ExitCode {
    let text = last_order(std::io::stdin().lock());
    if !text.is_empty()
        && let Ok(mut terminal) = std::fs::File::options().write(true).open("/dev/tty")
    {
        // Nobody is left to be told that it failed.
        let _ = terminal.write_all(&text);
    }
    ExitCode::SUCCESS
}

/// Reads orders to their end; what the last whole one says.
fn last_order(mut orders: impl Read) -> Vec<u8> {
    let mut last = Vec::new();
    let mut length = [0];
    while orders.read_exact(&mut length).is_ok() {
        let mut order = vec![0; length[0].into()];
        if orders.read_exact(&mut order).is_err() {
            break;
        }
        last = order;
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_order_counts() {
        assert_eq!(last_order(&b""[..]), b"");
        assert_eq!(last_order(&b"\x02ab\x01c"[..]), b"c");
        assert_eq!(last_order(&b"\x02ab\x00"[..]), b"");
        assert_eq!(last_order(&b"\x02ab\x05c"[..]), b"ab");
    }
}
