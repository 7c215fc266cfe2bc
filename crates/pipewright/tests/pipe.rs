//! One kernel pipe: capacity, what is unread, splice and tee.

use std::io::{ErrorKind, Read, Write};

use pipewright::{Error, PipeExt, pipe, splice, tee, write_without_sigpipe};
use testing::{is_root, isolated, watchdog};

#[test]
fn a_new_pipe_has_sixteen_pages_and_not_the_ceiling() {
    isolated("a_new_pipe_has_sixteen_pages_and_not_the_ceiling", || {
        let (reader, writer) = pipe().unwrap();
        assert_eq!(reader.capacity().unwrap(), 16 * rustix::param::page_size());
        assert_eq!(writer.capacity().unwrap(), reader.capacity().unwrap());
    });
}

#[test]
fn the_capacity_granted_is_the_next_power_of_two() {
    let _watchdog = watchdog();
    let (reader, writer) = pipe().unwrap();
    assert_eq!(writer.set_capacity(200_000).unwrap(), 262_144);
    assert_eq!(reader.capacity().unwrap(), 262_144);
    assert_eq!(reader.set_capacity(1).unwrap(), rustix::param::page_size());
}

#[test]
fn a_pipe_does_not_shrink_below_what_is_unread() {
    let _watchdog = watchdog();
    let (reader, mut writer) = pipe().unwrap();
    writer.write_all(&[0; 20_000]).unwrap();
    assert_eq!(reader.unread().unwrap(), 20_000);
    match reader.set_capacity(4096).unwrap_err() {
        error @ Error::CapacityBelowUnread {
            requested: 4096,
            unread: 20_000,
        } => {
            assert!(
                error
                    .to_string()
                    .contains("20000 bytes in it are still unread")
            );
        }
        other => panic!("{other}"),
    }
}

/// As a user who has no privilege, in this thread only.
fn become_nobody() {
    let nobody = rustix::process::Uid::from_raw(65534);
    rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
}

#[test]
fn above_the_ceiling_is_an_error_that_names_it() {
    isolated("above_the_ceiling_is_an_error_that_names_it", || {
        if is_root() {
            become_nobody();
        }
        let ceiling = std::fs::read_to_string("/proc/sys/fs/pipe-max-size").unwrap();
        let ceiling: usize = ceiling.trim().parse().unwrap();
        let (reader, _writer) = pipe().unwrap();
        match reader.set_capacity(ceiling + 1).unwrap_err() {
            error @ Error::CapacityAboveCeiling { .. } => {
                assert_eq!(error.raw_os_error(), Some(libc::EPERM));
                assert!(error.to_string().contains(&ceiling.to_string()), "{error}");
            }
            other => panic!("{other}"),
        }
    });
}

#[test]
fn over_the_users_quota_is_another_error() {
    isolated("over_the_users_quota_is_another_error", || {
        if !is_root() {
            eprintln!("skipped: it would take this user's quota from the tests beside it");
            return;
        }
        become_nobody();
        let mut pipes = Vec::new();
        let refused = loop {
            let (reader, writer) = pipe().unwrap();
            let result = reader.set_capacity(1 << 20);
            pipes.push((reader, writer));
            if let Err(error) = result {
                break error;
            }
            if pipes.len() > 2000 {
                eprintln!("skipped: this machine has no quota for pipes");
                return;
            }
        };
        assert!(
            matches!(
                refused,
                Error::CapacityOverQuota {
                    requested: 1_048_576
                }
            ),
            "{refused}"
        );
        assert!(refused.to_string().contains("pipe-user-pages-soft"));
    });
}

#[test]
fn splice_moves_and_tells_the_end_of_file() {
    let _watchdog = watchdog();
    let (from, mut feed) = pipe().unwrap();
    let (mut out, to) = pipe().unwrap();
    feed.write_all(b"abcdef").unwrap();
    drop(feed);
    assert_eq!(splice(&from, &to, 4).unwrap(), 4);
    assert_eq!(from.unread().unwrap(), 2);
    assert_eq!(splice(&from, &to, 4).unwrap(), 2);
    assert_eq!(splice(&from, &to, 4).unwrap(), 0);
    drop(to);
    let mut text = String::new();
    out.read_to_string(&mut text).unwrap();
    assert_eq!(text, "abcdef");
}

#[test]
fn tee_copies_and_leaves_the_bytes_in_place() {
    let _watchdog = watchdog();
    let (from, mut feed) = pipe().unwrap();
    let (out, to) = pipe().unwrap();
    feed.write_all(b"abc").unwrap();
    assert_eq!(tee(&from, &to, 100).unwrap(), 3);
    assert_eq!((from.unread().unwrap(), out.unread().unwrap()), (3, 3));
    drop(feed);
    assert_eq!(splice(&from, &to, 100).unwrap(), 3);
    assert_eq!(tee(&from, &to, 100).unwrap(), 0);
}

#[test]
fn a_non_blocking_end_gives_would_block_and_moves_nothing() {
    // A process that another test is starting would hold the ends, too.
    let name = "a_non_blocking_end_gives_would_block_and_moves_nothing";
    isolated(name, || {
        let (from, feed) = pipe().unwrap();
        let (_out, to) = pipe().unwrap();
        rustix::io::ioctl_fionbio(&from, true).unwrap();
        let error = std::io::Error::from(splice(&from, &to, 10).unwrap_err());
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        drop(feed);
        assert_eq!(splice(&from, &to, 10).unwrap(), 0);
    });
}

#[test]
fn a_destination_without_a_reader_is_a_broken_pipe() {
    // As above.
    isolated("a_destination_without_a_reader_is_a_broken_pipe", || {
        let (from, mut feed) = pipe().unwrap();
        let (out, to) = pipe().unwrap();
        feed.write_all(b"x").unwrap();
        drop(out);
        for result in [splice(&from, &to, 10), tee(&from, &to, 10)] {
            let error = std::io::Error::from(result.unwrap_err());
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        }
    });
}

#[test]
fn a_write_that_nobody_reads_fails_without_a_signal() {
    isolated("a_write_that_nobody_reads_fails_without_a_signal", || {
        #[allow(unsafe_code, reason = "the disposition of a signal")]
        // SAFETY: the default disposition runs no code of this process.
        unsafe {
            libc::signal(libc::SIGPIPE, libc::SIG_DFL)
        };
        let (mut reader, writer) = pipe().unwrap();
        assert_eq!(write_without_sigpipe(&writer, b"read").unwrap(), 4);
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"read");
        drop(reader);
        let error = write_without_sigpipe(&writer, b"unread").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    });
}
