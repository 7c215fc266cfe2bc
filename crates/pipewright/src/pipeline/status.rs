//! How a pipeline ended, stage by stage, and the one verdict over it. Pure: no system call.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use crate::error::Error;
use crate::spawn::ResourceUsage;

/// Which stages' ends decide whether a pipeline succeeded.
///
/// ```
/// use pipewright::{Command, Policy, Stdio};
///
/// let succeeds = |policy| {
///     let head = Command::new("head").arg("-1").stdout(Stdio::Null);
///     (Command::new("yes") | head).policy(policy).run().map(|status| status.success())
/// };
/// assert!(succeeds(Policy::Pipefail)?); // yes was told that no more was wanted
/// assert!(succeeds(Policy::Last)?);
/// assert!(!succeeds(Policy::Any)?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Policy {
    /// Every stage counts, but one that was [closed early](StageEnd::ClosedEarly) did not fail. The
    /// status is the rightmost failure's.
    #[default]
    Pipefail,
    /// Only the last stage counts, as in a shell without `pipefail`.
    Last,
    /// Every stage counts, one that was closed early too, as in a shell with `pipefail`.
    Any,
}

/// How one stage ended.
///
/// ```
/// use pipewright::{Command, Pipeline, StageEnd};
///
/// let stages = ["exit 3", "kill -HUP $$"].map(|script| Command::new("sh").args(["-c", script]));
/// let ended = Pipeline::new(stages).run()?;
/// assert!(matches!(ended.stages()[0].end, StageEnd::Exited(3)));
/// assert!(matches!(ended.stages()[1].end, StageEnd::Signaled { signal: 1, .. }));
/// assert_eq!(ended.stages()[1].end.to_string(), "killed by SIGHUP");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StageEnd {
    /// It exited with this status, 0 to 255.
    Exited(i32),
    /// A signal ended it.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// Whether the kernel wrote a core file.
        core_dumped: bool,
    },
    /// SIGPIPE ended it because its reader had finished: it was told that no more was wanted. That
    /// is no failure, and never said of the last stage.
    ///
    /// A stage that exited with 141 counts too: that is how a shell reports it of its own last
    /// command.
    ClosedEarly,
    /// It could not be started.
    NotStarted(Arc<Error>),
}

impl StageEnd {
    /// Whether it exited with status 0.
    ///
    /// ```
    /// use pipewright::StageEnd;
    ///
    /// assert!(StageEnd::Exited(0).success());
    /// assert!(!StageEnd::Exited(1).success());
    /// assert!(!StageEnd::ClosedEarly.success()); // whether it counts is the policy's to say
    /// ```
    pub fn success(&self) -> bool {
        matches!(self, Self::Exited(0))
    }

    /// The status that a shell would give: the exit status, 128 + n for signal n, 126 or 127 for a
    /// program that could not be executed or found.
    ///
    /// ```
    /// use pipewright::StageEnd;
    ///
    /// assert_eq!(StageEnd::Exited(3).exit_code(), 3);
    /// assert_eq!(StageEnd::Signaled { signal: 15, core_dumped: false }.exit_code(), 143);
    /// assert_eq!(StageEnd::ClosedEarly.exit_code(), 141); // SIGPIPE is 13
    /// ```
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Exited(status) => *status as u8,
            Self::Signaled { signal, .. } => 128_u8.wrapping_add(*signal as u8),
            Self::ClosedEarly => SIGPIPE_STATUS as u8,
            Self::NotStarted(error) => error.exit_code(),
        }
    }

    /// The same end, seen of a stage that had a reader.
    fn before_a_reader(self) -> Self {
        match self {
            Self::Signaled { signal, .. } if signal == Signal::PIPE.as_raw() => Self::ClosedEarly,
            Self::Exited(SIGPIPE_STATUS) => Self::ClosedEarly,
            other => other,
        }
    }
}

const SIGPIPE_STATUS: i32 = 128 + 13;

impl From<ExitStatus> for StageEnd {
    fn from(status: ExitStatus) -> Self {
        match status.signal() {
            Some(signal) => Self::Signaled {
                signal,
                core_dumped: status.core_dumped(),
            },
            None => Self::Exited(status.code().unwrap_or(0)),
        }
    }
}

