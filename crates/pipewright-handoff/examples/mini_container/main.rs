//! A small container runtime, an example of `pipewright_handoff`: **no security boundary**.
//!
//! The program inside has no capabilities, gains none by an exec, and cannot write to the host's
//! `/proc`. But there is no filter of system calls and no limit on what it uses, and as root's it
//! is root's: run nothing in it that you do not trust.
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
//! 2. the *monitor*, re-executed by the runtime. It makes the namespaces. The runtime maps the ids
//!    in the monitor's user namespace, between two messages: "map my ids", "mapped, go on". The
//!    monitor stays, because a process that makes a pid namespace does not enter it itself: its
//!    next child does;
//! 3. *init*, re-executed by the monitor: pid 1 in there. It makes the rootfs its root, and in the
//!    end becomes the program.
//!
//! Each failure travels back up with the name of its phase. When the runtime dies, the kernel kills
//! the monitor, and with it init and all that init started. Try `--trace`.

mod ids;
mod init;
mod monitor;
mod options;
mod privileges;
mod runtime;
mod state;
mod trace;

use std::process::ExitCode;
use std::time::Duration;

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
    let result = act(&options, traced_since);
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("mini_container: {error}");
            ExitCode::from(125)
        }
    }
}

fn act(options: &Options, traced_since: Option<Duration>) -> runtime::Result<u8> {
    match &options.action {
        Action::Run(container) => runtime::run(container, traced_since),
        Action::Create { id, container } => {
            // Before the state directory is entered.
            let container = &container.with_absolute_rootfs()?;
            runtime::create(&options.state_of(id)?, container, traced_since)
        }
        Action::Start { id } => runtime::start(&options.state_of(id)?),
        Action::Delete { id, force } => runtime::delete(&options.state_of(id)?, *force),
    }
}
