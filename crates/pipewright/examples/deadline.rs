//! Deadlines that are kept, even by a call whose output somebody else holds open.
//!
//! `cargo run --example deadline`

use std::time::Duration;

use pipewright::{Canceller, Command, Error, Result};

fn main() -> Result<()> {
    let seconds = Duration::from_secs(2);

    // What had arrived is in the error.
    let slow = Command::new("sh").args(["-c", "echo begun; exec sleep 60"]);
    match slow.capture().timeout(seconds).output() {
        Err(Error::TimedOut { collected, .. }) => {
            println!(
                "out of time, after {:?}",
                String::from_utf8_lossy(&collected.stdout)
            );
        }
        other => println!("unexpected: {other:?}"),
    }

    // The command has ended; a process it left behind holds the pipe. That is told apart.
    let leaves_one = Command::new("sh").args(["-c", "sleep 10 & echo done"]);
    match leaves_one
        .capture()
        .pipe_grace(Duration::from_millis(100))
        .output()
    {
        Err(Error::PipeHeldOpen { collected, .. }) => {
            println!(
                "held open, after {:?}",
                String::from_utf8_lossy(&collected.stdout)
            );
        }
        other => println!("unexpected: {other:?}"),
    }

    // First asked to end, and killed only if it does not.
    let child = Command::new("sleep").arg("60").spawn()?;
    println!(
        "waited: {:?}",
        child.wait_timeout(Duration::from_millis(10))?
    );
    println!("asked to end: {}", child.kill_after(seconds)?);

    // From another thread.
    let canceller = Canceller::new()?;
    let cancelled = std::thread::scope(|scope| {
        scope.spawn(|| canceller.cancel());
        Command::new("sleep")
            .arg("60")
            .capture()
            .canceller(&canceller)
            .output()
    });
    println!("{}", cancelled.unwrap_err());

    // A wait that ends, where the command does not.
    let (stdin, held) = pipewright::pipe()?;
    let mut lines = Command::new("cat").stdin(stdin).capture().lines()?;
    if let Some(Err(nothing)) = lines.next_within(Duration::from_millis(10)) {
        println!("{nothing}");
    }
    drop(held);
    println!("and then {:?}", lines.next());
    Ok(())
}
