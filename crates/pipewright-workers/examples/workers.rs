//! Runs a command by two workers, from stdin to stdout: `cargo run --example workers -- grep x`.

use std::error::Error;
use std::io::{stdin, stdout};
use std::os::fd::AsFd;

use pipewright_workers::{End, Stage, classify, run};

fn main() -> Result<(), Box<dyn Error>> {
    let argv: Vec<String> = std::env::args().skip(1).collect();
    let classified = classify(&argv);
    eprintln!("{}: {}", classified.class, classified.reason);
    let mut stage = Stage::new(argv.into_iter().map(Into::into).collect(), classified);
    stage.workers = 2;
    let input = stdin().as_fd().try_clone_to_owned()?;
    let output = stdout().as_fd().try_clone_to_owned()?;
    let outcome = run(&stage, input, output)?;
    eprintln!("{outcome:?}");
    match outcome.end {
        End::Status(status) => std::process::exit(status.into()),
        End::Signal(signal) => std::process::exit(128 + signal),
    }
}
