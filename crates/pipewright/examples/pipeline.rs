//! The article's first question: what does `( printf 'hello'; sleep 2; printf ' world\n'; ) | cat`
//! print, and when?
//!
//! ```sh
//! cargo run --example pipeline
//! ```
//!
//! Each piece arrives when it is written. Nothing waits for the writer to end.

use std::error::Error;
use std::io::Read;
use std::time::Instant;

use pipewright::{Command, pipe};

fn main() -> Result<(), Box<dyn Error>> {
    // The last stage writes into a pipe of ours, so that we see the pieces come.
    let (mut reader, writer) = pipe()?;

    let script = r"printf 'hello'; sleep 2; printf ' world\n'";
    let start = Instant::now();
    let running =
        (Command::new("sh").arg("-c").arg(script) | Command::new("cat").stdout(writer)).spawn()?;

    let mut piece = [0; 4096];
    loop {
        let length = reader.read(&mut piece)?;
        if length == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&piece[..length]);
        println!("{:6.3} s  {text:?}", start.elapsed().as_secs_f64());
    }

    for stage in running.wait()?.stages() {
        println!("          {stage}");
    }
    Ok(())
}
