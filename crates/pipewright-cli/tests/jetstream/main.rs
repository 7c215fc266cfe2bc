//! `workers --via nats://…` and `pipewright worker`: whatever happens to workers, server and coordinator, the
//! bytes and the status are those of one run, and nobody is left.
#![cfg(feature = "nats")]

mod bed;
mod cluster;
mod faults;
mod login;
mod lost;
#[path = "../support/mod.rs"]
mod support;

use std::io::Write;
use std::process::Stdio;

use bed::{Process, assert_same, by_workers, coordinator, lines, plain, until_there, worker};
use testing::{NatsServer, feed, shell_status, stderr, watchdog};

#[test]
fn workers_give_the_bytes_and_the_status_of_one_run() {
    let _watchdog = watchdog();
    let Some(server) = NatsServer::durable() else {
        return;
    };
    let bytes = lines(20_000);
    for command in [
        &["grep", "-E", "7.*3"][..],
        &["grep", "nothing"],
        &["grep", "-c", "7"],
        &["sort", "-k2,2nr"],
        &["wc"],
        &["awk", "{print $2}"],
        &["awk", "{print $2} /line 15000 /{exit 3}"],
        &["sh", "-c", "cat; exit 4"],
    ] {
        let options = if command[0] == "sh" {
            &["--assume-local"][..]
        } else {
            &[]
        };
        let output = by_workers(&server, 2, options, command, &bytes);
        assert_same(&plain(command, &bytes), &output, &format!("{command:?}"));
    }
}

#[test]
fn what_the_runs_say_on_stderr_comes_in_order_and_a_good_end_leaves_nothing() {
    let _watchdog = watchdog();
    let Some(server) = NatsServer::durable() else {
        return;
    };
    let command = [
        "sh",
        "-c",
        "if read x; then echo \"$x\" >&2; echo \"$x\"; cat; fi",
    ];
    let options = ["--assume-local", "-v"];
    let output = by_workers(&server, 3, &options, &command, &lines(20_000));
    let said: Vec<u32> = stderr(&output)
        .lines()
        .filter_map(|line| line.strip_prefix("line ")?.split(' ').next()?.parse().ok())
        .collect();
    // The check runs it on the beginning as well, where its stderr is this one.
    let own = said.iter().rposition(|number| *number == 1).unwrap();
    assert!(said.len() - own > 5 && said[own..].is_sorted(), "{said:?}");
    // The server gives what it is removing a name with a dot.
    let left: Vec<_> = std::fs::read_dir(server.directory().join("store/jetstream/$G/streams"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn less_room_than_the_input_takes_makes_the_coordinator_wait() {
    let _watchdog = watchdog();
    let Some(server) = NatsServer::durable() else {
        return;
    };
    let bytes = lines(100_000);
    let command = ["sed", "s/line/LINE/"];
    let output = by_workers(&server, 2, &["--memory", "300K"], &command, &bytes);
    assert_same(&plain(&command, &bytes), &output, "little room");
    // A chunk that does not fit at all is an error before anybody waits.
    let output = feed(
        &mut coordinator(&server.url(), &["--memory", "20K"], &command),
        &bytes,
    );
    assert_eq!(shell_status(&output), 125);
    assert!(
        stderr(&output).contains("make chunks smaller (--block)"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn another_command_and_another_coordinator_are_refused() {
    let _watchdog = watchdog();
    let Some(server) = NatsServer::durable() else {
        return;
    };
    let mut waiting = Process(
        coordinator(&server.url(), &[], &["cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    waiting
        .0
        .stdin
        .as_mut()
        .unwrap()
        .write_all(&lines(20_000))
        .unwrap();
    until_there(&server, "cut.1");
    let second = feed(&mut coordinator(&server.url(), &[], &["cat"]), b"x\n");
    assert!(
        stderr(&second).contains("is being done: process"),
        "{}",
        stderr(&second)
    );
    let mut other = worker(&server.url(), &["tac"]);
    assert_eq!(other.0.wait().unwrap().code(), Some(125));
    drop(waiting);
    let second = feed(&mut coordinator(&server.url(), &[], &["grep", "x"]), b"x\n");
    assert_eq!(shell_status(&second), 125);
    assert!(
        stderr(&second).contains("runs cat, not grep x"),
        "{}",
        stderr(&second)
    );
}
