//! Packets of the channel as bytes. Pure.
//!
//! Between two processes of one build, a packet is six bytes (kind, number of descriptors, sequence
//! number) and a body in postcard's form; a message's body starts with the name of its type,
//! because bytes of one type may well decode as another. With a foreign program it is one JSON
//! object.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::{Limit, decode_all, encode};
use crate::error::{Error, Result};

/// The largest packet in bytes. Packets up to here fit a socket's default buffer several times.
pub(crate) const PACKET_LIMIT: usize = 64 * 1024;

/// The most descriptors that one packet can carry, `SCM_MAX_FD`.
pub(crate) const DESCRIPTOR_LIMIT: usize = 253;

const MESSAGE_LIMIT: Limit = Limit {
    what: "a message",
    bytes: (PACKET_LIMIT - HEAD_LENGTH) as u64,
    advice: "attach a memfd or a file to it, or use a stream",
};

const HEAD_LENGTH: usize = 6;

/// The form of packets that the other side understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Postcard,
    Json,
}

/// A word of the channel's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Control {
    /// "I am in this phase now."
    Phase(String),
    /// "I wait here until you say go on."
    Barrier(String),
    /// The answer.
    GoOn(String),
    /// "I am created, and wait at my gate."
    Created,
    /// The gate is opened.
    Open,
    /// "I execute this program now, so you hear no more of me": the end of the channel that follows
    /// means that it happened.
    Executing(String),
    /// "I failed."
    Failure {
        phase: String,
        message: String,
        errno: Option<i32>,
    },
}

impl Control {
    /// Says it in words, for errors and traces.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Phase(name) => format!("the phase \"{name}\""),
            Self::Barrier(name) => format!("the barrier \"{name}\""),
            Self::GoOn(name) => format!("\"go on\" at the barrier \"{name}\""),
            Self::Created => "\"created\"".to_owned(),
            Self::Open => "\"open\" at the gate".to_owned(),
            Self::Executing(program) => format!("\"executing {program}\""),
            Self::Failure { phase, message, .. } => format!("the failure \"{phase}: {message}\""),
        }
    }
}

/// One packet, taken apart.
#[derive(Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) sequence: u32,
    pub(crate) descriptors: usize,
    pub(crate) content: Content<'a>,
}

/// Its content.
#[derive(Debug)]
pub(crate) enum Content<'a> {
    Control(Control),
    Message(Payload<'a>),
}

impl Content<'_> {
    /// Says it in words, for errors and traces.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Control(control) => control.describe(),
            Self::Message(Payload::Postcard { type_name, .. }) => {
                format!("a message of type {}", String::from_utf8_lossy(type_name))
            }
            Self::Message(Payload::Json(_)) => "a message".to_owned(),
        }
    }
}

/// A message that is not decoded yet.
#[derive(Debug)]
pub(crate) enum Payload<'a> {
    Postcard { type_name: &'a [u8], body: &'a [u8] },
    Json(serde_json::Value),
}

impl Payload<'_> {
    pub(crate) fn decode<T: DeserializeOwned>(self) -> Result<T> {
        let wanted = std::any::type_name::<T>();
        match self {
            Self::Postcard { type_name, body } if type_name == wanted.as_bytes() => {
                decode_all(body, wanted)
            }
            Self::Postcard { type_name, .. } => Err(Error::protocol(
                format_args!("a message of type {wanted}"),
                format_args!("one of type {}", String::from_utf8_lossy(type_name)),
            )),
            Self::Json(value) => serde_json::from_value(value).map_err(|error| {
                Error::protocol(format_args!("a message that is a {wanted}"), error)
            }),
        }
    }
}

const MESSAGE: u8 = 1;
const CONTROL: u8 = 2;

/// Writes a packet with a message over `packet`.
pub(crate) fn encode_message<T: Serialize>(
    packet: &mut Vec<u8>,
    format: Format,
    sequence: u32,
    descriptors: usize,
    message: &T,
) -> Result<()> {
    match format {
        Format::Postcard => {
            start(packet, MESSAGE, sequence, descriptors);
            let typed = (std::any::type_name::<T>(), message);
            encode(&typed, packet, MESSAGE_LIMIT).map(|_| ())
        }
        Format::Json => {
            let content = JsonContent::Message(message);
            encode_json(packet, sequence, descriptors, &content)
        }
    }
}

