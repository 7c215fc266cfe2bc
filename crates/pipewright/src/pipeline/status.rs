//! How a pipeline ended, stage by stage, and the one verdict over it. Pure: no system call.

use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use crate::error::{Error, LostStatus};
use crate::spawn::ResourceUsage;

/// The rule by which the stages' ends make a pipeline succeed or fail.
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
#[non_exhaustive]
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

/// The end of one stage.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StageEnd {
    /// It exited with this status, 0 to 255.
    Exited(i32),
    /// A signal ended it.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// True if the kernel wrote a core file.
        core_dumped: bool,
    },
    /// SIGPIPE ended it after its reader had gone: it was told that no more is wanted. That is no
    /// failure, and never said of the last stage.
    ///
    /// A stage that exited with 141 counts too: that is how a shell reports its last command's
    /// SIGPIPE. Where the reader was still there, SIGPIPE came from elsewhere (a socket, a `kill`),
    /// and is a failure as any signal is. The kernel says which of the two was gone first: each
    /// pipe is watched by inotify(7), with no end of it kept. Where it cannot be watched (no
    /// `/proc`, or no inotify instance left for this user) the reader counts as gone.
    ClosedEarly,
    /// It could not be started.
    NotStarted(Arc<Error>),
    /// It has ended, and how cannot be known any more: see [`Child`](crate::Child#other-code-that-waits).
    /// That counts as a failure, since nobody can say that it was none.
    StatusLost(LostStatus),
}

impl StageEnd {
    /// True if it exited with status 0.
    pub fn success(&self) -> bool {
        matches!(self, Self::Exited(0))
    }

    /// The status that a shell would give: the exit status, 128 + n for signal n, 126 or 127 for a
    /// program that could not be executed or found, 125 where it is lost.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Exited(status) => *status as u8,
            Self::Signaled { signal, .. } => 128_u8.wrapping_add(*signal as u8),
            Self::ClosedEarly => SIGPIPE_STATUS as u8,
            Self::NotStarted(error) => error.exit_code(),
            Self::StatusLost(_) => OWN_ERROR,
        }
    }

    /// Tells whether a signal ended it that people and supervisors send, and no program to itself.
    fn is_from_outside(&self) -> bool {
        const SENT: [Signal; 5] = [
            Signal::TERM,
            Signal::INT,
            Signal::HUP,
            Signal::QUIT,
            Signal::KILL,
        ];
        let sent = |signal: i32| SENT.iter().any(|sent| sent.as_raw() == signal);
        matches!(self, Self::Signaled { signal, .. } if sent(*signal))
    }

    /// Tells whether SIGPIPE ended it, or, as a shell reports it, its last command.
    fn is_sigpipe(&self) -> bool {
        match self {
            Self::Signaled { signal, .. } => *signal == Signal::PIPE.as_raw(),
            Self::Exited(status) => *status == SIGPIPE_STATUS,
            Self::ClosedEarly | Self::NotStarted(_) | Self::StatusLost(_) => false,
        }
    }
}

const SIGPIPE_STATUS: i32 = 128 + 13;

/// The status of what went wrong on this side, as env(1), nice(1) and timeout(1) have it.
const OWN_ERROR: u8 = 125;

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

/// In std's form. A stage that was closed early was ended by SIGPIPE; one that could not start, or whose
/// status is lost, has the status that [`exit_code`](StageEnd::exit_code) gives.
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
            StageEnd::NotStarted(_) | StageEnd::StatusLost(_) => exited(end.exit_code().into()),
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
            Self::StatusLost(cause) => write!(f, "status lost: {cause}"),
        }
    }
}

/// A signal's name, `SIGTERM` for 15; `signal 40` where it has none.
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
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StageStatus {
    /// The command as one would type it.
    pub name: String,
    /// Its end.
    pub end: StageEnd,
    /// From its start to its end.
    pub wall: Duration,
    /// The resources that it used.
    pub usage: ResourceUsage,
    /// Its reader was gone before it had ended. Programs that handle SIGPIPE themselves report what
    /// follows as a failure of their own: curl exits with 23, Python with 1. False where it is not
    /// known, of the last stage, which has no reader here, and of one that SIGINT, SIGTERM or their
    /// like ended: those come from outside.
    pub reader_gone: bool,
    /// Its end would be a failure, but was [forgiven](crate::Command::forgive).
    pub forgiven: bool,
}

impl StageStatus {
    pub(super) fn new(name: String, end: StageEnd, wall: Duration, usage: ResourceUsage) -> Self {
        Self {
            name,
            end,
            wall,
            usage,
            reader_gone: false,
            forgiven: false,
        }
    }

    /// Forgives these statuses. That a stage could not start is never forgiven, nor what is not known.
    pub(super) fn forgive(mut self, statuses: &BTreeSet<u8>) -> Self {
        self.forgiven = match self.end {
            StageEnd::NotStarted(_) | StageEnd::StatusLost(_) => false,
            ref end => !end.success() && statuses.contains(&end.exit_code()),
        };
        self
    }

