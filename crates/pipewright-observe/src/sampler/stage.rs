//! A stage: a process and its descendants, followed while they come and go.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::proc::{BlockedOn, MemoryFile, Process, ProcessId, ProcessState, Scheduled, Stat};
use crate::sampler::activity::{self, Neighbours};
use crate::sampler::remote::{self, RemoteState};
use crate::sampler::sample::{Activity, SpoolFigures, StageFigures};
use crate::spool_state::{self, Board};
use crate::text::displayable;

/// A process that still waits in the very same call is asked for no more than that, this many times
/// in a row. It could meanwhile be stopped, or get children or threads: that is seen a little later.
const TRUSTED_WAITS: u32 = 4;

/// One process of a stage.
#[derive(Debug)]
struct Member {
    process: Process,
    /// Threads besides the main one, as last listed; none for most programs.
    threads: Vec<u32>,
    /// The last known account of each thread.
    schedules: Vec<(u32, Scheduled)>,
    /// Running when last looked at.
    running: bool,
    wait: Wait,
}

/// A wait that was understood, and the signs of it: number, arguments and stack pointer of the call.
#[derive(Debug, Default)]
struct Wait {
    call: Vec<u8>,
    activity: Option<Activity>,
    trusted: u32,
}

/// Each process with its parent, for kernels that do not list a process's children.
pub(crate) type Parents = Vec<(u32, u32)>;

/// A process and its descendants.
#[derive(Debug)]
pub(crate) struct Stage {
    root: ProcessId,
    members: Vec<Member>,
    /// This kernel does not list a process's children.
    pub(crate) needs_parents: bool,
    /// Seen in `splice` or `tee`.
    splices: bool,
    /// Seen running since the last figures, and at all.
    pub(crate) ran: bool,
    pub(crate) ever_ran: bool,
    last: StageFigures,
    /// Its state, if it is a spool.
    spool: Option<MemoryFile>,
    /// What is known of it where it runs, if that is another host.
    remote: Option<MemoryFile>,
    /// What it was told to have had of CPUs there, for the difference.
    remote_schedule: Scheduled,
    /// What its keeper tells, if its first process is one: that records the input of the program which it
    /// runs, so its counters are not the stage's.
    keeper: Option<MemoryFile>,
}

impl Stage {
    pub(crate) fn new(root: Process) -> Self {
        let mut stage = Self {
            root: root.id(),
            members: Vec::new(),
            needs_parents: false,
            splices: false,
            ran: false,
            ever_ran: false,
            last: StageFigures::default(),
            spool: None,
            remote: None,
            remote_schedule: Scheduled::default(),
            keeper: None,
        };
        let schedules = root.schedules().unwrap_or_default();
        stage.members.push(Member::new(root, schedules));
        // What was used before now is no part of the first interval.
        stage.last = stage.figures(Duration::ZERO);
        stage
    }

    /// The figures taken last.
    pub(crate) fn last(&self) -> &StageFigures {
        &self.last
    }

    /// Looks at what the stage is doing. Once one of its threads is found running, nothing can
    /// change the answer, and the rest is left for the next time; `whole` goes on, so that no
    /// descendant is overlooked for long.
    pub(crate) fn observe(&mut self, near: Neighbours<'_>, whole: bool) -> Activity {
        let mut best = Activity::Ended;
        let mut children = Vec::new();
        let mut index = 0;
        while index < self.members.len() {
            let member = &mut self.members[index];
            if !whole && let Some(activity) = member.same_wait() {
                best = best.max(activity);
                index += 1;
                continue;
            }
            match member.observe(near, &mut self.splices) {
                Ok(activity) => {
                    best = best.max(activity);
                    if best == Activity::Running && !whole {
                        // Whoever runs now will probably run next time, and is asked first.
                        self.members.swap(0, index);
                        break;
                    }
                    children.clear();
                    self.needs_parents |= !member.children(&mut children);
                    let parent = member.process.id().pid;
                    self.adopt(parent, &children);
                    index += 1;
                }
                // It has been waited for: its parent's figures include it now.
                Err(_) => {
                    self.members.swap_remove(index);
                }
            }
        }
        if best != Activity::Ended
            && let Some(state) = self.remote_state()
        {
            let has_input = !near.inputs.is_empty() && !near.input_empty();
            let has_room = !near.outputs.is_empty() && !near.output_full();
            best = state
                .activity_here(remote::now(), has_input, has_room)
                .unwrap_or(best);
        }
        if best == Activity::Running {
            self.ran = true;
            self.ever_ran = true;
        }
        best
    }

