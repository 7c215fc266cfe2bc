//! `pipewright keep`: one stage of a recorded pipeline, with its input kept on disk.
//!
//! It stands where the stage would, goes on when its run is killed, and ends as the stage did. It takes
//! stdin to a spool and gives that to the stage; the stage's stdout is its own, but where it may be started
//! again: then what it gives passes through here, to be compared.

mod again;
mod asked;
mod compare;
mod given;

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use pipewright::{Child, Command, Guardian, PipeReader, PipeWriter, Signal, Stdio};
use pipewright_spool::{
    Directory, FileSystem, Next, Options, Progress, Reader, Spool, Sync, Unlinked, Writer,
};
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::commands::board::Board;
use crate::commands::giving::give;
use crate::commands::taking::{DISK_PATIENCE, Taken, Wants, finish, take_in};
use crate::recording::directory::{Seat, link_path};
use crate::recording::manifest::{Contents, End, Ended, now};
use crate::recording::plan::Intake;
use crate::view::text;
use crate::{cli, disposition, inherited, outcome, view};
use asked::Asked;
use compare::{Compared, compare};

pub(crate) fn keep(options: &cli::Keep) -> anyhow::Result<ExitCode> {
    // Before there are threads. Where there can be none, the stage is killed all the same, a little late.
    let _guardian = Guardian::start();
    let seat = options
        .recording
        .as_deref()
        .map(|path| Seat::take(path, options.stage, options.attempt));
    let keeper = Keeper {
        options,
        seat: seat.transpose()?,
        // Files without a name are open as long as this lives.
        limit: inherited::raise_descriptor_limit(),
        board: Arc::new(Board::of_keeper(options.sync == cli::SpoolSync::Disk)),
    };
    let end = match (options.intake, &options.recording) {
        (Intake::Direct, _) => keeper.stage::<Directory>(None)?,
        (_, Some(recording)) => keeper.recorded(recording)?,
        (_, None) => {
            let directory = std::env::temp_dir();
            let (spool, writer) = Spool::open(Unlinked::new(&directory), Options::default())
                .with_context(|| format!("cannot make files in {}", directory.display()))?;
            let place = format!("the disk that holds {}", directory.display());
            keeper.stage(Some(Input {
                spool,
                writer: Some(writer),
                place,
            }))?
        }
    };
    Ok(end_like(end))
}

/// One stage and its place.
struct Keeper<'a> {
    options: &'a cli::Keep,
    seat: Option<Seat>,
    /// The stage's own limit on descriptors.
    limit: Rlimit,
    board: Arc<Board>,
}

/// The recorded input of a stage. Without a writer nothing more is taken.
struct Input<F: FileSystem> {
    spool: Spool<F>,
    writer: Option<Writer<F>>,
    /// The disk, for messages.
    place: String,
}

/// What became of one run of the stage's program.
struct Ran {
    end: End,
    saw_end: bool,
    restarts: u32,
}

