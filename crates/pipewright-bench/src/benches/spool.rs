//! `spool`: a stream kept on disk, beside whatever else keeps one.
//!
//! Every contender is a command line that bash runs. Before each turn the directory is emptied and what
//! is dirty is written, so that nobody pays for the turn before; each has had a turn that does not count
//! before the first, for pages that the kernel has not handed out since long cost their first user twice
//! the time. For reference, by its own account of 2025: Vector's disk buffer moves 120 to 500 MB/s.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use tempfile::TempDir;

use super::throughput::bytes;
use crate::executable;
use crate::measure::{Contender, Series, Spread, interleave};
use crate::peers::{OURS, find_program};
use crate::report::{Group, Limit, Report, Target, Unit};
use crate::timed_command::TimedCommand;

const UNNAMED: &str = "pipewright, without DIR";
const LATER: &str = "cat >file; cat file";
const TEE: &str = "tee file";
const MBUFFER: &str = "mbuffer -T file";
const DD: &str = "dd oflag=dsync bs=1M";
const BARE: &str = "without a spool";
const RECORDED: &str = "pipewright run --record";
const RUN: &str = "pipewright run";

/// A stream as `head` gives it; `S` is its size.
const SOURCE: &str = "head -c S /dev/zero";

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Subject {
    /// Both ends at once, --sync none.
    Moved,
    /// Likewise, --sync disk.
    Synced,
    /// A pipeline that computes.
    Beside,
    /// The time to the first byte of what was left.
    Recovered,
    /// Memory.
    Held,
}

#[derive(clap::Args)]
pub(crate) struct Options {
    /// What is measured; all of it if it is not given.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Subject>,
    /// Rounds of each comparison.
    #[arg(long, default_value = "7")]
    rounds: NonZeroUsize,
    /// Bytes that are moved; K, M and G count in powers of 1024.
    #[arg(long, default_value = "1G", value_parser = bytes)]
    size: u64,
    /// Bytes that a reader is behind by while memory is measured.
    #[arg(long, default_value = "4G", value_parser = bytes)]
    backlog: u64,
    /// Bytes that a killed spool leaves, of which a second one leaves a quarter.
    #[arg(long, default_value = "10G", value_parser = bytes)]
    left: u64,
    /// Where the files lie; the directory for temporary files if it is not given.
    #[arg(long)]
    directory: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::new("spool");
    let above = options.directory.clone().unwrap_or_else(std::env::temp_dir);
    let bench = Bench {
        bash: find_program("bash").context("there is no `bash` on PATH")?,
        pipewright: executable::pipewright()?.display().to_string(),
        rounds: options.rounds,
        place: TempDir::new_in(above)?,
    };
    for subject in Subject::value_variants() {
        if !options.only.is_empty() && !options.only.contains(subject) {
            continue;
        }
        match subject {
            Subject::Moved => bench.moved(&mut report, options.size)?,
            Subject::Synced => bench.synced(&mut report, options.size)?,
            Subject::Beside => bench.beside_work(&mut report)?,
            Subject::Recovered => bench.recovered(&mut report, options.left)?,
            Subject::Held => bench.held(&mut report, options.backlog)?,
        }
    }
    Ok(report)
}

struct Bench {
    bash: PathBuf,
    pipewright: String,
    rounds: NonZeroUsize,
    place: TempDir,
}