    fn remote_state(&self) -> Option<RemoteState> {
        let state = self.remote.as_ref()?.read(RemoteState::decode)?;
        state.activity.is_some().then_some(state)
    }

    /// Finds new descendants in a list of all processes and their parents.
    pub(crate) fn adopt_from(&mut self, parents: &Parents) {
        let mut index = 0;
        while index < self.members.len() {
            let parent = self.members[index].process.id().pid;
            let children: Vec<u32> = parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(child, _)| *child)
                .collect();
            self.adopt(parent, &children);
            index += 1;
        }
    }

    fn adopt(&mut self, parent: u32, children: &[u32]) {
        for &pid in children {
            if self
                .members
                .iter()
                .any(|member| member.process.id().pid == pid)
            {
                continue;
            }
            // The child may have ended, and its number be another's, since the list was made.
            if let Ok(process) = Process::open(pid)
                && process.stat().is_ok_and(|stat| stat.parent == parent)
            {
                self.members.push(Member::new(process, Vec::new()));
            }
        }
    }

    /// Adds up what the stage's processes have used. Works on zombies too, until they are waited
    /// for; once all are gone the last figures stay.
    pub(crate) fn figures(&mut self, interval: Duration) -> StageFigures {
        let mut figures = StageFigures {
            splices: self.splices,
            program: self.last.program.clone(),
            ..StageFigures::default()
        };
        let kept = self.tells(&mut figures, interval);
        // What has been waited for since is in the sums of the next figures.
        let ended = kept.unwrap_or_default().ended;
        let mut scheduled = Some(Scheduled::default());
        let (mut read, mut written) = (Some(ended.read), Some(ended.written));
        let mut alive = 0;
        for member in &mut self.members {
            let Ok(stat) = member.process.stat() else {
                continue;
            };
            alive += 1;
            figures.cpu_time += stat.cpu_time + stat.reaped_cpu_time;
            figures.system_time += stat.system_time;
            if stat.state != ProcessState::Zombie {
                figures.processes += 1;
            }
            let pid = member.process.id().pid;
            if kept.is_some() && (member.process.id() == self.root || pid == ended.last) {
                add_schedule(member, &mut scheduled);
                continue;
            }
            match member.process.io() {
                Ok(io) => {
                    read = read.map(|sum: u64| sum.saturating_add(io.read));
                    written = written.map(|sum: u64| sum.saturating_add(io.written));
                }
                Err(Error::Ended { .. }) => {}
                Err(_) => (read, written) = (None, None),
            }
            add_schedule(member, &mut scheduled);
        }
        if let Some(program) = self.program() {
            figures.program = program;
        }
        if self.remote.is_none() {
            let mut members = self.members.iter();
            self.remote = members.find_map(|it| it.process.memory_file(remote::NAME));
        }
        // What stands for it here is none of it.
        if let Some(state) = self.remote_state() {
            figures.cpu_time = state.cpu_time;
            figures.system_time = Duration::ZERO;
            (read, written) = (state.read, state.written);
            figures.processes = usize::try_from(state.processes).unwrap_or(0);
            if !state.program.is_empty() {
                figures.program = displayable(state.program.as_bytes());
            }
            scheduled = state.scheduled.map(|now| {
                let before = std::mem::replace(&mut self.remote_schedule, now);
                Scheduled {
                    on_cpu: now.on_cpu.saturating_sub(before.on_cpu),
                    waiting_for_cpu: now.waiting_for_cpu.saturating_sub(before.waiting_for_cpu),
                    turns: now.turns.saturating_sub(before.turns),
                }
            });
        }
        if alive == 0 {
            (read, written) = (self.last.read, self.last.written);
        }
        // A process that was waited for by nobody, or elsewhere, takes its figures with it.
        figures.cpu_time = figures.cpu_time.max(self.last.cpu_time);
        figures.system_time = figures.system_time.max(self.last.system_time);
        figures.read = read.map(|read| read.max(self.last.read.unwrap_or(0)));
        figures.written = written.map(|written| written.max(self.last.written.unwrap_or(0)));
        figures.scheduled = scheduled;
        if !interval.is_zero() {
            let cpus = |used: Duration| used.as_secs_f64() / interval.as_secs_f64();
            figures.cpus = cpus(figures.cpu_time - self.last.cpu_time);
            figures.system_cpus = cpus(figures.system_time - self.last.system_time);
        }
        self.ran = false;
        self.last = figures.clone();
        figures
    }

    /// Asks the stage's spool or keeper. What a keeper tells is returned, too.
    fn tells(&mut self, figures: &mut StageFigures, interval: Duration) -> Option<Board> {
        if self.keeper.is_none() {
            let root = self.members.iter().find(|it| it.process.id() == self.root);
            self.keeper = root.and_then(|root| root.process.memory_file(spool_state::KEEPER));
            if self.keeper.is_some() {
                // Until now its own counters were taken for the stage's.
                (self.last.read, self.last.written) = (None, None);
            }
        }
        if self.spool.is_none() {
            let mut members = self.members.iter();
            self.spool = members.find_map(|member| member.process.memory_file(spool_state::NAME));
        }
        let kept = self.keeper.as_ref();
        let kept = kept.and_then(|file| file.read(Board::decode));
        let spool = self.spool.as_ref();
        let spool = spool.and_then(|file| file.read(Board::decode));
        let state = |board: Option<Board>| board.and_then(|board| board.spool);
        figures.input = state(kept).map(|state| state.taken);
        let before = self.last.spool.unwrap_or_default().state;
        let state = state(spool).or(state(kept));
        figures.spool = state.map(|state| SpoolFigures::since(&before, state, interval));
        kept
    }

    /// The command line of its first process, safe to show; `None` while it is in the midst of exec.
    pub(crate) fn command(&self) -> Option<String> {
        let root = self
            .members
            .iter()
            .find(|member| member.process.id() == self.root)?;
        match root.process.command_line() {
            Ok(line) => Some(line.shortened()).filter(|line| !line.is_empty()),
            // It is not asked again.
            Err(Error::NoAnswer { .. }) => Some(root.process.stat().ok()?.bracketed_name()),
            Err(_) => None,
        }
    }

    /// The program of a member that runs, else of the stage's first process. The kernel's name for
    /// it: unlike a command line, it can be read without waiting for the process.
    fn program(&self) -> Option<String> {
        let root = |member: &&Member| member.process.id() == self.root;
        let member = self
            .members
            .iter()
            .find(|member| member.running)
            .or_else(|| self.members.iter().find(root))?;
        let program = displayable(&member.process.stat().ok()?.name);
        (!program.is_empty()).then_some(program)
    }
}