    /// The same, of a stage that had a reader. `gone_first`: whether the reader was gone before the
    /// stage had ended, as far as that is known.
    pub(super) fn before_a_reader(mut self, gone_first: Option<bool>) -> Self {
        self.reader_gone = gone_first == Some(true) && !self.end.is_from_outside();
        if self.end.is_sigpipe() && gone_first != Some(false) {
            self.end = StageEnd::ClosedEarly;
        }
        self
    }

    /// Its end in words, with what may explain a failure.
    pub(crate) fn explained_end(&self) -> String {
        let failed = matches!(self.end, StageEnd::Exited(1..) | StageEnd::Signaled { .. });
        let reader = if failed && self.reader_gone {
            "; its reader had gone"
        } else {
            ""
        };
        let forgiven = if self.forgiven { " (forgiven)" } else { "" };
        format!("{}{forgiven}{reader}", self.end)
    }
}

impl fmt::Display for StageStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.explained_end())
    }
}

/// The end of a whole pipeline, stage by stage.
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
    pub(super) fn new(stages: Vec<StageStatus>, policy: Policy, wall: Duration) -> Self {
        Self {
            stages,
            policy,
            wall,
        }
    }

    /// The stages, from the first to the last.
    pub fn stages(&self) -> &[StageStatus] {
        &self.stages
    }

    /// From the start of the first stage to the end of the one that ended last.
    pub fn wall(&self) -> Duration {
        self.wall
    }

    /// The index of the stage whose failure is the pipeline's: the rightmost that counts under the
    /// policy. `None` on success.
    pub fn failed_stage(&self) -> Option<usize> {
        let counts = |index: usize, end: &StageEnd| match (self.policy, end) {
            (Policy::Last, _) => index + 1 == self.stages.len(),
            (Policy::Pipefail, StageEnd::ClosedEarly) => false,
            (Policy::Pipefail | Policy::Any, _) => true,
        };
        let failed = |stage: &StageStatus| !stage.end.success() && !stage.forgiven;
        self.stages
            .iter()
            .enumerate()
            .rposition(|(index, stage)| counts(index, &stage.end) && failed(stage))
    }

    /// True if the pipeline succeeded under its policy.
    pub fn success(&self) -> bool {
        self.failed_stage().is_none()
    }

    /// The status a shell would give: 0 on success, else the failed stage's
    /// [`exit_code`](StageEnd::exit_code).
    pub fn exit_code(&self) -> u8 {
        self.failed_stage()
            .map_or(0, |index| self.stages[index].end.exit_code())
    }
}

/// The failed stage's end in std's form, or success.
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
        let last = ends.len() - 1;
        let stages = ends.iter().enumerate().map(|(index, end)| {
            let stage = stage(end.clone());
            if index < last {
                stage.before_a_reader(Some(true))
            } else {
                stage
            }
        });
        PipelineStatus::new(stages.collect(), policy, Duration::ZERO).exit_code()
    }

    fn stage(end: StageEnd) -> StageStatus {
        StageStatus::new(
            "a".to_owned(),
            end,
            Duration::ZERO,
            ResourceUsage::default(),
        )
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
    fn sigpipe_before_a_reader_that_was_there_is_a_failure() {
        for early in [killed(13), StageEnd::Exited(141)] {
            let with_reader = stage(early.clone()).before_a_reader(Some(false));
            assert_eq!(with_reader.end.to_string(), early.to_string());
            let unknown = stage(early).before_a_reader(None);
            assert!(matches!(unknown.end, StageEnd::ClosedEarly));
            assert!(!unknown.reader_gone);
        }
    }

    #[test]
    fn a_failure_says_that_its_reader_had_gone() {
        let told = |end, gone| stage(end).before_a_reader(Some(gone)).to_string();
        let curl = StageEnd::Exited(23);
        assert_eq!(
            told(curl.clone(), true),
            "a: exit status 23; its reader had gone"
        );
        assert_eq!(told(curl, false), "a: exit status 23");
        assert_eq!(told(StageEnd::Exited(0), true), "a: exit status 0");
        assert_eq!(told(killed(13), true), "a: closed early");
    }

    #[test]
    fn what_is_forgiven_is_no_failure_under_any_policy() {
        let statuses = BTreeSet::from([23, 143]);
        for (end, code) in [
            (StageEnd::Exited(23), 0),
            (killed(15), 0),
            (StageEnd::Exited(22), 22),
        ] {
            let stage = stage(end).forgive(&statuses);
            for policy in [Policy::Pipefail, Policy::Last, Policy::Any] {
                let ended = PipelineStatus::new(vec![stage.clone()], policy, Duration::ZERO);
                assert_eq!(ended.exit_code(), code);
            }
        }
        assert!(!stage(StageEnd::Exited(0)).forgive(&statuses).forgiven);
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
        assert_eq!(signal_name(40), "signal 40");
    }
}
