//! `hosts`: stages and chunks on other hosts, beside plain ssh, beside workers here and beside GNU parallel.
//!
//! The hosts are sshds of this bench's own, each in a network namespace where that can be had: all of them
//! share this machine's cores.

mod delay;
mod model;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;
use testing::FarHost;

use super::throughput::bytes;
use super::workers::{gnu_parallel, lines};
use crate::executable;
use crate::measure::{Contender, Series, interleave};
use crate::peers::{OURS, find_program};
use crate::report::{Group, Limit, Report, Target, Unit};
use crate::timed_command::TimedCommand;

const SSH: &str = "ssh HOST cat";
const SSH_AFAR: &str = "ssh HOST";
const ONE_CHANNEL: &str = "pipewright, one channel";
const LOCAL: &str = "workers here";
const PARALLEL: &str = "parallel --pipe -k --sshlogin";

/// A stage that takes a core's time.
const COMPUTE: &str = "grep -P '(.*7.*){4}4$'";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds of each comparison.
    #[arg(long, default_value = "5")]
    rounds: NonZeroUsize,
    /// Bytes that go to a host and back; K, M and G count in powers of 1024.
    #[arg(long, default_value = "512M", value_parser = bytes)]
    size: u64,
    /// Bytes of lines that are computed on.
    #[arg(long, default_value = "128M", value_parser = bytes)]
    computed: u64,
    /// The way there and back, in milliseconds.
    #[arg(long, default_value = "50")]
    delay: u32,
    /// Only comparisons of these kinds.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "bulk,delay,workers,parallel"
    )]
    kinds: Vec<Kind>,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Bytes through `cat` on another host.
    Bulk,
    /// Bytes over a long way.
    Delay,
    /// Workers on two hosts, beside as many here.
    Workers,
    /// Chunks on two hosts, beside those of GNU parallel.
    Parallel,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::new("hosts");
    let ours = executable::pipewright()?;
    let place = ours.parent().context("the command lies in a directory")?;
    let hosts = [FarHost::start(&[place]), FarHost::start(&[place])];
    let [Some(one), Some(two)] = &hosts else {
        report.missing("other hosts: there is no sshd to be had here (Debian: openssh-server)");
        return Ok(report);
    };
    if !one.has_cable() {
        report.missing("network namespaces: the hosts are ports of this one");
    }
    let directory = TempDir::new()?;
    let ssh = FarHost::ssh_to_all(&[("one", one), ("two", two)]);
    let bench = Bench {
        bash: find_program("bash").context("there is no `bash` on PATH")?,
        setting: format!(
            "export PIPEWRIGHT_SSH={} XDG_RUNTIME_DIR={}; ",
            ssh.display(),
            directory.path().display()
        ),
        ours: ours.display().to_string(),
        ssh: ssh.display().to_string(),
        rounds: options.rounds,
    };
    let wants = |kind| options.kinds.contains(&kind);
    if wants(Kind::Bulk) {
        let file = lines(directory.path(), "bulk", options.size)?;
        bench.bulk(&mut report, &file)?;
    }
    if wants(Kind::Delay) {
        let file = lines(directory.path(), "bulk", options.size)?;
        bench.delayed(&mut report, &file, one, options.delay)?;
    }
    let file = lines(directory.path(), "computed", options.computed)?;
    if wants(Kind::Workers) {
        bench.workers(&mut report, &file)?;
    }
    if wants(Kind::Parallel) {
        bench.parallel(&mut report, &file)?;
    }
    Ok(report)
}

struct Bench {
    bash: PathBuf,
    /// What each command line begins with.
    setting: String,
    ours: String,
    ssh: String,
    rounds: NonZeroUsize,
}

impl Bench {
    fn series(&self, texts: &[(&str, String)]) -> anyhow::Result<Vec<Series>> {
        let contender = |(name, text): &(&str, String)| {
            let text = format!("set -o pipefail; {}{text}", self.setting);
            let mut command = TimedCommand::new(&self.bash, ["-c", &text])?;
            Ok(Contender::new(*name, move || command.wall_time()))
        };
        let contenders: anyhow::Result<Vec<_>> = texts.iter().map(contender).collect();
        interleave(&mut contenders?, self.rounds)
    }

    /// There and back, over no distance.
    fn bulk(&self, report: &mut Report, file: &Path) -> anyhow::Result<()> {
        let title = "bytes through cat on another host, near";
        eprintln!("measuring {title}");
        let (file, ours, ssh) = (file.display(), &self.ours, &self.ssh);
        let texts = [
            (SSH, format!("cat {file} | {ssh} one cat | cat >/dev/null")),
            (
                OURS,
                format!("cat {file} | {ours} on one -- cat | cat >/dev/null"),
            ),
        ];
        let group = Group::new(title, Unit::Seconds, OURS, self.series(&texts)?);
        report.target(Target::new(
            format!("times as fast as {SSH}"),
            Limit::AtLeast(0.95),
            group.ratio(SSH, OURS).map(|ratio| ratio.median),
        ));
        report.group(group);
        Ok(())
    }

