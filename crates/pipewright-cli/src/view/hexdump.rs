//! Bytes and their offsets, as `hexdump -C` shows them. Pure.

use std::fmt::Write;

/// Sixteen bytes a row; the first row begins at `offset`, wherever that is.
pub(crate) fn rows(bytes: &[u8], offset: u64) -> String {
    let mut text = String::new();
    for (row, at) in bytes.chunks(16).zip((offset..).step_by(16)) {
        let _ = write!(text, "{at:08x} ");
        for column in 0..16 {
            let gap = if column == 8 { " " } else { "" };
            let _ = match row.get(column) {
                Some(byte) => write!(text, "{gap} {byte:02x}"),
                None => write!(text, "{gap}   "),
            };
        }
        let shown = row.iter().map(|&byte| match byte {
            b' '..=b'~' => char::from(byte),
            _ => '.',
        });
        let _ = writeln!(text, "  |{}|", shown.collect::<String>());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_those_of_hexdump() {
        assert_eq!(
            rows(b"Hello, world!\n\0\xff and more", 0x20),
            "00000020  48 65 6c 6c 6f 2c 20 77  6f 72 6c 64 21 0a 00 ff  |Hello, world!...|\n\
             00000030  20 61 6e 64 20 6d 6f 72  65                       | and more|\n"
        );
    }
}
