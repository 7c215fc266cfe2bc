//! The half on a host: it runs the chunks that come on stdin, and tells what they came to on stdout.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pipewright_workers::{Chunk, Ended, Error as RunError, Runner, Stop, Store, on_behalf};

use super::words::{self, Answer, Ask, PIECE, Report};
use crate::messages;

/// Runs chunks for a [`Fleet`](super::Fleet) on another host, until it has no more.
///
/// # Errors
///
/// When stdin or stdout fails, or what comes is not what a fleet sends.
pub fn run_chunks() -> io::Result<()> {
    let mut input = File::from(rustix::stdio::stdin().try_clone_to_owned()?);
    let output = File::from(rustix::stdio::stdout().try_clone_to_owned()?);
    // Nothing else here reads or writes what passes between the two.
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    let Some(Ask::Job {
        argv,
        environment,
        memory,
    }) = words::read(&mut input)?
    else {
        return Err(nonsense("the first word names no command"));
    };
    let text = OsString::from_vec;
    let environment = environment
        .into_iter()
        .map(|(name, value)| (text(name), value.map(text)));
    let server = Arc::new(Server {
        runner: Box::new(on_behalf(
            argv.into_iter().map(text).collect(),
            environment.collect(),
        )),
        store: Store::new(memory),
        output: Mutex::new(output),
        runs: Mutex::default(),
    });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    server.answer(&Answer::Ready {
        cores: cores as u32,
    })?;
    server.serve(&mut input)
}

struct Server {
    runner: Box<dyn Runner>,
    store: Store,
    output: Mutex<File>,
    runs: Mutex<BTreeMap<u64, State>>,
}

/// A run, and how far it is.
enum State {
    /// Its input comes; there may be no room for it.
    Coming(io::Result<Chunk>),
    Starting,
    Running(Arc<dyn Stop>),
    Stopped,
}

fn nonsense(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    fn serve(self: &Arc<Self>, input: &mut File) -> io::Result<()> {
        let mut buffer = vec![0; PIECE];
        while let Some(ask) = words::read(input)? {
            match ask {
                Ask::Job { .. } => return Err(nonsense("a second command")),
                Ask::Piece { run, length } => {
                    let piece = buffer.get_mut(..length as usize);
                    let piece = piece.ok_or_else(|| nonsense("a piece that is too long"))?;
                    input.read_exact(piece)?;
                    self.take(run, piece)?;
                }
                Ask::Run { run } => self.begin(run)?,
                Ask::Stop { run } => self.stop(run)?,
            }
        }
        Ok(())
    }

    fn take(&self, run: u64, piece: &[u8]) -> io::Result<()> {
        let mut runs = lock(&self.runs);
        let coming = runs
            .entry(run)
            .or_insert_with(|| State::Coming(self.store.chunk()));
        let State::Coming(chunk) = coming else {
            return Err(nonsense("input for a run that has all of it"));
        };
        // What does not fit is told when all of it is there.
        if let Ok(there) = chunk
            && let Err(error) = there.append_bytes(piece)
        {
            *chunk = Err(error);
        }
        Ok(())
    }

    fn begin(self: &Arc<Self>, run: u64) -> io::Result<()> {
        let before = lock(&self.runs).insert(run, State::Starting);
        let chunk = match before {
            Some(State::Coming(chunk)) => chunk,
            // There is nothing in it.
            None => self.store.chunk(),
            Some(_) => return Err(nonsense("a run that runs")),
        };
        let server = Arc::clone(self);
        let work = move || {
            let result = chunk
                .map_err(RunError::Store)
                .and_then(|chunk| server.run(run, &chunk));
            // Where nobody listens any more, stdin ends.
            let _ = server.tell(run, result);
        };
        match std::thread::Builder::new().spawn(work) {
            Ok(_) => Ok(()),
            Err(error) => self.tell(run, Err(RunError::Threads(error))),
        }
    }

    fn run(&self, run: u64, chunk: &Chunk) -> Result<Ended, RunError> {
        let started = self.runner.start(run, &self.store)?;
        let stop = started.stop();
        let before = lock(&self.runs).insert(run, State::Running(Arc::clone(&stop)));
        if let Some(State::Stopped) = before {
            stop.stop();
        }
        started.finish(&[chunk])
    }

    fn stop(&self, run: u64) -> io::Result<()> {
        let mut runs = lock(&self.runs);
        match runs.get(&run) {
            Some(State::Running(stop)) => stop.stop(),
            Some(State::Starting) => drop(runs.insert(run, State::Stopped)),
            Some(State::Stopped) => {}
            // Its input will not come whole, or it has ended by itself: then this is no news.
            Some(State::Coming(_)) | None => {
                runs.remove(&run);
                drop(runs);
                let message = "it was called off".to_owned();
                self.answer(&Answer::Failed { run, message })?;
            }
        }
        Ok(())
    }

    fn tell(&self, run: u64, result: Result<Ended, RunError>) -> io::Result<()> {
        lock(&self.runs).remove(&run);
        let ended = match result {
            Ok(ended) => ended,
            Err(RunError::Start(error)) if matches!(error.exit_code(), 126 | 127) => {
                let message = error.to_string();
                return self.answer(&Answer::NotStarted { run, message });
            }
            Err(error) => {
                let message = error.to_string();
                return self.answer(&Answer::Failed { run, message });
            }
        };
        let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(0);
        let stderr = ended.stderr.as_ref();
        let report = Report {
            run,
            how: ended.end.into(),
            left_input: ended.left_input,
            microseconds: [ended.time, ended.on_core, ended.start].map(micros),
            stdout: ended.output.len(),
            stderr: stderr.map_or(0, Chunk::len),
        };
        // Both in one go: nobody else's word comes between.
        let mut output = lock(&self.output);
        output.write_all(&messages::write(&Answer::Ended(report)))?;
        for chunk in [Some(&ended.output), stderr].into_iter().flatten() {
            chunk.give(0, output.as_fd())?;
        }
        Ok(())
    }

    fn answer(&self, answer: &Answer) -> io::Result<()> {
        lock(&self.output).write_all(&messages::write(answer))
    }
}
