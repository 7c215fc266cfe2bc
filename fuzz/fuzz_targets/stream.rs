//! Any bytes into the receiving end of a stream: messages, and the end or a typed error after them.
#![no_main]

#[allow(dead_code, reason = "each target uses a part of it")]
#[path = "../../crates/pipewright-handoff/tests/support/decoders.rs"]
mod decoders;

use libfuzzer_sys::fuzz_target;
use pipewright_handoff::Error;

fuzz_target!(|input: &[u8]| {
    let (_, error) = decoders::through_stream(input);
    assert!(
        matches!(
            error,
            None | Some(Error::Torn { .. } | Error::Protocol { .. } | Error::TooLarge { .. })
        ),
        "{error:?}"
    );
});
