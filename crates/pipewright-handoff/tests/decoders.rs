//! What comes from the other side is never trusted: a typed error, no hang, no allocation beyond
//! the limit.

#[path = "support/decoders.rs"]
mod decoders;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use decoders::{Message, STREAM_LIMIT, through_channel, through_stream};
use pipewright::{PipeExt, pipe};
use pipewright_handoff::{Channel, Error, Receiver, Sender};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};

/// The largest allocation so far, in bytes.
static LARGEST: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[allow(unsafe_code, reason = "an allocator that measures")]
// SAFETY: it passes everything on to the system's allocator, as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: by the caller.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        // SAFETY: by the caller.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    testing::trials::run(testing::tests![
        a_reordered_packet_is_a_protocol_error,
        a_truncated_packet_is_a_protocol_error_at_every_length,
        an_oversized_packet_is_too_large,
        a_peer_that_sends_a_byte_at_a_time_is_understood_or_refused,
        an_empty_packet_is_no_end_of_the_channel,
        a_message_of_another_type_is_refused_by_both_names,
        attached_descriptors_that_nobody_announced_are_refused,
        the_end_of_a_stream_and_a_torn_message_are_told_apart,
        a_stream_is_written_in_whole_pieces_and_the_rest_at_a_flush,
        a_stream_keeps_what_came_of_a_message_over_a_timeout,
        a_slow_reader_costs_a_sender_time_and_no_message,
        a_message_beyond_the_limit_leaves_the_stream_as_it_was,
        a_message_waits_in_the_sender_until_it_is_flushed,
        a_stream_that_nobody_reads_is_an_error_and_no_signal,
        random_input_ends_in_an_error_within_the_limit_of_memory,
    ]);
}

fn pair() -> (std::os::fd::OwnedFd, std::os::fd::OwnedFd) {
    let flags = SocketFlags::CLOEXEC;
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

/// A process that lives as long as this test.
fn living_process() -> std::os::fd::OwnedFd {
    let flags = rustix::process::PidfdFlags::empty();
    rustix::process::pidfd_open(rustix::process::getpid(), flags).unwrap()
}

/// The packets that a channel sends for these messages.
fn captured(messages: &[Message]) -> Vec<Vec<u8>> {
    let (ours, theirs) = pair();
    let mut channel = Channel::new(ours, living_process()).unwrap();
    let mut packets = Vec::new();
    for message in messages {
        channel.send(message).unwrap();
        let mut buffer = vec![0; 65536];
        let flags = rustix::net::RecvFlags::empty();
        let (length, _) = rustix::net::recv(&theirs, &mut buffer[..], flags).unwrap();
        buffer.truncate(length);
        packets.push(buffer);
    }
    packets
}

/// The form in which [`decoders`] takes packets.
fn input(json: bool, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut input = vec![u8::from(json)];
    for packet in packets {
        input.extend((packet.len() as u16).to_le_bytes());
        input.extend(packet);
    }
    input
}

fn three() -> [Message; 3] {
    [
        Message::Text("first".to_owned()),
        Message::Numbers(vec![1, 1 << 40]),
        Message::Nested {
            depth: 2,
            inner: Some(Box::new(Message::Nothing)),
        },
    ]
}

/// youki 3504, runc 1237: messages out of order.
fn a_reordered_packet_is_a_protocol_error() {
    let mut packets = captured(&three());
    let (messages, end) = through_channel(&input(false, &packets));
    assert_eq!(messages, three());
    assert!(matches!(end, Error::PeerDied { .. }), "{end}");
    packets.swap(1, 2);
    let (messages, error) = through_channel(&input(false, &packets));
    assert_eq!(messages.len(), 1);
    assert_eq!(error.to_string(), "expected packet number 1, got number 2");
}

/// runc 4003: short reads.
fn a_truncated_packet_is_a_protocol_error_at_every_length() {
    for packet in captured(&three()).into_iter().take(1) {
        for length in 0..packet.len() {
            let (messages, error) = through_channel(&input(false, &[packet[..length].to_vec()]));
            assert!(messages.is_empty());
            let of_protocol = matches!(error, Error::Protocol { .. });
            // No bytes at all before the end cannot be told from the end.
            assert!(of_protocol || length == 0, "{length}: {error}");
        }
        let longer = [packet, vec![0]].concat();
        let (_, error) = through_channel(&input(false, &[longer]));
        assert!(
            error.to_string().contains("1 bytes after its end"),
            "{error}"
        );
    }
}

fn an_oversized_packet_is_too_large() {
    let (theirs, ours) = pair();
    let mut channel = Channel::new(ours, living_process()).unwrap();
    rustix::net::send(&theirs, &vec![1; 65537], SendFlags::NOSIGNAL).unwrap();
    let error = channel.receive::<Message>().unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                size: 65537,
                limit: 65536,
                ..
            }
        ),
        "{error}"
    );
    // Ours is refused before it is sent, and the channel goes on.
    let error = channel.send(&Message::Text("x".repeat(65536))).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    channel.send(&Message::Nothing).unwrap();
    let mut receiver = Channel::new(theirs, living_process()).unwrap();
    assert_eq!(receiver.receive::<Message>().unwrap(), Message::Nothing);
}

