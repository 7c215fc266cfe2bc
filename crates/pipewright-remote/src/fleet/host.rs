//! One host of a fleet: the stage that stands for it there, and the threads that talk to that.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::Scope;
use std::time::{Duration, Instant};

use pipewright_workers::{Chunk, Ended, Store};

use super::crew::{Crew, Outcome, Sample, Sampled};
use super::shared::Shared;
use super::words::{self, Answer, Ask, PIECE, Report};
use crate::bootstrap::bootstrap;
use crate::error::Error;
use crate::messages::{self, End};
use crate::near::{self, RemoteStage, Signals, Streams};
use crate::shared::Bell;

/// What is run on each host: the far half's own program, wherever it lies.
const SERVER: [&str; 3] = ["/proc/self/exe", "remote", "--chunks"];

/// Ends everything on all hosts.
#[derive(Clone)]
pub struct Quit(pub(super) Arc<Shared>);

impl Quit {
    /// Does so, and waits until it is done, for so long at most. A host that cannot be reached ends what it
    /// has when the lease is over.
    pub fn ring(&self, patience: Duration) {
        let shared = &*self.0;
        shared.keep(Crew::end);
        shared.quit.ring();
        let until = Instant::now() + patience;
        let mut crew = shared.crew();
        while crew.is_any_host_left() && Instant::now() < until {
            crew = shared.wait(crew, Duration::from_millis(50));
        }
    }
}

/// SIGKILL, once everything is to end.
struct Called<'a> {
    quit: &'a Bell,
    passed_on: bool,
    /// Never becomes readable.
    nothing: Bell,
}

impl Signals for Called<'_> {
    fn readable(&self) -> BorrowedFd<'_> {
        if self.passed_on {
            self.nothing.as_fd()
        } else {
            self.quit.as_fd()
        }
    }

    fn take(&mut self) -> Vec<i32> {
        self.passed_on = true;
        vec![9]
    }
}

/// Stands by a host till the end, its own or that of the whole.
pub(super) fn attend(shared: &Shared, place: usize) {
    let why = match stand_by(shared, place) {
        Ok(why) => why,
        Err(Error::Absent { .. }) => {
            "there is no pipewright that can be found (--bootstrap puts a copy there)".to_owned()
        }
        Err(error) => in_full(&error),
    };
    shared.lose(place, &why);
}

/// An error with what has caused it.
fn in_full(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn stand_by(shared: &Shared, place: usize) -> Result<String, Error> {
    let setup = &shared.setup;
    let Some(host) = &setup.places[place].host else {
        unreachable!("this host needs nobody to stand by");
    };
    let mut stage = RemoteStage::new(host.clone(), SERVER.map(Into::into).to_vec());
    stage.lease = setup.lease;
    stage.cached = setup.copy.as_ref().map(|copy| copy.name().to_owned());
    let result = with_server(shared, place, &stage);
    match (result, &setup.copy) {
        (Err(Error::Absent { machine, .. }), Some(copy)) => {
            bootstrap(host, copy, &machine)?;
            with_server(shared, place, &stage)
        }
        (result, _) => result,
    }
}

/// Has the server run there; the answer is why it does no more.
fn with_server(shared: &Shared, place: usize, stage: &RemoteStage) -> Result<String, Error> {
    let local = |error| Error::Local("make an event", error);
    let mut signals = Called {
        quit: &shared.quit,
        passed_on: false,
        nothing: Bell::new().map_err(local)?,
    };
    let mut connected = false;
    std::thread::scope(|scope| {
        let result = stage.run(
            || {
                connected = true;
                Talk { shared, place }.begin(scope)
            },
            &mut signals,
        );
        let result = result.map(|ended| why_no_more(&ended));
        if connected {
            // The threads end when the place is lost; what they have said of it counts first.
            let why = result.as_ref().map_or_else(in_full, String::clone);
            shared.lose(place, &why);
        }
        result
    })
}

fn why_no_more(ended: &near::Ended) -> String {
    if let Some(message) = &ended.not_started {
        return message.clone();
    }
    match ended.end {
        End::Exited(0) => "it has nothing more to do".to_owned(),
        End::Exited(status) => format!("what runs chunks there ended with {status}"),
        End::Signaled(signal) => format!("what runs chunks there was killed ({signal})"),
        End::Unknown => {
            "what runs chunks there was killed, and so was what watched over it".to_owned()
        }
    }
}

/// What a host's threads do.
#[derive(Clone, Copy)]
struct Talk<'a> {
    shared: &'a Shared,
    place: usize,
}

