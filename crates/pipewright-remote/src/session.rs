//! What both halves know of one stage, across all connections. No input and no output: bytes of the
//! streams go in and out, and frames do. Pure.
//!
//! Each stream has an offset that its receiver has got, and one that it has given to whoever reads. The
//! sender keeps what was not given. On a new connection each half tells how far it has got, and the other
//! goes on from there, so every byte is given once, whatever was lost on the way.

use serde::{Deserialize, Serialize};

use crate::error::Misuse;
use crate::frames::{Frame, Kind};
use crate::incoming::Incoming;
use crate::outgoing::Outgoing;
use crate::stream::{Half, Stream};

/// How far a half has got with the streams that it receives.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Positions(Vec<Position>);

#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
struct Position {
    stream: Stream,
    received: u64,
    ended: bool,
    stopped: bool,
}

/// One stage, as one half knows it.
#[derive(Debug)]
pub struct Session {
    half: Half,
    streams: [End; 5],
    /// The stream that is asked first for the next frame of data.
    turn: usize,
    /// The near half has everything.
    bye: Bye,
}

#[derive(Debug)]
enum End {
    Out(Outgoing),
    In(Incoming),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Bye {
    No,
    Due,
    Said,
}

impl Session {
    /// A stage of which nothing has happened yet. `window` is the most bytes of a stream that are kept
    /// here or held for a reader; it is the same on both halves.
    pub fn new(half: Half, window: usize) -> Self {
        let end = |stream: Stream| {
            if stream.is_sent_by(half) {
                End::Out(Outgoing::new(stream, window))
            } else {
                End::In(Incoming::new(stream, window))
            }
        };
        Self {
            half,
            streams: Stream::ALL.map(end),
            turn: 0,
            bye: Bye::No,
        }
    }

    fn outgoing(&mut self, stream: Stream) -> Result<&mut Outgoing, Misuse> {
        match &mut self.streams[stream as usize] {
            End::Out(outgoing) => Ok(outgoing),
            End::In(_) => Err(Misuse::Direction(stream)),
        }
    }

    fn incoming(&mut self, stream: Stream) -> Result<&mut Incoming, Misuse> {
        match &mut self.streams[stream as usize] {
            End::In(incoming) => Ok(incoming),
            End::Out(_) => Err(Misuse::Direction(stream)),
        }
    }

    fn sent(&mut self, stream: Stream) -> &mut Outgoing {
        self.outgoing(stream).expect("this half sends the stream")
    }

    fn got(&self, stream: Stream) -> &Incoming {
        match &self.streams[stream as usize] {
            End::In(incoming) => incoming,
            End::Out(_) => panic!("{stream:?} is sent by this half"),
        }
    }

    fn got_mut(&mut self, stream: Stream) -> &mut Incoming {
        self.incoming(stream).expect("this half gets the stream")
    }

    /// How many bytes of a stream can be pushed now.
    ///
    /// # Panics
    ///
    /// This and all that follow, when the stream goes the other way.
    pub fn room(&mut self, stream: Stream) -> usize {
        self.sent(stream).room()
    }

    /// Takes bytes to send, at most as many as there is [room](Self::room) for.
    pub fn push(&mut self, stream: Stream, bytes: &[u8]) {
        self.sent(stream).push(bytes);
    }

    /// Ends a stream that this half sends.
    pub fn end(&mut self, stream: Stream) {
        self.sent(stream).end();
    }

    /// Tells whether nobody reads a stream any more that this half sends.
    pub fn is_stopped(&mut self, stream: Stream) -> bool {
        self.sent(stream).is_stopped()
    }

    /// Appends bytes that are to be given, at most so many. They stay until they were
    /// [given](Self::gave).
    pub fn peek(&self, stream: Stream, most: usize, into: &mut Vec<u8>) {
        self.got(stream).peek(most, into);
    }

    /// So many of those bytes were given.
    pub fn gave(&mut self, stream: Stream, count: usize) {
        self.got_mut(stream).gave(count);
    }

    /// Tells whether there are bytes to give.
    pub fn has_bytes(&self, stream: Stream) -> bool {
        self.got(stream).has_bytes()
    }

    /// Tells whether all of a stream that this half gets has come.
    pub fn has_ended(&self, stream: Stream) -> bool {
        self.got(stream).has_ended()
    }

    /// Tells whether nothing more of a stream is to be given, now or later.
    pub fn is_over(&self, stream: Stream) -> bool {
        self.got(stream).is_over()
    }

    /// Nobody here reads the stream any more.
    pub fn stop(&mut self, stream: Stream) {
        self.got_mut(stream).stop();
    }

