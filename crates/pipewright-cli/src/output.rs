//! Streams that wait where a write would block, and whose errors name them.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use crate::inherited;

/// A stream, by a name for errors.
#[derive(Debug)]
pub(crate) struct Output {
    target: Target,
    name: String,
}

/// A standard stream is not copied: an error can be told where no descriptor is left.
#[derive(Debug)]
enum Target {
    Standard(BorrowedFd<'static>),
    File(File),
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Standard(stream) => *stream,
            Self::File(file) => file.as_fd(),
        }
    }
}

impl Output {
    /// stdout, unless the caller closed it.
    pub(crate) fn stdout() -> io::Result<Self> {
        Self::standard(1, rustix::stdio::stdout(), "stdout")
    }

    /// stderr, unless the caller closed it.
    pub(crate) fn stderr() -> io::Result<Self> {
        Self::standard(2, rustix::stdio::stderr(), "stderr")
    }

    fn standard(number: u8, stream: BorrowedFd<'static>, name: &str) -> io::Result<Self> {
        // std has put /dev/null in its place.
        if inherited::was_closed(number) {
            return Err(named(name, &Errno::BADF.into()));
        }
        Ok(Self {
            target: Target::Standard(stream),
            name: name.to_owned(),
        })
    }

    /// A file, made where there is none; what is in it stays for now.
    fn open(path: &Path) -> io::Result<Self> {
        let name = path.display().to_string();
        let open = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let file = open.map_err(|error| named(&name, &error))?;
        let target = Target::File(file);
        Ok(Self { target, name })
    }

    /// The regular file that it is, by device and inode.
    fn regular_file(&self) -> Option<(u64, u64)> {
        let stat = fstat(&self.target).ok()?;
        let is_regular = FileType::from_raw_mode(stat.st_mode).is_file();
        is_regular.then_some((stat.st_dev, stat.st_ino))
    }

    /// The file that it is; a standard stream is none of ours.
    fn file(&self) -> io::Result<&File> {
        match &self.target {
            Target::File(file) => Ok(file),
            Target::Standard(_) => Err(Errno::INVAL.into()),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(&self.target, bytes) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let mut polled = [PollFd::new(&self.target, PollFlags::OUT)];
                    // Interrupted or not, the write is tried again.
                    let _ = poll(&mut polled, None);
                }
                written => return written.map_err(|errno| named(&self.name, &errno.into())),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn named(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write to {name}: {error}"))
}

/// The target of a recording, which grows while the pipeline runs.
///
/// A regular file gets it at once. Any other target could hold up whoever writes to it, and stdout is
/// the pipeline's until that has ended: for those a temporary file keeps the recording till the end.
#[derive(Debug)]
pub(crate) struct Recording {
    growing: BufWriter<Output>,
    /// Nothing was written yet, and an older recording may still be there.
    untouched: bool,
    /// Gets the whole when all of it is there.
    target: Option<Output>,
}

impl Recording {
    /// Opens the targets that options name. A file for two of them is an error: each would write over
    /// the other.
    pub(crate) fn open_all(wanted: &[(&str, PathBuf)]) -> anyhow::Result<Vec<Self>> {
        let mut opened: Vec<(&str, Self)> = Vec::new();
        for (option, path) in wanted {
            let recording = Self::open(path)?;
            let file = recording.growing.get_ref().regular_file();
            let same = |it: &&(&str, Self)| it.1.growing.get_ref().regular_file() == file;
            if let Some((other, _)) = opened.iter().find(same) {
                anyhow::bail!(
                    "{other} and {option} would both write to {}; give each a file of its own",
                    path.display()
                );
            }
            opened.push((option, recording));
        }
        Ok(opened.into_iter().map(|(_, recording)| recording).collect())
    }

    /// Opens the target; `-` is stdout.
    fn open(path: &Path) -> anyhow::Result<Self> {
        let output = if path == Path::new("-") {
            Output::stdout()?
        } else {
            Output::open(path)?
        };
        // The pipeline writes to these, whatever the name: /dev/stdout begins at the file's beginning.
        let file = output.regular_file();
        let standard = [Output::stdout(), Output::stderr()].into_iter().flatten();
        let standard = standard
            .into_iter()
            .find(|standard| file.is_some() && standard.regular_file() == file);
        let is_apart = file.is_some() && standard.is_none();
        let output = standard.unwrap_or(output);
        let (growing, target) = if is_apart {
            (output, None)
        } else {
            let file = tempfile::tempfile().with_context(|| {
                let directory = std::env::temp_dir();
                format!("cannot make a temporary file in {}", directory.display())
            })?;
            let name = format!("a temporary file for {}", output.name);
            let target = Target::File(file);
            (Output { target, name }, Some(output))
        };
        Ok(Self {
            growing: BufWriter::with_capacity(1 << 16, growing),
            untouched: true,
            target,
        })
    }

    /// Writes all that is still here, to the target.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        if let Some(mut target) = self.target {
            let mut kept = self.growing.get_ref().file()?;
            kept.rewind()?;
            io::copy(&mut kept, &mut target)?;
        }
        Ok(())
    }
}

impl Write for Recording {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if std::mem::take(&mut self.untouched) {
            let growing = self.growing.get_ref();
            let emptied = growing.file().and_then(|file| file.set_len(0));
            emptied.map_err(|error| named(&growing.name, &error))?;
        }
        self.growing.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.growing.flush()
    }
}

/// Lets a write past the file size limit (RLIMIT_FSIZE) fail, instead of ending this process by
/// SIGXFSZ.
///
/// By a handler, since one that is ignored would be ignored by the stages, too.
pub(crate) fn survive_size_limit() {
    use signal_hook::consts::SIGXFSZ;
    if !inherited::was_ignored(SIGXFSZ) {
        // Refused: it ends this process, as it would any other.
        let _ = signal_hook::flag::register(SIGXFSZ, std::sync::Arc::default());
    }
}
