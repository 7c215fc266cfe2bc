//! From "blocked in read on descriptor 0" to "waiting for input": pure.

use std::os::unix::ffi::OsStrExt;

use crate::pipe::{PipeId, PipeLevel};
use crate::proc::{BlockedOn, ProcessState, Target};
use crate::sampler::sample::Activity;

/// A pipe next to a stage, and what it showed a moment ago.
pub(crate) type Neighbour = (PipeId, Option<PipeLevel>);

/// The pipes next to a stage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Neighbours<'a> {
    pub(crate) inputs: &'a [Neighbour],
    pub(crate) outputs: &'a [Neighbour],
}

impl Neighbours<'_> {
    pub(crate) fn input_empty(&self) -> bool {
        self.inputs
            .iter()
            .any(|(_, level)| level.is_some_and(|level| level.empty()))
    }

    pub(crate) fn output_full(&self) -> bool {
        self.outputs
            .iter()
            .any(|(_, level)| level.is_some_and(|level| level.full))
    }
}

/// Where a descriptor of a stage leads.
enum Place {
    Input,
    Output,
    /// Standard input or output, leading out of the pipeline.
    OutsideInput,
    OutsideOutput,
    Socket,
    Terminal,
    Inner,
}

/// Says what a process does, of which the main thread is in this state and waits for that.
pub(crate) fn of_state(
    state: ProcessState,
    blocked: BlockedOn,
    target: impl Fn(u32) -> Option<Target>,
    near: Neighbours<'_>,
) -> Activity {
    match state {
        ProcessState::Running => Activity::Running,
        ProcessState::DiskSleep => Activity::Disk,
        ProcessState::Stopped | ProcessState::Traced => Activity::Stopped,
        ProcessState::Zombie => Activity::Ended,
        ProcessState::Sleeping | ProcessState::Other => of_blocked(blocked, target, near),
    }
}

/// Says what a sleeping thread waits for. `target` tells what one of its descriptors leads to, if
/// that may be known.
pub(crate) fn of_blocked(
    blocked: BlockedOn,
    target: impl Fn(u32) -> Option<Target>,
    near: Neighbours<'_>,
) -> Activity {
    let place = |descriptor: u32| {
        let known = target(descriptor);
        if let Some(Target::Pipe(pipe)) = known {
            if near.inputs.iter().any(|&(input, _)| input == pipe) {
                return Place::Input;
            }
            if near.outputs.iter().any(|&(output, _)| output == pipe) {
                return Place::Output;
            }
        }
        // Nobody else than a person is waited for at a terminal, whichever stage it is.
        if descriptor == 0 && known.as_ref().is_some_and(is_terminal) {
            return Place::Terminal;
        }
        // The descriptor's target may be secret where its number is not.
        let guess = known.is_none();
        match descriptor {
            0 if near.inputs.is_empty() => Place::OutsideInput,
            1 if near.outputs.is_empty() => Place::OutsideOutput,
            0 if guess => Place::Input,
            1 if guess => Place::Output,
            _ if known == Some(Target::Socket) => Place::Socket,
            _ if known.as_ref().is_some_and(is_terminal) => Place::Terminal,
            _ => Place::Inner,
        }
    };
    match blocked {
        BlockedOn::Nothing => Activity::Running,
        BlockedOn::Read(Some(descriptor)) => match place(descriptor) {
            Place::Input | Place::OutsideInput => Activity::WaitingForInput,
            Place::Socket => Activity::Network,
            Place::Terminal => Activity::WaitingForPerson,
            Place::Output | Place::OutsideOutput | Place::Inner => Activity::Elsewhere,
        },
        BlockedOn::Write(Some(descriptor)) => match place(descriptor) {
            Place::Output | Place::OutsideOutput => Activity::BlockedOnOutput,
            Place::Socket => Activity::Network,
            Place::Input | Place::OutsideInput | Place::Terminal | Place::Inner => {
                Activity::Elsewhere
            }
        },
        // Without the descriptor the pipes themselves decide.
        BlockedOn::Read(None) if near.inputs.is_empty() || near.input_empty() => {
            Activity::WaitingForInput
        }
        BlockedOn::Write(None) if near.outputs.is_empty() || near.output_full() => {
            Activity::BlockedOnOutput
        }
        BlockedOn::Read(None) | BlockedOn::Write(None) => Activity::Elsewhere,
        BlockedOn::Splice { from, to } => {
            let input =
                from.is_none_or(|from| matches!(place(from), Place::Input | Place::OutsideInput));
            let output =
                to.is_none_or(|to| matches!(place(to), Place::Output | Place::OutsideOutput));
            // A splice waits for its source first, and only then for room.
            match (input, output) {
                (true, true) if near.output_full() => Activity::BlockedOnOutput,
                (true, true) if near.input_empty() || near.inputs.is_empty() => {
                    Activity::WaitingForInput
                }
                (true, true) if near.outputs.is_empty() => Activity::BlockedOnOutput,
                (true, false) => Activity::WaitingForInput,
                (false, true) => Activity::BlockedOnOutput,
                _ => Activity::Elsewhere,
            }
        }
        // A stage that polls waits for its pipes if one of them is such that it would have to.
        BlockedOn::Poll if near.output_full() => Activity::BlockedOnOutput,
        BlockedOn::Poll if near.input_empty() => Activity::WaitingForInput,
        BlockedOn::Poll if asks_a_person(&target) => Activity::WaitingForPerson,
        BlockedOn::Poll => Activity::Polling,
        BlockedOn::Timer => Activity::Sleeping,
        BlockedOn::Network => Activity::Network,
        BlockedOn::Child | BlockedOn::Thread | BlockedOn::Other => Activity::Elsewhere,
        BlockedOn::Unknown => Activity::Unknown,
    }
}

