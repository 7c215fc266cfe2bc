//! Any bytes as a message on the server: a record that comes back the same, or a typed error; and never more
//! memory than a few times the longest record.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pipewright_remote::nats::{Cut, Done, Job, NotOurs, PIECE, Pieces, Ticket, decode, encode};
use serde::{Serialize, de::DeserializeOwned};

fn read<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Option<T> {
    match decode::<T>(bytes) {
        Ok(record) => {
            assert_eq!(decode::<T>(&encode(&record)).as_ref(), Ok(&record));
            Some(record)
        }
        Err(NotOurs::TooLong(length)) => {
            assert_eq!(length, bytes.len());
            None
        }
        Err(_) => None,
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Some(job) = read::<Job>(bytes) {
        // Words and variables stand in the message itself: nothing was claimed and believed.
        let words: usize = job.argv.iter().map(Vec::len).sum();
        assert!(words + job.argv.len() <= bytes.len());
    }
    if let Some(cut) = read::<Cut>(bytes) {
        assert!(Pieces::of(cut.length).range(u64::MAX).is_none());
    }
    if let Some(ticket) = read::<Ticket>(bytes) {
        // Pieces are made one by one, however many are claimed.
        let first = Pieces::of(ticket.length).ranges().next();
        assert!(first.is_none_or(|(piece, range)| piece == 0 && range.end <= PIECE));
    }
    if let Some(done) = read::<Done>(bytes)
        && done.is_sound()
    {
        assert!(done.run.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
});
