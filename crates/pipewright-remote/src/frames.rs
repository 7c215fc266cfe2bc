//! Frames: what passes between the two halves, as bytes. Pure.
//!
//! A head of 20 bytes, all numbers little-endian, and the payload behind it:
//!
//! | bytes | |
//! |---|---|
//! | 0 | what it is: [`Kind`] |
//! | 1 | which stream it belongs to |
//! | 2-3 | zero |
//! | 4-7 | how long the payload is, at most [`LONGEST_PAYLOAD`] |
//! | 8-15 | an offset in that stream |
//! | 16-19 | CRC-32C of the bytes above and the payload |

use crate::stream::Stream;

/// The bytes of a head.
pub const HEAD: usize = 20;

/// The most bytes behind one head.
pub const LONGEST_PAYLOAD: usize = 1 << 17;

/// What a frame is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Kind {
    /// The payload are the stream's bytes from the offset on.
    Data = 1,
    /// The stream ends at the offset.
    End = 2,
    /// All before the offset has been given; the sender may forget it.
    Ack = 3,
    /// Nobody reads the stream any more.
    Stop = 4,
    /// The near half's first word on a connection.
    Hello = 5,
    /// The far half's answer.
    Welcome = 6,
    /// The far half's answer where there is nothing to go on with. The payload says why.
    Refusal = 7,
    /// A sign of life.
    Ping = 8,
    /// The near half has everything.
    Bye = 9,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Data,
            2 => Self::End,
            3 => Self::Ack,
            4 => Self::Stop,
            5 => Self::Hello,
            6 => Self::Welcome,
            7 => Self::Refusal,
            8 => Self::Ping,
            9 => Self::Bye,
            _ => return None,
        })
    }
}

/// One frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: Kind,
    /// The stream it belongs to; any, where it belongs to none.
    pub stream: Stream,
    /// Bytes from the beginning of the stream.
    pub offset: u64,
    /// What it carries.
    pub payload: &'a [u8],
}

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NoFrame {
    /// A kind that does not exist.
    #[error("a frame of the unknown kind {0} came")]
    Kind(u8),
    /// A stream that does not exist.
    #[error("a frame of the unknown stream {0} came")]
    Stream(u8),
    /// The payload would be longer than any may be.
    #[error("a frame of {0} bytes came, and none may have more than {LONGEST_PAYLOAD}")]
    Length(u32),
    /// The bytes are not those that were sent.
    #[error("a frame came that is not as it was sent: its checksum is wrong")]
    Checksum,
}

impl Frame<'_> {
    /// A frame with nothing but its kind.
    pub(crate) fn bare(kind: Kind) -> Self {
        Self::of(kind, Stream::Orders, 0)
    }

    pub(crate) fn of(kind: Kind, stream: Stream, offset: u64) -> Self {
        let payload = &[];
        Self {
            kind,
            stream,
            offset,
            payload,
        }
    }

    /// Appends the frame's bytes.
    ///
    /// # Panics
    ///
    /// If the payload is longer than [`LONGEST_PAYLOAD`].
    pub fn encode(&self, into: &mut Vec<u8>) {
        encode_parts(
            self.kind,
            self.stream,
            self.offset,
            [self.payload, &[]],
            into,
        );
    }
}

/// Appends a frame whose payload lies in two pieces.
pub(crate) fn encode_parts(
    kind: Kind,
    stream: Stream,
    offset: u64,
    payload: [&[u8]; 2],
    into: &mut Vec<u8>,
) {
    let length = payload[0].len() + payload[1].len();
    assert!(length <= LONGEST_PAYLOAD, "a payload of {length} bytes");
    let mut head = [0; HEAD];
    head[0] = kind as u8;
    head[1] = stream as u8;
    head[4..8].copy_from_slice(&(length as u32).to_le_bytes());
    head[8..16].copy_from_slice(&offset.to_le_bytes());
    let check = payload
        .iter()
        .fold(crc32c::crc32c(&head[..16]), |check, piece| {
            crc32c::crc32c_append(check, piece)
        });
    head[16..].copy_from_slice(&check.to_le_bytes());
    into.reserve(HEAD + length);
    into.extend_from_slice(&head);
    into.extend_from_slice(payload[0]);
    into.extend_from_slice(payload[1]);
}

/// Cuts bytes into frames as they come. It holds less than two of the longest at a time.
#[derive(Debug)]
pub struct Decoder {
    buffer: Box<[u8]>,
    /// What was not yet cut.
    start: usize,
    end: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            buffer: vec![0; 2 * (HEAD + LONGEST_PAYLOAD)].into_boxed_slice(),
            start: 0,
            end: 0,
        }
    }
}

