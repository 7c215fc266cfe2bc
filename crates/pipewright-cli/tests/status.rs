//! The status that `pipewright run` ends with.

mod support;

use support::run;
use testing::{stderr, watchdog, write_script};

fn code(arguments: &[&str]) -> Option<i32> {
    run(arguments).status.code()
}

#[test]
fn the_rightmost_real_failure_is_the_status() {
    let _watchdog = watchdog();
    assert_eq!(code(&["exit 3 | exit 5 | true"]), Some(5));
    assert_eq!(code(&["exit 3 | true"]), Some(3));
    assert_eq!(code(&["true | sh -c 'kill -9 $$' | true"]), Some(137));
    assert_eq!(code(&["--status", "last", "exit 3 | true"]), Some(0));
    assert_eq!(code(&["! exit 3 | true"]), Some(0));
    assert_eq!(code(&["! true | true"]), Some(1));
}

#[test]
fn a_stage_that_its_reader_told_to_stop_did_not_fail() {
    let _watchdog = watchdog();
    let output = run(&["yes | head -1"]);
    assert_eq!(
        (
            output.status.code(),
            &output.stdout[..],
            stderr(&output).as_str()
        ),
        (Some(0), &b"y\n"[..], "")
    );
    assert_eq!(code(&["{ yes; } | cat | head -1"]), Some(0));
    assert_eq!(code(&["--status", "any", "yes | head -1"]), Some(141));
    // A real failure to its left is not hidden, and the last stage is not forgiven.
    assert_eq!(code(&["exit 3 | yes | head -1"]), Some(3));
    assert_eq!(code(&["true | sh -c 'kill -PIPE $$'"]), Some(141));
}

/// The sampler opens the pipe now and then, which must not pass for a stage's doing.
#[test]
fn a_sigpipe_from_elsewhere_is_a_failure_watched_or_not() {
    let _watchdog = watchdog();
    let watched = ["--json", "--progress", "plain"];
    let mut missed = 0;
    for time in 0..20 {
        for (text, expected) in [
            ("sh -c 'echo partial; kill -PIPE $$' | cat", 141),
            ("{ echo partial; exit 141; } | cat", 141),
            ("yes | { head -1; exec <&-; sleep 0.05; }", 0),
        ] {
            assert_eq!(code(&[text]), Some(expected), "{text}, {time}");
        }
        let options = [&watched[..], &["yes | { sleep 0.15; head -1; }"]].concat();
        assert_eq!(code(&options), Some(0), "{time}");
        let elsewhere = "sh -c 'echo partial; sleep 0.15; kill -PIPE $$' | cat";
        let options = [&watched[..], &[elsewhere]].concat();
        missed += usize::from(code(&options) != Some(141));
    }
    // A stage that closes the pipe while the sampler has it open, for some millionths of a second every
    // 20 ms, may not be told apart: the kernel makes one event of two equal ones.
    assert!(missed <= 5, "{missed} of 20");
}

#[test]
fn each_policy_has_its_own_mind_about_the_same_pipeline() {
    let _watchdog = watchdog();
    //                                          pipefail, last, any
    let table: &[(&str, [i32; 3])] = &[
        ("true", [0, 0, 0]),
        ("exit 7", [7, 7, 7]),
        ("exit 2 | true", [2, 0, 2]),
        ("true | exit 2", [2, 2, 2]),
        ("exit 2 | exit 3 | true", [3, 0, 3]),
        ("sh -c 'kill -TERM $$' | true", [143, 0, 143]),
        ("true | sh -c 'kill -KILL $$'", [137, 137, 137]),
        ("yes | head -n 1", [0, 0, 141]),
        // A shell reports SIGPIPE of what it ran last as 141.
        ("{ yes; true; } | head -n 1", [0, 0, 0]),
        ("sh -c 'yes; exit $?' | head -n 1", [0, 0, 141]),
        // Only the reader's going forgives: a failure is one, whatever the reader does.
        ("sh -c 'yes 2>/dev/null; exit 4' | head -n 1", [4, 0, 4]),
        ("true | sh -c 'kill -PIPE $$'", [141, 141, 141]),
        ("sh -c 'exit 141'", [141, 141, 141]),
        ("no-such-program | true", [127, 0, 127]),
        ("! exit 2 | true", [0, 1, 0]),
        ("! yes | head -n 1", [1, 1, 0]),
        ("! true | no-such-program", [0, 0, 0]),
        ("exit 124 | exit 125 | exit 126 | true", [126, 0, 126]),
    ];
    for (text, expected) in table {
        let got = ["pipefail", "last", "any"]
            .map(|policy| code(&["--status", policy, text]).unwrap_or(-1));
        assert_eq!(&got, expected, "{text}");
    }
}

