//! Output to files: the command writes them itself, no byte passes through here.
//!
//! `cargo run --example redirect_to_file`

use std::fs::{File, OpenOptions};

use pipewright::{Command, Stdio};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("log");

    // > log 2>&1
    let status = Command::new("sh")
        .args(["-c", "echo out; echo err >&2"])
        .stdin(Stdio::Null)
        .stdout(File::create(&path)?)
        .stderr(Stdio::SameAsStdout)
        .spawn()?
        .wait()?;
    println!("{status}, wrote {:?}", std::fs::read_to_string(&path)?);

    // < log | sort >> log, with a file at each end of a pipeline
    let append = OpenOptions::new().append(true).open(&path)?;
    let ended = (Command::new("tr")
        .args(["a-z", "A-Z"])
        .stdin(File::open(&path)?)
        | Command::new("sort").stdout(append))
    .run()?;
    println!(
        "{}, holds {:?}",
        ended.stages()[1],
        std::fs::read_to_string(&path)?
    );

    // What has a file is not collected; what has none is.
    let noisy = Command::new("sh").args(["-c", "echo data; echo 'a warning' >&2"]);
    let output = noisy.stdout(File::create(&path)?).capture().output()?;
    println!(
        "collected only {:?}",
        String::from_utf8_lossy(&output.stderr[0]).trim_end()
    );
    Ok(())
}
