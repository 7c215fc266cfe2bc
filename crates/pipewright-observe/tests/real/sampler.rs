//! The sampler's own rules: what it takes, and when it looks.

use std::time::Duration;

use pipewright_observe::topology::Scan;
use pipewright_observe::workspace::{Direction, SocketId};
use pipewright_observe::{Error, Intervals, Link, PipeHandle, Process, Sampler};
use testing::watchdog;

use crate::common::{Stages, quick, until};

fn me() -> Process {
    Process::open(std::process::id()).unwrap()
}

#[test]
fn stages_and_pipes_that_do_not_fit_together_are_refused() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let pipe = || PipeHandle::of_end(&reader).unwrap();
    let link = |writers, readers| Link {
        pipe: pipe(),
        writers,
        readers,
    };
    let two_writers = Sampler::new(
        vec![me(), me(), me()],
        vec![link(vec![0, 1], vec![2])],
        Intervals::default(),
    );
    let layout = two_writers.unwrap().layout().clone();
    assert_eq!(
        [0, 1, 2].map(|stage| (layout.has_input(stage), layout.has_output(stage))),
        [(false, true), (false, true), (true, false)]
    );
    let refused = Sampler::new(vec![me()], vec![link(vec![0], vec![1])], quick()).unwrap_err();
    assert!(matches!(refused, Error::Layout { .. }), "{refused}");
    let refused = Sampler::linear(vec![], vec![], quick()).unwrap_err();
    assert!(
        refused.to_string().contains("stages in a line"),
        "{refused}"
    );
}

#[test]
fn samples_and_figures_come_at_their_own_intervals() {
    let hour = Duration::from_secs(3600);
    let slow = Intervals {
        states: hour,
        figures: hour,
    };
    let mut sampler = Sampler::linear(vec![me()], vec![], slow).unwrap();
    assert!(sampler.due_in().is_zero(), "the first one is due at once");
    assert!(sampler.tick().figures.is_none());
    assert!(!sampler.due_in().is_zero());
    let last = sampler.finish().figures.unwrap();
    assert_eq!((last.stages.len(), last.pipes.len()), (1, 0));
    assert!(sampler.cpu_time() > Duration::ZERO);
    let fast = Intervals {
        states: Duration::ZERO,
        figures: Duration::ZERO,
    };
    let mut sampler = Sampler::linear(vec![me()], vec![], fast).unwrap();
    assert!((0..3).all(|_| sampler.tick().figures.is_some()));
}

#[test]
fn a_stage_gets_its_command_line_once_it_has_one() {
    let _watchdog = watchdog();
    let mut stages = Stages::start(&["exec sleep 60", "exec cat"]);
    let mut sampler = stages.sampler(quick());
    while sampler.layout().stages[0].command.is_empty() {
        sampler.tick();
    }
    assert_eq!(sampler.layout().stages[0].process.pid, stages.pid(0));
}

#[test]
fn a_scan_tells_both_ends_and_the_sockets_of_this_process() {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    let (reader, writer) = std::io::pipe().unwrap();
    let (one, other) = UnixStream::pair().unwrap();
    let scan = Scan::now().unwrap();
    let this = std::process::id();
    let mine = scan
        .holders
        .iter()
        .find(|it| it.process.pid == this)
        .unwrap();
    let direction = |number: i32| {
        let mut ends = mine.ends.iter();
        ends.find(|end| end.descriptor == number as u32)
            .map(|end| end.direction)
    };
    assert_eq!(direction(reader.as_raw_fd()), Some(Direction::Read));
    assert_eq!(direction(writer.as_raw_fd()), Some(Direction::Write));
    let socket = |end: &UnixStream| {
        let number = end.as_raw_fd() as u32;
        let mut sockets = scan.sockets.iter();
        let found = sockets.find(|it| it.process.pid == this && it.descriptor == number);
        found.unwrap().socket
    };
    assert_ne!(socket(&one), socket(&other));
    match SocketId::unix_peers() {
        Ok(peers) => assert_eq!(peers.get(&socket(&one)), Some(&socket(&other))),
        Err(error) => {
            eprintln!("skipped: this kernel does not tell the peers of sockets ({error})")
        }
    }
}

#[test]
fn threads_are_listed_and_ages_are_in_order() {
    let _watchdog = watchdog();
    let me = me();
    let parent = Process::open(std::os::unix::process::parent_id()).unwrap();
    let mine = me.id().age();
    assert!(parent.id().age() >= mine);
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let (number, of_thread) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        number.send(rustix::thread::gettid()).unwrap();
        ended.recv()
    });
    let number = of_thread.recv().unwrap().as_raw_nonzero().get() as u32;
    assert_eq!(me.threads().unwrap()[0], std::process::id());
    assert!(me.threads().unwrap().contains(&number));
    drop(end);
    assert!(thread.join().unwrap().is_err());
    until(|| !me.threads().unwrap().contains(&number));
}
