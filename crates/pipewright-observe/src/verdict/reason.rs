//! Why a stage is the bottleneck, and what can be done about it.

use serde::{Deserialize, Serialize};

use crate::verdict::advice;
use crate::verdict::shares::StageShares;

/// From this share of time on, waiting for a CPU is worth a word.
pub(super) const CROWDED: f64 = 0.2;

/// The thing that keeps a stage occupied while the others wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// It computes.
    Cpu,
    /// It could compute, but all cores are busy.
    NoCoreLeft,
    /// It waits for a disk.
    Disk,
    /// It waits for the network.
    Network,
    /// It sleeps: a timer, a rate limit.
    Asleep,
    /// It waits for one of several things, none of them a pipe of the pipeline.
    Polling,
    /// It waits for a child, another thread, or something unnamed.
    Elsewhere,
    /// It is stopped.
    Stopped,
    /// Somebody is to press a key.
    Person,
    /// It is the first stage, and its own input is slow.
    InputSlow,
    /// It is the last stage, and whatever takes its output is slow.
    ConsumerSlow,
}

impl Reason {
    /// The largest part of a stage's own time.
    pub(super) fn of(shares: &StageShares, has_input: bool, has_output: bool) -> Self {
        let cpu = if shares.waiting_for_cpu >= CROWDED {
            Self::NoCoreLeft
        } else {
            Self::Cpu
        };
        let outside = |share: f64, inside: bool| if inside { 0.0 } else { share };
        [
            (cpu, shares.on_cpu + shares.waiting_for_cpu),
            (Self::Disk, shares.disk),
            (Self::Network, shares.network),
            (Self::Asleep, shares.sleeping),
            (Self::Polling, shares.polling),
            (Self::Elsewhere, shares.elsewhere),
            (Self::Stopped, shares.stopped),
            (Self::Person, shares.person),
            (
                Self::InputSlow,
                outside(shares.waiting_for_input, has_input),
            ),
            (
                Self::ConsumerSlow,
                outside(shares.blocked_on_output, has_output),
            ),
        ]
        .into_iter()
        .reduce(|most, next| if next.1 > most.1 { next } else { most })
        .map_or(cpu, |(reason, _)| reason)
    }
}

/// The stage that the others wait for.
///
/// ```
/// use pipewright_observe::verdict::{Bottleneck, Reason};
///
/// let found = Bottleneck {
///     stage: 1,
///     command: "rev names".into(),
///     program: Some("rev".into()),
///     reason: Reason::Cpu,
///     own: 0.97,
///     cpus: Some(0.96),
/// };
/// let sentence = "stage 2 (rev names) is the bottleneck: it keeps one core busy, 97 % of the time";
/// assert_eq!(found.sentence(), sentence);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bottleneck {
    /// Its index.
    pub stage: usize,
    /// Its command line, safe to show.
    pub command: String,
    /// Name of the program that does its work, where figures were taken.
    pub program: Option<String>,
    /// The thing that keeps it occupied.
    pub reason: Reason,
    /// The share of time in which it was not waiting for its neighbours.
    pub own: f64,
    /// CPUs it used on average, 1.0 being one core, where figures were taken.
    pub cpus: Option<f64>,
}

impl Bottleneck {
    /// The finding as a sentence, without a full stop. Stages are counted from 1.
    pub fn sentence(&self) -> String {
        let command = match (&*self.command, &self.program) {
            ("", Some(program)) => program,
            (command, _) => command,
        };
        let name = format!("stage {} ({})", self.stage + 1, shortened(command, LONGEST));
        let percent = self.own * 100.0;
        match self.reason {
            Reason::Cpu => match self.cpus {
                Some(cpus) if cpus >= 1.5 => {
                    format!(
                        "{name} is the bottleneck: it keeps {cpus:.1} cores busy, {percent:.0} % of the time"
                    )
                }
                Some(cpus) if cpus >= 0.8 => {
                    format!(
                        "{name} is the bottleneck: it keeps one core busy, {percent:.0} % of the time"
                    )
                }
                _ => {
                    format!("{name} is the bottleneck: it is computing, {percent:.0} % of the time")
                }
            },
            Reason::NoCoreLeft => {
                format!("{name} is the bottleneck, and all cores are busy: it is waiting for a CPU")
            }
            Reason::Disk => format!("{name} is the bottleneck: it is waiting for a disk"),
            Reason::Network => format!("{name} is the bottleneck: it is waiting for the network"),
            Reason::Asleep => format!("{name} is the bottleneck: it is asleep"),
            Reason::Polling => {
                format!(
                    "{name} is the bottleneck: it is waiting for a network connection, a timer or a terminal"
                )
            }
            Reason::Elsewhere => {
                format!(
                    "{name} is the bottleneck: it is waiting for something outside the pipeline"
                )
            }
            Reason::Stopped => format!("{name} is the bottleneck: it is stopped"),
            Reason::Person => format!("{name} is waiting for a person"),
            Reason::InputSlow => format!("the input is slow: {name} is waiting for it"),
            Reason::ConsumerSlow => {
                format!("the output is read slowly: {name} is waiting for its reader")
            }
        }
    }

    /// Advice on what could be done, where there is some.
    pub fn advice(&self) -> Option<String> {
        let advice = match self.reason {
            Reason::Cpu => return self.faster(),
            Reason::NoCoreLeft => {
                "fewer stages or threads, fewer other programs, or a wider CPU set (taskset, cgroup) would help; \
                 larger pipes would not"
            }
            Reason::Disk => {
                "a faster disk would help, or compressed data; programs that share a disk slow each other down"
            }
            Reason::Network => {
                "nothing in the pipeline can help; try several connections, or compress what is sent"
            }
            Reason::Asleep => {
                "it pauses on purpose (a rate limit, a timer); only its own options can change that"
            }
            Reason::Stopped => "kill -CONT makes it continue",
            Reason::InputSlow => {
                "nothing in the pipeline can help: the input simply arrives slowly"
            }
            Reason::ConsumerSlow => {
                "nothing in the pipeline can help; a file or a faster program at its end would"
            }
            Reason::Polling | Reason::Elsewhere | Reason::Person => return None,
        };
        Some(advice.into())
    }

    /// Name of its program, without the directory; without figures, the first word of the command.
    pub(super) fn program_name(&self) -> &str {
        advice::program(self.program.as_deref(), &self.command)
    }

    fn faster(&self) -> Option<String> {
        advice::faster(self.program_name(), &self.command).or_else(|| {
            // A stage that uses several cores already is not helped by being split.
            (self.cpus? < 1.2).then(|| {
                "it uses one core; several copies of it would use more, if its input can be split (parallel --pipe)"
                    .to_owned()
            })
        })
    }
}

/// Columns of a command in a sentence.
pub(super) const LONGEST: usize = 40;

/// At most so many characters of a command.
pub(super) fn shortened(command: &str, longest: usize) -> String {
    if command.chars().count() <= longest {
        return command.to_owned();
    }
    command.chars().take(longest - 1).chain(['…']).collect()
}
