//! Spools, and streams to put through them.

use std::ffi::OsStr;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;

use super::pipewright;

/// Bytes that repeat nowhere.
pub fn stream(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(next)
        .take(length.div_ceil(8))
        .flatten()
        .collect();
    bytes.truncate(length);
    bytes
}

/// `pipewright spool` with these arguments.
pub fn spool<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = pipewright();
    command.arg("spool").args(arguments);
    command
}

pub fn replay(directory: &Path) -> Output {
    pipewright().arg("replay").arg(directory).output().unwrap()
}

/// By bash; `P` is pipewright, `D` the directory.
pub fn in_bash(directory: &Path, text: &str) -> Output {
    super::in_bash(&format!("D='{}'; {text}", directory.display()))
}

/// The files of the stream, in its order; none where there is no directory yet.
pub fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension() == Some(OsStr::new("data")))
        .collect();
    paths.sort();
    paths
}

/// A spool that is fed by a thread, through a pipe whose other end stays open here: what is in it when
/// the spool dies is not lost.
pub struct Fed {
    pub child: Child,
    pub pipe: PipeReader,
    pub producer: JoinHandle<()>,
    /// As long as it is here the stream has no end.
    open: Option<PipeWriter>,
}

impl Fed {
    /// The stream ends behind the bytes.
    pub fn start(command: Command, bytes: Vec<u8>) -> Self {
        let mut fed = Self::start_without_end(command, bytes);
        fed.open = None;
        fed
    }

    /// More might come behind the bytes, until the spool is killed: however late that is, it has not
    /// seen an end.
    pub fn start_without_end(mut command: Command, bytes: Vec<u8>) -> Self {
        let (pipe, mut writer) = std::io::pipe().unwrap();
        let open = Some(writer.try_clone().unwrap());
        command.stdin(pipe.try_clone().unwrap());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = child.spawn().unwrap();
        drop(command);
        let producer = std::thread::spawn(move || {
            let _ = writer.write_all(&bytes);
        });
        Self {
            child,
            pipe,
            producer,
            open,
        }
    }

    /// Kills the spool, and gives what it had not taken from the pipe.
    pub fn kill(mut self) -> Vec<u8> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.open = None;
        let mut rest = Vec::new();
        self.pipe.read_to_end(&mut rest).unwrap();
        self.producer.join().unwrap();
        rest
    }
}
