//! Chunks on other hosts by ssh: the options of `workers --on`.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Context;
use pipewright_remote::{Copy, Fleet, FleetSetup, Place};
use pipewright_workers::{Error, Outcome, Stage, run_by};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::on::reached;
use crate::cli::{self, Auto};
use crate::{disposition, inherited, view};

/// How long hosts are waited for when a signal ends everything.
const PATIENCE: Duration = Duration::from_secs(2);

/// Checks the hosts, and says how many runs there are to be at least; `None` where none are asked for.
pub(super) fn slots(options: &cli::OnHosts, jobs: &Auto<usize>) -> anyhow::Result<Option<usize>> {
    if options.on.is_empty() {
        let cli::Reach {
            ssh,
            ssh_option,
            bootstrap,
            program,
        } = &options.reach;
        if ssh.is_some() || !ssh_option.is_empty() || *bootstrap || program.is_some() {
            anyhow::bail!(
                "--ssh, --ssh-option, --bootstrap and --pipewright are for hosts: name some by --on"
            );
        }
        return Ok(None);
    }
    let mut names = BTreeSet::new();
    for host in &options.on {
        if !names.insert(&host.host) {
            let name = host.host.as_deref().unwrap_or(":");
            anyhow::bail!("--on names {name} twice: {name}/8 has eight runs there at once");
        }
    }
    let each = |host: &cli::HostSlots| host.slots.unwrap_or(given(jobs).unwrap_or(1));
    Ok(Some(options.on.iter().map(each).sum()))
}

fn given(jobs: &Auto<usize>) -> Option<usize> {
    match jobs {
        Auto::Given(jobs) => Some(*jobs),
        Auto::Auto => None,
    }
}

/// Connects to the hosts.
pub(super) fn begin(
    options: cli::OnHosts,
    jobs: &Auto<usize>,
    stage: &Stage,
) -> anyhow::Result<Fleet> {
    if !stage.classified.repeatable {
        anyhow::bail!(
            "the command may run each chunk once only, and what a lost host had is run again: run it here (without --on)"
        );
    }
    let place = |host: &cli::HostSlots| {
        let reached = |name: &String| reached(name, &options.reach);
        let mut place = Place::new(host.host.as_ref().map(reached).transpose()?);
        place.slots = host.slots.or(given(jobs));
        Ok(place)
    };
    let places = options
        .on
        .iter()
        .map(place)
        .collect::<anyhow::Result<_>>()?;
    let mut setup = FleetSetup::new(stage.argv.clone(), places);
    setup.records = stage.records.clone();
    setup.lease = options.lease;
    setup.memory = stage.memory;
    setup.copy = options
        .reach
        .bootstrap
        .then(Copy::of_this_program)
        .transpose()?;
    let fleet = Fleet::begin(setup, view::complain).context("cannot connect to the hosts")?;
    // Those that the caller ignores stay ignored.
    let mut wanted = vec![SIGHUP, SIGINT, SIGTERM];
    wanted.retain(|&signal| !inherited::was_ignored(signal));
    let mut signals = Signals::new(wanted).context("cannot catch signals")?;
    let quit = fleet.quit();
    std::thread::Builder::new()
        .spawn(move || {
            if let Some(signal) = signals.forever().next() {
                quit.ring(PATIENCE);
                disposition::die_of(signal);
            }
        })
        .context("cannot make a thread")?;
    fleet.gather()?;
    Ok(fleet)
}

/// Runs a stage whose chunks hosts run.
pub(super) fn run_on(
    fleet: Fleet,
    stage: &Stage,
    verbose: bool,
    input: OwnedFd,
    output: OwnedFd,
) -> Result<Outcome, Error> {
    let outcome = run_by(stage, &fleet, input, output)?;
    for told in fleet.end() {
        if verbose {
            view::complain(&format!(
                "{}: {} chunks, {} at once, {:.2} s of CPU time",
                told.place,
                told.chunks,
                told.slots,
                told.on_core.as_secs_f64()
            ));
        }
    }
    Ok(outcome)
}