    /// One way, over a distance.
    fn delayed(
        &self,
        report: &mut Report,
        file: &Path,
        host: &FarHost,
        milliseconds: u32,
    ) -> anyhow::Result<()> {
        let title = format!("bytes to another host, {milliseconds} ms there and back");
        eprintln!("measuring {title}");
        let way = delay::Way::new(host.address(), milliseconds)?;
        let options = [
            "HostName=127.0.0.1".to_owned(),
            format!("Port={}", way.port()),
        ];
        let (file, ours, ssh) = (file.display(), &self.ours, &self.ssh);
        let plain = options
            .each_ref()
            .map(|option| format!("-o{option}"))
            .join(" ");
        let ssh_options = options
            .each_ref()
            .map(|option| format!("--ssh-option {option}"))
            .join(" ");
        let on = |channels| {
            format!(
                "cat {file} | {ours} on --channels {channels} {ssh_options} one -- sh -c 'cat >/dev/null'"
            )
        };
        let texts = [
            (
                SSH_AFAR,
                format!("cat {file} | {ssh} {plain} one 'cat >/dev/null'"),
            ),
            (ONE_CHANNEL, on(1)),
            (OURS, on(8)),
        ];
        let group = Group::new(&title, Unit::Seconds, OURS, self.series(&texts)?);
        report.target(Target::new(
            format!("{milliseconds} ms: times as fast as {SSH_AFAR}, by 8 channels"),
            Limit::AtLeast(3.0),
            group.ratio(SSH_AFAR, OURS).map(|ratio| ratio.median),
        ));
        report.group(group);
        Ok(())
    }

    /// The same cores as workers here and as two hosts; and what that means for more hosts.
    fn workers(&self, report: &mut Report, file: &Path) -> anyhow::Result<()> {
        let title = format!("{COMPUTE}, by two runs at once");
        eprintln!("measuring {title}");
        let size = file.metadata()?.len() as f64;
        let (file, ours) = (file.display(), &self.ours);
        let workers = |options: &str, stage: &str| {
            format!(
                "cat {file} | {ours} workers --assume-local {options} -- {stage} | cat >/dev/null"
            )
        };
        let texts = [
            (LOCAL, workers("-j 2", COMPUTE)),
            (OURS, workers("--on one/1,two/1", COMPUTE)),
        ];
        let group = Group::new(&title, Unit::Seconds, OURS, self.series(&texts)?);
        report.target(Target::new(
            format!("times as fast as {LOCAL}"),
            Limit::AtLeast(0.9),
            group.ratio(LOCAL, OURS).map(|ratio| ratio.median),
        ));
        report.group(group);
        // Each term of the model by itself.
        let one = [(
            "one run",
            format!("cat {file} | {COMPUTE} | cat >/dev/null"),
        )];
        let moved = [("through a host", workers("--on one/1", "cat"))];
        let nothing = [(
            "nothing",
            format!("{ours} workers --assume-local --on one/1 -- cat </dev/null"),
        )];
        let here = [("here", workers("-j 2", "cat"))];
        let seconds = |texts: &[(&str, String)]| -> anyhow::Result<f64> {
            Ok(self.series(texts)?[0].spread().median)
        };
        let begin = seconds(&nothing)?;
        let costs = model::Costs {
            begin,
            compute: seconds(&one)? / size,
            link: (seconds(&moved)? - begin).max(0.0) / size,
            copy: seconds(&here)? / size,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        };
        report.note(model::curve(COMPUTE, costs));
        Ok(())
    }

    /// Lines through `cat` on two hosts.
    fn parallel(&self, report: &mut Report, file: &Path) -> anyhow::Result<()> {
        if let Err(why) = gnu_parallel() {
            report.missing(why);
            return Ok(());
        }
        let title = "lines through cat on two hosts, in order";
        eprintln!("measuring {title}");
        let (file, ours, ssh) = (file.display(), &self.ours, &self.ssh);
        let texts = [
            (
                PARALLEL,
                format!(
                    "cat {file} | parallel --will-cite --pipe -k --sshlogin '1/{ssh} one,1/{ssh} two' cat | cat >/dev/null"
                ),
            ),
            (
                OURS,
                format!(
                    "cat {file} | {ours} workers --assume-local --on one/1,two/1 -- cat | cat >/dev/null"
                ),
            ),
        ];
        let group = Group::new(title, Unit::Seconds, OURS, self.series(&texts)?);
        report.target(Target::new(
            format!("times as fast as {PARALLEL}"),
            Limit::AtLeast(5.0),
            group.ratio(PARALLEL, OURS).map(|ratio| ratio.median),
        ));
        report.group(group);
        Ok(())
    }
}