impl Talk<'_> {
    /// Starts the threads, which end when the stage's streams are closed and the place is lost.
    fn begin<'scope>(self, scope: &'scope Scope<'scope, '_>) -> io::Result<Streams>
    where
        Self: 'scope,
    {
        let (stdin, to_server) = io::pipe()?;
        let (from_server, stdout) = io::pipe()?;
        for pipe in [to_server.as_fd(), from_server.as_fd()] {
            // Where the kernel grants no more they stay as they are.
            let _ = rustix::pipe::fcntl_setpipe_size(pipe, 1 << 20);
        }
        let stderr = rustix::stdio::stderr().try_clone_to_owned()?;
        let to_server = File::from(OwnedFd::from(to_server));
        let from_server = File::from(OwnedFd::from(from_server));
        let thread = std::thread::Builder::new;
        thread().spawn_scoped(scope, move || self.write(to_server))?;
        thread().spawn_scoped(scope, move || self.read(from_server))?;
        thread().spawn_scoped(scope, move || self.prove())?;
        Ok(Streams {
            stdin: stdin.into(),
            stdout: stdout.into(),
            stderr,
        })
    }

    /// Sends what there is to send, till all is over or the host is lost.
    fn write(self, mut to: File) {
        let mut next = Some(messages::write(&self.shared.job()));
        loop {
            if let Some(bytes) = next.take()
                && to.write_all(&bytes).is_err()
            {
                return;
            }
            // Those who have more may go on.
            self.shared.changed.notify_all();
            let mut crew = self.shared.crew();
            next = loop {
                if let Some(bytes) = crew.next_bytes(self.place) {
                    break Some(bytes);
                }
                if crew.is_over() || crew.is_lost(self.place) {
                    return;
                }
                crew = self.shared.wait(crew, Duration::from_secs(60));
            };
        }
    }

    /// Takes what comes back, till nothing more does or is wanted.
    fn read(self, from: File) {
        let result = self.take_answers(&mut BufReader::with_capacity(PIECE, from));
        match result {
            Ok(None) => {}
            Ok(Some(why)) => self.shared.lose(self.place, &why),
            Err(error) => {
                let why = format!("what it sent cannot be read: {error}");
                self.shared.lose(self.place, &why);
            }
        }
    }

    fn take_answers(&self, from: &mut BufReader<File>) -> io::Result<Option<String>> {
        while let Some(answer) = words::read(from)? {
            match answer {
                Answer::Ready { cores } => self
                    .shared
                    .keep(|crew| crew.answered(self.place, cores as usize)),
                Answer::Ended(report) => self.take_result(report, from)?,
                Answer::NotStarted { message, .. } => return Ok(Some(message)),
                Answer::Failed { run, message } => {
                    let is_called_off = self.shared.crew().store_of(run).is_none();
                    self.shared.keep(|crew| crew.came(run, Outcome::Lost));
                    if !is_called_off && !self.shared.keep(|crew| crew.was_short(self.place)) {
                        return Ok(Some(message));
                    }
                }
            }
        }
        Ok(None)
    }

    fn take_result(&self, report: Report, from: &mut impl Read) -> io::Result<()> {
        let store = self.shared.crew().store_of(report.run);
        let Some(store) = store else {
            // Somebody else was faster.
            let whole = report.stdout.saturating_add(report.stderr);
            let skipped = io::copy(&mut from.take(whole), &mut io::sink())?;
            self.shared
                .keep(|crew| crew.came(report.run, Outcome::Lost));
            return if skipped == whole {
                Ok(())
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        };
        let output = fill(&store, report.stdout, from)?;
        let stderr = fill(&store, report.stderr, from)?;
        let [time, on_core, start] = report.microseconds.map(Duration::from_micros);
        let ended = Ended {
            end: report.how.into(),
            output,
            stderr: Some(stderr),
            left_input: report.left_input,
            time,
            on_core,
            start,
        };
        self.shared
            .keep(|crew| crew.came(report.run, Outcome::Ended(ended)));
        Ok(())
    }

    /// Compares what the command does there with what it does here, on the first bytes of the input.
    fn prove(self) {
        let Some(sample) = self.await_sample() else {
            return;
        };
        let began = Instant::now();
        let run = {
            let mut crew = self.shared.crew();
            let run = crew.begin_sample(self.place, self.shared.store.clone());
            let length = sample.bytes.len() as u32;
            let mut words = Vec::new();
            if length > 0 {
                words.extend(messages::write(&Ask::Piece { run, length }));
                words.extend_from_slice(&sample.bytes);
            }
            words.extend(messages::write(&Ask::Run { run }));
            crew.put(self.place, words);
            run
        };
        self.shared.changed.notify_all();
        let mut crew = self.shared.crew();
        let ended = loop {
            match crew.take_outcome(run) {
                Some(Outcome::Ended(ended)) => break ended,
                Some(Outcome::Lost) => return,
                None if crew.is_over() || crew.is_lost(self.place) => return,
                None => crew = self.shared.wait(crew, Duration::from_secs(60)),
            }
        };
        drop(crew);
        let way = began.elapsed().saturating_sub(ended.time);
        match difference(&sample, &ended) {
            Ok(None) => self
                .shared
                .keep(|crew| crew.proven(self.place, ended.start + way)),
            Ok(Some(why)) => self.shared.lose(self.place, &why),
            Err(error) => {
                let why = format!("its output cannot be read: {error}");
                self.shared.lose(self.place, &why);
            }
        }
    }

    fn await_sample(&self) -> Option<Arc<Sample>> {
        let mut crew = self.shared.crew();
        loop {
            if crew.is_over() || crew.is_lost(self.place) {
                return None;
            }
            if let Sampled::There(sample) = &crew.sampled {
                return Some(Arc::clone(sample));
            }
            crew = self.shared.wait(crew, Duration::from_secs(60));
        }
    }
}

