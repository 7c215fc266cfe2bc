//! Bytes of any kind, put through the two decoders by way of real sockets and pipes. The fuzz
//! targets and the ordinary tests both call this.

#![allow(
    unreachable_pub,
    reason = "a module of each program that it is part of"
)]

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use pipewright_handoff::{Channel, Error, Receiver};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

/// A message with one of everything that can be long, nested or absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Message {
    Nothing,
    Text(String),
    Numbers(Vec<u64>),
    Table(BTreeMap<String, Option<i32>>),
    Nested {
        depth: u8,
        inner: Option<Box<Message>>,
    },
}

/// The largest message that the stream takes here, in bytes.
pub const STREAM_LIMIT: u32 = 1 << 20;

/// A process that has ended: so that a receiver that waits for more finds out at once.
fn ended_process() -> OwnedFd {
    static ENDED: OnceLock<OwnedFd> = OnceLock::new();
    let ended = ENDED.get_or_init(|| {
        use std::os::fd::AsFd;
        let child = pipewright::Command::new("true")
            .spawn()
            .expect("true starts");
        let pidfd = child
            .as_fd()
            .try_clone_to_owned()
            .expect("a descriptor is left");
        child.wait().expect("it is our child");
        pidfd
    });
    ended.try_clone().expect("a descriptor is left")
}

/// Cuts an input into packets: a byte for the form, then for each packet two bytes of length, the
/// lowest first, and the packet.
pub fn packets(input: &[u8]) -> (bool, Vec<&[u8]>) {
    let Some((form, mut rest)) = input.split_first() else {
        return (false, Vec::new());
    };
    let mut packets = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(tail.len());
        let (packet, tail) = tail.split_at(length);
        packets.push(packet);
        rest = tail;
    }
    (form % 2 == 1, packets)
}

/// Sends the packets to a channel and receives until it is over. Returns the messages and the error
/// that it ended with.
pub fn through_channel(input: &[u8]) -> (Vec<Message>, Error) {
    let (json, packets) = packets(input);
    let (theirs, ours) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .expect("descriptors are left");
    for packet in packets {
        // As many as the socket's buffer takes.
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        if rustix::net::send(&theirs, packet, flags).is_err() {
            break;
        }
    }
    drop(theirs);
    let mut channel = if json {
        Channel::new_json(ours, ended_process())
    } else {
        Channel::new(ours, ended_process())
    }
    .expect("the socket keeps packets");
    let mut messages = Vec::new();
    loop {
        match channel.receive::<Message>() {
            Ok(message) => messages.push(message),
            Err(error) => return (messages, error),
        }
    }
}

/// Writes the bytes to a pipe and receives until it is over. Returns the messages, and the error
/// where it was not the end of the stream.
pub fn through_stream(input: &[u8]) -> (Vec<Message>, Option<Error>) {
    let (reader, writer) = pipewright::pipe().expect("descriptors are left");
    std::thread::scope(|scope| {
        let fits = input.len() <= 4096;
        let write = move || {
            let mut writer = writer;
            // The receiver is free to go before the end.
            let _ = std::io::Write::write_all(&mut writer, input);
        };
        if fits {
            write();
        } else {
            scope.spawn(write);
        }
        let mut receiver = Receiver::<Message>::new(reader);
        receiver.set_limit(STREAM_LIMIT);
        let mut messages = Vec::new();
        loop {
            match receiver.receive() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => return (messages, None),
                Err(error) => return (messages, Some(error)),
            }
        }
    })
}
