//! `pipewright replay`: a stream that a spool has kept, from its beginning.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;

use anyhow::Context;
use pipewright::Command;
use pipewright_spool::{Directory, Error, Next, Options, Spool};

use crate::commands::giving::give;
use crate::output::Output;
use crate::{cli, disposition, view};

pub(crate) fn replay(options: &cli::Replay) -> anyhow::Result<ExitCode> {
    let spool = opened(options)?;
    let Some(text) = &options.into else {
        // For the word on a stream that the caller closed.
        Output::stdout()?;
        return match play(&spool, options, rustix::stdio::stdout())? {
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
    let played = play(&spool, options, writer.as_fd());
    drop(writer);
    let status = child.wait()?;
    let code = std::os::unix::process::ExitStatusExt::signal(&status)
        .map_or_else(|| status.code().unwrap_or(1), |signal| 128 + signal);
    Ok(match (played?, code) {
        (Played::Part, 0) => ExitCode::FAILURE,
        _ => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
    })
}

/// Opens the spool to read it. What a killed process left behind the last entry is taken in first, where
/// this user may write and nobody else reads.
fn opened(options: &cli::Replay) -> anyhow::Result<Spool<Directory>> {
    let path = &options.directory;
    let context = || format!("cannot replay {}", path.display());
    let view = match Directory::open_to_read(path) {
        Ok(directory) => Spool::view(directory).with_context(context)?,
        Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            anyhow::bail!(
                "{} is no spool: give the DIR of a `pipewright spool DIR`",
                path.display()
            );
        }
        Err(error) => return Err(error).with_context(context),
    };
    if view.progress().complete.is_some() {
        return Ok(view);
    }
    drop(view);
    let mended = Directory::open(path)
        .and_then(|directory| Spool::open(directory, Options::default()))
        .and_then(|(spool, mut writer)| writer.commit().map(|()| spool));
    match mended {
        Ok(spool) => Ok(spool),
        Err(error @ Error::Damaged(_)) => Err(error).with_context(context),
        Err(_) => Directory::open_to_read(path)
            .and_then(Spool::view)
            .with_context(context),
    }
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
    options: &cli::Replay,
    to: BorrowedFd<'_>,
) -> anyhow::Result<Played> {
    let path = options.directory.display();
    let mut reader = spool.passer_by();
    let first = reader.offset();
    if first > 0 {
        view::complain(&format!(
            "the first {first} bytes of {path} were taken by its reader, and removed for --limit"
        ));
    }
    loop {
        match reader
            .next_piece()
            .with_context(|| format!("cannot replay {path}"))?
        {
            Next::Bytes(piece) => match give(&piece, to) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(Played::Unwanted);
                }
                Err(error) => return Err(error).context("cannot write the stream"),
            },
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