#[test]
fn a_program_that_is_missing_hangs_nobody_and_ends_nobody_else() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let witness = directory.path().join("witness");
    let tee = format!("tee '{}'", witness.display());
    for (text, seen) in [
        // Its reader sees the end at once.
        (format!("no-such-program | {tee}"), Some("")),
        // The one to the left is told by SIGPIPE, the one to the right by the end.
        (format!("yes | no-such-program | {tee}"), Some("")),
        (format!("seq 3 | {tee} | cat | no-such-program"), None),
        (format!("no-such-program $HOME | {tee}"), Some("")),
    ] {
        let output = run(&["--start-anyway", &text]);
        assert_eq!(output.status.code(), Some(127), "{text}");
        let written = std::fs::read_to_string(&witness).unwrap();
        assert!(seen.is_none_or(|seen| seen == written), "{text}: {written}");
        std::fs::remove_file(&witness).unwrap();
    }
}

#[test]
fn where_a_program_is_missing_nothing_is_started() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let witness = directory.path().join("witness");
    let text = format!("sleep 1000 | tee '{}' | no-such-program", witness.display());
    let output = run(&[&text]);
    assert_eq!(output.status.code(), Some(127));
    let told = stderr(&output);
    assert!(
        told.contains("not found") && told.contains("not started"),
        "{told}"
    );
    assert!(!witness.exists());
    // So with a shell that is not there.
    let through_shell = text.replace("no-such-program", "{ cat; }");
    let output = run(&["--shell", "no-such-shell", &through_shell]);
    assert_eq!(output.status.code(), Some(127));
    assert!(!witness.exists());
    // bash's own rules about the status bring its way of starting with them.
    for rule in ["last", "any"] {
        run(&["--status", rule, &text.replace("sleep 1000", "seq 3")]);
        std::fs::remove_file(&witness).unwrap();
    }
}

#[test]
fn a_program_that_is_missing_or_not_executable_is_told_wherever_it_stands() {
    let _watchdog = watchdog();
    for text in [
        "no-such | cat | wc -c",
        "seq 5 | no-such | wc -c",
        "yes | cat | no-such",
    ] {
        let output = run(&[text]);
        assert_eq!(output.status.code(), Some(127), "{text}");
        assert!(stderr(&output).contains("not found"), "{}", stderr(&output));
    }
    let output = run(&["-q", "echo x | /etc/passwd"]);
    assert_eq!(output.status.code(), Some(126));
    assert!(
        stderr(&output).contains("cannot start \"/etc/passwd\""),
        "{}",
        stderr(&output)
    );
}

#[test]
fn why_a_program_could_not_be_executed_is_told() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let orphan = directory.path().join("orphan");
    write_script(&orphan, "#!/no/such/interpreter\n");
    let orphan = orphan.to_str().unwrap();
    for (program, status, why) in [
        ("/etc", 126, "it is a directory"),
        ("/etc/passwd", 126, "chmod +x"),
        ("/etc/passwd/x", 126, "Not a directory"),
        (orphan, 127, "the interpreter that its first line names"),
    ] {
        let output = run(&["--", program]);
        assert_eq!(output.status.code(), Some(status), "{program}");
        let said = stderr(&output);
        assert!(
            said.contains(&format!("\"{program}\"")) && said.contains(why),
            "{said}"
        );
    }
}

