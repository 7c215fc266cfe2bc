//! The outputs of the workers made one, in the order of their chunks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use pipewright::Command;

use crate::chunk::{Chunk, Store};
use crate::classes::{Merge, up_to_program};
use crate::error::{Error, Result};
use crate::fed::{Fed, ended_with_this_process};
use crate::merge::{self, Seams};
use crate::order::End;
use crate::worker::{Program, end_of};

/// Whether somebody still reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    Here,
    Gone,
}

/// Takes the outputs, in order, and gives what is certain.
pub(crate) struct Gather {
    output: OwnedFd,
    how: How,
}

enum How {
    /// One behind the other; of all but the first, what the header gives is left out.
    Join {
        header: Vec<u8>,
        first: bool,
    },
    /// Through one more run of the command.
    Again(Fed),
    Seams(Seams),
    /// Kept until all are there.
    Keep {
        /// In order, each with how often it was merged already.
        parts: Vec<(u32, Chunk)>,
        then: Then,
        store: Store,
    },
}

/// What is done with all parts.
enum Then {
    Add,
    Largest,
    Reverse,
    /// `sort -m`: sorted parts give a sorted part.
    Sorted(Program),
    /// A command that gets the parts as files behind its arguments. Of what it makes nobody knows whether
    /// it may be a part again.
    Files(Program),
}

impl Gather {
    /// Outputs one behind the other. All but the first begin with `header`, which is left out.
    pub(crate) fn joined(output: OwnedFd, header: Vec<u8>) -> Self {
        let how = How::Join {
            header,
            first: true,
        };
        Self { output, how }
    }

    /// Outputs merged by a known step.
    pub(crate) fn merged(
        output: OwnedFd,
        program: &Program,
        merge: &Merge,
        store: &Store,
    ) -> Result<Self> {
        let keep = |then| How::Keep {
            parts: Vec::new(),
            then,
            store: store.clone(),
        };
        let how = match merge {
            Merge::Again => {
                let stdout = output.try_clone().map_err(Error::Write)?;
                How::Again(Fed::start(program.command(), stdout)?)
            }
            Merge::AddAtSeams => How::Seams(Seams::default()),
            Merge::Add => keep(Then::Add),
            Merge::Largest => keep(Then::Largest),
            Merge::Reverse => keep(Then::Reverse),
            Merge::Sort(flags) => {
                let mut argv = up_to_program(&program.argv);
                argv.push("-m".into());
                argv.extend(flags.iter().map(Into::into));
                keep(Then::Sorted(Program::new(argv)))
            }
        };
        Ok(Self { output, how })
    }

    /// Outputs given to a command as files, in order, when all are there.
    pub(crate) fn by(output: OwnedFd, command: Program, store: &Store) -> Self {
        let how = How::Keep {
            parts: Vec::new(),
            then: Then::Files(command),
            store: store.clone(),
        };
        Self { output, how }
    }

    /// What to look at for whether a command that reads the outputs has had enough.
    ///
    /// Nobody looks at where the stage's own output goes: a command that finds nothing to write does not
    /// mind that its reader has gone, and reads on.
    pub(crate) fn watched(&self) -> Result<Option<OwnedFd>> {
        match &self.how {
            How::Again(fed) => fed.input().as_fd().try_clone_to_owned().map(Some),
            _ => Ok(None),
        }
        .map_err(Error::Write)
    }

    /// Takes the next output.
    pub(crate) fn take(&mut self, part: Chunk) -> Result<Reader> {
        match &mut self.how {
            How::Join { header, first } => {
                let is_first = std::mem::replace(first, false);
                let length = header.len() as u64;
                if is_first {
                    return given(part.give(0, self.output.as_fd()));
                }
                let begins =
                    part.len() >= length && part.read(0, length).map_err(Error::store)? == *header;
                if !begins {
                    let error = "an output does not begin with what the header alone gives, so nobody \
                                 knows what of it to leave out; run the command without workers";
                    return Err(Error::Merge(error.to_owned()));
                }
                given(part.give(length, self.output.as_fd()))
            }
            How::Again(fed) => Ok(if fed.feed(&part)? {
                Reader::Here
            } else {
                Reader::Gone
            }),
            How::Seams(seams) => {
                let bytes = part.bytes().map_err(Error::store)?;
                let certain = seams
                    .join(&bytes)
                    .map_err(|error| Error::Merge(error.to_string()))?;
                write(&certain, self.output.as_fd())
            }
            How::Keep { parts, then, store } => {
                parts.push((0, part));
                fold(parts, then, store)?;
                Ok(Reader::Here)
            }
        }
    }

