//! `A | B | C`: what each stage sees of its neighbours, and what is told at the end.

use std::io::{Read, Write};
use std::time::Duration;

use pipewright::{
    Capacity, Command, Error, InvalidCommand, LostStatus, Pipeline, Policy, Resource, Rlimit,
    Signal, StageEnd, Stdio, pipe,
};
use testing::{children, isolated, may_have_descriptors, open_descriptors, sh, watchdog};

/// Runs a pipeline and returns what its last command prints.
fn output(stages: impl Into<Pipeline>, last: Command) -> (String, pipewright::PipelineStatus) {
    let (mut reader, writer) = pipe().unwrap();
    let running = (stages.into() | last.stdout(writer)).spawn().unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    (text, running.wait().unwrap())
}

#[test]
fn stages_are_connected_in_order() {
    let _watchdog = watchdog();
    let words = Command::new("printf").arg("b\\na\\nb\\n") | Command::new("sort");
    let (text, status) = output(words, Command::new("uniq").arg("-d"));
    assert_eq!(text, "b\n");
    assert!(status.success());
    let names: Vec<&str> = status
        .stages()
        .iter()
        .map(|stage| stage.name.as_str())
        .collect();
    assert_eq!(names, [r"printf 'b\na\nb\n'", "sort", "uniq -d"]);
}

#[test]
fn pipelines_join_into_one() {
    let _watchdog = watchdog();
    let left = sh("echo abc") | Command::new("rev");
    let right = Command::new("tr").args(["a-z", "A-Z"]) | Command::new("cat").stdout(Stdio::Null);
    assert_eq!((left | right).run().unwrap().stages().len(), 4);
}

/// cmd_lib 48, rclone 4575: `… | head` was reported as failure 141.
#[test]
fn a_writer_whose_reader_has_enough_is_closed_early_and_no_failure() {
    let _watchdog = watchdog();
    let (text, status) = output(Command::new("yes"), Command::new("head").arg("-1"));
    assert_eq!(text, "y\n");
    assert!(matches!(status.stages()[0].end, StageEnd::ClosedEarly));
    assert!(status.success());

    let strict = Command::new("yes") | Command::new("head").arg("-1").stdout(Stdio::Null);
    let status = strict.policy(Policy::Any).run().unwrap();
    assert_eq!((status.failed_stage(), status.exit_code()), (Some(0), 141));
}

#[test]
fn the_status_is_the_rightmost_failure() {
    let _watchdog = watchdog();
    let exits = |codes: [i32; 3]| codes.map(|code| sh(&format!("exit {code}")));
    let run = |codes, policy| {
        Pipeline::new(exits(codes))
            .policy(policy)
            .run()
            .unwrap()
            .exit_code()
    };
    assert_eq!(run([1, 2, 0], Policy::Pipefail), 2);
    assert_eq!(run([1, 2, 0], Policy::Last), 0);
    assert_eq!(run([0, 0, 5], Policy::Last), 5);
    assert_eq!(run([0, 0, 0], Policy::Any), 0);
}

#[test]
fn a_stage_that_cannot_start_neither_hangs_nor_kills_the_others() {
    let _watchdog = watchdog();
    for missing in 0..3 {
        let mut stages = vec![sh("yes"), Command::new("cat"), Command::new("wc").arg("-c")];
        stages[missing] = Command::new("/no/such/program");
        let last = stages.pop().unwrap();
        let (_, status) = output(Pipeline::new(stages), last.stderr(Stdio::Null));
        assert_eq!(status.failed_stage(), Some(missing));
        assert_eq!(status.exit_code(), 127);
        for (index, stage) in status.stages().iter().enumerate() {
            let told = match &stage.end {
                StageEnd::NotStarted(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
                    "missing"
                }
                StageEnd::ClosedEarly => "early",
                StageEnd::Exited(0) => "read to the end",
                other => panic!("{other}"),
            };
            let expected = match index.cmp(&missing) {
                std::cmp::Ordering::Less => "early",
                std::cmp::Ordering::Equal => "missing",
                std::cmp::Ordering::Greater => "read to the end",
            };
            assert_eq!(told, expected, "stage {index} of {missing}");
        }
    }
}

/// rust 98209: one end left open in the parent, and one pipeline in a thousand hung.
#[test]
fn a_thousand_pipelines_from_many_threads_all_end() {
    let _watchdog = watchdog();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..125 {
                    let cats = Command::new("true") | Command::new("cat") | Command::new("cat");
                    assert!(cats.run().unwrap().success());
                }
            });
        }
    });
}

