//! System calls that fail: an error or less to tell, and neither a panic nor a hang.

use std::io::Write;

use linux_raw_sys::general as call;
use pipewright_observe::topology::Scan;
use pipewright_observe::workspace::{SocketId, look_at};
use pipewright_observe::{PipeHandle, Process, Sampler};
use rustix::io::Errno;
use testing::{fault, watchdog};

use crate::common::{Stages, quick};

/// Everything that looks, in a thread in which the call fails.
fn look_with(number: u32, errno: Errno, pids: [u32; 2]) {
    let looking = std::thread::spawn(move || {
        fault(number.into(), errno.raw_os_error()).install();
        let mut said = Vec::new();
        match Scan::now() {
            Ok(scan) => {
                let pipelines = scan.pipelines();
                said.extend(look_at(&pipelines).err().map(|error| error.to_string()));
            }
            Err(error) => said.push(error.to_string()),
        }
        said.extend(SocketId::unix_peers().err().map(|error| error.to_string()));
        let pipe = PipeHandle::of_process(pids[0], 1);
        let sampler = pids
            .iter()
            .map(|&pid| Process::open(pid))
            .collect::<Result<Vec<_>, _>>()
            .and_then(|stages| Sampler::linear(stages, vec![pipe?], quick()));
        match sampler {
            Ok(mut sampler) => {
                for _ in 0..3 {
                    assert_eq!(sampler.tick().stages.len(), 2);
                }
                assert_eq!(sampler.finish().stages.len(), 2);
            }
            Err(error) => said.push(error.to_string()),
        }
        said
    });
    let name = format!("call {number}, {errno}");
    let said = looking.join().unwrap_or_else(|_| panic!("{name}: a panic"));
    for error in said {
        assert!(
            error.contains("cannot ")
                || error.contains("there is no process")
                || error.contains("has ended")
                || error.contains("is not a pipe"),
            "{name}: {error}"
        );
    }
}

#[test]
fn no_system_call_that_fails_makes_a_look_panic_or_hang() {
    let _watchdog = watchdog();
    let (stages, mut feed) = Stages::fed(&["exec cat", "exec cat"]);
    feed.write_all(b"x").unwrap();
    let pids = [stages.pid(0), stages.pid(1)];
    for (number, errors) in [
        (
            call::__NR_openat,
            &[
                Errno::MFILE,
                Errno::NFILE,
                Errno::NOMEM,
                Errno::ACCESS,
                Errno::NOENT,
            ][..],
        ),
        (
            call::__NR_readlinkat,
            &[Errno::ACCESS, Errno::NOMEM, Errno::NOENT, Errno::INVAL],
        ),
        (call::__NR_fstatfs, &[Errno::NOSYS, Errno::IO]),
        (call::__NR_getdents64, &[Errno::NOMEM, Errno::NOENT]),
        (call::__NR_newfstatat, &[Errno::ACCESS, Errno::NOMEM]),
        (call::__NR_read, &[Errno::IO, Errno::SRCH, Errno::ACCESS]),
        (call::__NR_pread64, &[Errno::IO, Errno::SRCH, Errno::PERM]),
        (call::__NR_fcntl, &[Errno::PERM]),
        (call::__NR_ioctl, &[Errno::NOTTY]),
        (call::__NR_ppoll, &[Errno::NOMEM]),
        (
            call::__NR_socket,
            &[Errno::PERM, Errno::AFNOSUPPORT, Errno::MFILE],
        ),
        (call::__NR_clone3, &[Errno::AGAIN, Errno::NOMEM]),
    ] {
        for &errno in errors {
            look_with(number, errno, pids);
        }
    }
    #[cfg(target_arch = "x86_64")]
    look_with(call::__NR_poll, Errno::NOMEM, pids);
}
