//! Two halves, and a link that is cut at any byte: what is given on each side is what was sent, once.

use std::collections::VecDeque;

use pipewright_remote::{Decoder, Half, Misuse, Positions, Session, Stream};
use proptest::prelude::*;

/// Small, so that it is full all the time.
const WINDOW: usize = 300;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// The writer of a stream writes so much, if there is room.
    Write(Stream, usize),
    /// The writer closes it.
    Close(Stream),
    /// The reader of a stream takes so much.
    Read(Stream, usize),
    /// The reader goes away.
    Leave(Stream),
    /// A half hands so many frames to its connection.
    Send(Half, usize),
    /// So many bytes on the way to a half arrive.
    Arrive(Half, usize),
    /// The connection is lost with all that is on its way, and another one is made.
    Cut,
}

fn steps() -> impl Strategy<Value = Step> {
    let stream = || (0..5_usize).prop_map(|index| Stream::ALL[index]);
    let half = || prop_oneof![Just(Half::Near), Just(Half::Far)];
    prop_oneof![
        8 => (stream(), 1..200_usize).prop_map(|(stream, count)| Step::Write(stream, count)),
        1 => stream().prop_map(Step::Close),
        8 => (stream(), 1..200_usize).prop_map(|(stream, count)| Step::Read(stream, count)),
        1 => stream().prop_map(Step::Leave),
        8 => (half(), 1..4_usize).prop_map(|(half, count)| Step::Send(half, count)),
        8 => (half(), 1..400_usize).prop_map(|(half, count)| Step::Arrive(half, count)),
        2 => Just(Step::Cut),
    ]
}

/// One side: its session, and what comes to it.
struct Side {
    session: Session,
    on_the_way: VecDeque<u8>,
    decoder: Decoder,
}

struct Model {
    near: Side,
    far: Side,
    written: [u64; 5],
    closed: [bool; 5],
    given: [u64; 5],
    left: [bool; 5],
}

/// The byte at this offset of a stream.
fn byte(stream: Stream, offset: u64) -> u8 {
    (offset.wrapping_mul(31) >> 3) as u8 ^ (stream as u8)
}

impl Model {
    fn new() -> Self {
        let side = |half| Side {
            session: Session::new(half, WINDOW),
            on_the_way: VecDeque::new(),
            decoder: Decoder::default(),
        };
        Self {
            near: side(Half::Near),
            far: side(Half::Far),
            written: [0; 5],
            closed: [false; 5],
            given: [0; 5],
            left: [false; 5],
        }
    }

    fn side(&mut self, half: Half) -> &mut Side {
        match half {
            Half::Near => &mut self.near,
            Half::Far => &mut self.far,
        }
    }

    fn sender(&mut self, stream: Stream) -> &mut Session {
        let half = if stream.is_sent_by(Half::Near) {
            Half::Near
        } else {
            Half::Far
        };
        &mut self.side(half).session
    }

