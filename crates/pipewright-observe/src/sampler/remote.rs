//! What the process in the place of a stage on another host knows of that stage, for whoever may look at the
//! process: pure.
//!
//! As a spool does, `pipewright on` keeps it in a file in memory.

use std::time::Duration;

use crate::proc::Scheduled;
use crate::sampler::sample::Activity;
use crate::sealed::{NOTHING, seal, unseal};

/// The name that the memory file is made with.
pub const NAME: &str = "pipewright-remote";

/// Its length in bytes: twelve words, little-endian.
pub(crate) const SIZE: usize = 8 * WORDS;

const WORDS: usize = 12;
const VERSION: u64 = 1;

/// A host that says something at least twice a second has been silent for so long: its link is away.
const SILENCE: Duration = Duration::from_secs(2);

/// What a stage does on its host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoteState {
    /// When that came, by the clock that [`now`] reads.
    pub told_at: Duration,
    /// What it did there at that moment; pipes are those of the stage there.
    pub activity: Option<Activity>,
    /// CPU time since its start.
    pub cpu_time: Duration,
    /// Time on a CPU and waiting for one since its start.
    pub scheduled: Option<Scheduled>,
    /// Bytes read from any descriptor since the start.
    pub read: Option<u64>,
    /// Bytes written to any descriptor since the start.
    pub written: Option<u64>,
    /// Processes it consists of.
    pub processes: u64,
    /// The kernel's name for the program that runs, at most 15 bytes.
    pub program: String,
}

/// The time by which states are dated: of the kernel's clock that never jumps.
pub fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

impl RemoteState {
    /// What the stage does, as seen from here: bytes that it waits for, and that are here, are on their way.
    pub(crate) fn activity_here(
        &self,
        now: Duration,
        has_input: bool,
        has_room: bool,
    ) -> Option<Activity> {
        let activity = self.activity?;
        if now.saturating_sub(self.told_at) > SILENCE {
            return Some(Activity::Network);
        }
        Some(match activity {
            Activity::WaitingForInput if has_input => Activity::Network,
            Activity::BlockedOnOutput if has_room => Activity::Network,
            activity => activity,
        })
    }

    /// The state as bytes.
    pub fn encode(&self) -> [u8; SIZE] {
        let microseconds = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let activity = self.activity.and_then(|activity| {
            let place = Activity::ALL.iter().position(|it| *it == activity)?;
            u64::try_from(place).ok()
        });
        let mut program = [0; 16];
        let name = self.program.as_bytes();
        let length = name.len().min(15);
        program[..length].copy_from_slice(&name[..length]);
        let half = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| program[at + byte]));
        let scheduled = self.scheduled;
        let words = [
            VERSION,
            microseconds(self.told_at),
            activity.unwrap_or(NOTHING),
            microseconds(self.cpu_time),
            scheduled.map_or(NOTHING, |it| microseconds(it.on_cpu)),
            scheduled.map_or(NOTHING, |it| microseconds(it.waiting_for_cpu)),
            self.read.unwrap_or(NOTHING),
            self.written.unwrap_or(NOTHING),
            self.processes,
            half(0),
            half(8),
            0,
        ];
        seal(words)
    }

    /// Reads a state back; `None` if the bytes are not one, or of two.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let [
            VERSION,
            told_at,
            activity,
            cpu_time,
            on_cpu,
            waiting_for_cpu,
            read,
            written,
            processes,
            first,
            second,
            _,
        ] = unseal(bytes)?
        else {
            return None;
        };
        let known = |word: u64| (word != NOTHING).then_some(word);
        let program = [first.to_le_bytes(), second.to_le_bytes()].concat();
        let length = program.iter().position(|byte| *byte == 0)?;
        Some(Self {
            told_at: Duration::from_micros(told_at),
            activity: match known(activity) {
                Some(place) => Some(*Activity::ALL.get(usize::try_from(place).ok()?)?),
                None => None,
            },
            cpu_time: Duration::from_micros(cpu_time),
            scheduled: known(on_cpu).map(|on_cpu| Scheduled {
                on_cpu: Duration::from_micros(on_cpu),
                waiting_for_cpu: Duration::from_micros(waiting_for_cpu),
                // Not told: what it waits for there is the network.
                turns: 0,
            }),
            read: known(read),
            written: known(written),
            processes,
            program: String::from_utf8_lossy(&program[..length]).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> RemoteState {
        RemoteState {
            told_at: Duration::from_secs(7),
            activity: Some(Activity::Running),
            cpu_time: Duration::from_millis(1234),
            scheduled: Some(Scheduled {
                on_cpu: Duration::from_millis(3),
                waiting_for_cpu: Duration::from_millis(4),
                turns: 0,
            }),
            read: Some(5),
            written: None,
            processes: 2,
            program: "a-long-program-".to_owned(),
        }
    }

    #[test]
    fn a_state_is_read_back_and_halves_of_two_are_none() {
        for activity in Activity::ALL.map(Some).into_iter().chain([None]) {
            let state = RemoteState {
                activity,
                ..state()
            };
            assert_eq!(RemoteState::decode(&state.encode()), Some(state));
        }
        let other = RemoteState {
            told_at: Duration::from_secs(8),
            processes: 3,
            ..state()
        };
        let (one, other) = (state().encode(), other.encode());
        for cut in 2..8 {
            let mixed = [&one[..cut * 8], &other[cut * 8..]].concat();
            assert_eq!(RemoteState::decode(&mixed), None, "{cut}");
        }
        assert_eq!(RemoteState::decode(&[]), None);
        assert_eq!(RemoteState::decode(&[255; SIZE]), None);
    }

    #[test]
    fn bytes_between_the_hosts_and_a_silent_link_are_the_network() {
        use Activity::{BlockedOnOutput, Network, Running, WaitingForInput};
        let soon = Duration::from_secs(8);
        // (what it does there, input is here, room is here, what that is)
        let table = [
            (Running, false, false, Running),
            (Running, true, true, Running),
            (WaitingForInput, false, true, WaitingForInput),
            (WaitingForInput, true, true, Network),
            (BlockedOnOutput, true, false, BlockedOnOutput),
            (BlockedOnOutput, true, true, Network),
        ];
        for (activity, input, room, expected) in table {
            let state = RemoteState {
                activity: Some(activity),
                ..state()
            };
            assert_eq!(state.activity_here(soon, input, room), Some(expected));
            let late = Duration::from_secs(10);
            assert_eq!(state.activity_here(late, input, room), Some(Network));
        }
        assert_eq!(RemoteState::default().activity_here(soon, true, true), None);
    }
}
