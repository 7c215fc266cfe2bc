//! Turns a hang into a failure.

use std::io::Write;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a test waits for what must come: less than the watchdog grants it, so that the test
/// can say what did not come.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Ends the whole test process if it is not dropped in time.
#[must_use]
pub struct Watchdog {
    _alive: mpsc::Sender<()>,
}

/// What a watchdog grants.
const GRANTED: Duration = Duration::from_secs(900);

/// Grants the calling test a quarter of an hour: many times what any test takes, on a slow machine that
/// others use as well, too.
pub fn watchdog() -> Watchdog {
    let (alive, expired) = mpsc::channel::<()>();
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    std::thread::spawn(move || {
        if expired.recv_timeout(GRANTED) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("watchdog: {test} hangs");
            std::process::abort();
        }
    });
    Watchdog { _alive: alive }
}

/// Tries `attempt` with longer and longer times, from half a second to a minute, until it gives
/// something: nobody knows how long a program takes to load.
pub fn with_time_enough<T>(attempt: impl FnMut(Duration) -> Option<T>) -> T {
    let times = (0..8).map(|doubled| Duration::from_millis(500 << doubled));
    let given = times.into_iter().find_map(attempt);
    given.expect("something is given within a minute")
}

/// How often a campaign tries: `short` in the ordinary run, `full` where PIPEWRIGHT_CAMPAIGNS is set.
pub fn campaign(short: u32, full: u32) -> u32 {
    if std::env::var_os("PIPEWRIGHT_CAMPAIGNS").is_some() {
        full
    } else {
        short
    }
}

/// The rounds of a [`campaign`], from 0. A full one says every few seconds on stderr how far it is: past
/// the test harness, which keeps what a test prints.
pub fn rounds(short: u32, full: u32) -> impl Iterator<Item = u32> {
    let most = campaign(short, full);
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let (begin, mut told) = (Instant::now(), Instant::now());
    (0..most).inspect(move |round| {
        let is_last = round + 1 == most;
        if most > short && (is_last || told.elapsed() >= Duration::from_secs(5)) {
            let (number, seconds) = (round + 1, begin.elapsed().as_secs());
            let _ = writeln!(
                std::io::stderr(),
                "{test}: round {number} of {most}, {seconds} s"
            );
            told = Instant::now();
        }
    })
}
