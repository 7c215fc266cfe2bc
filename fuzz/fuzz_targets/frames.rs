//! Any bytes as what comes over a link, to either half: frames that are taken, or a typed error, and never more
//! held than the window.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pipewright_remote::{Decoder, Half, Session, Stream};

const WINDOW: usize = 1 << 16;

fuzz_target!(|input: (bool, &[u8])| {
    let (near, mut bytes) = input;
    let half = if near { Half::Near } else { Half::Far };
    let mut session = Session::new(half, WINDOW);
    let sent = Stream::ALL.into_iter().filter(|stream| stream.is_sent_by(half));
    for stream in sent {
        session.push(stream, &[0; 100]);
        session.next_frame(&mut Vec::new());
    }
    let mut decoder = Decoder::default();
    while !bytes.is_empty() {
        let room = decoder.room();
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        bytes = &bytes[count..];
        decoder.filled(count);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) if session.receive(&frame).is_err() => return,
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    for stream in Stream::ALL.into_iter().filter(|stream| !stream.is_sent_by(half)) {
        let mut held = Vec::new();
        session.peek(stream, usize::MAX, &mut held);
        assert!(held.len() <= WINDOW);
    }
});
