//! Ctrl-Z while a process starts others.
#![allow(unsafe_code, reason = "waits for a process to stop, by the C library")]

use std::time::Duration;

use pipewright::{Child, Command, Stdio};
use rustix::process::{Pid, Signal, kill_process_group};
use testing::watchdog;

const STARTER: &str = "PIPEWRIGHT_TEST_STARTER";

/// Waits until the process has stopped. Panics when it ends.
fn await_stopped(child: &Child) {
    let mut status = 0;
    // SAFETY: waits for a child of this process, whose end would be seen here, too.
    let pid = unsafe { libc::waitpid(child.id() as i32, &raw mut status, libc::WUNTRACED) };
    assert_eq!(pid, child.id() as i32);
    assert!(libc::WIFSTOPPED(status), "it has ended: {status:#x}");
}

/// A child that stopped before it executed its program held its parent's thread for ever, and a shell
/// waited for both. The kernel sends the terminal's signal to the group, as is done here.
#[test]
fn a_stop_signal_at_the_moment_of_a_start_stops_the_parent_too() {
    let name = "a_stop_signal_at_the_moment_of_a_start_stops_the_parent_too";
    if std::env::var_os(STARTER).is_some() {
        loop {
            // The search along a long PATH is where a stop signal is most likely to come.
            let path = format!("{}/bin", "/nowhere:".repeat(200));
            let command = Command::new("true").env("PATH", path).stdout(Stdio::Null);
            command.spawn().unwrap().wait().unwrap();
        }
    }
    let _watchdog = watchdog();
    let starter = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(STARTER, "1")
        .stdout(Stdio::Null)
        .process_group(0)
        .kill_on_drop()
        .spawn()
        .unwrap();
    let group = Pid::from_raw(starter.id() as i32).unwrap();
    let rounds = 300;
    for round in 0..rounds {
        // Another moment of the start each time.
        std::thread::sleep(Duration::from_micros(1000 + 37 * round % 2000));
        kill_process_group(group, Signal::TSTP).unwrap();
        await_stopped(&starter);
        kill_process_group(group, Signal::CONT).unwrap();
    }
    kill_process_group(group, Signal::KILL).unwrap();
    starter.wait().unwrap();
}
