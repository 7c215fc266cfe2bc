//! `pipewright on`: one stage, on another host.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use pipewright_observe::workspace::{REMOTE_STATE, RemoteState, remote_state_now};
use pipewright_observe::{Activity, Scheduled};
use pipewright_remote::{
    Copy, End, Ended, Error, Host, Look, PlainEnd, RemoteStage, Signals, Streams, Usage, bootstrap,
    run_plainly,
};
use rustix::fs::{MemfdFlags, memfd_create};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use crate::outcome::{LINK_LOST, OnHost};
use crate::{cli, disposition, inherited, view};

pub(crate) fn on(options: cli::On) -> anyhow::Result<ExitCode> {
    let host = reached(&options.host, &options.reach)?;
    let mut stage = RemoteStage::new(host, options.command);
    stage.lease = options.lease;
    stage.channels = options.channels;
    let copy = options
        .reach
        .bootstrap
        .then(Copy::of_this_program)
        .transpose()?;
    stage.cached = copy.as_ref().map(|copy| copy.name().to_owned());
    let mut signals = Caught::catch().context("cannot catch signals")?;
    let result = run(&stage, copy.as_ref(), &mut signals);
    if let Ok(ended) = &result {
        signals.ended(&ended.usage);
    }
    let ended = match result {
        Err(Error::Signaled(signal)) => disposition::die_of(signal),
        Err(error @ (Error::Lost { .. } | Error::Refused { .. })) => {
            view::complain(&error.to_string());
            return Ok(ExitCode::from(LINK_LOST));
        }
        Err(Error::Absent { .. }) => return plainly(&stage),
        ended => ended?,
    };
    tell(
        &options.host,
        &ended,
        options.verbose,
        options.told_to.as_deref(),
    );
    match ended.end {
        End::Exited(status) => {
            if let Some(message) = ended.not_started {
                view::complain(&format!("on {}: {message}", options.host));
            }
            Ok(ExitCode::from(status))
        }
        End::Signaled(signal) => disposition::die_of_without_core(signal),
        End::Unknown => {
            view::complain(&format!(
                "on {}: the stage was killed, and so was what watched over it",
                options.host
            ));
            Ok(ExitCode::from(LINK_LOST))
        }
    }
}

/// A host, as the options say that it is reached.
pub(crate) fn reached(name: &str, reach: &cli::Reach) -> anyhow::Result<Host> {
    let mut host = Host::new(name)?;
    let usual = || std::env::var_os("PIPEWRIGHT_SSH").filter(|ssh| !ssh.is_empty());
    if let Some(ssh) = reach.ssh.clone().or_else(|| usual().map(Into::into)) {
        host.ssh = ssh;
    }
    for option in &reach.ssh_option {
        if !option.as_encoded_bytes().starts_with(b"-") {
            host.options.push("-o".into());
        }
        host.options.push(option.clone());
    }
    host.program = reach.program.clone();
    Ok(host)
}

/// Runs the stage; where there is no pipewright, and one may be put there, that is done first.
fn run(stage: &RemoteStage, copy: Option<&Copy>, signals: &mut Caught) -> Result<Ended, Error> {
    let result = stage.run(streams, signals);
    match (result, copy) {
        (Err(Error::Absent { machine, .. }), Some(copy)) => {
            bootstrap(&stage.host, copy, &machine)?;
            stage.run(streams, signals)
        }
        (result, _) => result,
    }
}

/// stdin and stdout themselves, so that they are closed when the stage is done with them, and stderr, which
/// is for words of this process, too.
fn streams() -> io::Result<Streams> {
    let copy = |stream: BorrowedFd<'_>| stream.try_clone_to_owned();
    let streams = Streams {
        stdin: copy(rustix::stdio::stdin())?,
        stdout: copy(rustix::stdio::stdout())?,
        stderr: copy(rustix::stdio::stderr())?,
    };
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(streams)
}

/// The stage by ssh alone.
fn plainly(stage: &RemoteStage) -> anyhow::Result<ExitCode> {
    let host = &stage.host.name;
    view::complain(&format!(
        "{host} has no pipewright: the stage runs by plain ssh and cannot resume (--bootstrap puts a copy \
         there)"
    ));
    let Streams { stdin, stdout, .. } = streams().context("cannot take the stage's streams")?;
    Ok(
        match run_plainly(&stage.host, &stage.command, stdin, stdout)? {
            PlainEnd::Exited(status) => ExitCode::from(status),
            PlainEnd::Signaled(signal) => disposition::die_of_without_core(signal),
            PlainEnd::LinkFailed => {
                view::complain(&format!(
                    "the link to {host} is lost: ssh failed, and says why above"
                ));
                ExitCode::from(LINK_LOST)
            }
        },
    )
}

fn tell(host: &str, ended: &Ended, verbose: bool, told_to: Option<&Path>) {
    let usage = &ended.usage;
    let told = OnHost {
        host: host.to_owned(),
        wall_seconds: usage.wall.as_secs_f64(),
        user_seconds: usage.user.as_secs_f64(),
        system_seconds: usage.system.as_secs_f64(),
        peak_memory_bytes: usage.peak_memory,
        reconnected: ended.reconnected,
    };
    if verbose {
        view::complain(&format!("the stage ran {told}"));
    }
    // Whoever asked for it may be gone.
    let file = told_to.and_then(|path| File::options().write(true).open(path).ok());
    if let Some(file) = file {
        let _ = serde_json::to_writer(file, &told);
    }
}

/// The signals that are the stage's; and what is seen of it, for whoever may look at this process.
struct Caught {
    signals: SignalDelivery<UnixStream, SignalOnly>,
    /// Where there can be none, nobody is told.
    board: Option<File>,
    state: RemoteState,
}

impl Caught {
    /// Those that the caller ignores stay ignored.
    fn catch() -> io::Result<Self> {
        let mut wanted = vec![SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH];
        wanted.retain(|&signal| !inherited::was_ignored(signal));
        let (read, write) = UnixStream::pair()?;
        let board = memfd_create(REMOTE_STATE, MemfdFlags::CLOEXEC);
        Ok(Self {
            signals: SignalDelivery::with_pipe(read, write, SignalOnly, wanted)?,
            board: board.ok().map(File::from),
            state: RemoteState::default(),
        })
    }

    fn show(&self) {
        if let Some(board) = &self.board {
            // Who looks sees the state before, then.
            let _ = board.write_all_at(&self.state.encode(), 0);
        }
    }

    /// Shows what the stage has used in the end.
    fn ended(&mut self, usage: &Usage) {
        self.state.cpu_time = usage.user + usage.system;
        self.show();
    }
}

impl Signals for Caught {
    fn readable(&self) -> BorrowedFd<'_> {
        self.signals.get_read().as_fd()
    }

    fn take(&mut self) -> Vec<i32> {
        self.signals.pending().collect()
    }

    fn looked(&mut self, look: &Look) {
        self.state = RemoteState {
            told_at: remote_state_now(),
            activity: Activity::ALL.get(usize::from(look.activity)).copied(),
            cpu_time: look.cpu_time,
            scheduled: look.scheduled.map(|(on_cpu, waiting_for_cpu)| Scheduled {
                on_cpu,
                waiting_for_cpu,
                turns: 0,
            }),
            read: look.read,
            written: look.written,
            processes: look.processes,
            program: look.program.clone(),
        };
        self.show();
    }
}
