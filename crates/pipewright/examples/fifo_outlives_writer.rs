//! A pipe is a kernel object of its own: it lives as long as somebody holds one of its ends, not as
//! long as the process that wrote to it.
//!
//! ```sh
//! cargo run --example fifo_outlives_writer
//! ```

use std::error::Error;
use std::io::Read;

use pipewright::{Command, PipeExt, StageEnd, pipe};

fn main() -> Result<(), Box<dyn Error>> {
    let (mut reader, writer) = pipe()?;

    // It writes less than the pipe holds, so that it need not wait for a reader; then it dies in
    // the hardest way there is.
    let script = "head -c 50000 /dev/zero; kill -KILL $$";
    let child = Command::new("sh")
        .args(["-c", script])
        .stdout(writer)
        .spawn()?;
    let end = StageEnd::from(child.wait()?);
    println!("the writer is dead: {end}");

    println!("{} bytes were still in the pipe", reader.unread()?);
    let mut bytes = Vec::new();
    // Ends, because the last writer is gone: this process gave its own to the child.
    reader.read_to_end(&mut bytes)?;
    println!("{} bytes were read, then the end of file", bytes.len());
    Ok(())
}
