//! The peer `ipc-channel`, started the way its manual shows: the child finds
//! the parent by the name of a one-shot server.

use std::process::{Child, Command};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use ipc_channel::ipc::{self, IpcOneShotServer, IpcReceiver, IpcSender};
use serde::{Deserialize, Serialize};

use super::exchanged::{CHILD, Config, Small, now, seconds};

/// The child's half. It connects and gives the parent a sender to itself.
pub(super) fn child(arguments: &[&str]) -> anyhow::Result<()> {
    match arguments {
        ["config", server] => {
            let (back, configs) = connect::<Config, (u64, u64)>(server)?;
            let config = configs.recv()?;
            let held = now();
            back.send((held, config.checksum()))?;
            Ok(())
        }
        ["echo", server] => {
            let (back, messages) = connect::<Small, Small>(server)?;
            // An error: the parent is done.
            while let Ok(message) = messages.recv() {
                back.send(message)?;
            }
            Ok(())
        }
        ["stream", bytes, count, server] => {
            let (back, _nothing) = connect::<(), String>(server)?;
            let message = "x".repeat(bytes.parse()?);
            (0..count.parse()?).try_for_each(|_: usize| Ok(back.send(message.clone())?))
        }
        _ => bail!("no such child of ipc-channel"),
    }
}

type Hello<In, Out> = (IpcSender<In>, IpcReceiver<Out>);

/// To the parent, and from the parent.
fn connect<In, Out>(server: &str) -> anyhow::Result<(IpcSender<Out>, IpcReceiver<In>)>
where
    In: for<'a> Deserialize<'a> + Serialize,
    Out: for<'a> Deserialize<'a> + Serialize,
{
    let hello: IpcSender<Hello<In, Out>> = IpcSender::connect(server.to_owned())?;
    let (to_child, from_parent) = ipc::channel()?;
    let (to_parent, from_child) = ipc::channel()?;
    hello.send((to_child, from_child))?;
    Ok((to_parent, from_parent))
}

/// A started child and the two channels.
fn start<In, Out>(arguments: &[String]) -> anyhow::Result<(Child, Hello<In, Out>)>
where
    In: for<'a> Deserialize<'a> + Serialize,
    Out: for<'a> Deserialize<'a> + Serialize,
{
    let (server, name) = IpcOneShotServer::<Hello<In, Out>>::new()?;
    let child = Command::new("/proc/self/exe")
        .args([CHILD, "ipc"])
        .args(arguments)
        .arg(name)
        .spawn()
        .context("cannot start the child of ipc-channel")?;
    let (_, hello) = server.accept()?;
    Ok((child, hello))
}

/// Hands the config over and returns the seconds until the child held it.
pub(super) fn config(config: &Config) -> anyhow::Result<f64> {
    let begin = now();
    let (mut child, (to_child, from_child)) = start::<Config, (u64, u64)>(&["config".to_owned()])?;
    to_child.send(config.clone())?;
    let (held, checksum) = from_child.recv()?;
    ensure!(
        checksum == config.checksum(),
        "the child has another config"
    );
    child.wait()?;
    Ok(seconds(begin, held))
}

/// A child that sends back what it gets.
pub(super) struct Echo {
    child: Child,
    channels: Option<Hello<Small, Small>>,
}

impl Echo {
    pub(super) fn start() -> anyhow::Result<Self> {
        let (child, channels) = start(&["echo".to_owned()])?;
        let channels = Some(channels);
        Ok(Self { child, channels })
    }

    /// The seconds of one round trip, on the average.
    pub(super) fn trips(&mut self, times: usize) -> anyhow::Result<f64> {
        let (to_child, from_child) = self.channels.as_ref().context("the channels are open")?;
        let begin = Instant::now();
        for _ in 0..times {
            to_child.send(Small::new())?;
            let answer = from_child.recv()?;
            ensure!(answer.text.len() == 62, "another answer");
        }
        Ok(begin.elapsed().as_secs_f64() / times as f64)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.channels.take());
        // It ends at the end of its channel.
        let _ = self.child.wait();
    }
}

/// Messages in a second, the first one not counted.
pub(super) fn stream(bytes: usize, count: usize) -> anyhow::Result<f64> {
    let arguments = ["stream".to_owned(), bytes.to_string(), count.to_string()];
    let (mut child, (_to_child, from_child)) = start::<(), String>(&arguments)?;
    ensure!(from_child.recv()?.len() == bytes, "another message");
    let begin = Instant::now();
    for _ in 1..count {
        ensure!(from_child.recv()?.len() == bytes, "another message");
    }
    let took = begin.elapsed();
    child.wait()?;
    Ok((count - 1) as f64 / took.as_secs_f64())
}
