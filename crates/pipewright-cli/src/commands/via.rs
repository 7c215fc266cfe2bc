//! Workers that come and go: the options of `workers --via`, and `pipewright worker`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use pipewright_remote::nats::{Coordinator, Error, Login, Post, Quit, Setup, Worked, work};
use pipewright_workers::{ChunkSize, Outcome, Stage, run_by};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::os::fd::OwnedFd;

use crate::cli::{self, Auto};
use crate::view;

/// How many chunks are on their way at once, unless -j says so.
const ON_THEIR_WAY: usize = 32;

/// The largest chunk that is made unasked: a worker has it in memory.
const LARGEST: usize = 16 << 20;

/// Runs a stage whose chunks others run.
pub(crate) fn run_via(
    via: cli::Via,
    stage: &Stage,
    jobs: &Auto<usize>,
    verbose: bool,
    input: OwnedFd,
    output: OwnedFd,
) -> anyhow::Result<Outcome> {
    if !stage.classified.repeatable {
        anyhow::bail!(
            "the command may run each chunk once only, and with workers that come and go a chunk may be run again: run it here (without --via)"
        );
    }
    let mut stage = stage.clone();
    stage.workers = match jobs {
        Auto::Given(jobs) => *jobs,
        Auto::Auto => ON_THEIR_WAY,
    };
    stage.only_if_slow = false;
    if let ChunkSize::Adapting { .. } = stage.size {
        // Several of them have to fit on the server.
        let most = usize::try_from(stage.memory / 4).unwrap_or(LARGEST);
        stage.size = ChunkSize::adapting_up_to(LARGEST.min(most));
    }
    let keep = via.keep;
    let coordinator = Coordinator::begin(setup(via, &stage)?, view::complain)?;
    let outcome = run_by(&stage, &coordinator, input, output)?;
    let found = coordinator.found();
    if verbose && found > 0 {
        view::complain(&format!("{found} results were there from a run before"));
    }
    coordinator.end(keep)?;
    Ok(outcome)
}

/// Tells the workers of a job that it is over, where the command is to be one process.
pub(crate) fn not_needed(via: cli::Via, stage: &Stage) -> anyhow::Result<()> {
    let keep = via.keep;
    let nothing_to_say = |_: &str| {};
    Coordinator::begin(setup(via, stage)?, nothing_to_say)?.end(keep)?;
    Ok(())
}

fn setup(via: cli::Via, stage: &Stage) -> anyhow::Result<Setup> {
    let (Some(url), Some(name)) = (via.via, via.name) else {
        unreachable!("both were given");
    };
    let mut setup = Setup::new(login(url, via.login)?, name, stage.argv.clone());
    setup.in_flight = stage.memory;
    setup.replicas = via.replicas;
    setup.lease = via.lease;
    setup.monitor = via.monitor;
    setup.anew = via.anew;
    Ok(setup)
}

pub(crate) fn worker(options: cli::Worker) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot catch signals")?;
    let mut was_interrupted = false;
    let quit = move || match signals.forever().next() {
        Some(SIGINT) if !was_interrupted => {
            was_interrupted = true;
            Quit::Finish
        }
        _ => Quit::GiveBack,
    };
    let mut post = Post::new(
        login(options.url, options.login)?,
        options.name,
        options.command,
    );
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    post.at_once = options.jobs.unwrap_or_else(cores);
    match work(&post, quit) {
        Ok(worked) => {
            if options.verbose {
                view::complain(&told(worked));
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(Error::Run(pipewright_workers::Error::Start(error))) => {
            view::complain(&error.to_string());
            Ok(ExitCode::from(error.exit_code()))
        }
        Err(error) => Err(error.into()),
    }
}

fn told(worked: Worked) -> String {
    let Worked {
        chunks,
        late,
        given_back,
        ..
    } = worked;
    format!("{chunks} chunks done, {late} that others had done before, {given_back} given back")
}

/// Who we are on the server: what the options say, and else what the environment says.
fn login(url: String, options: cli::Login) -> anyhow::Result<Login> {
    let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let path = |given: Option<PathBuf>, name: &str| given.or_else(|| text(name).map(PathBuf::from));
    let mut login = Login::new(url);
    login.credentials = path(options.creds, "NATS_CREDS");
    login.nkey = path(options.nkey, "NATS_NKEY");
    login.user = text("NATS_USER").map(|user| (user, text("NATS_PASSWORD").unwrap_or_default()));
    login.token = text("NATS_TOKEN");
    login.tls_ca = path(options.tls_ca, "NATS_CA");
    let pair = (
        path(options.tls_cert, "NATS_CERT"),
        path(options.tls_key, "NATS_KEY"),
    );
    login.tls_certificate = match pair {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => anyhow::bail!(
            "a certificate and its key belong together: set both NATS_CERT and NATS_KEY"
        ),
    };
    Ok(login)
}