/// Adds the time that a member was on a CPU, or ready for one.
fn add_schedule(member: &mut Member, sum: &mut Option<Scheduled>) {
    match member.schedule() {
        Ok(passed) => {
            if let Some(sum) = sum {
                sum.on_cpu += passed.on_cpu;
                sum.waiting_for_cpu += passed.waiting_for_cpu;
                sum.turns += passed.turns;
            }
        }
        Err(error) if error.is_ended() => {}
        Err(_) => *sum = None,
    }
}

impl Member {
    fn new(process: Process, schedules: Vec<(u32, Scheduled)>) -> Self {
        // So that it can be asked when it has ended. A refusal is told when somebody asks.
        let _ = process.io();
        Self {
            process,
            threads: Vec::new(),
            schedules,
            running: false,
            wait: Wait::default(),
        }
    }

    /// Its activity, if it waits in the same call as before, and that call alone decides.
    fn same_wait(&mut self) -> Option<Activity> {
        let activity = self.wait.activity?;
        let mut buffer = [0; 256];
        let call = self.process.system_call(&mut buffer)?;
        if self.wait.trusted == 0 || call != self.wait.call {
            self.wait.activity = None;
            return None;
        }
        self.wait.trusted -= 1;
        Some(activity)
    }

    /// The activity of its busiest thread.
    fn observe(&mut self, near: Neighbours<'_>, splices: &mut bool) -> Result<Activity> {
        let mut buffer = [0; 256];
        let call = self.process.system_call(&mut buffer);
        let blocked = call.map_or_else(|| self.process.blocked_on(), BlockedOn::from_syscall);
        self.running = blocked == BlockedOn::Nothing;
        if self.running {
            return Ok(Activity::Running);
        }
        let stat = self.process.stat()?;
        let target = |descriptor| self.process.descriptor(descriptor).ok();
        let mut best = activity::of_state(stat.state, blocked, target, near);
        match stat.state {
            ProcessState::Stopped | ProcessState::Traced => return Ok(best),
            // The main thread of a process may end before the others.
            ProcessState::Zombie if stat.threads <= 1 => return Ok(best),
            _ => *splices |= matches!(blocked, BlockedOn::Splice { .. }),
        }
        // The pipes decide about the other kinds of waits, and a child may come and go in one.
        let decided = matches!(
            blocked,
            BlockedOn::Read(Some(_))
                | BlockedOn::Write(Some(_))
                | BlockedOn::Timer
                | BlockedOn::Network
        );
        if let Some(call) = call.filter(|_| decided && stat.threads <= 1) {
            self.wait.call.clear();
            self.wait.call.extend_from_slice(call);
            self.wait.activity = Some(best);
            self.wait.trusted = TRUSTED_WAITS;
        }
        self.list_threads(&stat)?;
        for &thread in &self.threads {
            if best == Activity::Running {
                break;
            }
            let blocked = self.process.thread_blocked_on(thread);
            *splices |= matches!(blocked, BlockedOn::Splice { .. });
            best = best.max(match blocked {
                // A thread that has ended since they were listed.
                BlockedOn::Unknown => Activity::Ended,
                blocked => {
                    activity::of_blocked(blocked, |fd| self.process.descriptor(fd).ok(), near)
                }
            });
        }
        self.running = best == Activity::Running;
        Ok(best)
    }