#[test]
fn a_pipeline_of_a_thousand_stages_works() {
    isolated("a_pipeline_of_a_thousand_stages_works", || {
        if !may_have_descriptors(1024) {
            return;
        }
        let before = open_descriptors();
        // What most systems give a process to begin with.
        let limits = rustix::process::getrlimit(Resource::Nofile);
        let usual = Rlimit {
            current: Some(1024),
            ..limits
        };
        rustix::process::setrlimit(Resource::Nofile, usual).unwrap();

        let (reader, mut feed) = pipe().unwrap();
        let (mut out, writer) = pipe().unwrap();
        let mut stages: Vec<Command> = (0..1000).map(|_| Command::new("cat")).collect();
        stages[0] = Command::new("cat").stdin(reader);
        stages[999] = Command::new("cat").stdout(writer);
        let running = Pipeline::new(stages).spawn().unwrap();
        feed.write_all(b"through a thousand").unwrap();
        drop(feed);
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through a thousand");

        // Half of the quota for all of them together.
        let quota = std::fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft").unwrap();
        let quota = quota.trim().parse::<usize>().unwrap() * rustix::param::page_size();
        let total: usize = running.pipes().iter().flatten().map(|it| it.capacity).sum();
        assert!(quota == 0 || total <= quota / 2, "{total} of {quota}");
        assert!(running.wait().unwrap().success());
        drop((running, out));
        assert_eq!(open_descriptors(), before);
    });
}

#[test]
fn running_out_of_descriptors_on_the_way_is_the_status_of_the_stages_without() {
    isolated(
        "running_out_of_descriptors_on_the_way_is_the_status_of_the_stages_without",
        || {
            let before = open_descriptors();
            let limits = rustix::process::getrlimit(Resource::Nofile);
            let few = Rlimit {
                current: Some(40),
                ..limits
            };
            rustix::process::setrlimit(Resource::Nofile, few).unwrap();
            let cats = (0..100).map(|_| Command::new("cat").stderr(Stdio::Inherit));
            let running = Pipeline::new(cats).spawn().unwrap();
            running.stages()[0].child().unwrap().kill().unwrap();
            let status = running.wait().unwrap();
            drop(running);
            assert!(!status.success());
            let unstarted = status.stages().iter().filter(|stage| {
                matches!(&stage.end, StageEnd::NotStarted(error)
                if error.raw_os_error() == Some(libc::EMFILE))
            });
            assert!(unstarted.count() > 50);
            rustix::process::setrlimit(Resource::Nofile, limits).unwrap();
            assert_eq!(open_descriptors(), before);
            assert_eq!(children(), Vec::<String>::new());
        },
    );
}

#[test]
fn pipes_are_as_large_as_asked() {
    isolated("pipes_are_as_large_as_asked", || {
        let cats = |capacity| {
            let stages = Command::new("true") | Command::new("cat") | Command::new("cat");
            let running = stages.capacity(capacity).spawn().unwrap();
            running.wait().unwrap();
            let pipes = running.pipes().iter().flatten();
            pipes.map(|pipe| pipe.capacity).collect::<Vec<_>>()
        };
        assert_eq!(cats(Capacity::Maximum), [1 << 20; 2]);
        assert_eq!(
            cats(Capacity::Default),
            [16 * rustix::param::page_size(); 2]
        );
        assert_eq!(cats(Capacity::Bytes(100_000)), [131_072; 2]);
        assert_eq!(cats(Capacity::Bytes(1)), [rustix::param::page_size(); 2]);
    });
}

#[test]
fn a_refused_capacity_is_no_error() {
    let _watchdog = watchdog();
    let stages = sh("echo x") | Command::new("cat").stdout(Stdio::Null);
    let running = stages
        .capacity(Capacity::Bytes(usize::MAX / 4))
        .spawn()
        .unwrap();
    let pipe = running.pipes()[0].as_ref().unwrap();
    assert!(pipe.capacity >= rustix::param::page_size());
    assert!(running.wait().unwrap().success());
}