fn a_peer_that_sends_a_byte_at_a_time_is_understood_or_refused() {
    // The channel keeps packets: a byte is a packet, and none of ours.
    let packet = captured(&three()).remove(0);
    let bytes: Vec<Vec<u8>> = packet.iter().map(|&byte| vec![byte]).collect();
    let (messages, error) = through_channel(&input(false, &bytes));
    assert!(
        messages.is_empty() && matches!(error, Error::Protocol { .. }),
        "{error}"
    );

    // The stream does not: whatever pieces it comes in, it is the same.
    let (reader, mut writer) = pipe().unwrap();
    let bytes = streamed(&three());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            bytes
                .iter()
                .for_each(|byte| writer.write_all(&[*byte]).unwrap())
        });
        let mut receiver = Receiver::<Message>::new(reader);
        for message in three() {
            assert_eq!(receiver.receive().unwrap(), Some(message));
        }
        assert_eq!(receiver.receive().unwrap(), None);
    });
}

fn an_empty_packet_is_no_end_of_the_channel() {
    let (theirs, ours) = pair();
    let mut channel = Channel::new(ours, living_process()).unwrap();
    rustix::net::send(&theirs, b"", SendFlags::NOSIGNAL).unwrap();
    let error = channel.receive::<Message>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected a packet of at least 6 bytes, got 0 bytes"
    );
}

fn a_message_of_another_type_is_refused_by_both_names() {
    let (ours, theirs) = pair();
    let mut sender = Channel::new(ours, living_process()).unwrap();
    let mut receiver = Channel::new(theirs, living_process()).unwrap();
    sender.send(&7_u32).unwrap();
    let error = receiver.receive::<i64>().unwrap_err();
    let expected = "expected a message of type i64, got one of type u32";
    assert_eq!(error.to_string(), expected);
}

fn attached_descriptors_that_nobody_announced_are_refused() {
    use std::os::fd::AsFd;
    let (ours, theirs) = pair();
    let mut sender = Channel::new(ours, living_process()).unwrap();
    let mut receiver = Channel::new(theirs, living_process()).unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    sender.send_with(&7_u32, &[file.as_fd()]).unwrap();
    let error = receiver.receive::<u32>().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("without descriptors, got one with 1"),
        "{error}"
    );
}

fn streamed(messages: &[Message]) -> Vec<u8> {
    let (mut reader, writer) = pipe().unwrap();
    let mut sender = Sender::new(writer);
    for message in messages {
        sender.send(message).unwrap();
    }
    sender.flush().unwrap();
    drop(sender);
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut bytes).unwrap();
    bytes
}