    /// Gives what was still kept. The answer is how a merging command ended, where there was one.
    pub(crate) fn end(self) -> Result<(Reader, Option<End>)> {
        let output = self.output.as_fd();
        match self.how {
            How::Join { .. } => Ok((Reader::Here, None)),
            How::Again(fed) => Ok((Reader::Here, Some(fed.end()?.end))),
            How::Seams(seams) => Ok((write(&seams.end(), output)?, None)),
            How::Keep { parts, then, .. } => {
                let parts: Vec<Chunk> = parts.into_iter().map(|(_, part)| part).collect();
                then.merge(&parts, output)
            }
        }
    }
}

impl Then {
    fn merge(&self, parts: &[Chunk], output: BorrowedFd<'_>) -> Result<(Reader, Option<End>)> {
        match self {
            Self::Add | Self::Largest => {
                let outputs: io::Result<Vec<Vec<u8>>> = parts.iter().map(Chunk::bytes).collect();
                let outputs = outputs.map_err(Error::store)?;
                let number = if matches!(self, Self::Add) {
                    merge::add(&outputs)
                } else {
                    merge::largest(&outputs)
                };
                let number = number.map_err(|error| Error::Merge(error.to_string()))?;
                Ok((write(&number, output)?, None))
            }
            Self::Reverse => {
                for part in parts.iter().rev() {
                    if given(part.give(0, output))? == Reader::Gone {
                        return Ok((Reader::Gone, None));
                    }
                }
                Ok((Reader::Here, None))
            }
            Self::Sorted(command) | Self::Files(command) => {
                let stdout = output.try_clone_to_owned().map_err(Error::Write)?;
                let child = ended_with_this_process(with_files(command.command(), parts)?)
                    .stdout(stdout)
                    .kill_on_drop()
                    .spawn()
                    .map_err(Error::Start)?;
                let status = child.wait().map_err(Error::Start)?;
                Ok((Reader::Here, Some(end_of(status))))
            }
        }
    }
}

/// How many parts of a kind are kept: each is an open file. `sort -m` merges 16 at once; of more it makes
/// fewer first, in files on a disk.
const PARTS: usize = 16;

/// Merges the last parts into one as long as there are many that were merged equally often, so that a
/// long stream has few parts and each byte is merged few times.
fn fold(parts: &mut Vec<(u32, Chunk)>, then: &Then, store: &Store) -> Result<()> {
    if matches!(then, Then::Files(_)) {
        return Ok(());
    }
    while let Some(&(merged, _)) = parts.last()
        && let Some(from) = parts.len().checked_sub(PARTS)
        && parts[from].0 == merged
    {
        let several: Vec<Chunk> = parts.drain(from..).map(|(_, part)| part).collect();
        let mut one = store.chunk().map_err(Error::store)?;
        let output = one.for_writing().map_err(Error::store)?;
        match then.merge(&several, output.as_fd())? {
            (Reader::Here, None | Some(End::Status(0))) => {}
            (_, end) => {
                return Err(Error::Merge(format!(
                    "the merging command ended with {end:?}"
                )));
            }
        }
        one.measure().map_err(Error::store)?;
        parts.push((merged + 1, one));
    }
    Ok(())
}

/// The command with the parts as descriptors, and their paths behind its arguments.
fn with_files(mut command: Command, parts: &[Chunk]) -> Result<Command> {
    for (number, part) in (3..).zip(parts) {
        command = command
            .arg(format!("/dev/fd/{number}"))
            .fd(number, part.for_reading().map_err(Error::store)?);
    }
    Ok(command)
}

/// Merges outputs that are small, such as those of a check.
pub(crate) fn merge_in_memory(
    program: &Program,
    merge: &Merge,
    outputs: Vec<Vec<u8>>,
    store: &Store,
) -> Result<Vec<u8>> {
    let mut merged = store.chunk().map_err(Error::store)?;
    let output = merged.for_writing().map_err(Error::store)?;
    let mut gather = Gather::merged(output.into(), program, merge, store)?;
    for output in outputs {
        let mut part = store.chunk().map_err(Error::store)?;
        part.append_bytes(&output).map_err(Error::store)?;
        gather.take(part)?;
    }
    gather.end()?;
    merged.measure().map_err(Error::store)?;
    merged.bytes().map_err(Error::store)
}

fn write(bytes: &[u8], output: BorrowedFd<'_>) -> Result<Reader> {
    let mut left = bytes;
    while !left.is_empty() {
        match rustix::io::write(output, left) {
            Ok(written) => left = &left[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                crate::chunk::wait_until_writable(output).map_err(Error::Write)?;
            }
            Err(error) => return given(Err(error.into())),
        }
    }
    Ok(Reader::Here)
}

fn given(result: io::Result<()>) -> Result<Reader> {
    match result {
        Ok(()) => Ok(Reader::Here),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Error::Write(error)),
    }
}
