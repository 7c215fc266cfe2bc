//! Whatever the sizes, the chunks and the order in which a child reads and writes: the bytes that
//! went in come out, and nothing hangs.

mod support;

use std::io::Read;

use pipewright::{Command, Input};
use proptest::prelude::*;
use support::watchdog;

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

/// A child that does as told on its command line, by plain system calls.
const CHILD: &str = r#"
import os, sys
read, stop, write, before, between, after, closes, holds, status = map(int, sys.argv[1:])
def put(to, data):
    for start in range(0, len(data), write):
        piece = data[start:start + write]
        while piece:
            piece = piece[os.write(to, piece):]
put(2, b'b' * before)
held = b''
while stop > 0:
    data = os.read(0, min(read, stop))
    if not data:
        break
    stop -= len(data)
    put(2, b'm' * between)
    if holds:
        held += data
    else:
        put(1, data)
if closes:
    os.close(0)
put(1, held)
put(2, b'a' * after)
os._exit(status)
"#;

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
    Command::new("python3")
        .args(["-S", "-E", "-c", CHILD])
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

    #[test]
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

    #[test]
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
