//! The timeline of messages, from both sides of each channel.

use std::time::Duration;

use pipewright_handoff::{Channel, Direction};

/// Now, on the clock that all processes share.
pub(crate) fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Prints what goes over the channel between `this` and `other`, in one write a line so that the
/// lines of several processes do not mix.
pub(crate) fn follow(
    channel: &mut Channel,
    this: &'static str,
    other: &'static str,
    origin: Option<Duration>,
) {
    let Some(origin) = origin else { return };
    channel.on_event(move |event| {
        let since = event.at.saturating_sub(origin).as_secs_f64() * 1000.0;
        let line = match event.direction {
            Direction::Sent => format!("{since:9.3} ms  {this} sends {other} {}\n", event.what),
            Direction::Received => {
                format!(
                    "{since:9.3} ms  {this} receives from {other} {}\n",
                    event.what
                )
            }
        };
        // A trace that nobody reads must not stop the container.
        let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
    });
}