/// In std's form. A stage that was closed early was ended by SIGPIPE; one that could not start has
/// the status that a shell would give.
///
/// ```
/// use std::os::unix::process::ExitStatusExt;
/// use std::process::ExitStatus;
/// use pipewright::StageEnd;
///
/// assert_eq!(ExitStatus::from(&StageEnd::Exited(3)).code(), Some(3));
/// assert_eq!(ExitStatus::from(&StageEnd::ClosedEarly).signal(), Some(13));
/// ```
impl From<&StageEnd> for ExitStatus {
    fn from(end: &StageEnd) -> Self {
        let exited = |status: i32| (status & 0xff) << 8;
        Self::from_raw(match end {
            StageEnd::Exited(status) => exited(*status),
            StageEnd::Signaled {
                signal,
                core_dumped,
            } => signal | i32::from(*core_dumped) << 7,
            StageEnd::ClosedEarly => Signal::PIPE.as_raw(),
            StageEnd::NotStarted(error) => exited(error.exit_code().into()),
        })
    }
}

impl fmt::Display for StageEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exit status {status}"),
            Self::Signaled {
                signal,
                core_dumped,
            } => {
                let core = if *core_dumped { " (core dumped)" } else { "" };
                write!(f, "killed by {}{core}", signal_name(*signal))
            }
            Self::ClosedEarly => f.write_str("closed early"),
            Self::NotStarted(error) => write!(f, "not started: {error}"),
        }
    }
}

/// A signal's name, `SIGTERM` for 15; `signal 40` where it has none.
///
/// ```
/// assert_eq!(pipewright::signal_name(15), "SIGTERM");
/// assert_eq!(pipewright::signal_name(40), "signal 40");
/// ```
pub fn signal_name(number: i32) -> String {
    let name = usize::try_from(number)
        .ok()
        .and_then(|n| SIGNALS.get(n.checked_sub(1)?));
    name.map_or_else(|| format!("signal {number}"), |name| format!("SIG{name}"))
}

/// The names of signals 1 to 31, in the order of signal(7) for x86-64 and aarch64.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// One stage of a pipeline that has ended.
///
/// ```
/// use pipewright::Command;
///
/// let ended = (Command::new("sleep").arg("0.02") | Command::new("cat")).run()?;
/// let [sleep, _] = ended.stages() else { panic!("two stages") };
/// assert_eq!((&*sleep.name, sleep.end.exit_code()), ("sleep 0.02", 0));
/// assert!(sleep.wall.as_millis() >= 20 && sleep.usage.cpu() < sleep.wall);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StageStatus {
    /// The command as one would type it.
    pub name: String,
    /// How it ended.
    pub end: StageEnd,
    /// From its start to its end.
    pub wall: Duration,
    /// What it used.
    pub usage: ResourceUsage,
}

impl fmt::Display for StageStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.end)
    }
}

/// How a whole pipeline ended.
///
/// ```
/// use pipewright::{Command, StageEnd, Stdio};
///
/// let ended = (Command::new("yes") | Command::new("head").arg("-1").stdout(Stdio::Null)).run()?;
/// assert!(matches!(ended.stages()[0].end, StageEnd::ClosedEarly));
/// assert!(ended.success());
///
/// let ended = (Command::new("no-such-program") | Command::new("cat")).run()?;
/// assert_eq!(ended.failed_stage(), Some(0));
/// assert_eq!(ended.exit_code(), 127);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct PipelineStatus {
    stages: Vec<StageStatus>,
    policy: Policy,
    wall: Duration,
}

impl PipelineStatus {
    pub(super) fn new(mut stages: Vec<StageStatus>, policy: Policy, wall: Duration) -> Self {
        let last = stages.len().saturating_sub(1);
        for stage in &mut stages[..last] {
            stage.end = stage.end.clone().before_a_reader();
        }
        Self {
            stages,
            policy,
            wall,
        }
    }