/// Reads so many bytes into a chunk.
fn fill(store: &Store, mut length: u64, from: &mut impl Read) -> io::Result<Chunk> {
    let mut chunk = store.chunk()?;
    let mut buffer = vec![0; PIECE.min(usize::try_from(length).unwrap_or(PIECE))];
    while length > 0 {
        let piece = buffer.len().min(usize::try_from(length).unwrap_or(PIECE));
        from.read_exact(&mut buffer[..piece])?;
        chunk.append_bytes(&buffer[..piece])?;
        length -= piece as u64;
    }
    Ok(chunk)
}

/// Says in what a host differs from this one, if it does.
fn difference(sample: &Sample, there: &Ended) -> io::Result<Option<String>> {
    let output = there.output.read(0, there.output.len())?;
    if (there.end, &output) == (sample.end, &sample.output) {
        return Ok(None);
    }
    let same = output.iter().zip(&sample.output);
    let byte = same.take_while(|(there, here)| there == here).count();
    Ok(Some(if there.end == sample.end {
        format!(
            "the command gives something else there than here, from byte {byte} of its output on: \
             are the program, its files and the locale the same?"
        )
    } else {
        let told = |end| match end {
            pipewright_workers::End::Status(status) => format!("with status {status}"),
            pipewright_workers::End::Signal(signal) => format!("by signal {signal}"),
        };
        let said = there
            .stderr
            .as_ref()
            .map(|said| said.read(0, said.len().min(1000)));
        let said = String::from_utf8_lossy(&said.transpose()?.unwrap_or_default()).into_owned();
        let said = said.lines().rfind(|line| !line.trim().is_empty());
        let said = said.map(|line| format!(" and says: {line}"));
        format!(
            "the command ends there {}, and here {}{}",
            told(there.end),
            told(sample.end),
            said.unwrap_or_default()
        )
    }))
}