    /// Nothing more is sent, and nothing that came is given: this half is at its end.
    pub(crate) fn abandon(&mut self) {
        for end in &mut self.streams {
            match end {
                End::Out(outgoing) => outgoing.stop(),
                End::In(incoming) => incoming.stop(),
            }
        }
    }

    /// The near half has everything; the far half need not wait for it.
    pub fn say_bye(&mut self) {
        if self.bye == Bye::No {
            self.bye = Bye::Due;
        }
    }

    /// Tells whether that was said, by this half or to it.
    pub fn was_bye_said(&self) -> bool {
        self.bye == Bye::Said
    }

    /// How far this half has got, for the other one, on a new connection.
    pub fn positions(&self) -> Positions {
        let streams = Stream::ALL.into_iter();
        let positions = streams.filter_map(|stream| match &self.streams[stream as usize] {
            End::In(incoming) => Some(Position {
                stream,
                received: incoming.received(),
                ended: incoming.has_ended(),
                stopped: incoming.is_stopped(),
            }),
            End::Out(_) => None,
        });
        Positions(positions.collect())
    }

    /// Goes on from where the other half is, on a new connection. The [positions](Self::positions) of
    /// this half were told on it, or will be, before anything else is.
    ///
    /// # Errors
    ///
    /// [`Misuse::Resumed`] when it wants what is not here.
    pub fn resume(&mut self, theirs: &Positions) -> Result<(), Misuse> {
        for position in &theirs.0 {
            let outgoing = self.outgoing(position.stream)?;
            if position.stopped {
                outgoing.stop();
            }
            outgoing.resume(position.received, position.ended)?;
        }
        for end in &mut self.streams {
            if let End::In(incoming) = end {
                incoming.resumed();
            }
        }
        if self.half == Half::Near && self.bye == Bye::Said {
            self.bye = Bye::Due;
        }
        Ok(())
    }

    /// Tells whether there is something to send.
    pub fn has_frame(&self) -> bool {
        let mut streams = self.streams.iter();
        self.bye == Bye::Due
            || streams.any(|end| match end {
                End::Out(outgoing) => outgoing.has_frame(),
                End::In(incoming) => incoming.has_due(),
            })
    }

    /// Appends the next frame to send; false where there is none.
    pub fn next_frame(&mut self, into: &mut Vec<u8>) -> bool {
        // Small ones first: the other half may wait for them.
        for stream in Stream::ALL {
            if let End::In(incoming) = &mut self.streams[stream as usize] {
                let frame = if incoming.take_due_stop() {
                    Frame::of(Kind::Stop, stream, incoming.received())
                } else if let Some(offset) = incoming.take_due_acknowledgement() {
                    Frame::of(Kind::Ack, stream, offset)
                } else {
                    continue;
                };
                frame.encode(into);
                return true;
            }
        }
        for turn in 0..self.streams.len() {
            // Orders and reports before data, which takes turns.
            let control = [Stream::Orders as usize, Stream::Reports as usize];
            let index = match turn {
                0 | 1 => control[turn],
                _ => (self.turn + turn) % 3,
            };
            if let End::Out(outgoing) = &mut self.streams[index]
                && outgoing.next_frame(into)
            {
                self.turn = (self.turn + 1) % 3;
                return true;
            }
        }
        if self.bye == Bye::Due {
            self.bye = Bye::Said;
            Frame::bare(Kind::Bye).encode(into);
            return true;
        }
        false
    }

    /// Takes in a frame of the connection that is there now.
    ///
    /// # Errors
    ///
    /// [`Misuse`] of a frame that no well-behaved half sends. Nothing was taken in.
    pub fn receive(&mut self, frame: &Frame<'_>) -> Result<(), Misuse> {
        let stream = frame.stream;
        match frame.kind {
            Kind::Data => self.incoming(stream)?.receive(frame.offset, frame.payload),
            Kind::End => self.incoming(stream)?.end(frame.offset),
            Kind::Ack => self.outgoing(stream)?.acknowledge(frame.offset),
            Kind::Stop => {
                self.outgoing(stream)?.stop();
                Ok(())
            }
            Kind::Ping => Ok(()),
            Kind::Bye if self.half == Half::Far => {
                self.bye = Bye::Said;
                Ok(())
            }
            Kind::Bye => Err(Misuse::Turn("a bye")),
            Kind::Hello => Err(Misuse::Turn("a greeting")),
            Kind::Welcome => Err(Misuse::Turn("a welcome")),
            Kind::Refusal => Err(Misuse::Turn("a refusal")),
        }
    }
}
