//! Feeding a command's stdin: with bytes, with what a reader computes, with a file.
//!
//! `cargo run --example feed_stdin`

use std::io::{Read, Write};

use pipewright::{Command, Input};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Far more than a pipe holds, in and out: one loop feeds and collects at the same time.
    let bytes = vec![b'x'; 5_000_000];
    let output = Command::new("cat").capture().input(&bytes).output()?;
    println!(
        "{} bytes went in, {} came out",
        bytes.len(),
        output.stdout.len()
    );

    // What a reader gives is read whenever the command has room for it.
    let zeros = std::io::repeat(0).take(1_000_000);
    let counted = Command::new("wc")
        .arg("-c")
        .capture()
        .input(Input::reader(zeros))
        .read()?;
    println!("wc counted {counted}");

    // A file becomes the command's stdin itself: nothing is copied here.
    let mut file = tempfile::NamedTempFile::new()?;
    writeln!(file, "pear\napple")?;
    let sorted = Command::new("sort")
        .capture()
        .input(file.reopen()?)
        .read()?;
    println!("sorted: {}", sorted.replace('\n', ", "));

    // A command that wants less than it is given is no error.
    let first = Command::new("head")
        .args(["-c", "3"])
        .capture()
        .input(&bytes)
        .read()?;
    println!("head took {first}");
    Ok(())
}