#[test]
fn a_missing_command_is_told_as_shells_tell_it_and_in_full_when_asked() {
    let _watchdog = watchdog();
    let told = stderr(&run(&["--start-anyway", "sleep 0.3 | no-such-command"]));
    assert!(
        told.contains("stage 2 failed: no-such-command: command not found in "),
        "{told}"
    );
    assert!(told.contains("installed and in your PATH?"), "{told}");
    // That it was too short to be judged is no news after a failure.
    assert!(
        !told.contains("too short") && !told.contains("cannot start"),
        "{told}"
    );
    let told = stderr(&run(&["-v", "true | no-such-command"]));
    assert!(
        told.contains("cannot start \"no-such-command\": exec"),
        "{told}"
    );
    let told = stderr(&run(&["-q", "true | no-such-command"]));
    assert_eq!(told, "pipewright: no-such-command: command not found\n");
    // A path is no command that could be installed.
    let told = stderr(&run(&["true | /no/such/command"]));
    assert!(
        told.contains("No such file or directory") && !told.contains("PATH"),
        "{told}"
    );
}

/// A program that ends with 23 when its reader has gone, as curl does.
const LIKE_CURL: &str = "sh -c 'trap \"\" PIPE; while echo data; do :; done 2>/dev/null; exit 23'";

#[test]
fn a_failure_is_told_beside_its_reader_having_gone_and_can_be_forgiven() {
    let _watchdog = watchdog();
    let text = format!("{LIKE_CURL} | head -n 1");
    let output = run(&[&text]);
    assert_eq!(output.status.code(), Some(23));
    let told = stderr(&output);
    assert!(
        told.contains("stage 1 failed: exit status 23; its reader had gone in "),
        "{told}"
    );
    assert!(told.contains("--forgive"), "{told}");
    for named in ["23", "sh", "sh=23", "curl,23", "curl=7,sh"] {
        for status in ["pipefail", "any"] {
            let arguments = [
                "--forgive",
                named,
                "--status",
                status,
                "--summary=always",
                &text,
            ];
            let output = run(&arguments);
            assert_eq!(output.status.code(), Some(0), "{named}");
            assert!(stderr(&output).contains("exit 23, forgiven"), "{named}");
        }
    }
    for named in ["22", "curl", "curl=23", "sh=22"] {
        let output = run(&["-q", "--forgive", named, &text]);
        assert_eq!(output.status.code(), Some(23), "{named}");
    }
    let json = run(&["--json", "--forgive=sh=23", &text]);
    let run_of: serde_json::Value = serde_json::from_slice(&json.stderr).unwrap();
    let stage = &run_of["stages"][0];
    assert_eq!(
        (&stage["reader_gone"], &stage["forgiven"]),
        (&true.into(), &true.into())
    );
    assert_eq!(
        (&stage["exit_code"], &run_of["exit_code"]),
        (&23.into(), &0.into())
    );

    // By a shell, with an assignment in front, the last stage, and by a signal.
    for (named, text) in [
        ("grep=1", "echo hay | LC_ALL=C grep \"$HOME needle\""),
        ("sh=143", "sh -c 'kill -TERM $$' | cat"),
    ] {
        assert_ne!(run(&["-q", text]).status.code(), Some(0), "{text}");
        let output = run(&["-q", "--forgive", named, text]);
        assert_eq!(output.status.code(), Some(0), "{text}: {}", stderr(&output));
    }
    // What was never there is not forgiven.
    let output = run(&["-q", "--forgive", "no-such,127", "true | no-such"]);
    assert_eq!(output.status.code(), Some(127));
    let output = run(&["--forgive", "300", "true"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(
        stderr(&output).contains("from 1 to 255"),
        "{}",
        stderr(&output)
    );
}
