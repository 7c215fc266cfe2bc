//! A small container runtime: what `pipewright_handoff` is for.
//!
//! ```text
//! mini_container run --rootfs DIR --hostname NAME -- PROGRAM ARGUMENTS
//! mini_container create ID --rootfs DIR --hostname NAME -- PROGRAM ARGUMENTS
//! mini_container start ID
//! mini_container delete [--force] ID
//! ```
//!
//! Three processes take part, all of them this program:
//!
//! 1. the *runtime*, which somebody started;
//! 2. the *monitor*, re-executed by it. It makes the namespaces. The ids in its user namespace are
//!    mapped by the runtime, between two messages: "map my ids", "mapped, go on". It stays, because a
//!    process that makes a pid namespace does not enter it itself: its next child does;
//! 3. *init*, re-executed by the monitor: pid 1 in there. It makes the rootfs its root and becomes the
//!    program at the end.
//!
//! Each failure travels back up with the name of its phase. When the runtime dies, the kernel kills
//! the monitor, and with it init and all that init started. Try `--trace`.

mod ids;
mod init;
mod monitor;
mod options;
mod runtime;
mod state;
mod trace;

use std::process::ExitCode;

use clap::Parser;
use pipewright_handoff::EntryPoints;

use options::{Action, Options};

fn main() -> ExitCode {
    EntryPoints::new()
        .entry("monitor", monitor::run)
        .entry("init", init::run)
        .dispatch();

    let options = Options::parse();
    let traced_since = options.is_traced().then(trace::now);
    trace::print(traced_since);
    let _traced = tracing::info_span!("runtime").entered();
    let result = match &options.action {
        Action::Run(container) => runtime::run(container, traced_since),
        Action::Create { id, container } => {
            runtime::create(&options.state_of(id), container, traced_since)
        }
        Action::Start { id } => runtime::start(&options.state_of(id)),
        Action::Delete { id, force } => runtime::delete(&options.state_of(id), *force),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("mini_container: {error}");
            ExitCode::from(125)
        }
    }
}
