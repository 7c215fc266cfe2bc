//! Cuts fall behind records, on random bytes.

use pipewright_workers::Records;
use proptest::prelude::*;

fn kinds() -> Vec<Records> {
    ["line", "nul", "lines:4", "before:>", "regex:^[ab]"]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect()
}

/// Where records end, by looking at every byte; the end of the bytes is not among them, unless a
/// terminator stands there.
fn ends_by_hand(records: &Records, bytes: &[u8]) -> Vec<usize> {
    let after = |terminator: u8| {
        let ends = (0..bytes.len()).filter(move |&at| bytes[at] == terminator);
        ends.map(|at| at + 1).collect::<Vec<_>>()
    };
    match records.to_string().as_str() {
        "nul" => after(0),
        "line" => after(b'\n'),
        "lines:4" => after(b'\n').into_iter().skip(3).step_by(4).collect(),
        kind => {
            let begins = |at: &usize| match kind {
                "before:>" => bytes.get(*at) == Some(&b'>'),
                _ => matches!(bytes.get(*at), Some(b'a' | b'b')),
            };
            // A line that has not ended may still grow.
            let whole = |at: &usize| bytes[*at..].contains(&b'\n');
            after(b'\n')
                .into_iter()
                .filter(|at| begins(at) && whole(at))
                .collect()
        }
    }
}

proptest! {
    #[test]
    fn the_last_cut_is_the_last_record_end(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(0), Just(b'>'), Just(b'a'), Just(b'x')], 0..60)) {
        for records in kinds() {
            let ends = ends_by_hand(&records, &bytes);
            prop_assert_eq!(records.last_cut(&bytes), ends.last().copied(), "{} {:?}", records, bytes);
        }
    }

    /// However a stream arrives, the parts put together are the stream, and no record is cut.
    #[test]
    fn cutting_piece_by_piece_keeps_every_byte_and_every_record(
        bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(0), Just(b'>'), Just(b'a'), Just(b'x')], 0..120),
        step in 1_usize..20,
    ) {
        for records in kinds() {
            let (mut chunks, mut chunk): (Vec<Vec<u8>>, Vec<u8>) = (Vec::new(), Vec::new());
            for piece in bytes.chunks(step) {
                chunk.extend_from_slice(piece);
                if let Some(cut) = records.last_cut(&chunk) {
                    let rest = chunk.split_off(cut);
                    chunks.push(std::mem::replace(&mut chunk, rest));
                }
            }
            chunks.push(chunk);
            prop_assert_eq!(chunks.concat(), bytes.clone());
            let mut at = 0;
            let allowed = ends_by_hand(&records, &[&bytes[..], b"\n"].concat());
            for chunk in &chunks[..chunks.len() - 1] {
                at += chunk.len();
                prop_assert!(allowed.contains(&at), "{} cut at {} of {:?}", records, at, bytes);
            }
        }
    }

    #[test]
    fn cuts_are_in_order_and_the_first_records_have_their_length(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'>'), Just(b'a')], 1..60), count in 1_usize..5) {
        for records in kinds() {
            let cuts: Vec<usize> = records.cuts(&bytes).collect();
            prop_assert!(cuts.is_sorted() && cuts.iter().all(|&cut| 0 < cut && cut < bytes.len()));
            if let Some(length) = records.length_of_first(count, &bytes) {
                prop_assert_eq!(records.cuts(&bytes[..length]).count(), count - 1);
            }
        }
    }
}

#[test]
fn a_kind_of_record_is_read_and_shown_alike_and_a_wrong_one_says_what_there_is() {
    for text in ["line", "nul", "lines:8", "before:>", "regex:^@"] {
        assert_eq!(text.parse::<Records>().unwrap().to_string(), text);
    }
    assert_eq!("lines:1".parse::<Records>().unwrap(), Records::Line);
    for text in [
        "", "lines", "lines:0", "lines:x", "before:", "regex:(", "word", "line:1",
    ] {
        let error = text.parse::<Records>().unwrap_err().to_string();
        assert!(error.contains("lines:4") && error.contains(text), "{error}");
    }
}