    /// Lists the threads anew when their number has changed. Where one thread was replaced by
    /// another in between, the figures list them anyway, once an interval.
    fn list_threads(&mut self, stat: &Stat) -> Result<()> {
        if stat.threads as usize > 1 && stat.threads as usize != self.threads.len() + 1 {
            self.threads = self.process.threads()?;
            let main = self.process.id().pid;
            self.threads.retain(|&thread| thread != main);
        } else if stat.threads <= 1 {
            self.threads.clear();
        }
        Ok(())
    }

    /// Collects its children; `false` where this kernel does not list them.
    fn children(&self, children: &mut Vec<u32>) -> bool {
        for &thread in &self.threads {
            self.process.children_of_thread(thread, children);
        }
        // A process that has just ended has no children left: not a kernel that tells nothing.
        self.process.children(children).unwrap_or(true)
    }

    /// Time its threads spent on a CPU and waiting for one since the last call.
    fn schedule(&mut self) -> Result<Scheduled> {
        let now = self.process.schedules()?;
        let mut passed = Scheduled::default();
        for &(thread, schedule) in &now {
            let before = self
                .schedules
                .iter()
                .find(|(of, _)| *of == thread)
                .map_or(Scheduled::default(), |&(_, schedule)| schedule);
            passed.on_cpu += schedule.on_cpu.saturating_sub(before.on_cpu);
            passed.waiting_for_cpu += schedule
                .waiting_for_cpu
                .saturating_sub(before.waiting_for_cpu);
            passed.turns += schedule.turns.saturating_sub(before.turns);
        }
        if self.threads.len() + 1 == now.len() {
            self.threads = now
                .iter()
                .map(|&(thread, _)| thread)
                .filter(|&thread| thread != self.process.id().pid)
                .collect();
        }
        self.schedules = now;
        Ok(passed)
    }
}
