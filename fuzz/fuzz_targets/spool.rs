//! A spool whose files hold anything: it opens or is refused, and never panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pipewright_spool::{FileSystem, Next, Options, Spool, StoredFile, Unlinked};

/// The names that the fuzzer fills, one after the other.
const NAMES: [&str; 7] = [
    "00000000000000000000.data",
    "00000000000000000000.index",
    "00000000000000000007.data",
    "00000000000000000007.index",
    "released.cursor",
    "reader-one.cursor",
    "lock",
];

fuzz_target!(|contents: Vec<Vec<u8>>| {
    let files = Unlinked::new(std::env::temp_dir());
    for (name, bytes) in NAMES.iter().zip(&contents) {
        let file = files.create(name).expect("a file can be made");
        if !bytes.is_empty() {
            file.write_at(bytes, 0).expect("a file can be written");
        }
    }
    // What is reserved for a segment takes time.
    let options = Options {
        segment: 1 << 16,
        ..Options::default()
    };
    let Ok((spool, mut writer)) = Spool::open(files, options) else {
        return;
    };
    let Ok(mut reader) = spool.reader("one") else {
        return;
    };
    writer.write(b"more").ok();
    writer.commit().ok();
    while let Ok(Next::Bytes(_)) = reader.next_piece() {
        reader.acknowledge(reader.offset()).ok();
    }
});