impl Decoder {
    /// Room for more bytes; never empty once [`next_frame`](Self::next_frame) has given all it had.
    pub fn room(&mut self) -> &mut [u8] {
        if self.start > 0 && self.buffer.len() - self.end <= LONGEST_PAYLOAD {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.buffer[self.end..]
    }

    /// Takes in so many bytes of that room.
    ///
    /// # Panics
    ///
    /// If there was less room.
    pub fn filled(&mut self, count: usize) {
        assert!(count <= self.buffer.len() - self.end, "more than the room");
        self.end += count;
    }

    /// The length of the payload behind a head that is there.
    pub(crate) fn promised(&self) -> usize {
        let head = &self.buffer[self.start..self.end];
        u32::from_le_bytes(std::array::from_fn(|index| head[4 + index])) as usize
    }

    /// The next frame, if all of it is there.
    ///
    /// # Errors
    ///
    /// [`NoFrame`] when the bytes are none. What comes behind them cannot be read either.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, NoFrame> {
        let bytes = &self.buffer[self.start..self.end];
        let Some(head) = bytes.first_chunk::<HEAD>() else {
            return Ok(None);
        };
        // Checked first: nobody waits for the bytes that a wrong length promises.
        let kind = Kind::of(head[0]).ok_or(NoFrame::Kind(head[0]))?;
        let stream = Stream::of(head[1]).ok_or(NoFrame::Stream(head[1]))?;
        let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|index| head[at + index]));
        let length = number(4) as usize;
        if length > LONGEST_PAYLOAD {
            return Err(NoFrame::Length(number(4)));
        }
        if bytes.len() < HEAD + length {
            return Ok(None);
        }
        let payload = &bytes[HEAD..HEAD + length];
        if number(16) != crc32c::crc32c_append(crc32c::crc32c(&head[..16]), payload) {
            return Err(NoFrame::Checksum);
        }
        let offset = u64::from_le_bytes(std::array::from_fn(|index| head[8 + index]));
        self.start += HEAD + length;
        Ok(Some(Frame {
            kind,
            stream,
            offset,
            payload,
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds() -> impl Strategy<Value = Kind> {
        (1..=9_u8).prop_map(|byte| Kind::of(byte).unwrap())
    }

    fn streams() -> impl Strategy<Value = Stream> {
        (0..5_u8).prop_map(|byte| Stream::of(byte).unwrap())
    }

    type Owned = (Kind, Stream, u64, Vec<u8>);

    /// Decodes bytes that come in pieces of this size.
    fn decode(bytes: &[u8], piece: usize) -> (Vec<Owned>, Option<NoFrame>) {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        let mut left = bytes;
        loop {
            match decoder.next_frame() {
                Ok(Some(it)) => frames.push((it.kind, it.stream, it.offset, it.payload.to_vec())),
                Err(error) => return (frames, Some(error)),
                Ok(None) if left.is_empty() => return (frames, None),
                Ok(None) => {
                    let room = decoder.room();
                    let count = piece.min(room.len()).min(left.len());
                    room[..count].copy_from_slice(&left[..count]);
                    left = &left[count..];
                    decoder.filled(count);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn frames_are_read_back_however_they_are_cut(
            sent in prop::collection::vec(
                (kinds(), streams(), any::<u64>(), prop::collection::vec(any::<u8>(), 0..600)), 0..12),
            piece in 1..700_usize,
        ) {
            let mut bytes = Vec::new();
            for (kind, stream, offset, payload) in &sent {
                Frame { kind: *kind, stream: *stream, offset: *offset, payload }.encode(&mut bytes);
            }
            prop_assert_eq!(decode(&bytes, piece), (sent, None));
        }

        #[test]
        fn one_bit_turned_over_never_passes(
            kind in kinds(), stream in streams(), offset: u64,
            payload in prop::collection::vec(any::<u8>(), 0..200), bit: prop::sample::Index,
        ) {
            let mut bytes = Vec::new();
            Frame { kind, stream, offset, payload: &payload }.encode(&mut bytes);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            // A length that was made larger waits for bytes, which never come or are no longer right.
            bytes.resize(bytes.len() + LONGEST_PAYLOAD, 0);
            let (frames, error) = decode(&bytes, 4096);
            prop_assert!(frames.is_empty() && error.is_some(), "{:?} {:?}", frames, error);
        }

        #[test]
        fn any_bytes_can_be_looked_at(bytes: Vec<u8>, piece in 1..100_usize) {
            decode(&bytes, piece);
        }
    }

    #[test]
    fn the_longest_frames_fit_one_behind_another() {
        let payload = vec![7; LONGEST_PAYLOAD];
        let mut bytes = Vec::new();
        for offset in 0..5 {
            let stream = Stream::Stdin;
            let kind = Kind::Data;
            let frame = Frame {
                kind,
                stream,
                offset,
                payload: &payload,
            };
            frame.encode(&mut bytes);
        }
        for piece in [1, 4096, usize::MAX] {
            let (frames, error) = decode(&bytes, piece);
            assert_eq!((frames.len(), error), (5, None), "{piece}");
        }
    }

    #[test]
    fn a_frame_that_promises_too_much_is_refused_by_its_head_alone() {
        let mut head = vec![1, 0, 0, 0];
        head.extend_from_slice(&(LONGEST_PAYLOAD as u32 + 1).to_le_bytes());
        head.resize(HEAD, 0);
        let refused = NoFrame::Length(LONGEST_PAYLOAD as u32 + 1);
        assert_eq!(decode(&head, 1), (vec![], Some(refused)));
    }
}