    fn receiver(&mut self, stream: Stream) -> &mut Session {
        let half = if stream.is_sent_by(Half::Near) {
            Half::Far
        } else {
            Half::Near
        };
        &mut self.side(half).session
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Write(stream, count) => {
                let index = stream as usize;
                if self.closed[index] || self.sender(stream).is_stopped(stream) {
                    return;
                }
                let count = count.min(self.sender(stream).room(stream));
                let from = self.written[index];
                let bytes: Vec<u8> = (from..from + count as u64)
                    .map(|at| byte(stream, at))
                    .collect();
                self.sender(stream).push(stream, &bytes);
                self.written[index] += count as u64;
            }
            Step::Close(stream) => {
                if !std::mem::replace(&mut self.closed[stream as usize], true) {
                    self.sender(stream).end(stream);
                }
            }
            Step::Read(stream, count) => {
                let mut bytes = Vec::new();
                let receiver = self.receiver(stream);
                receiver.peek(stream, count, &mut bytes);
                receiver.gave(stream, bytes.len());
                let given = &mut self.given[stream as usize];
                for read in bytes {
                    assert_eq!(read, byte(stream, *given), "byte {given} of {stream:?}");
                    *given += 1;
                }
            }
            Step::Leave(stream) => {
                self.left[stream as usize] = true;
                self.receiver(stream).stop(stream);
            }
            Step::Send(half, count) => {
                let mut bytes = Vec::new();
                for _ in 0..count {
                    self.side(half).session.next_frame(&mut bytes);
                }
                let other = if half == Half::Near {
                    Half::Far
                } else {
                    Half::Near
                };
                self.side(other).on_the_way.extend(bytes);
            }
            Step::Arrive(half, count) => {
                let side = self.side(half);
                let count = count.min(side.on_the_way.len());
                let bytes: Vec<u8> = side.on_the_way.drain(..count).collect();
                side.decoder.room()[..count].copy_from_slice(&bytes);
                side.decoder.filled(count);
                while let Some(frame) = side.decoder.next_frame().unwrap() {
                    side.session.receive(&frame).unwrap();
                }
            }
            Step::Cut => {
                for side in [&mut self.near, &mut self.far] {
                    side.on_the_way.clear();
                    side.decoder = Decoder::default();
                }
                let (near, far) = (self.near.session.positions(), self.far.session.positions());
                self.near.session.resume(&far).unwrap();
                self.far.session.resume(&near).unwrap();
            }
        }
    }

    /// Lets everybody do what is left to be done, and checks that it is all there.
    fn finish(&mut self) {
        for stream in Stream::ALL {
            self.step(&Step::Close(stream));
        }
        for _ in 0..100 {
            for half in [Half::Near, Half::Far] {
                self.step(&Step::Send(half, 100));
            }
            for half in [Half::Near, Half::Far] {
                self.step(&Step::Arrive(half, 1 << 17));
            }
            for stream in Stream::ALL {
                self.step(&Step::Read(stream, usize::MAX));
            }
        }
        for stream in Stream::ALL {
            let index = stream as usize;
            assert!(
                self.receiver(stream).is_over(stream),
                "{stream:?} has no end"
            );
            if self.left[index] {
                let knows = self.receiver(stream).has_ended(stream)
                    || self.sender(stream).is_stopped(stream);
                assert!(knows, "nobody told the sender of {stream:?}");
            } else {
                assert_eq!(self.given[index], self.written[index], "{stream:?}");
                // An acknowledgement that is lost with its link would leave the writer without room.
                let room = self.sender(stream).room(stream);
                assert!(room > WINDOW - WINDOW / 8, "{room} for {stream:?}");
            }
        }
        assert!(!self.near.session.has_frame() && !self.far.session.has_frame());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn every_byte_is_given_once_wherever_the_link_is_cut(
        steps in prop::collection::vec(steps(), 0..300),
    ) {
        let mut model = Model::new();
        for step in &steps {
            model.step(step);
        }
        model.finish();
    }
}

#[test]
fn a_link_cut_behind_each_single_byte_changes_nothing() {
    let mut cut = 0;
    loop {
        let mut model = Model::new();
        model.step(&Step::Write(Stream::Stdin, 250));
        model.step(&Step::Write(Stream::Stdout, 20));
        model.step(&Step::Close(Stream::Stdin));
        model.step(&Step::Send(Half::Near, 9));
        model.step(&Step::Send(Half::Far, 9));
        let longest = model.far.on_the_way.len();
        model.step(&Step::Arrive(Half::Far, cut));
        model.step(&Step::Arrive(Half::Near, cut));
        model.step(&Step::Cut);
        model.finish();
        if cut > longest {
            break;
        }
        cut += 1;
    }
    assert!(cut > 250);
}

mod hostile {
    use pipewright_remote::{Frame, Kind};

    use super::*;

    /// A frame, with the length of its payload.
    type Sent = (Kind, Stream, u64, usize);

    fn send(half: Half, frames: &[Sent]) -> Result<(), Misuse> {
        let mut session = Session::new(half, WINDOW);
        session.push(
            if half == Half::Near {
                Stream::Stdin
            } else {
                Stream::Stdout
            },
            &[0; 100],
        );
        session.next_frame(&mut Vec::new());
        for &(kind, stream, offset, length) in frames {
            let payload = &vec![0; length];
            session.receive(&Frame {
                kind,
                stream,
                offset,
                payload,
            })?;
        }
        Ok(())
    }

