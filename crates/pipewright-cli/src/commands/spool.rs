//! `pipewright spool`: a stream kept on disk between two stages.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use pipewright_spool::{
    Directory, Error, FileSystem, Next, Options, Reader, Retain, Spool, Sync, Unlinked, Writer,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::commands::giving::{await_gone, give};
use crate::output::Output;
use crate::view::units;
use crate::{cli, disposition, inherited, outcome, view};

/// The reader that stdout is.
const READER: &str = "stdout";

/// How long to wait before a full disk is tried again: nobody tells when it has room.
const DISK_PATIENCE: Duration = Duration::from_millis(100);

pub(crate) fn spool(options: &cli::Spool) -> anyhow::Result<ExitCode> {
    if inherited::was_closed(0) {
        anyhow::bail!("stdin is not open");
    }
    // For the word on a stream that the caller closed.
    Output::stdout()?;
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
            let context = || format!("cannot use {} as a spool", path.display());
            let directory = Directory::open(path).with_context(context)?;
            let (spool, writer) = Spool::open(directory, how).with_context(context)?;
            refuse_what_is_there(path, options, &spool, &writer)?;
            let place = format!("the disk that holds {}", path.display());
            stand_between(&spool, writer, options, &place)
        }
        None => {
            allow_many_files();
            let directory = std::env::temp_dir();
            let place = format!("the disk that holds {}", directory.display());
            let (spool, writer) = Spool::open(Unlinked::new(&directory), how)
                .with_context(|| format!("cannot make files in {}", directory.display()))?;
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

/// Files without a name are open as long as they hold something.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
}

fn stand_between<F: FileSystem<File = File>>(
    spool: &Spool<F>,
    writer: Writer<F>,
    options: &cli::Spool,
    place: &str,
) -> anyhow::Result<ExitCode> {
    // Where either is no pipe, or the kernel grants no more, it stays as it is.
    let _ = fcntl_setpipe_size(rustix::stdio::stdin(), 1 << 20);
    let _ = fcntl_setpipe_size(rustix::stdio::stdout(), 1 << 20);
    let reader = spool.reader(READER)?;
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
            give_out(reader, &given).unwrap_or_else(|error| {
                // A waits for room that nobody makes.
                view::complain(&format!("{error:#}"));
                std::process::exit(outcome::OWN_ERROR.into())
            });
        });
        let taken = take_in(spool, writer, options.limit, place);
        if giving.join().is_err() {
            std::process::exit(outcome::OWN_ERROR.into());
        }
        // The other threads have no end of their own.
        let code = match taken {
            Ok(()) => 0,
            Err(error) => {
                view::complain(&format!("{error:#}"));
                outcome::OWN_ERROR
            }
        };
        std::process::exit(code.into())
    })
}

/// From stdin to the disk.
fn take_in<F: FileSystem>(
    spool: &Spool<F>,
    mut writer: Writer<F>,
    limit: Option<u64>,
    place: &str,
) -> anyhow::Result<()> {
    let mut stdin = Input::new();
    let mut told = false;
    loop {
        let step = match writer.due() {
            Some(due) if due.is_zero() || !stdin.is_ready(Some(due))? => {
                writer.commit().map(|()| true)
            }
            None if !stdin.is_ready(None)? => continue,
            _ => stdin.take(&mut writer),
        };
        let step = match step {
            Ok(false) => writer.finish(None).map(|()| false),
            step => step,
        };
        match step {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(Error::Full) => {
                // A reader may have made room since.
                let (end, limit) = (writer.end(), limit.unwrap_or(u64::MAX));
                spool.wait(|progress| end - progress.first < limit, None);
            }
            Err(error @ Error::NoRoom { .. }) => {
                if !told {
                    view::complain(&format!(
                        "{:#}: {place} is full, and everybody waits until it has room",
                        anyhow::Error::from(error)
                    ));
                    told = true;
                }
                // What is there can be given, and so make room.
                let _ = writer.commit();
                let first = spool.progress().first;
                spool.wait(|progress| progress.first > first, Some(DISK_PATIENCE));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// stdin, moved by the kernel where it can.
struct Input {
    /// What was read and is not yet written, where it is no pipe.
    buffer: Vec<u8>,
    from: usize,
    is_pipe: bool,
}

impl Input {
    fn new() -> Self {
        Self {
            buffer: Vec::new(),
            from: 0,
            is_pipe: true,
        }
    }

    /// Waits until there is something to take, or the time is over.
    fn is_ready(&self, longest: Option<Duration>) -> anyhow::Result<bool> {
        if self.from < self.buffer.len() {
            return Ok(true);
        }
        let stdin = rustix::stdio::stdin();
        let longest = longest.and_then(|longest| Timespec::try_from(longest).ok());
        match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], longest.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(errno) => Err(errno).context("cannot wait for stdin"),
        }
    }

    /// Takes some; `false` at the end of file.
    fn take<F: FileSystem>(&mut self, writer: &mut Writer<F>) -> pipewright_spool::Result<bool> {
        if self.is_pipe {
            match writer.splice_from(rustix::stdio::stdin().as_fd()) {
                Ok(Some(taken)) => return Ok(taken > 0),
                Ok(None) => {
                    self.is_pipe = false;
                    self.buffer.reserve_exact(1 << 18);
                }
                Err(error) if would_block(&error) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        if self.from == self.buffer.len() {
            self.buffer.resize(1 << 18, 0);
            self.from = 0;
            let read = io::stdin().lock().read(&mut self.buffer);
            self.buffer.truncate(*read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                    ) => {}
                Err(source) => {
                    let name = "stdin".to_owned();
                    return Err(Error::Read { name, source });
                }
            }
        }
        self.from += writer.write(&self.buffer[self.from..])?;
        Ok(true)
    }
}

fn would_block(error: &Error) -> bool {
    let (Error::Write { source, .. } | Error::Read { source, .. }) = error else {
        return false;
    };
    matches!(
        source.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// From the disk to stdout.
fn give_out<F: FileSystem<File = File>>(
    mut reader: Reader<F>,
    given: &AtomicU64,
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
