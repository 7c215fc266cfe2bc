//! Whatever the sizes, the chunks and the order in which a child reads and writes: the bytes that
//! went in come out, and nothing hangs.

#![allow(unsafe_code, reason = "a child closes its stdin")]

use std::io::Read;
use std::os::fd::BorrowedFd;

use pipewright::{Command, Input};
use proptest::prelude::*;
use rustix::stdio;
use testing::watchdog;

/// What one child does. All sizes in bytes.
#[derive(Debug, Clone)]
struct Behaviour {
    /// It reads at most so much at once, and so much in all; then it stops reading.
    read: usize,
    stop: usize,
    /// It writes at most so much at once.
    write: usize,
    /// What it writes to stderr before it reads anything, between two reads, and at its end.
    stderr: [usize; 3],
    /// It closes its stdin, instead of only not reading it any more.
    closes: bool,
    /// It reads everything before it writes anything.
    holds: bool,
    status: i32,
}

/// What this program's children are called with, before their numbers.
const CHILD: &str = "child";

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(CHILD) {
        let numbers: Vec<usize> = arguments.map(|number| number.parse().unwrap()).collect();
        child(&numbers.try_into().unwrap());
    }
    testing::trials::run(testing::tests![
        bytes_in_are_bytes_out_of_any_child,
        bytes_pass_through_any_two_children,
    ]);
}

/// A child that does as told on its command line, by plain system calls.
fn child(
    &[
        read,
        mut stop,
        write,
        before,
        between,
        after,
        closes,
        holds,
        status,
    ]: &[usize; 9],
) -> ! {
    let put = |to: BorrowedFd<'_>, bytes: &[u8]| {
        for mut piece in bytes.chunks(write) {
            while !piece.is_empty() {
                match rustix::io::write(to, piece) {
                    Ok(written) => piece = &piece[written..],
                    // Its reader has gone.
                    Err(_) => std::process::exit(1),
                }
            }
        }
    };
    // Not std's streams: those of this process have buffers.
    let (input, output, errors) = (stdio::stdin(), stdio::stdout(), stdio::stderr());
    put(errors, &vec![b'b'; before]);
    let (mut buffer, mut held) = (vec![0; read], Vec::new());
    while stop > 0 {
        let length = rustix::io::read(input, &mut buffer[..read.min(stop)]).unwrap();
        if length == 0 {
            break;
        }
        stop -= length;
        put(errors, &vec![b'm'; between]);
        match holds {
            0 => put(output, &buffer[..length]),
            _ => held.extend_from_slice(&buffer[..length]),
        }
    }
    if closes != 0 {
        // SAFETY: nothing in this process uses it from here on.
        unsafe { rustix::io::close(0) };
    }
    put(output, &held);
    put(errors, &vec![b'a'; after]);
    std::process::exit(status as i32);
}

/// Gives its bytes in pieces of changing size.
struct Chunks<'a> {
    bytes: &'a [u8],
    sizes: std::iter::Cycle<std::slice::Iter<'a, usize>>,
}

impl Read for Chunks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = self.sizes.next().map_or(1, |&size| size.min(buffer.len()));
        self.bytes.read(&mut buffer[..most])
    }
}

/// Sizes around the pages and capacities at which behaviour changes, and any other.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        Just(0_usize),
        1..10_usize,
        4090..4100_usize,
        65_530..65_540_usize,
        1..300_000_usize,
        1_048_570..1_048_580_usize,
    ]
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    let stop = prop_oneof![2 => Just(usize::MAX >> 1), 1 => size()];
    // Few enough writes between reads that a case stays short.
    let piece = prop_oneof![1000..5000_usize, 60_000..70_000_usize, Just(1 << 20)];
    let stderr = (size(), 0..200_usize, size())
        .prop_map(|(before, between, after)| [before, between, after]);
    (
        piece.clone(),
        stop,
        piece,
        stderr,
        any::<[bool; 2]>(),
        0..5_i32,
    )
        .prop_map(
            |(read, stop, write, stderr, [closes, holds], status)| Behaviour {
                read,
                stop,
                write,
                stderr,
                closes,
                holds,
                status,
            },
        )
}

fn command(behaviour: &Behaviour) -> Command {
    let [before, between, after] = behaviour.stderr;
    let numbers = [
        behaviour.read,
        behaviour.stop,
        behaviour.write,
        before,
        between,
        after,
        behaviour.closes.into(),
        behaviour.holds.into(),
        behaviour.status as usize,
    ];
    Command::new("/proc/self/exe")
        .arg(CHILD)
        .args(numbers.map(|number| number.to_string()))
}

fn bytes(length: usize, seed: u8) -> Vec<u8> {
    (0..length)
        .map(|index| (index as u8).wrapping_mul(31) ^ (index >> 8) as u8 ^ seed)
        .collect()
}

/// The bytes on stderr without those between reads, whose number depends on how reads were cut.
fn ends_of_stderr(stderr: &[u8]) -> (usize, usize) {
    let count = |letter: u8| stderr.iter().filter(|&&byte| byte == letter).count();
    (count(b'b'), count(b'a'))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    fn bytes_in_are_bytes_out_of_any_child(
        behaviour in behaviour(),
        length in size(),
        seed: u8,
        sizes in proptest::option::of(prop::collection::vec(1..100_000_usize, 1..5)),
    ) {
        let _watchdog = watchdog();
        let given = bytes(length, seed);
        let input = match &sizes {
            None => Input::from(&given),
            Some(sizes) => Input::reader(Chunks { bytes: &given, sizes: sizes.iter().cycle() }),
        };
        let output = command(&behaviour).capture().input(input).output().unwrap();

        prop_assert!(output.stdout == given[..behaviour.stop.min(length)]);
        let [before, _, after] = behaviour.stderr;
        prop_assert_eq!(ends_of_stderr(&output.stderr[0]), (before, after));
        prop_assert_eq!(output.exit_status().code(), Some(behaviour.status));
    }

    fn bytes_pass_through_any_two_children(
        first in behaviour(),
        second in behaviour(),
        length in size(),
        seed: u8,
    ) {
        let _watchdog = watchdog();
        let given = bytes(length, seed);
        // The first may die of SIGPIPE when the second stops; then its stderr is cut short, too.
        let output = (command(&first) | command(&second)).capture().input(&given).output().unwrap();
        let expected = first.stop.min(second.stop).min(length);
        prop_assert!(output.stdout == given[..expected]);
        let [before, _, after] = second.stderr;
        prop_assert_eq!(ends_of_stderr(&output.stderr[1]), (before, after));
    }
}