    #[test]
    fn each_misuse_is_an_error_of_its_own() {
        use Kind::{Ack, Bye, Data, End, Hello, Refusal, Stop, Welcome};
        use Stream::{Orders, Stderr, Stdin, Stdout};
        let out = |stream, offset, expected| Misuse::OutOfOrder {
            stream,
            offset,
            expected,
        };
        let table: &[(Half, &[Sent], Misuse)] = &[
            (Half::Near, &[(Data, Stdout, 5, 1)], out(Stdout, 5, 0)),
            (
                Half::Near,
                &[(Data, Stdout, 0, 9), (Data, Stdout, 0, 9)],
                out(Stdout, 0, 9),
            ),
            (
                Half::Near,
                &[(Data, Stdout, 0, 9), (Data, Stderr, 9, 9)],
                out(Stderr, 9, 0),
            ),
            (
                Half::Near,
                &[(Data, Stdout, u64::MAX, 9)],
                out(Stdout, u64::MAX, 0),
            ),
            (Half::Near, &[(End, Stdout, 1, 0)], out(Stdout, 1, 0)),
            (
                Half::Near,
                &[(End, Stdout, 0, 0), (Data, Stdout, 0, 1)],
                Misuse::BehindTheEnd {
                    stream: Stdout,
                    offset: 0,
                },
            ),
            (
                Half::Near,
                &[(Data, Stdout, 0, WINDOW), (Data, Stdout, WINDOW as u64, 1)],
                Misuse::TooMuch {
                    stream: Stdout,
                    window: WINDOW,
                },
            ),
            (
                Half::Near,
                &[(Ack, Stdin, 101, 0)],
                Misuse::Acknowledged {
                    stream: Stdin,
                    offset: 101,
                    sent: 100,
                },
            ),
            (Half::Near, &[(Data, Stdin, 0, 1)], Misuse::Direction(Stdin)),
            (
                Half::Near,
                &[(Ack, Stdout, 0, 0)],
                Misuse::Direction(Stdout),
            ),
            (
                Half::Near,
                &[(Stop, Stdout, 0, 0)],
                Misuse::Direction(Stdout),
            ),
            (
                Half::Far,
                &[(Data, Stdout, 0, 1)],
                Misuse::Direction(Stdout),
            ),
            (
                Half::Far,
                &[(Stop, Orders, 0, 0)],
                Misuse::Direction(Orders),
            ),
            (Half::Near, &[(Bye, Orders, 0, 0)], Misuse::Turn("a bye")),
            (
                Half::Far,
                &[(Hello, Orders, 0, 0)],
                Misuse::Turn("a greeting"),
            ),
            (
                Half::Near,
                &[(Welcome, Orders, 0, 0)],
                Misuse::Turn("a welcome"),
            ),
            (
                Half::Near,
                &[(Refusal, Orders, 0, 0)],
                Misuse::Turn("a refusal"),
            ),
        ];
        for (half, frames, misuse) in table {
            assert_eq!(
                send(*half, frames),
                Err(misuse.clone()),
                "{half:?} {frames:?}"
            );
        }
    }

    #[test]
    fn nobody_goes_on_from_where_no_byte_is_kept_or_was_sent() {
        let peer = |given: usize| {
            let mut session = Session::new(Half::Far, WINDOW);
            let payload = &vec![0; given];
            let (kind, stream, offset) = (Kind::Data, Stream::Stdin, 0);
            session
                .receive(&Frame {
                    kind,
                    stream,
                    offset,
                    payload,
                })
                .unwrap();
            session.positions()
        };
        let mut near = Session::new(Half::Near, WINDOW);
        near.push(Stream::Stdin, &[0; 100]);
        near.next_frame(&mut Vec::new());
        let resumed = |offset, kept| Misuse::Resumed {
            stream: Stream::Stdin,
            offset,
            kept,
            sent: 100,
        };
        assert_eq!(near.resume(&peer(101)), Err(resumed(101, 0)));
        let (kind, stream, offset, payload) = (Kind::Ack, Stream::Stdin, 60, &[][..]);
        near.receive(&Frame {
            kind,
            stream,
            offset,
            payload,
        })
        .unwrap();
        assert_eq!(near.resume(&peer(59)), Err(resumed(59, 60)));
        assert_eq!(near.resume(&peer(60)), Ok(()));
        assert_eq!(near.resume(&Positions::default()), Ok(()));
    }
}