/// Writes a packet that is the channel's own over `packet`.
pub(crate) fn encode_control(
    packet: &mut Vec<u8>,
    format: Format,
    sequence: u32,
    control: &Control,
) -> Result<()> {
    match format {
        Format::Postcard => {
            start(packet, CONTROL, sequence, 0);
            encode(control, packet, MESSAGE_LIMIT).map(|_| ())
        }
        Format::Json => encode_json(packet, sequence, 0, control),
    }
}

fn start(packet: &mut Vec<u8>, kind: u8, sequence: u32, descriptors: usize) {
    packet.clear();
    packet.extend([kind, descriptors as u8]);
    packet.extend(sequence.to_le_bytes());
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum JsonContent<T> {
    Message(T),
}

#[derive(Serialize)]
struct JsonPacket<'a, C> {
    sequence: u32,
    #[serde(skip_serializing_if = "is_zero")]
    descriptors: usize,
    #[serde(flatten)]
    content: &'a C,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn encode_json(
    packet: &mut Vec<u8>,
    sequence: u32,
    descriptors: usize,
    content: &impl Serialize,
) -> Result<()> {
    packet.clear();
    let object = JsonPacket {
        sequence,
        descriptors,
        content,
    };
    serde_json::to_writer(&mut *packet, &object)
        .map_err(|error| Error::protocol("a message that has a form in JSON", error))?;
    if packet.len() > PACKET_LIMIT {
        return Err(MESSAGE_LIMIT.exceeded(packet.len() as u64));
    }
    Ok(())
}

/// Takes a packet apart.
pub(crate) fn decode(format: Format, packet: &[u8]) -> Result<Packet<'_>> {
    match format {
        Format::Postcard => decode_postcard(packet),
        Format::Json => decode_json(packet),
    }
}

fn decode_postcard(packet: &[u8]) -> Result<Packet<'_>> {
    let Some((&[kind, descriptors, a, b, c, d], body)) = packet.split_first_chunk::<HEAD_LENGTH>()
    else {
        let got = format_args!("{} bytes", packet.len());
        return Err(Error::protocol("a packet of at least 6 bytes", got));
    };
    let content = match kind {
        MESSAGE => {
            let (type_name, body) = postcard::take_from_bytes::<&[u8]>(body)
                .map_err(|error| Error::protocol("a message that starts with its type", error))?;
            Content::Message(Payload::Postcard { type_name, body })
        }
        CONTROL => Content::Control(decode_all(body, "a packet of the channel's own")?),
        other => {
            let got = format_args!("one of kind {other}");
            return Err(Error::protocol("a packet of a known kind", got));
        }
    };
    Ok(Packet {
        sequence: u32::from_le_bytes([a, b, c, d]),
        descriptors: descriptors.into(),
        content,
    })
}

fn decode_json(packet: &[u8]) -> Result<Packet<'_>> {
    const EXPECTED: &str =
        "a JSON object with \"sequence\", and \"message\" or a word of the channel's";
    type Object = serde_json::Map<String, serde_json::Value>;
    let mut object: Object =
        serde_json::from_slice(packet).map_err(|error| Error::protocol(EXPECTED, error))?;
    let mut number = |name: &str| match object.remove(name) {
        None => Ok(None),
        Some(value) => value
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .map(Some)
            .ok_or_else(|| Error::protocol(EXPECTED, format_args!("{name:?}: {value}"))),
    };
    let sequence =
        number("sequence")?.ok_or_else(|| Error::protocol(EXPECTED, "no \"sequence\""))?;
    let descriptors = number("descriptors")?.unwrap_or(0) as usize;
    let content = match object.remove("message") {
        Some(message) if object.is_empty() => Content::Message(Payload::Json(message)),
        Some(_) => return Err(Error::protocol(EXPECTED, "further members")),
        // {"created": null} in full, and "created" is what serde makes of a word without more.
        None => Content::Control(
            serde_json::from_value(object.into())
                .map_err(|error| Error::protocol(EXPECTED, error))?,
        ),
    };
    Ok(Packet {
        sequence,
        descriptors,
        content,
    })
}
