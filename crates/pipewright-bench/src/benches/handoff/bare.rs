//! The floor: a re-executed child, and system calls on plain bytes.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::exchanged::{CHILD, now, seconds};
use crate::peers::bare::{Memory, Program, wait};

/// The child's half.
pub(super) fn child(arguments: &[&str]) -> anyhow::Result<()> {
    match arguments {
        ["pipe"] => held(&mut descriptor::<PipeReader>(3)?),
        ["memory"] => {
            let mut file = descriptor::<File>(3)?;
            std::io::Seek::rewind(&mut file)?;
            held(&mut file)
        }
        ["echo"] => echo(&descriptor::<OwnedFd>(3)?),
        ["stream", bytes, count] => {
            let message = vec![b'x'; bytes.parse()?];
            let mut writer = descriptor::<PipeWriter>(3)?;
            (0..count.parse()?).try_for_each(|_: usize| Ok(writer.write_all(&message)?))
        }
        _ => bail!("no such bare child"),
    }
}

/// The inherited descriptor with this number.
fn descriptor<T: From<OwnedFd>>(number: i32) -> anyhow::Result<T> {
    Ok(pipewright_handoff::take_inherited(number).map(T::from)?)
}

/// Reads all and tells when it was there, on descriptor 4.
fn held(from: &mut impl Read) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)?;
    let held = now();
    let mut answer = held.to_le_bytes().to_vec();
    answer.extend((bytes.len() as u64).to_le_bytes());
    Ok(descriptor::<PipeWriter>(4)?.write_all(&answer)?)
}

fn echo(socket: &OwnedFd) -> anyhow::Result<()> {
    let mut message = [0; 64];
    loop {
        let (length, _) = rustix::net::recv(socket, &mut message, RecvFlags::empty())?;
        if length == 0 {
            return Ok(());
        }
        rustix::net::send(socket, &message[..length], SendFlags::NOSIGNAL)?;
    }
}

fn program(arguments: &[&str]) -> anyhow::Result<Program> {
    let arguments = [CHILD, "bare"].iter().chain(arguments);
    Ok(Program::new(Path::new("/proc/self/exe"), arguments)?)
}

/// High above the numbers that the child will have, as the plain start wants
/// it.
fn moved(descriptor: impl AsFd) -> anyhow::Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(descriptor, 20).context("cannot duplicate a descriptor")
}

/// What the child said: when it held how many bytes.
fn answered(mut answers: PipeReader, begin: u64, bytes: &[u8]) -> anyhow::Result<f64> {
    let mut answer = [0; 16];
    answers.read_exact(&mut answer).context("no answer")?;
    let number = |at: usize| -> anyhow::Result<u64> {
        Ok(u64::from_le_bytes(answer[at..at + 8].try_into()?))
    };
    ensure!(
        number(8)? == bytes.len() as u64,
        "the child has other bytes"
    );
    Ok(seconds(begin, number(0)?))
}

/// Hands bytes over by a pipe, as it is mostly done.
pub(super) fn config_by_pipe(bytes: &[u8]) -> anyhow::Result<f64> {
    let mut program = program(&["pipe"])?;
    let begin = now();
    let ((reader, mut writer), (answers, answer)) = (std::io::pipe()?, std::io::pipe()?);
    let (theirs, back) = (moved(&reader)?, moved(&answer)?);
    let process = program.start(&[(theirs.as_fd(), 3), (back.as_fd(), 4)], Memory::Shared)?;
    drop((reader, theirs, answer, back));
    writer.write_all(bytes)?;
    drop(writer);
    let value = answered(answers, begin, bytes)?;
    wait(process)?;
    Ok(value)
}

/// The same in memory that both share.
pub(super) fn config_by_memory(bytes: &[u8]) -> anyhow::Result<f64> {
    let mut program = program(&["memory"])?;
    let begin = now();
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut memory = File::from(rustix::fs::memfd_create("config", flags)?);
    memory.write_all(bytes)?;
    let (answers, answer) = std::io::pipe()?;
    let (theirs, back) = (moved(&memory)?, moved(&answer)?);
    let process = program.start(&[(theirs.as_fd(), 3), (back.as_fd(), 4)], Memory::Shared)?;
    drop((memory, theirs, answer, back));
    let value = answered(answers, begin, bytes)?;
    wait(process)?;
    Ok(value)
}

/// A child that sends back what it gets.
pub(super) struct Echo {
    socket: Option<OwnedFd>,
    process: i32,
}

impl Echo {
    pub(super) fn start() -> anyhow::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let theirs = moved(theirs)?;
        let process = program(&["echo"])?.start(&[(theirs.as_fd(), 3)], Memory::Shared)?;
        let socket = Some(ours);
        Ok(Self { socket, process })
    }

    /// The seconds of one round trip, on the average.
    pub(super) fn trips(&mut self, times: usize) -> anyhow::Result<f64> {
        let socket = self.socket.as_ref().context("the socket is open")?;
        let message = [b't'; 64];
        let mut answer = [MaybeUninit::uninit(); 64];
        let begin = Instant::now();
        for _ in 0..times {
            rustix::net::send(socket, &message, SendFlags::NOSIGNAL)?;
            let ((received, _), _) = rustix::net::recv(socket, &mut answer, RecvFlags::empty())?;
            ensure!(received.len() == message.len(), "another answer");
        }
        Ok(begin.elapsed().as_secs_f64() / times as f64)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.socket.take());
        // It ends at the end of the socket.
        let _ = wait(self.process);
    }
}

/// Messages in a second: each one written and read by a call of its own.
pub(super) fn stream(bytes: usize, count: usize) -> anyhow::Result<f64> {
    let (mut reader, writer) = std::io::pipe()?;
    let theirs = moved(&writer)?;
    let mut program = program(&["stream", &bytes.to_string(), &count.to_string()])?;
    let process = program.start(&[(theirs.as_fd(), 3)], Memory::Shared)?;
    drop((writer, theirs));
    let mut message = vec![0; bytes];
    reader.read_exact(&mut message)?;
    let begin = Instant::now();
    for _ in 1..count {
        reader.read_exact(&mut message)?;
    }
    let took = begin.elapsed();
    wait(process)?;
    Ok((count - 1) as f64 / took.as_secs_f64())
}
