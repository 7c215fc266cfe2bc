//! Nothing is left behind: no descriptor, no zombie, after any number of starts, good or failed.

use pipewright::{Command, Error, Resource, Stdio, Step, pipe};
use rustix::process::{Rlimit, getrlimit, setrlimit};
use testing::{children, is_root, isolated, open_descriptors};

#[test]
fn ten_thousand_starts_leave_no_descriptor_and_no_zombie() {
    isolated(
        "ten_thousand_starts_leave_no_descriptor_and_no_zombie",
        || {
            let before = open_descriptors();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..2500 {
                            let (reader, writer) = pipe().unwrap();
                            let child = Command::new("/bin/true").stdin(Stdio::Null).fd(3, reader);
                            assert!(child.spawn().unwrap().wait().unwrap().success());
                            drop(writer);
                        }
                    });
                }
            });
            assert_eq!(open_descriptors(), before);
            assert_eq!(children(), Vec::<String>::new());
        },
    );
}

#[test]
fn ten_thousand_failed_starts_leave_no_descriptor_and_no_zombie() {
    isolated(
        "ten_thousand_failed_starts_leave_no_descriptor_and_no_zombie",
        || {
            let before = open_descriptors();
            for _ in 0..10_000 {
                let (reader, writer) = pipe().unwrap();
                let command = Command::new("/no/such/program").stdin(reader).fd(3, writer);
                assert_eq!(command.spawn().unwrap_err().exit_code(), 127);
            }
            assert_eq!(open_descriptors(), before);
            assert_eq!(children(), Vec::<String>::new());
        },
    );
}

#[test]
fn no_descriptor_left_in_the_parent_is_an_error_and_leaks_nothing() {
    isolated(
        "no_descriptor_left_in_the_parent_is_an_error_and_leaks_nothing",
        || {
            let file = std::fs::File::open("/dev/null").unwrap();
            let before = open_descriptors();
            let limits = getrlimit(Resource::Nofile);
            // Room for so many descriptors more: the start needs one for the pidfd.
            for room in 0..3_u64 {
                let highest = testing::descriptors_of(std::process::id())
                    .into_keys()
                    .max()
                    .unwrap();
                let mut filler = Vec::new();
                let limit = Rlimit {
                    current: Some(highest as u64 + 1 + room),
                    ..limits
                };
                setrlimit(Resource::Nofile, limit).unwrap();
                let refused = loop {
                    match rustix::io::fcntl_dupfd_cloexec(&file, 0) {
                        Ok(copy) => filler.push(copy),
                        Err(errno) => break errno,
                    }
                };
                assert_eq!(refused, rustix::io::Errno::MFILE);
                let full = filler.len();
                for free in 0..=full.min(2) {
                    filler.truncate(full - free);
                    let result = Command::new("/bin/true").stdin(Stdio::Null).spawn();
                    match (free, result) {
                        (0, Err(Error::Start(failure))) => assert_eq!(failure.step, Step::OpenNull),
                        (1, Err(Error::Start(failure))) => assert_eq!(failure.step, Step::Clone),
                        (2, Ok(child)) => assert!(child.wait().unwrap().success()),
                        (free, other) => panic!("{free} free: {other:?}"),
                    }
                }
                drop(filler);
                setrlimit(Resource::Nofile, limits).unwrap();
                assert_eq!(open_descriptors(), before);
                assert_eq!(children(), Vec::<String>::new());
            }
        },
    );
}

#[test]
fn no_process_left_for_the_user_is_an_error_and_leaks_nothing() {
    isolated(
        "no_process_left_for_the_user_is_an_error_and_leaks_nothing",
        || {
            if is_root() {
                // Root is exempt from the limit; this thread becomes somebody else.
                let nobody = rustix::process::Uid::from_raw(65534);
                rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            }
            let before = open_descriptors();
            let limits = getrlimit(Resource::Nproc);
            setrlimit(
                Resource::Nproc,
                Rlimit {
                    current: Some(0),
                    ..limits
                },
            )
            .unwrap();
            match Command::new("/bin/true").spawn().unwrap_err() {
                Error::Start(failure) => {
                    assert_eq!(failure.step, Step::Clone);
                    assert_eq!(failure.source.raw_os_error(), Some(libc::EAGAIN));
                    assert!(failure.to_string().contains("ulimit -u"), "{failure}");
                }
                other => panic!("{other}"),
            }
            setrlimit(Resource::Nproc, limits).unwrap();
            assert_eq!(open_descriptors(), before);
            assert!(
                Command::new("/bin/true")
                    .spawn()
                    .unwrap()
                    .wait()
                    .unwrap()
                    .success()
            );
        },
    );
}
