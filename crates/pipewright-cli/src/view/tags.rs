//! What stages print to stderr, with the stage's name in front of each line.
//!
//! A small process of its own does it: it reads a pipe from each stage and writes whole lines to the
//! stderr that it was started with. So the stages can go on printing when pipewright was killed; they
//! get a SIGPIPE only if this process is killed itself.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use pipewright::poll::{Deadline, poll};
use pipewright::{Child, Command, PipeWriter, Signal, Stdio};
use rustix::event::{PollFd, PollFlags};

use super::style::Palette;
use super::{charset, text};
use crate::output::Output;

/// The name that it is started by.
const NAME: &str = "pipewright-tags";

/// So much of a stage's name stands in front of its lines.
const WIDEST: usize = 24;

/// A longer line is broken: memory has an end.
const LONGEST_LINE: usize = 1 << 20;

/// How long the lines may take that are still on their way when all stages have ended. Who holds the
/// stderr of a stage beyond its end, as a daemon does, is not waited for.
const TO_END: Duration = Duration::from_secs(1);

/// The process, seen from pipewright.
#[derive(Debug)]
pub(crate) struct Tags {
    process: Child,
}

impl Tags {
    /// Starts it, for stages of these names. Each gets one of the pipes as its stderr, in their order.
    pub(crate) fn start(
        names: &[String],
        palette: Palette,
    ) -> anyhow::Result<(Self, Vec<PipeWriter>)> {
        let mut command = Command::new("/proc/self/exe")
            .arg0(NAME)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::Null)
            .stdout(Stdio::Null)
            // A key of the terminal ends the stages, and they have their last words.
            .process_group(0)
            .signal_mask([Signal::TTOU, Signal::HUP]);
        let mut writers = Vec::new();
        for (label, number) in labels(names).iter().zip(0_u32..) {
            let (reader, writer) = pipewright::pipe().context("cannot make a pipe for --tag")?;
            let descriptor = i32::try_from(3 + number).context("there are too many stages")?;
            command = command
                .arg(palette.tag(number as usize, label))
                .fd(descriptor, reader);
            writers.push(writer);
        }
        let process = command.spawn().context("cannot start what --tag needs")?;
        Ok((Self { process }, writers))
    }

    /// Lets it write what is on its way. Every stage has ended.
    pub(crate) fn finish(self) {
        let _ = self.process.wait_timeout(TO_END);
    }
}

/// `2 gzip -6 | `, all of them equally wide.
fn labels(names: &[String]) -> Vec<String> {
    let digits = names.len().to_string().len();
    let short = names.iter().map(|name| text::shortened(name, WIDEST));
    let short: Vec<String> = short.collect();
    let widest = short
        .iter()
        .map(|name| text::width(name))
        .max()
        .unwrap_or(0);
    let labels = short.iter().zip(1..).map(|(name, number)| {
        let name = text::padded(name, widest);
        charset::in_locale(&format!("{number:>digits$} {name} | ")).into_owned()
    });
    labels.collect()
}

/// Tells whether this process was started to tag lines.
pub(crate) fn is_wanted() -> bool {
    std::env::args_os().next().is_some_and(|name| name == NAME)
}

/// The whole life of the process.
pub(crate) fn run() -> ExitCode {
    let safe = io::stderr().is_terminal();
    let labels = std::env::args().skip(1).zip(3..);
    let stages = labels.filter_map(|(label, descriptor)| {
        let pipe = File::open(format!("/proc/self/fd/{descriptor}")).ok()?;
        let lines = Lines::new(label, safe);
        Some((pipe, lines))
    });
    match Output::stderr().and_then(|stderr| copy(stages.collect(), stderr)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Writes the lines of all pipes till their ends, those of one read in one piece.
///
/// # Errors
///
/// Nobody reads them any more; then this process ends, and whoever prints more gets a SIGPIPE, as it
/// would without this.
fn copy(mut stages: Vec<(File, Lines)>, mut to: impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    while !stages.is_empty() {
        let mut polled: Vec<_> = stages
            .iter()
            .map(|(pipe, _)| PollFd::new(pipe, PollFlags::IN))
            .collect();
        poll(&mut polled, Deadline::NEVER)?;
        let ready: Vec<bool> = polled.iter().map(|it| !it.revents().is_empty()).collect();
        let mut ready = ready.into_iter();
        let mut failed = None;
        stages.retain_mut(|(pipe, lines)| {
            if ready.next() != Some(true) {
                return true;
            }
            let length = pipe.read(&mut buffer).unwrap_or(0);
            let told = match length {
                0 => lines.rest(),
                _ => lines.whole(&buffer[..length]),
            };
            // A full disk has lost lines that the stages themselves could not have written either.
            match to.write_all(&told) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => failed = Some(error),
                _ => {}
            }
            length > 0
        });
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(())
}

/// The lines of one stage. Pure.
#[derive(Debug)]
struct Lines {
    label: String,
    /// They go to a terminal, and must not steer it.
    safe: bool,
    /// The beginning of a line that has no end yet.
    begun: Vec<u8>,
}

impl Lines {
    fn new(label: String, safe: bool) -> Self {
        Self {
            label,
            safe,
            begun: Vec::new(),
        }
    }

    /// The lines that end in these bytes, with what was there of them before.
    fn whole(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut told = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.begun.len() >= LONGEST_LINE {
                told.extend(self.rest());
            }
        }
        told
    }

    /// The line that was begun, with an end.
    fn rest(&mut self) -> Vec<u8> {
        let line = std::mem::take(&mut self.begun);
        if line.is_empty() {
            return line;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let label = self.label.as_bytes();
        if !self.safe {
            return [label, line, b"\n"].concat();
        }
        // What a progress display has written over itself, a terminal would not show either.
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let last = line.rsplit(|byte| *byte == b'\r').next().unwrap_or(line);
        let cells = last.split(|byte| *byte == b'\t');
        let cells: Vec<String> = cells
            .map(|it| text::line(&String::from_utf8_lossy(it)))
            .collect();
        [label, cells.join("\t").as_bytes(), b"\n"].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_the_last_one_gets_an_end() {
        let mut lines = Lines::new("1 a | ".to_owned(), false);
        assert_eq!(lines.whole(b"on"), b"");
        assert_eq!(
            lines.whole(b"e\n\ntwo\nth"),
            b"1 a | one\n1 a | \n1 a | two\n"
        );
        assert_eq!(lines.rest(), b"1 a | th\n");
        assert_eq!(lines.rest(), b"");
        assert_eq!(lines.whole(b"\xff\x1b[31m\r\n"), b"1 a | \xff\x1b[31m\r\n");
        let long = lines.whole(&vec![b'x'; LONGEST_LINE + 5]);
        assert_eq!(long.len(), LONGEST_LINE + 5 + 7);
    }

    #[test]
    fn a_terminal_gets_nothing_that_steers_it() {
        let mut lines = Lines::new("2 b | ".to_owned(), true);
        assert_eq!(
            lines.whole(b"\x1b[2Ja\tb\x07\r\n10 %\r20 %\r30 %\r\n"),
            b"2 b | [2Ja\tb\n2 b | 30 %\n"
        );
    }

    #[test]
    fn labels_are_equally_wide() {
        let names = ["cat".to_owned(), "x".repeat(90)];
        let labels = labels(&names);
        assert!(labels[0].starts_with("1 cat   ") && labels[1].starts_with("2 xxx"));
        assert!(
            labels.iter().all(|it| text::width(it) == WIDEST + 5),
            "{labels:?}"
        );
    }
}
