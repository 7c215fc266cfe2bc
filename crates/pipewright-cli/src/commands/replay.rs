//! `pipewright replay`: a stream that a spool or a recording has kept, from its beginning.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use pipewright::Command;
use pipewright_spool::{Directory, Next, Spool};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::commands::giving::give;
use crate::commands::played::{found, opened};
use crate::output::Output;
use crate::{cli, disposition, view};

pub(crate) fn replay(options: &cli::Replay) -> anyhow::Result<ExitCode> {
    let path = found(&options.directory, options.stage)?;
    let spool = opened(&path, "replay")?;
    let path = path.display().to_string();
    let Some(text) = &options.into else {
        // For the word on a stream that the caller closed.
        Output::stdout()?;
        return match play(&spool, &path, options.speed, rustix::stdio::stdout())? {
            Played::Whole => Ok(ExitCode::SUCCESS),
            Played::Part => Ok(ExitCode::FAILURE),
            Played::Unwanted => disposition::die_of(libc::SIGPIPE),
        };
    };
    let (reader, writer) = pipewright::pipe().context("cannot make a pipe")?;
    let command = Command::new("bash").arg("-c").arg(text).stdin(reader);
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            view::complain(&error.to_string());
            return Ok(ExitCode::from(error.exit_code()));
        }
    };
    let played = play(&spool, &path, options.speed, writer.as_fd());
    drop(writer);
    let status = child.wait()?;
    let code = std::os::unix::process::ExitStatusExt::signal(&status)
        .map_or_else(|| status.code().unwrap_or(1), |signal| 128 + signal);
    Ok(match (played?, code) {
        (Played::Part, 0) => ExitCode::FAILURE,
        _ => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
    })
}

/// How much of the stream was given.
enum Played {
    Whole,
    /// There was no more.
    Part,
    /// The reader wanted no more.
    Unwanted,
}

fn play(
    spool: &Spool<Directory>,
    path: &str,
    speed: Option<f64>,
    to: BorrowedFd<'_>,
) -> anyhow::Result<Played> {
    let mut reader = spool.passer_by();
    let first = reader.offset();
    if first > 0 {
        view::complain(&format!(
            "the first {first} bytes of {path} were taken by its reader, and removed for --limit"
        ));
    }
    let mut pace = speed.map(Pace::new);
    loop {
        match reader
            .next_piece()
            .with_context(|| format!("cannot replay {path}"))?
        {
            Next::Bytes(piece) => {
                if let Some(pace) = &mut pace
                    && !pace.keep(piece.time, to)
                {
                    return Ok(Played::Unwanted);
                }
                match give(&piece, to) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                        return Ok(Played::Unwanted);
                    }
                    Err(error) => return Err(error).context("cannot write the stream"),
                }
            }
            Next::End(_) if first == 0 => return Ok(Played::Whole),
            Next::End(_) => return Ok(Played::Part),
            Next::NothingYet | Next::CutOff => {
                view::complain(&format!(
                    "the stream in {path} was cut off after {} bytes: its end was never written",
                    reader.offset()
                ));
                return Ok(Played::Part);
            }
        }
    }
}

/// The times of a recording, at some speed.
struct Pace {
    speed: f64,
    /// When the first bytes came, then and now.
    began: Option<(Duration, Instant)>,
}

impl Pace {
    fn new(speed: f64) -> Self {
        Self { speed, began: None }
    }

    /// Waits until it is time for what came at this time then; `false` if the reader has gone meanwhile.
    fn keep(&mut self, time: Duration, to: BorrowedFd<'_>) -> bool {
        let (then, now) = *self.began.get_or_insert_with(|| (time, Instant::now()));
        let after = time.saturating_sub(then).as_secs_f64() / self.speed;
        let due = Duration::try_from_secs_f64(after).ok();
        let due = due.and_then(|after| now.checked_add(after));
        loop {
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return true;
            }
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut polled = [PollFd::new(&to, PollFlags::empty())];
            if poll(&mut polled, left.as_ref()).is_ok_and(|gone| gone > 0) {
                return false;
            }
        }
    }
}