impl Keeper<'_> {
    /// Runs the stage with an input in a recording.
    fn recorded(&self, recording: &Path) -> anyhow::Result<End> {
        let path = link_path(recording, self.options.stage - 1);
        let context = || format!("cannot use {} as a spool", path.display());
        let place = format!("the disk that holds {}", path.display());
        let how = Options {
            sync: match self.options.sync {
                cli::SpoolSync::None => Sync::None,
                cli::SpoolSync::Disk => Sync::Disk,
            },
            ..Options::default()
        };
        if self.options.intake == Intake::Stored {
            let spool = Directory::open_to_read(&path).and_then(Spool::view);
            return self.stage(Some(Input {
                spool: spool.with_context(context)?,
                writer: None,
                place,
            }));
        }
        let directory = Directory::open(&path).with_context(context)?;
        let (spool, mut writer) = Spool::reopen(directory, how).with_context(context)?;
        // What a killed keeper left behind the last entry belongs to it.
        writer.commit().with_context(context)?;
        let again = self.is_again(&spool)?;
        self.stage(Some(Input {
            spool,
            writer: again.then_some(writer),
            place,
        }))
    }

    /// Compares stdin with what the recording holds of it; `false` if it ended before, because the stage
    /// that gives it has failed again.
    fn is_again(&self, spool: &Spool<Directory>) -> anyhow::Result<bool> {
        let before = match self.options.stage - 1 {
            0 => "stdin".to_owned(),
            number => format!("stage {number}"),
        };
        let why = "so this recording cannot be resumed: only what gives the same output each time it \
                   is run can be run again";
        match compare(spool, &self.board)? {
            Compared::Same => Ok(true),
            Compared::Short(offset) => {
                let producer = self.seat.as_ref().and_then(Seat::await_producer);
                let failed = producer.is_none_or(|ended| ended.end != End::Exited(0));
                if self.options.stage > 1 && failed {
                    return Ok(false);
                }
                let recorded = spool.progress().committed;
                anyhow::bail!(
                    "{before} ended at byte {offset} this time, and gave {recorded} bytes before, {why}"
                )
            }
            Compared::Differs {
                offset,
                recorded,
                given,
            } => anyhow::bail!(
                "{before} does not give what it gave before, from byte {offset} on, {why}\nrecorded\n{recorded}now\n{given}"
            ),
        }
    }

    /// Runs the stage, and writes down how it ended.
    fn stage<F: FileSystem<File = File>>(&self, input: Option<Input<F>>) -> anyhow::Result<End> {
        let asked = Asked::catch().context("cannot catch signals")?;
        let (spool, writer, place) = match input {
            Some(Input {
                spool,
                writer,
                place,
            }) => (Some(spool), writer, place),
            None => (None, None, String::new()),
        };
        if let Some(spool) = &spool {
            let taken = spool.progress().committed;
            self.board.begin(spool, taken, 0);
        }
        let board = &*self.board;
        let ran = std::thread::scope(|scope| {
            let intake = |until: PipeWriter, more: Box<dyn Fn() -> bool + Send>| {
                let (spool, mut writer, place) = (spool.as_ref()?, writer?, &place);
                Some(scope.spawn(move || {
                    let wants = Wants {
                        pipe: until.as_fd(),
                        more: &*more,
                    };
                    let taken = take_in(spool, &mut writer, None, place, Some(wants), Some(board));
                    let taken = taken.unwrap_or_else(|error| fail(&error));
                    // The stage gets its end of file when nobody has this any more.
                    drop(until);
                    let _ = writer.no_more();
                    if taken == Taken::Enough {
                        // Whoever writes is told at once.
                        close(rustix::stdio::dup2_stdin);
                    }
                    (taken, writer)
                }))
            };
            let ran = match self.options.again {
                None => self.once(&asked, spool.as_ref(), intake),
                Some(most) => self.again(most, &asked, spool.as_ref(), intake),
            };
            let (mut ran, intake) = match ran {
                Ok(ran) => ran,
                // The other threads wait for what does not come any more.
                Err(error) => fail(&error),
            };
            let Some(intake) = intake else {
                return Ok(ran);
            };
            let Ok((taken, mut writer)) = intake.join() else {
                std::process::exit(outcome::OWN_ERROR.into());
            };
            ran.saw_end &= taken == Taken::All;
            if let (Taken::All, Some(spool)) = (taken, &spool) {
                let producer = self.seat.as_ref().and_then(Seat::await_producer);
                let status = producer.map(|ended| ended.end.as_number());
                finish(spool, &mut writer, status, &place)?;
            }
            anyhow::Ok(ran)
        })?;
        if let Some(seat) = &self.seat {
            self.write_down(seat, &ran, spool.as_ref())?;
        }
        Ok(ran.end)
    }

    /// Runs the program once, with the stdout that this process has.
    fn once<F: FileSystem<File = File>, T>(
        &self,
        asked: &Arc<Asked>,
        spool: Option<&Spool<F>>,
        intake: impl FnOnce(PipeWriter, Box<dyn Fn() -> bool + Send>) -> Option<T>,
    ) -> anyhow::Result<(Ran, Option<T>)> {
        let (input, feeding) = piped(spool)?;
        let child = match self.start(input, None) {
            Ok(child) => Arc::new(child),
            Err(error) => return Ok((not_started(&error), None)),
        };
        asked.follow(&child);
        close(rustix::stdio::dup2_stdout);
        let Some((reader, writer)) = feeding else {
            // Whoever writes there is told when the stage wants no more, and not when this ends.
            close(rustix::stdio::dup2_stdin);
            let end = self.board.await_end(&child)?.into();
            let saw_end = false;
            return Ok((
                Ran {
                    end,
                    saw_end,
                    restarts: 0,
                },
                None,
            ));
        };
        let keep_going = self.options.keep_going;
        let (watched, to_end) = (Arc::clone(&child), Arc::clone(asked));
        let board = Arc::clone(&self.board);
        let more = move || {
            let failed = |status| {
                let end = End::from(status);
                end != End::Exited(0) && !end.is_sigpipe()
            };
            keep_going && board.await_end(&watched).is_ok_and(failed) && !to_end.to_end()
        };
        let until = writer.as_fd().try_clone_to_owned();
        let until = PipeWriter::from(until.context("cannot copy a descriptor")?);
        let intake = intake(until, Box::new(more));
        if intake.is_none() {
            close(rustix::stdio::dup2_stdin);
        }
        let feeding = feed(reader, writer, Arc::clone(&self.board));
        let end = self.board.await_end(&child)?.into();
        // What it has started may read on.
        let saw_end = feeding.join().is_ok_and(|all| all);
        let ran = Ran {
            end,
            saw_end,
            restarts: 0,
        };
        Ok((ran, intake))
    }

    /// Starts the program.
    fn start(
        &self,
        input: Option<PipeReader>,
        output: Option<PipeWriter>,
    ) -> pipewright::Result<Child> {
        let [program, arguments @ ..] = self.options.command.as_slice() else {
            unreachable!("clap asks for a command");
        };
        let mut command = Command::new(program)
            .args(arguments)
            .inherit_all()
            .rlimit(Resource::Nofile, self.limit);
        // An end of file that is none would make it take a part for the whole.
        if Guardian::watching().is_none() {
            command = command.parent_death_signal(Signal::KILL);
        }
        // What is closed stays closed, as in a shell.
        let closed = |number| inherited::was_closed(number).then_some(Stdio::Closed);
        if let Some(input) = input.map(Stdio::from).or(closed(0)) {
            command = command.stdin(input);
        }
        if let Some(output) = output.map(Stdio::from).or(closed(1)) {
            command = command.stdout(output);
        }
        if self.options.stderr_too {
            command = command.stderr(Stdio::SameAsStdout);
        } else if let Some(closed) = closed(2) {
            command = command.stderr(closed);
        }
        command.spawn()
    }

    /// Writes down how the stage ended. Where there is no room, that is waited for.
    fn write_down<F: FileSystem>(
        &self,
        seat: &Seat,
        ran: &Ran,
        spool: Option<&Spool<F>>,
    ) -> anyhow::Result<()> {
        let contents = |spool: &Spool<F>| {
            let Progress {
                committed,
                complete,
                ..
            } = spool.progress();
            Some(Contents {
                bytes: committed,
                crc32c: spool.checksum().ok()?,
                complete: complete.is_some(),
            })
        };
        let ended = Ended {
            attempt: self.options.attempt,
            end: ran.end,
            saw_end: ran.saw_end,
            restarts: ran.restarts,
            ended: now(),
            input: spool.and_then(contents),
        };
        let mut told = false;
        loop {
            match seat.write(&ended) {
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
                    ) =>
                {
                    if !told {
                        view::complain(&format!(
                            "cannot write down how stage {} ended, and everybody waits: {error}",
                            self.options.stage
                        ));
                        told = true;
                    }
                    std::thread::sleep(DISK_PATIENCE);
                }
                written => return written.context("cannot write to the recording"),
            }
        }
    }

    /// The stage, for messages.
    fn name(&self) -> String {
        let name = self.options.name.as_deref().unwrap_or_default();
        let (number, name) = (self.options.stage, text::line(&name.to_string_lossy()));
        format!("stage {number} ({name})")
    }
}