impl Bench {
    fn file(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// `P` is the command, `D` the directory, `S` the size.
    fn text(&self, text: &str, size: u64) -> String {
        let place = self.place.path().display();
        let define = format!("P() {{ '{}' \"$@\"; }}; D='{place}';", self.pipewright);
        format!(
            "set -o pipefail; {define} {}",
            text.replace("SOURCE", SOURCE)
                .replace(" S ", &format!(" {size} "))
        )
    }

    fn bash(&self, text: &str, size: u64) -> anyhow::Result<TimedCommand> {
        TimedCommand::new(&self.bash, ["-c", &self.text(text, size)])
    }

    /// Removes what a turn left, and lets the disk catch up.
    fn clean(place: &Path, keep: &[&str]) -> anyhow::Result<()> {
        for entry in std::fs::read_dir(place)? {
            let entry = entry?;
            if keep.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        rustix::fs::sync();
        Ok(())
    }

    /// One contender: a text that bash runs, in a directory that holds only what is kept.
    fn contender<'a>(
        &'a self,
        name: &str,
        text: &str,
        size: u64,
        keep: &'a [&'a str],
    ) -> anyhow::Result<Contender<'a>> {
        let mut command = self.bash(text, size)?;
        Ok(Contender::new(name, move || {
            Self::clean(self.place.path(), keep)?;
            command.wall_time()
        }))
    }

    /// All contenders take turns, after one each that does not count.
    fn interleave(&self, contenders: &mut [Contender<'_>]) -> anyhow::Result<Vec<Series>> {
        interleave(contenders, NonZeroUsize::MIN)?;
        interleave(contenders, self.rounds)
    }

    /// Both ends at once, as fast as they can.
    fn moved(&self, report: &mut Report, size: u64) -> anyhow::Result<()> {
        eprintln!("measuring a stream kept, both ends at once");
        let mut contenders = vec![
            self.contender(OURS, "SOURCE | P spool $D/kept | cat >/dev/null", size, &[])?,
            self.contender(
                UNNAMED,
                "SOURCE | TMPDIR=$D P spool | cat >/dev/null",
                size,
                &[],
            )?,
            self.contender(
                LATER,
                "SOURCE | cat >$D/file; cat $D/file | cat >/dev/null",
                size,
                &[],
            )?,
            self.contender(TEE, "SOURCE | tee $D/file | cat >/dev/null", size, &[])?,
        ];
        if find_program("mbuffer").is_some() {
            contenders.push(self.contender(
                MBUFFER,
                "SOURCE | mbuffer -q -m 1G -T $D/file | cat >/dev/null",
                size,
                &[],
            )?);
        } else {
            report.missing("mbuffer: there is no `mbuffer` on PATH");
        }
        let series = self.interleave(&mut contenders)?;
        let title = format!("{} MiB through a spool, --sync none", size >> 20);
        let group = Group::new(title, Unit::Seconds, OURS, series);
        let ours = group.spread(OURS).context("there is no round")?.median;
        let rate = size as f64 / ours / 1e9;
        let ratio = |other| group.ratio(other, OURS).map(|ratio| ratio.median);
        report.target(Target::new(
            format!("--sync none: times the lesser of 1 GB/s and 0.8 times as fast as {LATER}"),
            Limit::AtLeast(1.0),
            ratio(LATER).map(|ratio| rate.max(ratio / 0.8)),
        ));
        report.target(Target::new(
            format!("--sync none: times as fast as {MBUFFER}"),
            Limit::AtLeast(1.0),
            ratio(MBUFFER),
        ));
        report.note(format!("--sync none moves {rate:.2} GB/s."));
        report.group(group);
        Ok(())
    }

    /// Every byte on the disk before anybody gets it.
    fn synced(&self, report: &mut Report, size: u64) -> anyhow::Result<()> {
        eprintln!("measuring a stream synced");
        let (Some(_), Some(_)) = (find_program("dd"), find_program("fallocate")) else {
            report.missing("dd: there is no `dd` or no `fallocate` on PATH");
            return Ok(());
        };
        let mut reserve = self.bash("fallocate -l S $D/file", size)?;
        let mut dd = self.bash(
            &format!(
                "dd if=/dev/zero of=$D/file oflag=dsync conv=notrunc bs=1M count={} status=none",
                size >> 20
            ),
            size,
        )?;
        let mut contenders = vec![
            self.contender(
                OURS,
                "SOURCE | P spool --sync disk $D/kept | cat >/dev/null",
                size,
                &[],
            )?,
            Contender::new(DD, || {
                Self::clean(self.place.path(), &[])?;
                reserve.wall_time()?;
                dd.wall_time()
            }),
        ];
        let series = self.interleave(&mut contenders)?;
        let title = format!("{} MiB, --sync disk", size >> 20);
        let group = Group::new(title, Unit::Seconds, OURS, series);
        report.target(Target::new(
            format!("--sync disk: times as fast as {DD} into a preallocated file"),
            Limit::AtLeast(0.8),
            group.ratio(DD, OURS).map(|ratio| ratio.median),
        ));
        report.group(group);
        Ok(())
    }

    /// A pipeline that a CPU-bound stage holds up, with a spool in each of its links.
    fn beside_work(&self, report: &mut Report) -> anyhow::Result<()> {
        eprintln!("measuring a spool in each link of a pipeline that computes");
        self.bash("seq 1 12000000 >$D/lines", 0)?.wall_time()?;
        let keep = &["lines"];
        let mut contenders = vec![
            self.contender(
                OURS,
                "cat $D/lines | P spool $D/one | gzip -6 | P spool $D/two | cat >/dev/null",
                0,
                keep,
            )?,
            self.contender(BARE, "cat $D/lines | gzip -6 | cat >/dev/null", 0, keep)?,
            self.contender(
                RECORDED,
                "P run -q --record $D/recording \"cat $D/lines | gzip -6 | cat >/dev/null\"",
                0,
                keep,
            )?,
            self.contender(
                RUN,
                "P run -q \"cat $D/lines | gzip -6 | cat >/dev/null\"",
                0,
                keep,
            )?,
        ];
        let series = self.interleave(&mut contenders)?;
        let title = "cat lines | gzip -6 | cat, each link kept";
        let group = Group::new(title, Unit::Seconds, OURS, series);
        for (kept, bare) in [(OURS, BARE), (RECORDED, RUN)] {
            report.target(Target::new(
                format!("a pipeline that computes: {kept}, times as long as {bare}"),
                Limit::AtMost(1.03),
                group.ratio(kept, bare).map(|ratio| ratio.median),
            ));
        }
        report.group(group);
        Self::clean(self.place.path(), &[])
    }

    /// The time to the first byte of what a killed spool has left.
    fn recovered(&self, report: &mut Report, left: u64) -> anyhow::Result<()> {
        for size in [left / 4, left] {
            eprintln!("measuring the recovery of {} MiB", size >> 20);
            let disk = rustix::fs::statvfs(self.place.path())?;
            if disk.f_bavail * disk.f_frsize < 2 * size {
                report.missing(format!(
                    "the recovery of {} MiB: the disk has not twice as much room",
                    size >> 20
                ));
                continue;
            }
            Self::clean(self.place.path(), &[])?;
            self.killed("none", size)?;
            let first =
                "set +o pipefail; P replay $D/kept 2>/dev/null | head -c 1 | wc -c | grep -q 1";
            let mut first = self.bash(first, size)?;
            let mut times = Vec::new();
            let lock = self.file("kept").join("lock");
            for name in ["killed", "another boot", "another boot, --sync disk"] {
                if name == "another boot" {
                    std::fs::write(&lock, name)?;
                } else if name != "killed" {
                    Self::clean(self.place.path(), &[])?;
                    self.killed("disk", size)?;
                    std::fs::write(&lock, name)?;
                }
                // Looking changes nothing, so there may be several rounds.
                let mut rounds = Vec::new();
                for _ in 0..self.rounds.get() {
                    forget_pages();
                    rounds.push(first.wall_time()?);
                }
                times.push((name, Spread::of(&rounds).median));
            }
            for (name, time) in times {
                report.target(Target::new(
                    format!("{} MiB, {name}: seconds to the first byte", size >> 20),
                    Limit::AtMost(1.0),
                    Some(time),
                ));
            }
        }
        Self::clean(self.place.path(), &[])
    }

    /// Fills a spool, and kills it before it has seen an end.
    fn killed(&self, sync: &str, size: u64) -> anyhow::Result<()> {
        let directory = self.file("kept");
        let mut spool = Command::new(&self.pipewright)
            .args(["spool", "--sync", sync])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let mut input = spool.stdin.take().context("there is no stdin")?;
        let zeroes = std::fs::File::open("/dev/zero")?;
        std::io::copy(&mut std::io::Read::take(zeroes, size), &mut input)?;
        let begin = Instant::now();
        let all_there = || -> anyhow::Result<bool> {
            let mut held = 0;
            for entry in std::fs::read_dir(&directory)? {
                let entry = entry?;
                if entry.path().extension() == Some("data".as_ref()) {
                    held += entry.metadata()?.len();
                }
            }
            Ok(held >= size)
        };
        while !all_there()? {
            ensure!(
                begin.elapsed() < Duration::from_secs(100),
                "the spool does not fill"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        spool.kill()?;
        spool.wait()?;
        Ok(())
    }

    /// Memory, while a reader is behind by so much.
    fn held(&self, report: &mut Report, backlog: u64) -> anyhow::Result<()> {
        for (name, how) in [("without DIR", ""), ("DIR", "$D/kept")] {
            eprintln!("measuring memory, {name}");
            Self::clean(self.place.path(), &[])?;
            let text = format!(
                "{{ SOURCE ; : >$D/done; }} | TMPDIR=$D P spool {how} |
                 {{ until [ -e $D/done ]; do sleep 0.05; done; cat >/dev/null; }}"
            );
            let peak = self.bash(&text, backlog)?.peak_memory()?;
            report.target(Target::new(
                format!("{name}, {} MiB behind: MiB of memory", backlog >> 20),
                Limit::AtMost(16.0),
                Some(peak / f64::from(1 << 20)),
            ));
        }
        Self::clean(self.place.path(), &[])
    }
}

/// Lets files be read from the disk again, where this user may ask for it.
fn forget_pages() {
    rustix::fs::sync();
    let _ = std::fs::write("/proc/sys/vm/drop_caches", "1");
}
