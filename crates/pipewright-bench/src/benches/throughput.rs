//! `throughput`: how fast bytes get through a pipeline of two.
//!
//! `head -c SIZE /dev/zero | cat >/dev/null` does no work but moving bytes, so
//! what shows is the pipe: its capacity, and whether somebody sits in between.

use std::num::NonZeroUsize;
use std::path::Path;

use crate::executable;
use crate::measure::{Contender, interleave};
use crate::peers::OURS;
use crate::peers::find_program;
use crate::report::{Group, Limit, Report, Target, Unit};
use crate::timed_command::TimedCommand;

const BASH: &str = "bash";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds to run.
    #[arg(long, default_value = "5")]
    rounds: NonZeroUsize,
    /// Bytes to move; K, M and G count in powers of 1024.
    #[arg(long, default_value = "10G", value_parser = bytes)]
    size: u64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::new("throughput");
    let pipeline = format!("head -c {} /dev/zero | cat >/dev/null", options.size);
    let pipeline_with_pv = format!(
        "head -c {} /dev/zero | pv -q | cat >/dev/null",
        options.size
    );
    let mut contenders = vec![timed(OURS, &executable::pipewright()?, ["run", &pipeline])?];
    match (find_program("bash"), find_program("pv")) {
        (None, _) => report.missing("bash, with and without pv: there is no `bash` on PATH"),
        (Some(bash), pv) => {
            contenders.push(timed(BASH, &bash, ["-c", &pipeline])?);
            if pv.is_some() {
                let with_pv = timed(
                    "bash, pv -q in the middle",
                    &bash,
                    ["-c", &pipeline_with_pv],
                );
                contenders.push(with_pv?);
            } else {
                report.missing("pv: there is no `pv` on PATH");
            }
        }
    }
    eprintln!("measuring {pipeline}");
    let series = interleave(&mut contenders, options.rounds)?;
    let group = Group::new(pipeline, Unit::Seconds, OURS, series);
    report.target(Target::new(
        "times as fast as bash",
        Limit::AtLeast(1.2),
        group.ratio(BASH, OURS).map(|ratio| ratio.median),
    ));
    report.group(group);
    Ok(report)
}

fn timed<'a>(name: &str, program: &Path, arguments: [&str; 2]) -> anyhow::Result<Contender<'a>> {
    let mut command = TimedCommand::new(program, arguments)?;
    Ok(Contender::new(name, move || command.wall_time()))
}

/// Reads a number of bytes with an optional K, M or G.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(['K', 'M', 'G']);
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err("expected a number and at most one of K, M, G".to_owned()),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| "expected a number of bytes such as 512M or 10G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_read_in_powers_of_1024() {
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("3K"), Ok(3072));
        assert_eq!(bytes("10G"), Ok(10_737_418_240));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "G", "10GG", "1.5G", "10T", "99999999999G"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