fn a_stream_is_written_in_whole_pieces_and_the_rest_at_a_flush() {
    let (reader, writer) = pipe().unwrap();
    reader.set_capacity(256 << 10).unwrap();
    let mut sender = Sender::new(writer);
    let message = "x".repeat(100_000);
    sender.send(&message).unwrap();
    assert_eq!(reader.unread().unwrap(), 64 << 10);
    sender.send(&message).unwrap();
    assert_eq!(reader.unread().unwrap(), 3 * (64 << 10));
    sender.flush().unwrap();
    // Four bytes before the message, and three that say how long the text is.
    assert_eq!(reader.unread().unwrap(), 2 * 100_007);
    drop(sender);
    let mut receiver = Receiver::<String>::new(reader);
    assert_eq!(receiver.receive().unwrap().as_ref(), Some(&message));
    assert_eq!(receiver.receive().unwrap().as_ref(), Some(&message));
    assert_eq!(receiver.receive().unwrap(), None);
}

fn the_end_of_a_stream_and_a_torn_message_are_told_apart() {
    let whole = streamed(&three());
    let first = streamed(&three()[..1]).len();
    for length in 0..=whole.len() {
        let (messages, error) = through_stream(&whole[..length]);
        assert_eq!(messages[..], three()[..messages.len()]);
        let boundary = streamed(&three()[..messages.len()]).len();
        match error {
            None => assert_eq!(boundary, length, "ended in order"),
            Some(Error::Torn { received, expected }) => {
                assert_eq!(received as usize, length - boundary);
                assert!(received < expected);
                if (4..first).contains(&length) {
                    assert_eq!(expected as usize, first);
                }
            }
            Some(other) => panic!("{length}: {other}"),
        }
    }
}

fn a_stream_keeps_what_came_of_a_message_over_a_timeout() {
    let (reader, mut writer) = pipe().unwrap();
    let bytes = streamed(&three()[..1]);
    let mut receiver = Receiver::<Message>::new(reader);
    let soon = Duration::from_millis(5);
    for byte in &bytes[..bytes.len() - 1] {
        writer.write_all(&[*byte]).unwrap();
        let error = receiver.receive_timeout(soon).unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    }
    writer.write_all(&bytes[bytes.len() - 1..]).unwrap();
    assert_eq!(
        receiver.receive_timeout(Duration::MAX).unwrap(),
        Some(three()[0].clone())
    );
}

fn a_slow_reader_costs_a_sender_time_and_no_message() {
    let (reader, writer) = pipe().unwrap();
    let mut sender = Sender::new(writer);
    let message = |number: usize| Message::Text(format!("{number} ").repeat(1000));
    let (mut sent, mut timeouts) = (0, 0);
    while timeouts < 3 {
        // A message counts as sent, whether it still waits in the buffer or not.
        timeouts += usize::from(
            sender
                .send_timeout(&message(sent), Duration::from_millis(5))
                .is_err(),
        );
        sent += 1;
    }
    std::thread::scope(|scope| {
        scope.spawn(move || {
            sender.flush_timeout(Duration::MAX).unwrap();
            drop(sender);
        });
        let mut receiver = Receiver::<Message>::new(reader);
        for number in 0..sent {
            assert_eq!(receiver.receive().unwrap(), Some(message(number)));
        }
        assert_eq!(receiver.receive().unwrap(), None);
    });
}

fn a_message_beyond_the_limit_leaves_the_stream_as_it_was() {
    let (reader, writer) = pipe().unwrap();
    let mut sender = Sender::<String>::new(writer);
    let usual = sender.send(&"x".repeat(16 << 20)).unwrap_err();
    let limit = u64::from(pipewright_handoff::DEFAULT_MESSAGE_LIMIT);
    assert!(
        matches!(usual, Error::TooLarge { limit: it, .. } if it == limit),
        "{usual}"
    );
    sender.set_limit(100);
    let own = sender.send(&"x".repeat(101)).unwrap_err();
    assert!(matches!(own, Error::TooLarge { limit: 100, .. }), "{own}");
    sender.send(&"short".to_owned()).unwrap();
    sender.send(&"x".repeat(99)).unwrap();
    sender.flush().unwrap();
    let mut receiver = Receiver::<String>::new(reader);
    receiver.set_limit(50);
    assert_eq!(receiver.receive().unwrap().as_deref(), Some("short"));
    let error = receiver.receive().unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                size: 100,
                limit: 50,
                ..
            }
        ),
        "{error}"
    );
}

