//! A stage that is started again when it dies: its input comes from the beginning, and what it gives is
//! compared with what it has given.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use pipewright::{Child, Guardian, PipeReader, PipeWriter, reap_adopted};
use pipewright_spool::{FileSystem, Spool};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, SeekFrom, fstat, seek, tell};
use rustix::io::Errno;
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};
use rustix::process::{Pid, Signal, getpid, kill_process, set_child_subreaper};

use super::asked::Asked;
use super::given::{Check, Difference, Given};
use super::{Keeper, Ran, close, feed, not_started, piped};
use crate::output::Output;
use crate::recording::manifest::End;
use crate::view;

/// So long the rest of a stage that has failed may take to end.
const TO_DIE: Duration = Duration::from_secs(1);

/// What came of a run's output.
enum Gave {
    /// It was given, to its end.
    Given,
    /// Its reader has gone.
    Unwanted,
    Differs(Difference),
}

impl Keeper<'_> {
    /// Runs the program until it ends well, `most` more times at most. Its output passes through here.
    pub(super) fn again<F: FileSystem<File = File>, T>(
        &self,
        most: u32,
        asked: &Arc<Asked>,
        spool: Option<&Spool<F>>,
        intake: impl FnOnce(PipeWriter, Box<dyn Fn() -> bool + Send>) -> Option<T>,
    ) -> anyhow::Result<(Ran, Option<T>)> {
        // What a shell had started, and left, is to end before the next one starts.
        let _ = set_child_subreaper(Some(getpid()));
        let source = Source::of_stdin();
        let (over, until) = pipewright::pipe().context("cannot make a pipe")?;
        let intake = intake(until, Box::new(|| false));
        let mut given = Given::new();
        let mut restarts = 0;
        let (end, feeding) = loop {
            let (input, feeding) = piped(spool)?;
            if feeding.is_none() {
                source.rewind()?;
            }
            let (output, writer) = pipewright::pipe().context("cannot make a pipe")?;
            if let Ok(size) = fcntl_getpipe_size(rustix::stdio::stdout()) {
                let _ = fcntl_setpipe_size(&output, size);
            }
            let child = match self.start(input, Some(writer)) {
                Ok(child) => Arc::new(child),
                Err(error) => {
                    drop(over);
                    return Ok((not_started(&error), intake));
                }
            };
            asked.follow(&child);
            let feeding = feeding.map(|(reader, to)| feed(reader, to, Arc::clone(&self.board)));
            let may_retry = |status: ExitStatus| {
                let end = End::from(status);
                restarts < most && !self.is_well(end) && !asked.to_end()
            };
            let await_end = || self.board.await_end(&child);
            let (status, output) = pump(&child, &await_end, output, &mut given, may_retry)?;
            match output {
                Gave::Given if may_retry(status) => {}
                Gave::Differs(difference) => {
                    let _ = child.kill();
                    anyhow::bail!(
                        "{} was started again, and does not give what it gave before: {difference} \
                         differs, so it cannot go on; only what gives the same output each time it is \
                         run can be started again",
                        self.name()
                    );
                }
                _ => break (status.into(), feeding),
            }
            restarts += 1;
            self.tell(restarts);
            end_leftovers();
            let how = match End::from(status) {
                End::Exited(status) => format!("ended with status {status}"),
                End::Signal(signal) => format!("was killed by signal {signal}"),
            };
            view::complain(&format!(
                "{} {how}; it is started again behind {} bytes of output ({restarts} of {most})",
                self.name(),
                given.length()
            ));
        };
        close(rustix::stdio::dup2_stdout);
        let saw_end = feeding.is_some_and(|feeding| feeding.join().is_ok_and(|all| all));
        drop(over);
        let ran = Ran {
            end,
            saw_end,
            restarts,
        };
        Ok((ran, intake))
    }

    /// Tells the run, if that is still there, how often the stage was started again.
    fn tell(&self, restarts: u32) {
        let file = self.options.told_to.as_ref();
        if let Some(file) = file.and_then(|path| File::options().write(true).open(path).ok()) {
            let _ = file.write_all_at(restarts.to_string().as_bytes(), 0);
        }
    }

    fn is_well(&self, end: End) -> bool {
        match end {
            End::Exited(status) => status == 0 || self.options.well.contains(&(status as u8)),
            End::Signal(_) => false,
        }
    }
}

