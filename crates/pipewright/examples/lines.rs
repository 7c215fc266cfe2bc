//! Lines while a command runs, and an end that is never silent.
//!
//! `cargo run --example lines`

use pipewright::{Command, OutputStream, Result};

fn main() -> Result<()> {
    let counter = || Command::new("sh").args(["-c", "for n in 1 2 3; do echo $n; done"]);
    for line in counter().capture().lines()? {
        println!("counted {}", line?);
    }

    // Both streams, told apart; a failure is the last item.
    let script = "echo begun; echo 'disk is full' >&2; exit 1";
    let mut lines = Command::new("sh")
        .args(["-c", script])
        .capture()
        .tagged_lines()?;
    for line in &mut lines {
        match line {
            Ok(line) if line.from == OutputStream::Stdout => println!("out: {}", line.text),
            Ok(line) => println!("err: {}", line.text),
            Err(error) => println!("end: {error}"),
        }
    }
    let status = lines.status().expect("it has come to its end");
    println!("status {}", status.exit_code());
    Ok(())
}
