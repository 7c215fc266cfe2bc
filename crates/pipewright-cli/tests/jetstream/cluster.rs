//! A job that is kept, one that three servers keep, and one that nobody has to help with.

use testing::{NatsServer, feed, shell_status, stderr, watchdog};

use crate::bed::{Stage, assert_same, coordinator, lines, plain, request, until_there, worker};

/// Streams of the job that the server has.
fn streams(server: &NatsServer) -> Vec<&'static str> {
    let there = |kind: &&str| {
        let info = format!("$JS.API.STREAM.INFO.pipewright-job-{kind}");
        !request(server, &info, b"").contains("\"error\"")
    };
    let kinds = ["work", "input", "results"];
    kinds.into_iter().filter(there).collect()
}

#[test]
fn a_job_that_is_kept_is_found_again_and_ends_its_workers() {
    let _watchdog = watchdog();
    let Some(server) = NatsServer::durable() else {
        return;
    };
    let bytes = lines(20_000);
    let command = ["sed", "s/line/LINE/"];
    let expected = plain(&command, &bytes);
    let mut workers: Vec<_> = (0..2).map(|_| worker(&server.url(), &command)).collect();
    // One that hears nothing while the job ends has to find out.
    let asleep = worker(&server.url(), &command);
    let mut kept = coordinator(&server.url(), &["--keep", "--lease", "1s"], &command);
    let stage = Stage::begin(&mut kept, &bytes);
    until_there(&server, "done.1.0");
    asleep.signal("-STOP");
    assert_same(&expected, &stage.end(), "kept");
    for worker in &mut workers {
        assert!(worker.0.wait().unwrap().success());
    }
    assert_eq!(streams(&server), ["results"]);
    let mut asleep = asleep;
    asleep.signal("-CONT");
    assert!(asleep.0.wait().unwrap().success());

    // Nobody works: all of it is there.
    let again = feed(&mut coordinator(&server.url(), &["-v"], &command), &bytes);
    assert_same(&expected, &again, "found");
    assert!(
        stderr(&again).contains("results were there from a run before"),
        "{}",
        stderr(&again)
    );
    assert!(streams(&server).is_empty());
}

#[test]
fn three_servers_keep_a_job_and_one_of_them_may_be_lost() {
    let _watchdog = watchdog();
    let Some(mut servers) = NatsServer::cluster() else {
        return;
    };
    let bytes = lines(20_000);
    let command = ["sed", "s/line/LINE/"];
    let urls: Vec<_> = servers.iter().map(NatsServer::url).collect();
    let mut stage = coordinator(
        &urls.join(","),
        &["--replicas", "3", "--lease", "2s"],
        &command,
    );
    let stage = Stage::begin(&mut stage, &bytes);
    let worker = worker(&urls.join(","), &command);
    until_there(&servers[0], "done.1.0");
    for server in &servers {
        let info = request(server, "$JS.API.STREAM.INFO.pipewright-job-results", b"");
        assert!(info.contains("\"num_replicas\":3"), "{info}");
    }
    // The store of one goes for good, that of whoever leads the results.
    let info = request(
        &servers[0],
        "$JS.API.STREAM.INFO.pipewright-job-results",
        b"",
    );
    let leads = (0..3).find(|at| info.contains(&format!("\"leader\":\"n{at}\"")));
    servers[leads.expect(&info)].kill();
    let output = stage.end();
    assert_same(&plain(&command, &bytes), &output, "one lost");
    let mut worker = worker;
    assert!(worker.0.wait().unwrap().success());
}

#[test]
fn more_replicas_than_there_are_servers_are_refused_at_once() {
    let _watchdog = watchdog();
    let Some(server) = NatsServer::durable() else {
        return;
    };
    let mut stage = coordinator(&server.url(), &["--replicas", "3"], &["cat"]);
    let output = feed(&mut stage, &lines(10_000));
    assert_eq!(shell_status(&output), 125);
    assert!(
        stderr(&output).contains("the NATS server refuses to make the job's streams"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn workers_end_where_the_command_has_to_be_one_process() {
    let _watchdog = watchdog();
    let Some(server) = NatsServer::durable() else {
        return;
    };
    let bytes = lines(20_000);
    for (command, why) in [
        // It is not known to look at each record by itself.
        (&["sed", "1d"][..], "it runs once, as one process"),
        (&["sh", "-c", "cat; exit 4"], "it runs once, as one process"),
        // It is found out from the beginning of the input, or is all that there is.
        (&["grep", "["], ""),
    ] {
        let mut waits = worker(&server.url(), command);
        // What is said before the worker listens is not for it.
        while waits.0.try_wait().unwrap().is_none() {
            let output = feed(&mut coordinator(&server.url(), &[], command), &bytes);
            assert_same(&plain(command, &bytes), &output, why);
            assert!(stderr(&output).contains(why), "{}", stderr(&output));
        }
        assert!(waits.0.wait().unwrap().success(), "{command:?}");
        assert!(streams(&server).is_empty(), "{command:?}");
    }
}