/// Gives a run's output, what is new of it, until that or the run is over.
fn pump(
    child: &Child,
    await_end: &dyn Fn() -> pipewright::Result<ExitStatus>,
    mut output: PipeReader,
    given: &mut Given,
    may_retry: impl Fn(ExitStatus) -> bool,
) -> anyhow::Result<(ExitStatus, Gave)> {
    let mut stdout = Output::stdout()?;
    let mut check = Check::new(given);
    let mut buffer = vec![0; 1 << 16];
    let mut status: Option<ExitStatus> = None;
    loop {
        // What a dead run leaves in the pipe is its output; whoever else has the pipe does not count.
        let retry = status.is_some_and(&may_retry);
        let (is_ready, has_ended) = ready(&output, status.is_none().then_some(child), retry)?;
        if is_ready {
            let read = match output.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.context("cannot read what a stage gives")?,
            };
            if read == 0 {
                break;
            }
            let new = match check.take(given, &buffer[..read]) {
                Ok(new) => new,
                Err(difference) => {
                    // It is of no more use.
                    child.kill()?;
                    return Ok((await_end()?, Gave::Differs(difference)));
                }
            };
            given.add(new);
            match stdout.write_all(new) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    drop(output);
                    return Ok((await_end()?, Gave::Unwanted));
                }
                written => written?,
            }
        } else if has_ended {
            status = Some(await_end()?);
        } else if retry {
            break;
        }
    }
    let status = match status {
        Some(status) => status,
        None => await_end()?,
    };
    let short = check.end().err().filter(|_| status.success());
    Ok((status, short.map_or(Gave::Given, Gave::Differs)))
}

/// Waits for output, or the end of the run; with `now` it only looks.
fn ready(output: &PipeReader, child: Option<&Child>, now: bool) -> anyhow::Result<(bool, bool)> {
    let mut polled = vec![PollFd::new(output, PollFlags::IN)];
    polled.extend(child.map(|child| PollFd::new(child, PollFlags::IN)));
    let none = Timespec::default();
    match poll(&mut polled, now.then_some(&none)) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok((false, false)),
        Err(errno) => return Err(errno).context("cannot wait for a stage"),
    }
    let is_ready = |at: usize| polled.get(at).is_some_and(|it| !it.revents().is_empty());
    Ok((is_ready(0), is_ready(1)))
}

/// The stdin that is given to the stage as it is.
enum Source {
    /// A file, read from here on.
    File(u64),
    Other,
}

impl Source {
    fn of_stdin() -> Self {
        let stdin = rustix::stdio::stdin();
        let is_file = fstat(stdin)
            .is_ok_and(|it| FileType::from_raw_mode(it.st_mode) == FileType::RegularFile);
        match tell(stdin) {
            Ok(offset) if is_file => Self::File(offset),
            _ => Self::Other,
        }
    }

    fn rewind(&self) -> anyhow::Result<()> {
        if let Self::File(offset) = self {
            let there = seek(rustix::stdio::stdin(), SeekFrom::Start(*offset));
            there.context("cannot go back in stdin")?;
        }
        Ok(())
    }
}

/// Ends what a run has started and left: it would write beside the next.
fn end_leftovers() {
    let deadline = Instant::now() + TO_DIE;
    loop {
        let left = children();
        if left.is_empty() || deadline < Instant::now() {
            return;
        }
        for pid in left.into_iter().filter_map(Pid::from_raw) {
            // What has ended is reaped below, so no number is somebody else's.
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = reap_adopted(|pid| Guardian::watching() == Some(pid));
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The children of this process but for its guardian, zombies too.
fn children() -> Vec<i32> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let lists = tasks.flatten().filter_map(|task| {
        let list = std::fs::read_to_string(task.path().join("children"));
        list.ok()
    });
    let pids = lists.flat_map(|list| {
        let pids = list.split_whitespace().map(str::parse);
        pids.flatten().collect::<Vec<_>>()
    });
    let guardian = Guardian::watching().map(|pid| pid as i32);
    pids.filter(|pid| Some(*pid) != guardian).collect()
}