    /// The stages, from the first to the last.
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let ended = (Command::new("echo").arg("a") | Command::new("grep").args(["-q", "b"])).run()?;
    /// let told: Vec<String> = ended.stages().iter().map(|stage| stage.to_string()).collect();
    /// assert_eq!(told, ["echo a: exit status 0", "grep -q b: exit status 1"]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stages(&self) -> &[StageStatus] {
        &self.stages
    }

    /// From the start of the first stage to the end of the one that ended last.
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let ended = (Command::new("true") | Command::new("sleep").arg("0.02")).run()?;
    /// assert!(ended.wall().as_millis() >= 20); // the longest stage, not the sum or the first
    /// assert!(ended.wall() >= ended.stages()[1].wall);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wall(&self) -> Duration {
        self.wall
    }

    /// The index of the stage whose failure is the pipeline's: the rightmost that counts under the
    /// policy. `None` on success.
    ///
    /// ```
    /// use pipewright::{Command, Pipeline};
    ///
    /// let exits = ["exit 1", "exit 2", "cat"].map(|script| Command::new("sh").args(["-c", script]));
    /// let ended = Pipeline::new(exits).run()?;
    /// assert_eq!(ended.failed_stage(), Some(1)); // the rightmost
    /// assert_eq!((Command::new("true") | Command::new("cat")).run()?.failed_stage(), None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn failed_stage(&self) -> Option<usize> {
        let counts = |index: usize, end: &StageEnd| match (self.policy, end) {
            (Policy::Last, _) => index + 1 == self.stages.len(),
            (Policy::Pipefail, StageEnd::ClosedEarly) => false,
            (Policy::Pipefail | Policy::Any, _) => true,
        };
        self.stages
            .iter()
            .enumerate()
            .rposition(|(index, stage)| counts(index, &stage.end) && !stage.end.success())
    }

    /// Whether the pipeline succeeded under its policy.
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// assert!((Command::new("true") | Command::new("cat")).run()?.success());
    /// assert!(!(Command::new("false") | Command::new("cat")).run()?.success()); // not only the last
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn success(&self) -> bool {
        self.failed_stage().is_none()
    }

    /// The status a shell would give: 0 on success, else the failed stage's
    /// [`exit_code`](StageEnd::exit_code).
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let not_found = Command::new("no-such-program") | Command::new("cat");
    /// assert_eq!(not_found.run()?.exit_code(), 127);
    /// let killed = Command::new("sh").args(["-c", "kill -KILL $$"]) | Command::new("cat");
    /// assert_eq!(killed.run()?.exit_code(), 128 + 9);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn exit_code(&self) -> u8 {
        self.failed_stage()
            .map_or(0, |index| self.stages[index].end.exit_code())
    }
}

/// The failed stage's end in std's form, or success.
///
/// ```
/// use std::process::ExitStatus;
/// use pipewright::Command;
///
/// let ended = (Command::new("sh").args(["-c", "exit 6"]) | Command::new("cat")).run()?;
/// assert_eq!(ExitStatus::from(&ended).code(), Some(6));
/// # Ok::<(), std::io::Error>(())
/// ```
impl From<&PipelineStatus> for ExitStatus {
    fn from(status: &PipelineStatus) -> Self {
        status
            .failed_stage()
            .map_or_else(Self::default, |index| (&status.stages[index].end).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit_code(ends: &[StageEnd], policy: Policy) -> u8 {
        let stages = ends.iter().map(|end| StageStatus {
            name: String::new(),
            end: end.clone(),
            wall: Duration::ZERO,
            usage: ResourceUsage::default(),
        });
        PipelineStatus::new(stages.collect(), policy, Duration::ZERO).exit_code()
    }

    const fn killed(signal: i32) -> StageEnd {
        StageEnd::Signaled {
            signal,
            core_dumped: false,
        }
    }

    #[test]
    fn the_rightmost_failure_is_the_status() {
        let ends = [
            StageEnd::Exited(1),
            StageEnd::Exited(2),
            StageEnd::Exited(0),
        ];
        assert_eq!(exit_code(&ends, Policy::Pipefail), 2);
        assert_eq!(exit_code(&ends, Policy::Last), 0);
        assert_eq!(exit_code(&ends, Policy::Any), 2);
    }

    #[test]
    fn a_stage_closed_early_is_forgiven_unless_asked() {
        for early in [killed(13), StageEnd::Exited(141)] {
            let ends = [early, StageEnd::Exited(0)];
            assert_eq!(exit_code(&ends, Policy::Pipefail), 0);
            assert_eq!(exit_code(&ends, Policy::Any), 141);
        }
    }

    #[test]
    fn the_last_stage_is_never_forgiven() {
        assert_eq!(
            exit_code(&[StageEnd::Exited(0), killed(13)], Policy::Pipefail),
            141
        );
        assert_eq!(exit_code(&[killed(13)], Policy::Last), 141);
    }

    #[test]
    fn a_real_failure_left_of_a_forgiven_stage_counts() {
        let ends = [StageEnd::Exited(3), killed(13), StageEnd::Exited(0)];
        assert_eq!(exit_code(&ends, Policy::Pipefail), 3);
    }

    #[test]
    fn a_signal_is_128_and_its_number() {
        assert_eq!(
            exit_code(&[killed(9), StageEnd::Exited(0)], Policy::Pipefail),
            137
        );
    }

    #[test]
    fn ends_are_told_in_words() {
        assert_eq!(killed(9).to_string(), "killed by SIGKILL");
        assert_eq!(StageEnd::Exited(2).to_string(), "exit status 2");
        assert_eq!(signal_name(13), "SIGPIPE");
        assert_eq!(signal_name(31), "SIGSYS");
    }
}
