//! Chunks that are run by whoever takes them, as the workers' scatter sees it.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use pipewright_workers::{Chunk, End, Ended, Runner, Started, Stop, Store};
use tokio::runtime::Runtime;

use super::carried::{lock, read};
use super::coordinator::{Coordinator, Setup, Shared, StopFlag};
use super::error::{Error, Result};
use super::ledger::Mismatch;
use super::messages::How;
use super::names::Kind;
use super::pieces::Pieces;

/// A chunk that is run by whoever takes it.
struct Away {
    runtime: Arc<Runtime>,
    shared: Arc<Shared>,
    chunk: u64,
    store: Store,
    stop: Arc<StopFlag>,
    began: Instant,
}

impl Started for Away {
    fn stop(&self) -> Arc<dyn Stop> {
        Arc::clone(&self.stop) as Arc<dyn Stop>
    }

    fn finish(self: Box<Self>, parts: &[&Chunk]) -> pipewright_workers::Result<Ended> {
        let Self {
            shared,
            chunk,
            store,
            stop,
            ..
        } = &*self;
        let ended = self.runtime.block_on(async {
            let Some(done) = shared.run(*chunk, parts, stop).await? else {
                return Ok(None);
            };
            let output = shared.fetch(&done, "stdout", store).await?;
            let stderr = shared.fetch(&done, "stderr", store).await?;
            if matches!(done.how, How::Status(_)) {
                let input = shared.server.job.input(*chunk, None);
                shared.server.remove(Kind::Input, &input).await?;
            }
            if let How::Lost(times) = done.how
                && lock(&shared.lost).insert(*chunk, done.clone()).is_none()
            {
                (shared.tell)(&format!(
                    "chunk {} was taken {times} times, and no worker came back",
                    chunk + 1
                ));
            }
            Ok::<_, Error>(Some((done, output, stderr)))
        });
        let Some((done, output, stderr)) = ended.map_err(elsewhere)? else {
            return Ok(Ended {
                end: End::Signal(9),
                output: store.chunk().map_err(pipewright_workers::Error::Store)?,
                stderr: None,
                left_input: false,
                time: Duration::ZERO,
                on_core: Duration::ZERO,
                start: Duration::ZERO,
            });
        };
        let [time, on_core, fixed] = done.microseconds.map(Duration::from_micros);
        Ok(Ended {
            end: done.how.end(),
            output,
            stderr: Some(stderr),
            left_input: done.left_input,
            time: time.min(self.began.elapsed()),
            on_core,
            start: fixed,
        })
    }
}

fn elsewhere(error: Error) -> pipewright_workers::Error {
    pipewright_workers::Error::Elsewhere(Box::new(error))
}

impl Runner for Coordinator {
    fn known_length(&self, number: u64) -> pipewright_workers::Result<Option<u64>> {
        let known = self.shared.known(number);
        self.runtime.block_on(known).map_err(elsewhere)
    }

    fn input_ended(&self, chunks: u64) -> pipewright_workers::Result<()> {
        if let Some(last) = chunks.checked_sub(1) {
            self.shared.last.store(last, Relaxed);
        }
        let known = self.shared.known(chunks);
        match self.runtime.block_on(known).map_err(elsewhere)? {
            Some(_) => Err(elsewhere(Mismatch::Shorter { chunk: chunks }.into())),
            None => Ok(()),
        }
    }

    fn start(&self, number: u64, store: &Store) -> pipewright_workers::Result<Box<dyn Started>> {
        Ok(Box::new(Away {
            runtime: Arc::clone(&self.runtime),
            shared: Arc::clone(&self.shared),
            chunk: number,
            store: store.clone(),
            stop: Arc::default(),
            began: Instant::now(),
        }))
    }

    fn failed(&self, number: u64, parts: &[&Chunk], end: End) {
        let Setup {
            job,
            failed_to,
            argv,
            ..
        } = &self.shared.setup;
        let name = format!("{job}-chunk-{}", number + 1);
        let how = match end {
            End::Status(status) => format!("with status {status}"),
            End::Signal(signal) => format!("by signal {signal}"),
        };
        let kept = keep(&failed_to.join(&name), parts)
            .or_else(|_| keep(&std::env::temp_dir().join(&name), parts));
        let kept = match kept {
            Ok(path) => format!(
                "its input is kept in {}; to run it once more: {} < {}",
                path.display(),
                typed(argv),
                typed(&[path.as_os_str()]),
            ),
            Err(error) => format!("its input could not be kept: {error}"),
        };
        (self.shared.tell)(&format!(
            "chunk {} failed on its workers {how}; {kept}",
            number + 1
        ));
    }
}

/// Words as they would be typed.
fn typed<S: AsRef<OsStr>>(words: &[S]) -> String {
    match words {
        [] => String::new(),
        [program, arguments @ ..] => pipewright::Command::new(program)
            .args(arguments)
            .to_string(),
    }
}

/// Writes what a run has read to a file.
fn keep(path: &Path, parts: &[&Chunk]) -> Result<PathBuf> {
    let mut file = std::fs::File::create(path).map_err(Error::Store)?;
    let length = parts.iter().map(|part| part.len()).sum();
    for (_, range) in Pieces::of(length).ranges() {
        let bytes = read(parts, range.start, range.end)?;
        file.write_all(&bytes).map_err(Error::Store)?;
    }
    Ok(path.to_owned())
}
