//! `pipewright spool`: a stream kept on disk between two stages.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use pipewright_spool::{
    Directory, Error, FileSystem, Next, Options, Reader, Retain, Spool, Sync, Unlinked, Writer,
};
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::commands::board::Board;
use crate::commands::giving::{await_gone, give};
use crate::commands::taking::{finish, take_in};
use crate::view::units;
use crate::{cli, disposition, inherited, outcome, view};

/// The reader that stdout is.
const READER: &str = "stdout";

pub(crate) fn spool(options: &cli::Spool) -> anyhow::Result<ExitCode> {
    for (number, name) in [(0, "stdin"), (1, "stdout")] {
        if inherited::was_closed(number) {
            anyhow::bail!(
                "{name} is not open: it stands between two stages, A | pipewright spool | B"
            );
        }
    }
    let how = Options {
        sync: match options.sync {
            cli::SpoolSync::None => Sync::None,
            cli::SpoolSync::Disk => Sync::Disk,
        },
        limit: options.limit,
        retain: if options.limit.is_some() || options.directory.is_none() {
            Retain::Unread
        } else {
            Retain::Everything
        },
        ..Options::default()
    };
    match &options.directory {
        Some(path) => {
            let opened = Directory::open(path).and_then(|directory| Spool::open(directory, how));
            let (spool, writer) = opened.map_err(|error| {
                let advice = match reason(&error) {
                    Some(io::ErrorKind::NotFound) => "; make the directory above it first",
                    Some(io::ErrorKind::NotADirectory) => {
                        "; give a directory, or a name that is free"
                    }
                    Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
                        "; give a directory that you may write to"
                    }
                    Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                        "; make room, or give a directory on another disk"
                    }
                    _ => "",
                };
                let error = anyhow::Error::from(error);
                anyhow::anyhow!(
                    "cannot use {} as a spool: {error:#}{advice}",
                    path.display()
                )
            })?;
            refuse_what_is_there(path, options, &spool, &writer)?;
            let place = format!("the disk that holds {}", path.display());
            stand_between(&spool, writer, options, &place)
        }
        None => {
            allow_many_files();
            let directory = std::env::temp_dir();
            let place = format!("the disk that holds {}", directory.display());
            let (spool, writer) =
                Spool::open(Unlinked::new(&directory), how).with_context(|| {
                    format!(
                        "cannot make files in {}: set TMPDIR to a directory that you may write to",
                        directory.display()
                    )
                })?;
            stand_between(&spool, writer, options, &place)
        }
    }
}

/// What one run kept is not mixed with another's unless that was asked for.
fn refuse_what_is_there<F: FileSystem>(
    path: &Path,
    options: &cli::Spool,
    spool: &Spool<F>,
    writer: &Writer<F>,
) -> anyhow::Result<()> {
    let (path, end) = (path.display(), writer.end());
    if spool.progress().complete.is_some() {
        anyhow::bail!(
            "{path} holds a complete stream of {end} bytes: `pipewright replay {path}` gives it; \
             for another stream give another directory"
        );
    }
    if end > 0 && !options.append {
        anyhow::bail!(
            "{path} holds a stream that was cut off after {end} bytes: `pipewright replay {path}` \
             gives it, --append goes on behind it; for another stream give another directory"
        );
    }
    Ok(())
}

/// What the kernel said, where it said something.
fn reason(error: &Error) -> Option<io::ErrorKind> {
    match error {
        Error::NoRoom { source, .. } | Error::Read { source, .. } | Error::Write { source, .. } => {
            Some(source.kind())
        }
        _ => None,
    }
}

/// Files without a name are open as long as they hold something.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
}

fn stand_between<F: FileSystem<File = File>>(
    spool: &Spool<F>,
    mut writer: Writer<F>,
    options: &cli::Spool,
    place: &str,
) -> anyhow::Result<ExitCode> {
    // Where either is no pipe, or the kernel grants no more, it stays as it is.
    let _ = fcntl_setpipe_size(rustix::stdio::stdin(), 1 << 20);
    let _ = fcntl_setpipe_size(rustix::stdio::stdout(), 1 << 20);
    let is_durable = options.sync == cli::SpoolSync::Disk && options.directory.is_some();
    let board = Board::new(options.limit, is_durable);
    let reader = spool.reader(READER)?;
    board.begin(spool, writer.end(), reader.offset());
    if reader.offset() > writer.end() {
        view::complain(&format!(
            "the power was lost, and with it the stream from byte {} on, of which the reader had taken {}: \
             A has to go on at byte {}, and what the reader had is not given again",
            writer.end(),
            units::size((reader.offset() - writer.end()) as f64),
            writer.end(),
        ));
    }
    let given = AtomicU64::new(reader.offset());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            await_gone(rustix::stdio::stdout());
            disposition::die_of(libc::SIGPIPE)
        });
        if options.verbose {
            scope.spawn(|| report(spool, &given));
        }
        let giving = scope.spawn(|| {
            give_out(spool, reader, &given, &board).unwrap_or_else(|error| {
                // A waits for room that nobody makes.
                view::complain(&format!("{error:#}"));
                std::process::exit(outcome::OWN_ERROR.into())
            });
        });
        let taken = take_in(spool, &mut writer, options.limit, place, None, Some(&board))
            .and_then(|_| finish(spool, &mut writer, None, place));
        let code = match taken {
            Ok(()) => 0,
            Err(error) => {
                view::complain(&format!("{error:#}"));
                // B gets what was taken before.
                let _ = writer.commit();
                outcome::OWN_ERROR
            }
        };
        // Where the end could not be written down, nobody else tells the reader that no more comes.
        drop(writer);
        if giving.join().is_err() {
            std::process::exit(outcome::OWN_ERROR.into());
        }
        // The other threads have no end of their own.
        std::process::exit(code.into())
    })
}

/// From the disk to stdout.
fn give_out<F: FileSystem<File = File>>(
    spool: &Spool<F>,
    mut reader: Reader<F>,
    given: &AtomicU64,
    board: &Board,
) -> anyhow::Result<()> {
    loop {
        match reader.next_piece()? {
            Next::Bytes(piece) => {
                match give(&piece, rustix::stdio::stdout()) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                        disposition::die_of(libc::SIGPIPE)
                    }
                    Err(error) => return Err(error).context("cannot write to stdout"),
                }
                match reader.acknowledge(reader.offset()) {
                    // It may be noted later.
                    Ok(()) | Err(Error::NoRoom { .. } | Error::Poisoned) => {}
                    Err(error) => return Err(error.into()),
                }
                given.store(reader.offset(), Relaxed);
                board.given(spool, reader.offset());
            }
            Next::NothingYet => reader.wait(None),
            // Whoever takes in says why it was cut off.
            Next::End(_) | Next::CutOff => return Ok(()),
        }
    }
}

/// A line each second.
fn report<F: FileSystem>(spool: &Spool<F>, given: &AtomicU64) {
    let (mut taken_before, mut given_before) = (spool.progress().committed, given.load(Relaxed));
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let progress = spool.progress();
        let given = given.load(Relaxed);
        let rate = |now: u64, before: u64| units::rate(Some(now.saturating_sub(before) as f64));
        view::complain(&format!(
            "in {}, out {}, {} to give, durable up to byte {}",
            rate(progress.committed, taken_before),
            rate(given, given_before),
            units::size(progress.committed.saturating_sub(given) as f64),
            progress.durable
        ));
        (taken_before, given_before) = (progress.committed, given);
    }
}
