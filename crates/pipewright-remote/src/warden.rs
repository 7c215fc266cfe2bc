//! The stage's parent on its host: it starts the stage, tells its end, and ends all of it when the far half
//! is gone. It is a process of its own, so that the far half's death leaves nothing behind.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipewright::{Child, Command, Signal};

use crate::messages::{self, End, Look, Order, Report, Usage};

/// How long the end of a whole tree is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at the stage. One that is over sooner is not looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What is no news is told so often.
const TOLD_AGAIN: Duration = Duration::from_millis(500);

/// The number at which the warden has its socket to the far half.
pub(crate) const SOCKET: i32 = 3;

/// Runs a command with this process's stdin, stdout and stderr, of which none is left open here, and ends
/// this process with it. The far half has started this process.
///
/// `looks` is asked once, for what can be asked again and again what the process does that has this number.
///
/// # Errors
///
/// When it has not, and so nobody is there to be told of the command.
pub fn watch_over<L>(
    command: &[OsString],
    looks: impl FnOnce(u32) -> Option<L> + Send + 'static,
) -> std::io::Result<std::convert::Infallible>
where
    L: FnMut() -> Look + 'static,
{
    let mut far = UnixStream::from(pipewright_handoff::take_inherited(SOCKET)?);
    let tell = |mut far: &UnixStream, report: &Report| {
        // Where the far half is gone, its end is seen below.
        let _ = far.write_all(&messages::write(report));
    };
    let start = Command::new(&command[0]).args(&command[1..]).own_tree();
    let child = match start.spawn() {
        Ok(child) => Arc::new(child),
        Err(error) => {
            let message = error.to_string();
            let status = error.exit_code();
            tell(&far, &Report::NotStarted { message, status });
            std::process::exit(0);
        }
    };
    let closed = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null");
    let closed = closed.and_then(|null| {
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)?;
        Ok(())
    });
    if let (Err(_), _) | (_, Err(_)) = (closed, wait_apart(&child, &far)) {
        // Half of it would hang somebody.
        end(&child);
    }
    tell(&far, &Report::Started);
    // Without it, the stage is not seen from afar, and that is all.
    let _ = look_apart(child.id(), &far, looks);
    let mut orders = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        match far.read(&mut buffer) {
            Ok(count @ 1..) => orders.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => end(&child),
        }
        while let Ok(Some((order, length))) = messages::read(&orders) {
            orders.drain(..length);
            if let Order::Signal(number) = order
                && let Some(signal) = Signal::from_named_raw(number)
            {
                // What cannot be reached is another user's.
                if signal == Signal::KILL {
                    let _ = child.kill_tree(PATIENCE);
                } else {
                    let _ = child.signal_tree(signal);
                }
            }
        }
    }
}

fn end(child: &Child) -> ! {
    let _ = child.kill_tree(PATIENCE);
    std::process::exit(0)
}

/// Tells what the stage does, from a thread of its own that ends with this process.
fn look_apart<L: FnMut() -> Look + 'static>(
    process: u32,
    far: &UnixStream,
    looks: impl FnOnce(u32) -> Option<L> + Send + 'static,
) -> std::io::Result<()> {
    let mut far = far.try_clone()?;
    let work = move || {
        std::thread::sleep(LOOK);
        let Some(mut look) = looks(process) else {
            return;
        };
        let mut last = (Instant::now(), None);
        loop {
            let found = look();
            let is_news = last.1 != Some(found.activity) || last.0.elapsed() >= TOLD_AGAIN;
            if is_news {
                last = (Instant::now(), Some(found.activity));
                if far
                    .write_all(&messages::write(&Report::Look(found)))
                    .is_err()
                {
                    return;
                }
            }
            std::thread::sleep(LOOK);
        }
    };
    std::thread::Builder::new().spawn(work).map(drop)
}

/// Waits for the stage's end from a thread of its own, tells it, and ends this process.
fn wait_apart(child: &Arc<Child>, far: &UnixStream) -> std::io::Result<()> {
    let child = Arc::clone(child);
    let mut far = far.try_clone()?;
    std::thread::Builder::new()
        .spawn(move || {
            let end = child.wait().map_or(End::Unknown, ended);
            let used = child.usage().unwrap_or_default();
            let usage = Usage {
                wall: child.wall().unwrap_or_default(),
                user: used.user,
                system: used.system,
                peak_memory: used.peak_memory,
            };
            let told = far.write_all(&messages::write(&Report::Ended { end, usage }));
            if told.is_ok() {
                std::process::exit(0);
            }
            // The far half is gone, and whoever reads from it ends what is left.
        })
        .map(drop)
}

fn ended(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exited(code as u8),
        (None, Some(signal)) => End::Signaled(signal),
        (None, None) => End::Unknown,
    }
}
