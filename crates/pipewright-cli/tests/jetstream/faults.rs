//! Rounds of faults: whatever is done to whom, the bytes and the status are those of one run.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use testing::{NatsServer, campaign, lives, shell_status, stderr, watchdog};

use crate::bed::{
    Process, Stage, coordinator, double_tickets, fill, lines, make_room, plain, until_there, worker,
};

/// What is done to whom, in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    WorkerKilled,
    /// It comes back when the job is over.
    WorkerStopped,
    /// It comes back when its chunk was given to another.
    WorkerLate,
    WorkerAskedToGo,
    ServerKilled,
    ServerStopped,
    ServerFull,
    CoordinatorKilled,
    CoordinatorStopped,
    TicketsDoubled,
}

const FAULTS: [Fault; 10] = [
    Fault::WorkerKilled,
    Fault::ServerKilled,
    Fault::CoordinatorKilled,
    Fault::WorkerStopped,
    Fault::ServerFull,
    Fault::WorkerAskedToGo,
    Fault::TicketsDoubled,
    Fault::ServerStopped,
    Fault::WorkerLate,
    Fault::CoordinatorStopped,
];

/// Commands that each record is looked at by, and what they end with.
const COMMANDS: [&str; 2] = [
    "sleep 0.01; sed s/line/LINE/",
    // One chunk fails, and what comes from there on is one run.
    "sleep 0.01; awk '{print} /line 25000 /{exit 3}'",
];

/// Longer than the lease of a job here.
const PAUSE: Duration = Duration::from_millis(1500);

#[test]
fn whatever_is_killed_the_bytes_and_the_status_are_those_of_one_run() {
    let Some(mut server) = NatsServer::start(
        "jetstream { store_dir: STORE, sync_interval: always, max_file_store: 24MB }",
    ) else {
        return;
    };
    let bytes = lines(30_000);
    let expected = COMMANDS.map(|command| plain(&["sh", "-c", command], &bytes));
    assert_eq!(expected.each_ref().map(shell_status), [0, 3]);
    for round in 0..campaign(10, 100) {
        let _watchdog = watchdog();
        let at = round as usize;
        let mut faults = vec![FAULTS[at % FAULTS.len()]];
        if at >= FAULTS.len() {
            // Another one with it, each with each.
            faults.push(FAULTS[(at + at / FAULTS.len()) % FAULTS.len()]);
        }
        let which = (at / 3) % COMMANDS.len();
        let what = format!("round {round}, {faults:?}, {}", COMMANDS[which]);
        eprintln!("{what}");
        let output = one_round(
            &mut server,
            &faults,
            COMMANDS[which],
            &bytes,
            round % 6,
            &what,
        );
        let told = stderr(&output);
        let expected = &expected[which];
        assert_eq!(
            shell_status(&output),
            shell_status(expected),
            "{what}: {told}"
        );
        assert!(
            output.stdout == expected.stdout,
            "{what}: other bytes; {told}"
        );
    }
}

fn one_round(
    server: &mut NatsServer,
    faults: &[Fault],
    command: &str,
    bytes: &[u8],
    done: u32,
    what: &str,
) -> std::process::Output {
    let command = ["sh", "-c", command];
    let directory = tempfile::tempdir().unwrap();
    let begin = |url: &str| {
        let options = ["--assume-local", "--lease", "1s", "--memory", "4M"];
        let mut stage = coordinator(url, &options, &command);
        Stage::begin(stage.current_dir(directory.path()), bytes)
    };
    let url = server.url();
    if faults.contains(&Fault::TicketsDoubled) {
        double_tickets(server);
    }
    let mut stage = begin(&url);
    let mut workers: Vec<_> = (0..2).map(|_| worker(&url, &command)).collect();
    until_there(server, &format!("done.{done}.0"));
    for fault in faults {
        match fault {
            Fault::WorkerKilled => workers[0].signal("-KILL"),
            Fault::WorkerStopped => workers[0].signal("-STOP"),
            Fault::WorkerLate => {
                workers[1].signal("-STOP");
                std::thread::sleep(PAUSE);
                workers[1].signal("-CONT");
            }
            Fault::WorkerAskedToGo => workers[1].signal("-TERM"),
            Fault::ServerKilled => {
                server.kill();
                server.start_again();
            }
            Fault::ServerStopped => {
                server.signal("-STOP");
                std::thread::sleep(PAUSE);
                server.signal("-CONT");
            }
            Fault::ServerFull => {
                fill(server);
                std::thread::sleep(PAUSE);
                make_room(server);
            }
            Fault::CoordinatorKilled => {
                stage.kill();
                stage = begin(&url);
            }
            Fault::CoordinatorStopped => {
                stage.signal("-STOP");
                std::thread::sleep(PAUSE);
                stage.signal("-CONT");
            }
            // It is done from the beginning.
            Fault::TicketsDoubled => {}
        }
    }
    workers.push(worker(&url, &command));
    let output = stage.end();
    if faults.contains(&Fault::WorkerStopped) {
        workers[0].signal("-CONT");
    }
    let killed = |at: usize| at == 0 && faults.contains(&Fault::WorkerKilled);
    for (at, mut worker) in workers.into_iter().enumerate() {
        end(&mut worker, killed(at), what);
    }
    output
}

/// A worker ends with its job, or when it is asked to: one that came when all was over waits for the next
/// job of this name.
fn end(worker: &mut Process, killed: bool, what: &str) {
    if worker.0.try_wait().unwrap().is_none() {
        worker.signal("-TERM");
    }
    let status = worker.0.wait().unwrap();
    // One that has only just started has no other end yet.
    let at_once = status.signal() == Some(15);
    assert!(status.success() || at_once || killed, "{what}: {status}");
    assert!(!lives(worker.0.id()));
}