fn a_message_waits_in_the_sender_until_it_is_flushed() {
    use pipewright::PipeExt;
    let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut sender = Sender::<u64>::new(one);
    sender.send(&u64::MAX).unwrap();
    let mut receiver = Receiver::<u64>::new(other);
    let early = receiver.receive_timeout(Duration::ZERO);
    assert!(matches!(early, Err(Error::TimedOut { .. })));
    sender.flush().unwrap();
    assert_eq!(receiver.receive().unwrap(), Some(u64::MAX));
    // What was not flushed is not sent by dropping, which could block.
    let (reader, writer) = pipe().unwrap();
    let mut sender = Sender::<u8>::new(writer);
    sender.send(&7).unwrap();
    drop(sender);
    assert_eq!(reader.unread().unwrap(), 0);
}

/// METADIUM 91: the reader went, and the writer died of SIGPIPE without a word.
fn a_stream_that_nobody_reads_is_an_error_and_no_signal() {
    testing::isolated(
        "a_stream_that_nobody_reads_is_an_error_and_no_signal",
        || {
            #[allow(unsafe_code, reason = "the disposition of a signal")]
            // SAFETY: the default disposition runs no code of this process.
            unsafe {
                libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            }
            let (reader, writer) = pipe().unwrap();
            let mut sender = Sender::new(writer);
            sender.send(&Message::Nothing).unwrap();
            drop(reader);
            assert_eq!(sender.flush().unwrap_err().raw_os_error(), Some(32));
            let soon = Duration::from_secs(1);
            let error = sender.flush_timeout(soon).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(32));
        },
    );
}

/// The inputs that the fuzz targets start from.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect()
}

/// As a fuzzer does it: bits flipped, pieces cut out, repeated, and numbers made extreme.
fn mutate(input: &mut Vec<u8>, random: &mut impl FnMut(usize) -> usize) {
    for _ in 0..1 + random(4) {
        let at = random(input.len().max(1));
        match random(6) {
            0 if !input.is_empty() => input[at] ^= 1 << random(8),
            1 if !input.is_empty() => input[at] = [0, 1, 0x7f, 0x80, 0xff][random(5)],
            2 => input.truncate(at),
            3 => {
                let piece = input[at..(at + random(64)).min(input.len())].to_vec();
                input.splice(at..at, piece);
            }
            4 => input.extend((0..random(64)).map(|_| random(256) as u8)),
            _ => drop(input.drain(at..(at + random(16)).min(input.len()))),
        }
    }
}

fn random_input_ends_in_an_error_within_the_limit_of_memory() {
    let name = "random_input_ends_in_an_error_within_the_limit_of_memory";
    testing::isolated(name, || {
        let mut state = 29_u64;
        let mut random = move |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % below
        };
        let corpora = [corpus("channel"), corpus("stream")];
        LARGEST.store(0, Ordering::Relaxed);
        for round in 0..20_000_usize {
            for (number, seeds) in corpora.iter().enumerate() {
                let mut input = seeds[round % seeds.len()].clone();
                if round >= seeds.len() {
                    mutate(&mut input, &mut random);
                }
                if number == 0 {
                    let (_, error) = through_channel(&input);
                    let typed = matches!(
                        error,
                        Error::PeerDied { .. }
                            | Error::Protocol { .. }
                            | Error::TooLarge { .. }
                            | Error::Remote { .. }
                    );
                    assert!(typed, "{error:?}");
                } else if let (_, Some(error)) = through_stream(&input) {
                    let typed = matches!(
                        error,
                        Error::Torn { .. } | Error::Protocol { .. } | Error::TooLarge { .. }
                    );
                    assert!(typed, "{error:?}");
                }
            }
        }
        // A list's claimed length makes serde ask for up to 1 MiB beforehand; a stream's buffer has
        // 64 KiB above its limit.
        let allowed = STREAM_LIMIT as usize + 65536 + 4;
        let largest = LARGEST.load(Ordering::Relaxed);
        assert!(largest <= allowed, "an allocation of {largest} bytes");
    });
}
