//! `jetstream`: workers that come and go, with a NATS server on this machine whose acknowledgements are
//! durable, beside what the server alone can do.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use tempfile::TempDir;
use testing::NatsServer;

use super::throughput::bytes;
use super::workers::lines;
use crate::executable;
use crate::measure::{Contender, interleave};
use crate::peers::{OURS, find_program};
use crate::report::{Group, Limit, Report, Target, Unit};
use crate::timed_command::TimedCommand;

const LOCAL: &str = "workers -j 2, without a server";

/// Publishes of the server alone: the size of a message, and how many are under way at once. The last two are
/// what others have measured.
const ALONE: [(usize, usize); 4] = [
    (512 << 10, 1),
    (512 << 10, 2),
    (64 << 10, 16),
    (1000 << 10, 1),
];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds of each comparison.
    #[arg(long, default_value = "5")]
    rounds: NonZeroUsize,
    /// Bytes of lines that go through `cat` on workers; K, M and G count in powers of 1024.
    #[arg(long, default_value = "512M", value_parser = bytes)]
    size: u64,
    /// How large chunks are, if they are not to adapt: 4M.
    #[arg(long)]
    block: Option<String>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::new("jetstream");
    let Some(server) = NatsServer::durable() else {
        report.missing("there is no NATS server: set PIPEWRIGHT_NATS_SERVER");
        return Ok(report);
    };
    let bash = find_program("bash").context("there is no `bash` on PATH")?;
    let pipewright = executable::pipewright()?.display().to_string();
    let directory = TempDir::new()?;
    let file = lines(directory.path(), "lines", options.size)?;
    let alone = bare(&server, options)?;
    let rate = |seconds: f64| options.size as f64 / seconds / 1e6;
    let moved = {
        let job = job(&pipewright, &server, &file, options.block.as_deref());
        let local = format!(
            "cat {} | {pipewright} workers -j 2 -- cat >/dev/null",
            file.display()
        );
        let mut contenders = Vec::new();
        for (name, text) in [(OURS, job), (LOCAL, local)] {
            let mut command = TimedCommand::new(&bash, ["-c", &text])?;
            contenders.push(Contender::new(name, move || command.wall_time()));
        }
        eprintln!("measuring lines through cat on workers");
        let series = interleave(&mut contenders, options.rounds)?;
        Group::new(
            "lines through cat on two workers, durable",
            Unit::Seconds,
            OURS,
            series,
        )
    };
    let seconds = moved.spread(OURS).map(|spread| spread.median);
    report.target(Target::new(
        "MB/s in, and as many out, with each message on the disk before it counts",
        Limit::AtLeast(100.0),
        seconds.map(rate),
    ));
    for (size, at_once) in ALONE {
        let best = alone
            .spread(&publishes(size, at_once))
            .map(|spread| rate(spread.median));
        report.note(format!(
            "the server alone, {}: {:.0} MB/s",
            publishes(size, at_once),
            best.unwrap_or(f64::NAN)
        ));
    }
    if let Some(seconds) = seconds {
        report.note(model(seconds / options.size as f64));
    }
    report.group(alone);
    report.group(moved);
    Ok(report)
}

/// A job with its worker, as one text for bash.
fn job(pipewright: &str, server: &NatsServer, file: &Path, block: Option<&str>) -> String {
    let (url, file) = (server.url(), file.display());
    let block = block.map_or_else(String::new, |block| format!("--block {block}"));
    // The server has no monitoring port, which is said.
    format!(
        "{pipewright} worker {url} --name bench -j 2 -- cat & \
         cat {file} | {pipewright} workers --via {url} --name bench {block} -- cat 2>/dev/null \
         | cmp - {file} && wait"
    )
}

fn publishes(size: usize, at_once: usize) -> String {
    format!("messages of {} KiB, {at_once} under way", size >> 10)
}

/// What the server alone takes and acknowledges, from one connection.
fn bare(server: &NatsServer, options: &Options) -> anyhow::Result<Group> {
    let mut contenders = ALONE.map(|(size, at_once)| {
        Contender::new(publishes(size, at_once), move || {
            publish(server, size, at_once, options.size)
        })
    });
    eprintln!("measuring the server alone");
    let rounds = options
        .rounds
        .min(NonZeroUsize::new(3).unwrap_or(options.rounds));
    let series = interleave(&mut contenders, rounds)?;
    let (size, at_once) = ALONE[0];
    Ok(Group::new(
        "published and acknowledged by the server alone",
        Unit::Seconds,
        publishes(size, at_once),
        series,
    ))
}

/// Publishes so many bytes; the seconds until the last is acknowledged.
fn publish(server: &NatsServer, size: usize, at_once: usize, bytes: u64) -> anyhow::Result<f64> {
    let mut to = TcpStream::connect(server.address())?;
    to.set_nodelay(true)?;
    let mut from = BufReader::new(to.try_clone()?);
    to.write_all(b"CONNECT {\"verbose\":false}\r\nSUB answers 1\r\n")?;
    let mut request = |subject: &str, body: &[u8]| {
        let head = format!("PUB {subject} answers {}\r\n", body.len());
        to.write_all(&[head.as_bytes(), body, b"\r\n"].concat())
    };
    let mut answer = || -> anyhow::Result<()> {
        let mut line = String::new();
        while !line.starts_with("{") {
            line.clear();
            ensure!(from.read_line(&mut line)? > 0, "the server has gone");
        }
        ensure!(!line.contains("\"error\""), "{line}");
        Ok(())
    };
    let stream = br#"{"name":"bare","subjects":["bare"],"retention":"limits","storage":"file","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"num_replicas":1}"#;
    request("$JS.API.STREAM.CREATE.bare", stream)?;
    answer()?;
    let message = vec![b'x'; size];
    let count = usize::try_from(bytes)? / size;
    let begin = Instant::now();
    for number in 0..count + at_once {
        if number < count {
            request("bare", &message)?;
        }
        if number >= at_once {
            answer()?;
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    request("$JS.API.STREAM.DELETE.bare", b"")?;
    answer()?;
    // The last message may have been less.
    Ok(seconds * bytes as f64 / (count * size) as f64)
}

/// How many hosts a job can use: each byte goes through the server twice, and `moved` is what that takes, in
/// seconds a byte, where server, coordinator and worker share one machine.
fn model(moved: f64) -> String {
    const CORES: f64 = 4.0;
    let commands = [1.0, 5.0, 25.0].map(|rate| {
        let hosts = [3.0, 10.0, 30.0, 100.0].map(|hosts| {
            let speed = (hosts * CORES * rate).min(1e-6 / moved);
            format!("{hosts:.0} hosts {speed:.0} MB/s")
        });
        let enough = (1e-6 / moved / rate / CORES).ceil();
        format!(
            "at {rate} MB/s a core {}, more than {enough:.0} hosts gain nothing",
            hosts.join(", ")
        )
    });
    format!(
        "hosts of {CORES} cores by the model, the server moving {:.0} MB/s: {}",
        1e-6 / moved,
        commands.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_gain_until_the_server_is_all_that_works() {
        let text = model(1e-8);
        assert!(
            text.contains("at 1 MB/s a core 3 hosts 12 MB/s, 10 hosts 40 MB/s, 30 hosts 100 MB/s"),
            "{text}"
        );
        assert!(text.contains("more than 25 hosts gain nothing"), "{text}");
    }
}