#[test]
fn a_stage_in_the_middle_may_not_choose_what_the_pipeline_connects() {
    let _watchdog = watchdog();
    let cases = [
        (sh("exit 0").stdout(Stdio::Null) | sh("exit 0"), "stdout"),
        (sh("exit 0") | sh("exit 0").stdin(Stdio::Null), "stdin"),
        (
            sh("exit 0").fd(1, std::fs::File::open("/dev/null").unwrap()) | sh(""),
            "stdout",
        ),
    ];
    for (pipeline, name) in cases {
        match pipeline.spawn().unwrap_err() {
            Error::Invalid { reason, .. } => {
                assert_eq!(reason, InvalidCommand::ConnectedByPipeline(name));
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_pipeline_without_a_stage_is_a_success() {
    let _watchdog = watchdog();
    let status = Pipeline::new([]).run().unwrap();
    assert!(status.success() && status.stages().is_empty());
    assert_eq!((status.exit_code(), status.wall()), (0, Duration::ZERO));
    let output = Pipeline::new([])
        .capture()
        .input("nobody reads it")
        .output()
        .unwrap();
    assert!(output.success() && output.stdout.is_empty() && output.stderr.is_empty());
    assert_eq!(Pipeline::new([]).capture().lines().unwrap().count(), 0);
    // As a fold begins with it.
    let stages = ["cat", "rev"].into_iter().map(Command::new);
    let all = stages.fold(Pipeline::new([]), |all, stage| all | stage);
    assert_eq!(all.capture().input("abc").read().unwrap(), "cba");
}

#[test]
fn what_is_chosen_for_the_pipeline_reaches_every_stage_that_does_not_choose() {
    let _watchdog = watchdog();
    let told = || sh("echo $COLOUR in $PWD; cat");
    let stages =
        told().stdin(Stdio::Null) | told().current_dir("/usr").env("COLOUR", "red") | told();
    let said = stages
        .current_dir("/")
        .env("COLOUR", "blue")
        .capture()
        .read()
        .unwrap();
    assert_eq!(said, "blue in /\nred in /usr\nblue in /");

    let (mut mine, writer) = pipe().unwrap();
    let (mut own, own_writer) = pipe().unwrap();
    let complains = |word: &str| sh(&format!("echo {word} >&2"));
    let stages = complains("a") | complains("b").stderr(own_writer) | complains("c");
    let output = stages.stderr(writer).capture().output().unwrap();
    assert!(output.stderr.iter().all(Vec::is_empty));
    let (mut shared, mut chosen) = (String::new(), String::new());
    mine.read_to_string(&mut shared).unwrap(); // it ends: nobody else has the writer
    own.read_to_string(&mut chosen).unwrap();
    let mut shared: Vec<&str> = shared.lines().collect();
    shared.sort_unstable();
    assert_eq!((shared, &*chosen), (vec!["a", "c"], "b\n"));
}

#[test]
fn all_stages_share_one_new_process_group() {
    let _watchdog = watchdog();
    // The leader has ended before the others start, or has not; and one keeps its own.
    let group = || sh("cut -d' ' -f5 /proc/self/stat; cat");
    for first in [sh("exit 0"), group()] {
        let stages = first.stdin(Stdio::Null) | group() | group() | group().process_group(0);
        let running = stages.new_process_group().capture().spawn().unwrap();
        let leader = running.running().stages()[0]
            .child()
            .unwrap()
            .id()
            .to_string();
        let said = running.read().unwrap();
        let groups: Vec<&str> = said.lines().collect();
        let (own, shared) = groups.split_first().unwrap(); // the last stage says its own first
        assert!(
            shared.len() >= 2 && shared.iter().all(|it| **it == *leader),
            "{said}"
        );
        assert_ne!(*own, leader);
    }
    // The first that starts leads.
    let stages = [Command::new("/no/such"), group(), group()];
    let running = Pipeline::new(stages)
        .new_process_group()
        .capture()
        .spawn()
        .unwrap();
    let leader = running.running().stages()[1]
        .child()
        .unwrap()
        .id()
        .to_string();
    let said = running.output().unwrap().text().unwrap();
    assert!(
        said.lines().all(|line| line == leader) && said.lines().count() == 2,
        "{said}"
    );
}

#[test]
fn all_or_nothing_starts_nothing_when_a_program_is_missing() {
    isolated(
        "all_or_nothing_starts_nothing_when_a_program_is_missing",
        || {
            let directory = tempfile::tempdir().unwrap();
            let mark = directory.path().join("mark");
            let touch = || Command::new("touch").arg(&mark);
            let missing = [
                Command::new("/no/such/program"),
                Command::new("no-such-program"),
                Command::new("sh").env("PATH", "/nowhere:/usr/share"),
                Command::new("./mark").current_dir("/"),
            ];
            for program in missing {
                let name = program.to_string();
                let error = (touch() | program).all_or_nothing().spawn().unwrap_err();
                assert!(
                    matches!(&error, Error::Start(start) if name == start.program),
                    "{error}"
                );
                assert_eq!((error.exit_code(), mark.exists()), (127, false));
            }
            // What is there is found as the start finds it.
            let found = Command::new("./sh")
                .args(["-c", "exit 0"])
                .current_dir("/bin");
            assert!((touch() | found).all_or_nothing().run().unwrap().success());
            assert!(mark.exists());
        },
    );
}

#[test]
fn all_or_nothing_ends_what_was_started_when_a_later_stage_cannot_be() {
    isolated(
        "all_or_nothing_ends_what_was_started_when_a_later_stage_cannot_be",
        || {
            let sleeps = || Command::new("sleep").arg("1000");
            for cannot in [
                sleeps().current_dir("/no/such"),
                Command::new("/etc/passwd"),
            ] {
                let before = open_descriptors();
                let error = (sleeps() | sleeps() | cannot)
                    .all_or_nothing()
                    .capture()
                    .read()
                    .unwrap_err();
                assert!(matches!(error, Error::Start(_)), "{error}");
                testing::await_no_children();
                assert!(open_descriptors() <= before + 1);
            }
        },
    );
}

#[test]
fn signals_reach_every_stage_and_deadlines_are_kept() {
    let _watchdog = watchdog();
    let sleeps = || Command::new("sleep").arg("60") | Command::new("sleep").arg("60");
    let running = sleeps().spawn().unwrap();
    assert!(
        running
            .wait_timeout(Duration::from_millis(10))
            .unwrap()
            .is_none()
    );
    assert!(running.try_wait().unwrap().is_none());
    running.signal(Signal::TERM).unwrap();
    let status = running.wait().unwrap();
    assert_eq!(status.exit_code(), 128 + 15);
    assert_eq!(
        status.stages()[0].to_string(),
        "sleep 60: killed by SIGTERM"
    );

    let running = sleeps().spawn().unwrap();
    running.kill().unwrap();
    assert_eq!(running.wait().unwrap().exit_code(), 128 + 9);
}

#[test]
fn each_stage_has_its_own_times() {
    let _watchdog = watchdog();
    let (release, gate) = pipe().unwrap();
    let first = sh("exit 0");
    let running = (first | sh("read line <&9").fd(9, release))
        .spawn()
        .unwrap();
    let quick = running.stages()[0].child().unwrap();
    quick.wait().unwrap();
    drop(gate);
    let status = running.wait().unwrap();
    assert_eq!(Some(status.stages()[0].wall), quick.wall());
    assert!(status.wall() >= status.stages()[1].wall);
}

#[test]
fn stderr_can_go_down_the_pipe_too() {
    let _watchdog = watchdog();
    let both = sh("echo out; echo err >&2").stderr(Stdio::SameAsStdout);
    let (text, _) = output(both, Command::new("sort"));
    assert_eq!(text, "err\nout\n");
}

#[test]
fn a_stage_whose_status_was_taken_leaves_the_others_theirs() {
    isolated(
        "a_stage_whose_status_was_taken_leaves_the_others_theirs",
        || {
            for taken in 0..3 {
                let (release, gate) = pipe().unwrap();
                let stages = [3, 0, 4].map(|status| {
                    let gate = release.try_clone().unwrap();
                    sh(&format!("read line <&9; exit {status}")).fd(9, gate)
                });
                drop(release);
                let running = stages.into_iter().collect::<Pipeline>().spawn().unwrap();
                let stage = running.stages()[taken].child().unwrap().id();
                drop(gate);
                // As a handler for SIGCHLD does that waits for any child.
                let pid = rustix::process::Pid::from_raw(stage as i32);
                rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).unwrap();
                for _ in 0..2 {
                    let status = running.wait().unwrap();
                    for (index, (stage, code)) in status.stages().iter().zip([3, 0, 4]).enumerate()
                    {
                        match stage.end {
                            StageEnd::Exited(status) => {
                                assert_eq!((status, index != taken), (code, true))
                            }
                            StageEnd::StatusLost(LostStatus::TakenElsewhere) => {
                                assert_eq!(index, taken)
                            }
                            ref end => panic!("{end}"),
                        }
                    }
                    assert_eq!(status.failed_stage(), Some(2));
                    assert_eq!(status.exit_code(), if taken == 2 { 125 } else { 4 });
                    assert!(
                        status.stages()[taken]
                            .to_string()
                            .contains("status lost: other code")
                    );
                }
            }
        },
    );
}
