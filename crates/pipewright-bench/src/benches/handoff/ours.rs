//! Our own contender: a re-executed child with a config, a channel, a stream.

use std::time::{Duration, Instant};

use anyhow::ensure;
use pipewright::{PipeExt, PipeWriter};
use pipewright_handoff::{ChildLink, EntryPoints, Error, ParentLink, ReExec, Receiver, Sender};

use super::exchanged::{Config, Small, now, seconds};

pub(super) fn dispatch() {
    EntryPoints::new()
        .entry("config", take_config)
        .entry("echo", echo)
        .entry("stream", send_stream)
        .dispatch();
}

fn take_config(parent: &mut ParentLink) -> Result<(), Error> {
    let config: Config = parent.config()?;
    let held = now();
    parent.channel().send(&(held, config.checksum()))
}

/// Hands the config over and returns the seconds until the child held it:
/// since the start, and since before it was encoded.
fn hand_over(config: &Config) -> anyhow::Result<(f64, f64)> {
    let encoding = now();
    let child = ReExec::new("config").config(config)?;
    let starting = now();
    let mut child = child.spawn()?;
    let (held, checksum): (u64, u64) = child.channel().receive()?;
    ensure!(
        checksum == config.checksum(),
        "the child has another config"
    );
    child.into_child().wait()?;
    Ok((seconds(starting, held), seconds(encoding, held)))
}

/// The seconds from the start until the child held the config.
pub(super) fn config(config: &Config) -> anyhow::Result<f64> {
    Ok(hand_over(config)?.0)
}

/// The same with the time to encode it.
pub(super) fn config_and_encoding(config: &Config) -> anyhow::Result<f64> {
    Ok(hand_over(config)?.1)
}

fn echo(parent: &mut ParentLink) -> Result<(), Error> {
    loop {
        match parent.channel().receive_timeout::<Small>(Duration::MAX) {
            Ok(message) => parent.channel().send(&message)?,
            // The parent closed the channel: it is done.
            Err(_) => return Ok(()),
        }
    }
}

/// A child that sends back what it gets.
pub(super) struct Echo(ChildLink);

impl Echo {
    pub(super) fn start() -> anyhow::Result<Self> {
        Ok(Self(ReExec::new("echo").spawn()?))
    }

    /// The seconds of one round trip, on the average.
    pub(super) fn trips(&mut self, times: usize) -> anyhow::Result<f64> {
        let message = Small::new();
        let begin = Instant::now();
        for _ in 0..times {
            let answer: Small = self.0.channel().request(&message)?;
            ensure!(answer.text.len() == message.text.len(), "another answer");
        }
        Ok(begin.elapsed().as_secs_f64() / times as f64)
    }
}

fn send_stream(parent: &mut ParentLink) -> Result<(), Error> {
    let (bytes, count): (usize, usize) = parent.config()?;
    let message = "x".repeat(bytes);
    let mut sender = Sender::new(parent.take::<PipeWriter>("stream")?);
    for _ in 0..count {
        sender.send(&message)?;
    }
    sender.flush()
}

/// Receives messages and returns how many came in a second, the first one not
/// counted: with it the child is known to be at work.
pub(super) fn stream(bytes: usize, count: usize, capacity: usize) -> anyhow::Result<f64> {
    let (reader, writer) = pipewright::pipe()?;
    reader.set_capacity(capacity)?;
    let child = ReExec::new("stream")
        .config(&(bytes, count))?
        .descriptor("stream", writer)
        .spawn()?;
    let mut receiver = Receiver::<String>::new(reader);
    let first = receiver.receive()?;
    ensure!(
        first.is_some_and(|message| message.len() == bytes),
        "no first message"
    );
    let begin = Instant::now();
    let mut received = 1;
    while let Some(message) = receiver.receive()? {
        ensure!(message.len() == bytes, "a message of another size");
        received += 1;
    }
    let took = begin.elapsed();
    ensure!(received == count, "{received} of {count} messages");
    child.into_child().wait()?;
    Ok((count - 1) as f64 / took.as_secs_f64())
}