/// A pipe for the stage to read, with the reader whose bytes go there.
type Feeding<F> = (Reader<F>, PipeWriter);

fn piped<F: FileSystem>(
    spool: Option<&Spool<F>>,
) -> anyhow::Result<(Option<PipeReader>, Option<Feeding<F>>)> {
    let Some(reader) = spool.map(Spool::passer_by) else {
        return Ok((None, None));
    };
    let (input, writer) = pipewright::pipe().context("cannot make a pipe")?;
    // As large as the one that it stands in for.
    if let Ok(size) = fcntl_getpipe_size(rustix::stdio::stdin()) {
        let _ = fcntl_setpipe_size(&writer, size);
    }
    Ok((Some(input), Some((reader, writer))))
}

/// Gives a stage its input, in a thread that tells in the end whether it got all of it.
fn feed<F: FileSystem<File = File>>(
    mut reader: Reader<F>,
    to: PipeWriter,
    board: Arc<Board>,
) -> JoinHandle<bool> {
    std::thread::spawn(move || {
        loop {
            match reader.next_piece() {
                Ok(Next::Bytes(piece)) => match give(&piece, to.as_fd()) {
                    Ok(()) => board.fed(reader.offset()),
                    Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return false,
                    Err(error) => fail(&anyhow::Error::from(error).context("cannot feed a stage")),
                },
                Ok(Next::NothingYet) => reader.wait(None),
                Ok(Next::End(_) | Next::CutOff) => return true,
                Err(error) => fail(&error.into()),
            }
        }
    })
}

/// Ends this process at once, and so the stage.
fn fail(error: &anyhow::Error) -> ! {
    view::complain(&format!("{error:#}"));
    std::process::exit(outcome::OWN_ERROR.into())
}

/// Gives up one of the standard streams: the stage has it.
fn close(replace: fn(File) -> rustix::io::Result<()>) {
    // Where there is no /dev/null, it is given up when this process ends.
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = replace(null);
    }
}

fn not_started(error: &pipewright::Error) -> Ran {
    view::complain(&error.to_string());
    Ran {
        end: End::Exited(error.exit_code().into()),
        saw_end: false,
        restarts: 0,
    }
}

/// Ends this process as the stage did.
fn end_like(end: End) -> ExitCode {
    match end {
        End::Exited(status) => ExitCode::from(status as u8),
        End::Signal(signal) => {
            // The stage has left its core.
            let none = Rlimit {
                current: Some(0),
                maximum: Some(0),
            };
            let _ = setrlimit(Resource::Core, none);
            disposition::die_of(signal)
        }
    }
}
