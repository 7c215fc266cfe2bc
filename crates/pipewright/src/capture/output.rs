//! The whole output of a command that has ended.

use std::fmt;
use std::process::ExitStatus;

use super::collected::{Collected, Excerpt, tail};
use crate::error::{Error, Result};
use crate::pipeline::{PipelineStatus, StageEnd};

/// The whole output of a command or pipeline that has ended.
///
/// A status other than success is no error in itself; [`check`](Output::check) makes it one.
///
/// ```
/// use pipewright::Command;
///
/// let script = "echo partly; echo no such table >&2; exit 3";
/// let output = Command::new("sh").args(["-c", script]).capture().output()?;
/// assert_eq!(output.stdout, b"partly\n");
/// assert_eq!(output.stderr[0], b"no such table\n");
/// assert_eq!(output.exit_status().code(), Some(3));
///
/// let error = output.check().unwrap_err();
/// assert!(error.to_string().ends_with("failed: exit status 3: no such table"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Output {
    /// The end of each stage; a single command is one stage.
    pub status: PipelineStatus,
    /// The bytes of the last stage's stdout. Empty where the command sent it elsewhere.
    pub stdout: Vec<u8>,
    /// The bytes of each stage's stderr, in the order of the stages. Empty where it went elsewhere.
    pub stderr: Vec<Vec<u8>>,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stderr: Vec<_> = self.stderr.iter().map(|bytes| Excerpt(bytes)).collect();
        f.debug_struct("Output")
            .field("status", &self.status)
            .field("stdout", &Excerpt(&self.stdout))
            .field("stderr", &stderr)
            .finish()
    }
}

impl Output {
    pub(super) fn new(status: PipelineStatus, collected: Collected) -> Self {
        Self {
            status,
            stdout: collected.stdout,
            stderr: collected.stderr,
        }
    }

    /// True if it ended with success, under the pipeline's [`Policy`](crate::Policy).
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// The one status in std's form: that of the stage whose failure counts, or else success.
    pub fn exit_status(&self) -> ExitStatus {
        ExitStatus::from(&self.status)
    }

    /// This output if it ended with success.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with the name of the stage that failed, how it ended, and the end of what
    /// it wrote to its stderr.
    pub fn check(self) -> Result<Self> {
        failure(&self.status, |stage| &self.stderr[stage]).map_or(Ok(self), Err)
    }

    /// The stdout as text.
    ///
    /// It is all there, with the newline at its end. The status does not matter here.
    ///
    /// # Errors
    ///
    /// [`Error::NotUtf8`] with the position of the first byte that is not UTF-8.
    pub fn text(self) -> Result<String> {
        let name = || {
            let stage = self.status.stages().last();
            stage.map_or_else(String::new, |stage| stage.name.clone())
        };
        text(self.stdout, 0, name)
    }
}

/// The error of a pipeline that failed. `stderr` gives what the stage wrote there.
pub(super) fn failure<'a>(
    status: &PipelineStatus,
    stderr: impl Fn(usize) -> &'a [u8],
) -> Option<Error> {
    let index = status.failed_stage()?;
    let stage = &status.stages()[index];
    Some(Error::Failed {
        name: stage.name.clone(),
        end: stage.explained_end(),
        exit_code: stage.end.exit_code(),
        stderr: match stage.end {
            StageEnd::NotStarted(_) => String::new(),
            _ => tail(stderr(index)),
        },
    })
}

/// Bytes as text. `offset` is the position of the first of them in the whole output.
pub(super) fn text(bytes: Vec<u8>, offset: u64, name: impl Fn() -> String) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let position = error.utf8_error().valid_up_to();
        Error::NotUtf8 {
            name: name(),
            position: offset + position as u64,
            byte: error.as_bytes()[position],
        }
    })
}

/// For code written against std. The stderr of all stages comes one after the other.
impl From<Output> for std::process::Output {
    fn from(output: Output) -> Self {
        Self {
            status: output.exit_status(),
            stdout: output.stdout,
            stderr: output.stderr.concat(),
        }
    }
}
