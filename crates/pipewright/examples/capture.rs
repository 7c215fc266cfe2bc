//! Collecting what commands write: as text that must succeed, and as bytes with the status as data.
//!
//! `cargo run --example capture`

use pipewright::{Command, Result};

fn main() -> Result<()> {
    // A command that must succeed: its text, or an error that says what went wrong.
    let system = Command::new("uname").arg("-s").capture().read()?;
    println!("this runs on {system}");

    let error = Command::new("ls")
        .arg("/no/such/directory")
        .capture()
        .read()
        .unwrap_err();
    println!("{error}"); // ls … failed: exit status 2: ls: cannot access …

    // A pipeline, of which every stage's stderr is told apart.
    let warn = Command::new("sh").args(["-c", "echo three words here; echo careful >&2"]);
    let output = (warn | Command::new("wc").arg("-w")).capture().output()?;
    println!("{} words", String::from_utf8_lossy(&output.stdout).trim());
    for (stage, stderr) in output.status.stages().iter().zip(&output.stderr) {
        println!("{stage}, {} bytes on stderr", stderr.len());
    }

    // A status other than success is no error unless it is made one.
    let output = Command::new("grep")
        .args(["-c", "x"])
        .capture()
        .input("no such letter\n")
        .output()?;
    println!(
        "grep says {:?} with {}",
        output.exit_status().code(),
        output.stdout.trim_ascii_end().escape_ascii()
    );
    Ok(())
}
