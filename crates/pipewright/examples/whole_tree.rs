//! Ending everything that a command started, daemons too.
//!
//! `cargo run --example whole_tree`

use std::io::Read;
use std::time::Duration;

use pipewright::{Command, Result, pipe};

fn main() -> Result<()> {
    let (mut reader, writer) = pipe()?;
    // A daemon: its parent has ended, and it has a session of its own.
    let daemon = "(setsid sh -c 'echo daemon; exec sleep 60' &)";
    let script = format!("{daemon}; sleep 60 & echo child; wait");
    let child = Command::new("sh")
        .args(["-c", &script])
        .stdout(writer)
        .own_tree()
        .spawn()?;
    let mut said = [0; 13];
    reader
        .read_exact(&mut said)
        .expect("both say that they run");

    let report = child.kill_tree(Duration::from_secs(10))?;
    println!("signalled {} processes", report.signalled);
    for unreached in &report.unreached {
        println!("{unreached}");
    }
    // The end of file: nobody is left who holds the pipe.
    reader
        .read_to_string(&mut String::new())
        .expect("plain text");
    println!("{}", child.wait()?);
    Ok(())
}
