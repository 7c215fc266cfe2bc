//! The timeline of messages, from both sides of each channel.

use std::fmt;
use std::time::Duration;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Now, on the clock that all processes share.
pub(crate) fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Prints what this process sends and receives from here on, if a timeline was asked for. Each line
/// is one write, so the lines of several processes do not mix.
pub(crate) fn print(since: Option<Duration>) {
    let Some(since) = since else { return };
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_timer(Since(since))
        .with_ansi(false)
        .with_level(false)
        .with_target(false)
        .with_writer(std::io::stderr)
        // A timeline that nobody reads must not stop the container.
        .log_internal_errors(false)
        .init();
}

/// Milliseconds since the runtime's start.
struct Since(Duration);

impl FormatTime for Since {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let since = now().saturating_sub(self.0).as_secs_f64() * 1000.0;
        write!(writer, "{since:9.3} ms ")
    }
}