/// Descriptors to look at for a terminal: a program opens one early.
const EARLY: std::ops::Range<u32> = 3..12;

/// Tells whether a process that polls, and not because of its pipes, waits for a keyboard: it has
/// opened a terminal itself, or reads its standard input from one, and has no connection to wait for.
fn asks_a_person(target: impl Fn(u32) -> Option<Target>) -> bool {
    let opened = EARLY.filter_map(&target).collect::<Vec<_>>();
    let stdin = target(0).as_ref().is_some_and(is_terminal);
    !opened.contains(&Target::Socket) && (stdin || opened.iter().any(is_terminal))
}

/// Tells a terminal by its name: a virtual console, a pseudo-terminal, or a process's own. Serial
/// lines are none: a device may be at their other end.
fn is_terminal(target: &Target) -> bool {
    let Target::Other(path) = target else {
        return false;
    };
    let path = path.as_os_str().as_bytes();
    let is_number = |name: &[u8]| name.iter().all(u8::is_ascii_digit);
    path == b"/dev/console"
        || path.strip_prefix(b"/dev/tty").is_some_and(is_number)
        || path
            .strip_prefix(b"/dev/pts/")
            .is_some_and(|name| !name.is_empty() && is_number(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    const FULL: PipeLevel = PipeLevel {
        unread: 65536,
        capacity: 65536,
        full: true,
        reader_gone: false,
    };
    const HALF: PipeLevel = PipeLevel {
        unread: 100,
        capacity: 65536,
        full: false,
        reader_gone: false,
    };
    const EMPTY: PipeLevel = PipeLevel { unread: 0, ..HALF };
    const IN: PipeId = PipeId(1);
    const OUT: PipeId = PipeId(2);

    fn judge(
        blocked: BlockedOn,
        targets: &[(u32, Target)],
        input: PipeLevel,
        output: PipeLevel,
    ) -> Activity {
        let target = |wanted| {
            targets
                .iter()
                .find(|(descriptor, _)| *descriptor == wanted)
                .map(|(_, target)| target.clone())
        };
        let (inputs, outputs) = ([(IN, Some(input))], [(OUT, Some(output))]);
        of_blocked(
            blocked,
            target,
            Neighbours {
                inputs: &inputs,
                outputs: &outputs,
            },
        )
    }

    #[test]
    fn reading_any_descriptor_of_the_input_pipe_is_waiting_for_input() {
        let targets = [(5, Target::Pipe(IN))];
        assert_eq!(
            judge(BlockedOn::Read(Some(5)), &targets, EMPTY, HALF),
            Activity::WaitingForInput
        );
        let inner = [(0, Target::Pipe(PipeId(99)))];
        assert_eq!(
            judge(BlockedOn::Read(Some(0)), &inner, EMPTY, HALF),
            Activity::Elsewhere
        );
    }

    #[test]
    fn writing_to_the_output_pipe_is_blocked_on_output_and_standard_error_is_not() {
        let targets = [(1, Target::Pipe(OUT)), (2, Target::Pipe(PipeId(99)))];
        assert_eq!(
            judge(BlockedOn::Write(Some(1)), &targets, EMPTY, FULL),
            Activity::BlockedOnOutput
        );
        assert_eq!(
            judge(BlockedOn::Write(Some(2)), &targets, EMPTY, FULL),
            Activity::Elsewhere
        );
    }

    #[test]
    fn a_poll_is_explained_by_the_pipes_or_not_at_all() {
        assert_eq!(
            judge(BlockedOn::Poll, &[], HALF, FULL),
            Activity::BlockedOnOutput
        );
        assert_eq!(
            judge(BlockedOn::Poll, &[], EMPTY, HALF),
            Activity::WaitingForInput
        );
        assert_eq!(judge(BlockedOn::Poll, &[], HALF, HALF), Activity::Polling);
    }

    #[test]
    fn a_splice_waits_where_the_pipes_say() {
        let targets = [(0, Target::Pipe(IN)), (1, Target::Pipe(OUT))];
        let splice = BlockedOn::Splice {
            from: Some(0),
            to: Some(1),
        };
        assert_eq!(
            judge(splice, &targets, HALF, FULL),
            Activity::BlockedOnOutput
        );
        assert_eq!(
            judge(splice, &targets, EMPTY, HALF),
            Activity::WaitingForInput
        );
        let to_file = [
            (0, Target::Pipe(IN)),
            (1, Target::Other(PathBuf::from("/tmp/x"))),
        ];
        assert_eq!(
            judge(splice, &to_file, EMPTY, HALF),
            Activity::WaitingForInput
        );
    }

    #[test]
    fn without_a_descriptor_the_level_of_the_pipe_decides() {
        assert_eq!(
            judge(BlockedOn::Read(None), &[], EMPTY, HALF),
            Activity::WaitingForInput
        );
        assert_eq!(
            judge(BlockedOn::Read(None), &[], HALF, HALF),
            Activity::Elsewhere
        );
        assert_eq!(
            judge(BlockedOn::Write(None), &[], HALF, FULL),
            Activity::BlockedOnOutput
        );
    }

    #[test]
    fn the_outermost_stages_wait_for_the_world_outside() {
        let near = Neighbours {
            inputs: &[],
            outputs: &[],
        };
        let fifo = |_| Some(Target::Other(PathBuf::from("/tmp/fifo")));
        assert_eq!(
            of_blocked(BlockedOn::Read(Some(0)), fifo, near),
            Activity::WaitingForInput
        );
        assert_eq!(
            of_blocked(BlockedOn::Write(Some(1)), fifo, near),
            Activity::BlockedOnOutput
        );
        let socket = |_| Some(Target::Socket);
        assert_eq!(
            of_blocked(BlockedOn::Read(Some(4)), socket, near),
            Activity::Network
        );
    }

    fn device(descriptor: u32, path: &str) -> (u32, Target) {
        (descriptor, Target::Other(PathBuf::from(path)))
    }

    #[test]
    fn whoever_reads_a_terminal_waits_for_a_person() {
        for path in ["/dev/tty", "/dev/tty1", "/dev/pts/12", "/dev/console"] {
            for descriptor in [0, 3, 9] {
                let read = BlockedOn::Read(Some(descriptor));
                let doing = judge(read, &[device(descriptor, path)], HALF, HALF);
                assert_eq!(doing, Activity::WaitingForPerson, "{path} at {descriptor}");
            }
        }
        for path in [
            "/dev/ttyUSB0",
            "/dev/ttyS0",
            "/dev/pts/",
            "/dev/null",
            "/tmp/dev/tty",
        ] {
            let doing = judge(BlockedOn::Read(Some(3)), &[device(3, path)], HALF, HALF);
            assert_eq!(doing, Activity::Elsewhere, "{path}");
        }
    }

    #[test]
    fn who_writes_to_a_terminal_waits_for_nobody_at_its_keyboard() {
        let doing = judge(
            BlockedOn::Write(Some(3)),
            &[device(3, "/dev/tty")],
            HALF,
            HALF,
        );
        assert_eq!(doing, Activity::Elsewhere);
    }

    #[test]
    fn a_poll_waits_for_a_person_if_only_a_terminal_is_open() {
        let terminal = device(3, "/dev/tty");
        let ours = [terminal.clone()];
        assert_eq!(
            judge(BlockedOn::Poll, &ours, HALF, HALF),
            Activity::WaitingForPerson
        );
        // Its pipes come first, a connection may be what it waits for, and messages go to fd 2.
        assert_eq!(
            judge(BlockedOn::Poll, &ours, EMPTY, HALF),
            Activity::WaitingForInput
        );
        assert_eq!(
            judge(BlockedOn::Poll, &ours, HALF, FULL),
            Activity::BlockedOnOutput
        );
        let connected = [terminal, (4, Target::Socket)];
        assert_eq!(
            judge(BlockedOn::Poll, &connected, HALF, HALF),
            Activity::Polling
        );
        let messages = [device(2, "/dev/pts/1")];
        assert_eq!(
            judge(BlockedOn::Poll, &messages, HALF, HALF),
            Activity::Polling
        );
    }

    #[test]
    fn what_the_kernel_hides_stays_unknown() {
        assert_eq!(
            judge(BlockedOn::Unknown, &[], EMPTY, FULL),
            Activity::Unknown
        );
    }
}
