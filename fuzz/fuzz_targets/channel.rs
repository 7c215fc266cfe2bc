//! Any packets, in either form, into a channel: a typed error at the end, whatever they are.
#![no_main]

#[allow(dead_code, reason = "each target uses a part of it")]
#[path = "../../crates/pipewright-handoff/tests/support/decoders.rs"]
mod decoders;

use libfuzzer_sys::fuzz_target;
use pipewright_handoff::Error;

fuzz_target!(|input: &[u8]| {
    let (_, error) = decoders::through_channel(input);
    assert!(
        matches!(
            error,
            Error::PeerDied { .. }
                | Error::Protocol { .. }
                | Error::TooLarge { .. }
                | Error::Remote { .. }
        ),
        "{error:?}"
    );
});
