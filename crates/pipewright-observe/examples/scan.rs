//! Lists the pipelines running on this machine, and says how long the search took.
//!
//! ```text
//! cargo run --release -p pipewright-observe --example scan
//! ```

use std::time::Instant;

use pipewright_observe::topology::Scan;

fn main() -> Result<(), pipewright_observe::Error> {
    let start = Instant::now();
    let scan = Scan::now()?;
    let scanned = start.elapsed();
    let pipelines = scan.pipelines();
    let total = start.elapsed();
    for pipeline in &pipelines {
        let stages: Vec<String> = pipeline
            .stages
            .iter()
            .map(|stage| format!("{} {}", stage.process, stage.name))
            .collect();
        println!("{}: {}", pipeline.shape, stages.join(" | "));
    }
    println!(
        "{} processes ({} may not be looked at), {} descriptors, {} holders of pipes, {} pipelines",
        scan.processes,
        scan.denied.len(),
        scan.descriptors,
        scan.holders.len(),
        pipelines.len()
    );
    println!("scan {scanned:.1?}, with recognition {total:.1?}");
    Ok(())
}
