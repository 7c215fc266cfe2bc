//! Measures pipewright side by side with its peers, on this machine, now.
//!
//! `cargo run --release -p pipewright-bench -- NAME`. The figures are for
//! reading, not for passing: a target that is not met is told as such, and the
//! exit status is 0 all the same.

mod benches;
mod executable;
mod measure;
mod memory;
mod peers;
mod report;
mod terminal;
mod timed_command;

use clap::Parser;

use crate::benches::Bench;

/// Measure pipewright side by side with its peers.
#[derive(Parser)]
#[command(name = "pipewright-bench", version)]
struct Options {
    #[command(subcommand)]
    bench: Bench,
    /// Print one JSON object instead of tables.
    #[arg(long, global = true)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    benches::dispatch();
    let options = Options::parse();
    if cfg!(debug_assertions) {
        eprintln!("built without optimisation: use `cargo run --release` for figures that count");
    }
    let report = options.bench.run()?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
