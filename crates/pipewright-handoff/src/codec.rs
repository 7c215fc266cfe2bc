//! Values as bytes in postcard's form: encoding stops at a limit, before it has filled memory.
//! Pure.

use std::io::{self, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// A limit, and the words for an error that it was passed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) what: &'static str,
    /// Bytes.
    pub(crate) bytes: u64,
    pub(crate) advice: &'static str,
}

impl Limit {
    pub(crate) fn exceeded(&self, size: u64) -> Error {
        Error::TooLarge {
            what: self.what,
            size,
            limit: self.bytes,
            advice: self.advice,
        }
    }
}

/// Passes bytes on, and fails at the first that is beyond the limit.
struct Bounded<W> {
    to: W,
    passed: u64,
    limit: u64,
    /// The error of a write, or the size that was refused.
    fault: Option<Result<u64, io::Error>>,
}

impl<W: Write> Write for Bounded<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    // postcard writes each number by itself, so this is the hot path.
    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let after = self.passed + bytes.len() as u64;
        if after > self.limit {
            self.fault = Some(Ok(after));
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.passed = after;
        self.to.write_all(bytes).map_err(|error| {
            let kind = error.kind();
            self.fault = Some(Err(error));
            kind.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Encodes a value in postcard's form and returns its size in bytes.
pub(crate) fn encode<T: Serialize + ?Sized>(
    value: &T,
    to: impl Write,
    limit: Limit,
) -> Result<u64> {
    let mut bounded = Bounded {
        to,
        passed: 0,
        limit: limit.bytes,
        fault: None,
    };
    let result = postcard::to_io(value, &mut bounded).map(|_| ());
    match (result, bounded.fault) {
        (Ok(()), _) => Ok(bounded.passed),
        (Err(_), Some(Ok(size))) => Err(limit.exceeded(size)),
        (Err(_), Some(Err(reason))) => Err(Error::io("write what was encoded")(reason)),
        (Err(error), None) => Err(Error::protocol(
            format_args!(
                "a value of {} that can be encoded",
                std::any::type_name::<T>()
            ),
            error,
        )),
    }
}

/// Decodes a value that takes all of the bytes.
pub(crate) fn decode_all<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(|error| {
        let got = format_args!("{} bytes that are none: {error}", bytes.len());
        Error::protocol(what, got)
    })?;
    if rest.is_empty() {
        Ok(value)
    } else {
        let got = format_args!("one with {} bytes after its end", rest.len());
        Err(Error::protocol(what, got))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Limit = Limit {
        what: "a test",
        bytes: 10,
        advice: "send less",
    };

    #[test]
    fn the_limit_is_kept_to_the_byte() {
        let mut bytes = Vec::new();
        // One byte of length before the text.
        assert_eq!(encode("123456789", &mut bytes, TEN).unwrap(), 10);
        let refused = encode("1234567890", &mut bytes, TEN);
        assert!(matches!(
            refused,
            Err(Error::TooLarge {
                size: 11,
                limit: 10,
                ..
            })
        ));
    }

    #[test]
    fn a_failed_write_tells_its_reason() {
        let (reader, writer) = pipewright::pipe().unwrap();
        drop(reader);
        let error = encode("text", writer, TEN).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(32)); // EPIPE
    }
}
