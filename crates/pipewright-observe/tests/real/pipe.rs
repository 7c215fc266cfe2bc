//! A pipe seen from outside, on real pipes.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::common::{Stages, shell, until};
use pipewright_observe::{Error, Intervals, PipeHandle};
use rustix::fs::{Mode, OFlags};
use testing::{isolated, watchdog};

/// Looks at a pipe without any pause, on a thread of its own, until it is ended.
struct Stare {
    stop: Arc<AtomicBool>,
    looks: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Stare {
    fn at(handle: PipeHandle) -> Stare {
        let (stop, looks) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (seen, count) = (Arc::clone(&stop), Arc::clone(&looks));
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                handle.level().unwrap();
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Stare {
            stop,
            looks,
            thread,
        }
    }

    fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

#[test]
fn unread_bytes_and_capacity_are_told() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let handle = PipeHandle::of_end(&writer).unwrap();
    let level = handle.level().unwrap();
    assert!(level.empty() && !level.full);
    assert_eq!(level.capacity, 65536);
    writer.write_all(&[0; 1000]).unwrap();
    assert_eq!(handle.level().unwrap().unread, 1000);
    assert_eq!(PipeHandle::of_end(&reader).unwrap().id(), handle.id());
}

#[test]
fn a_pipe_of_half_filled_pages_is_full_far_below_its_capacity() {
    let (_reader, mut writer) = std::io::pipe().unwrap();
    rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    let handle = PipeHandle::of_end(&writer).unwrap();
    loop {
        match writer.write(&[0; 2049]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    let level = handle.level().unwrap();
    assert!(level.full, "{level:?}");
    assert!(level.unread < level.capacity * 6 / 10, "{level:?}");
}

#[test]
fn both_ends_of_a_process_lead_to_the_same_pipe() {
    let mut line = Stages::start(&["exec sleep 60", "exec cat"]);
    let own = line.pipes.remove(0);
    let writer = PipeHandle::of_process(line.pid(0), 1).unwrap();
    let reader = PipeHandle::of_process(line.pid(1), 0).unwrap();
    assert_eq!((writer.id(), reader.id()), (own.id(), own.id()));
}

#[test]
fn it_is_told_which_ends_still_live() {
    let _watchdog = watchdog();
    let (reader, writer) = std::io::pipe().unwrap();
    let handle = PipeHandle::of_end(&reader).unwrap();
    assert!(!handle.writer_gone().unwrap() && !handle.level().unwrap().reader_gone);
    // A process that another test is starting holds copies of both until it executes.
    drop(writer);
    until(|| handle.writer_gone().unwrap());
    drop(reader);
    until(|| handle.level().unwrap().reader_gone);
    let level = handle.level().unwrap();
    assert!(level.reader_gone && level.empty() && !level.full);

    let (reader, _writer) = std::io::pipe().unwrap();
    let handle = PipeHandle::of_end(&reader).unwrap();
    drop(reader);
    until(|| handle.level().unwrap().reader_gone);
}

#[test]
fn the_capacity_of_a_pipe_in_use_is_changed_and_the_new_one_returned() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let handle = PipeHandle::of_end(&reader).unwrap();
    assert_eq!(handle.level().unwrap().capacity, 65536);
    assert_eq!(handle.set_capacity(100_000).unwrap(), 131_072);
    writer.write_all(&[0; 20_000]).unwrap();
    let error = handle.set_capacity(8192).unwrap_err();
    assert!(
        matches!(
            error,
            Error::CapacityBelowUnread {
                requested: 8192,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(handle.level().unwrap().capacity, 131_072);
}

#[test]
fn a_capacity_above_the_ceiling_is_refused_to_an_ordinary_user() {
    if rustix::process::geteuid().is_root() {
        println!("skipped: for root there is no ceiling");
        return;
    }
    let ceiling = std::fs::read_to_string("/proc/sys/fs/pipe-max-size").unwrap();
    let above = ceiling.trim().parse::<usize>().unwrap() * 2;
    let (reader, _writer) = std::io::pipe().unwrap();
    let error = PipeHandle::of_end(&reader)
        .unwrap()
        .set_capacity(above)
        .unwrap_err();
    assert!(
        matches!(error, Error::CapacityNotGranted { requested, .. } if requested == above),
        "{error}"
    );
    assert!(error.to_string().contains("/proc/sys/fs/pipe-max-size"));
}

#[test]
fn what_is_no_anonymous_pipe_is_refused() {
    let null = std::fs::File::open("/dev/null").unwrap();
    assert!(matches!(
        PipeHandle::of_end(&null),
        Err(Error::NotAPipe { .. })
    ));
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    let fifo = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    assert!(matches!(
        PipeHandle::of_end(&fifo),
        Err(Error::NotAPipe { .. })
    ));
    assert!(matches!(
        PipeHandle::of_process(std::process::id(), 999_999),
        Err(Error::Ended { .. })
    ));
}

#[test]
fn the_first_write_after_the_reader_has_gone_fails_however_fast_one_looks() {
    // Other tests start processes, and between fork and exec those hold a copy of every end.
    isolated(
        "pipe::the_first_write_after_the_reader_has_gone_fails_however_fast_one_looks",
        || {
            for _ in 0..50 {
                let (reader, mut writer) = std::io::pipe().unwrap();
                let stare = Stare::at(PipeHandle::of_end(&reader).unwrap());
                writer.write_all(b"x").unwrap();
                drop(reader);
                // A reader too many would swallow one of these. Rust ignores SIGPIPE, so the error shows.
                let enough = stare.looks() + 50;
                while stare.looks() < enough {
                    assert_eq!(
                        writer.write(b"y").unwrap_err().kind(),
                        ErrorKind::BrokenPipe
                    );
                }
                stare.end();
            }
        },
    );
}

#[test]
fn the_reader_sees_the_end_of_file_however_fast_one_looks() {
    let _watchdog = watchdog();
    for round in 0..100_usize {
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        let stare = Stare::at(PipeHandle::of_end(&reader).unwrap());
        while stare.looks() == 0 {
            std::thread::yield_now();
        }
        let writing = std::thread::spawn(move || writer.write_all(&vec![7; round * 1000]).unwrap());
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), round * 1000);
        writing.join().unwrap();
        stare.end();
    }
}

#[test]
fn sigpipe_and_end_of_file_reach_programs_with_the_sampler_at_its_fastest() {
    let _watchdog = watchdog();
    let flat_out = Intervals {
        states: Duration::ZERO,
        figures: Duration::ZERO,
    };
    let mut samples = 0;
    for _ in 0..20 {
        // yes ends by SIGPIPE, head by itself, wc by the end of file.
        let commands = ["read -r x; exec yes", "exec head -c 3000000", "exec wc -c"]
            .map(shell)
            .into();
        let (mut output, writer) = std::io::pipe().unwrap();
        let (start, mut go) = std::io::pipe().unwrap();
        let mut line = Stages::connect(commands, start.into(), writer.into());
        let mut sampler = line.sampler(flat_out);
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let sampling = std::thread::spawn(move || {
            sampler.tick();
            go.write_all(b"go\n").unwrap();
            let mut count = 1;
            loop {
                sampler.tick();
                count += 1;
                if seen.load(Ordering::Relaxed) {
                    break count;
                }
            }
        });
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        assert_eq!(text.trim(), "3000000");
        let ends: Vec<_> = line
            .children
            .iter_mut()
            .map(|child| child.wait().unwrap())
            .collect();
        assert_eq!(ends[0].signal(), Some(13), "yes ended with {}", ends[0]);
        assert!(ends[1].success() && ends[2].success(), "{ends:?}");
        stop.store(true, Ordering::Relaxed);
        samples += sampling.join().unwrap();
    }
    assert!(samples > 20, "{samples} samples");
}
