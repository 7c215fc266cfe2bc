//! What can be asked of the command, and what it says.

mod support;

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use pipewright_observe::PipeHandle;
use support::{pipewright, run};
use testing::{feed, may_have_descriptors, stderr, watchdog};

#[test]
fn the_pipeline_may_come_from_a_file_or_from_stdin() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("nightly.pipe");
    let text = "#!/usr/bin/env -S pipewright run -f\n# what it does\n\nprintf '%s\\n' \"$1\" b |\n  # the second stage\n  sort -r\n";
    testing::write_script(&file, text);
    let output = run(&["-f", file.to_str().unwrap(), "argument"]);
    assert_eq!(output.stdout, b"b\nargument\n", "{}", stderr(&output));

    // As a program of its own.
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_pipewright"));
    let path = format!(
        "{}:{}",
        binary.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let output = std::process::Command::new(&file)
        .arg("z")
        .env("PATH", path)
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"z\nb\n", "{}", stderr(&output));

    let mut child = pipewright()
        .args(["run", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"echo from stdin | cat")
        .unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"from stdin\n");

    let output = run(&["-f", "/no/such/file"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(
        stderr(&output).contains("cannot read /no/such/file"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn words_behind_two_dashes_see_no_shell() {
    let _watchdog = watchdog();
    let output = run(&[
        "--", "printf", "%s\\n", "$HOME", "a b", "*", "|", "cat", "-n",
    ]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "     1\t$HOME\n     2\ta b\n     3\t*\n"
    );
    let output = run(&["--", "sh", "-c", "echo err >&2", "|&", "cat"]);
    assert_eq!(output.stdout, b"err\n");
}

#[test]
fn words_are_cut_and_refused_as_the_text_would_be() {
    let _watchdog = watchdog();
    // Builtins are programs here, and nothing else has a meaning.
    let output = run(&[
        "--", "printf", "%s,", "~", "a;b", ">x", "|", "tr", ",", "\n",
    ]);
    assert_eq!(output.stdout, b"~\na;b\n>x\n", "{}", stderr(&output));
    for wrong in [&["--", "|", "cat"][..], &["--", "cat", "|"], &["--"]] {
        let output = run(wrong);
        assert_eq!(output.status.code(), Some(125), "{wrong:?}");
        assert!(stderr(&output).starts_with("pipewright: "));
    }
}

#[test]
fn a_file_gets_its_arguments_and_its_name() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("my pipe");
    std::fs::write(
        &file,
        "printf '%s|' \"$0\" \"$#\" \"$2\" |\n{ cat; echo \"$1\"; }\n",
    )
    .unwrap();
    let name = file.to_str().unwrap();
    let output = run(&["-f", name, "first one", "$HOME"]);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{name}|2|$HOME|first one\n")
    );
    // Options behind a -- are arguments, too.
    let output = run(&["-f", name]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_file_is_run_whatever_bytes_are_in_it() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let name = file.to_str().unwrap();
    for (bytes, status, stdout) in [
        (&b"printf '\xff' | cat"[..], 0, &b"\xff"[..]),
        (b"# nothing but a comment\n", 0, b""),
        (b"echo a |\n  sort |\n", 2, b""),
        (b"echo a\necho b \"$1\" \"${0##*/}\"\n", 0, b"a\nb 1 file\n"),
        (b"cat <<END | sort\nbody\n", 0, b"body\n"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let output = run(&["-f", name, "1"]);
        assert_eq!(output.status.code(), Some(status), "{}", stderr(&output));
        assert_eq!(output.stdout, stdout);
    }
    assert_eq!(run(&["-f", "/"]).status.code(), Some(125));
}

#[test]
fn direct_stages_are_pipewrights_children_and_builtins_are_not_looked_for_in_path() {
    let _watchdog = watchdog();
    // The parent of each is asked of the kernel; cat has no shell around it.
    let output = run(&["--json", "grep PPid /proc/self/status | cat"]);
    let run_json: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    let starts = [0, 1].map(|index| {
        run_json["stages"][index]["start"]
            .as_str()
            .unwrap()
            .to_owned()
    });
    assert_eq!(starts, ["direct", "direct"]);
    let mut command = pipewright();
    let child = command
        .args(["run", "grep PPid /proc/self/status | cat"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(said, format!("PPid:\t{pid}\n"));

    // A program of a builtin's name is not run in its place.
    let directory = tempfile::tempdir().unwrap();
    testing::write_script(
        &directory.path().join("echo"),
        "#!/bin/sh\nprintf 'wrong one'\n",
    );
    let path = format!(
        "{}:{}",
        directory.path().display(),
        std::env::var("PATH").unwrap()
    );
    let mut command = pipewright();
    let output = command
        .args(["run", "echo right | cat"])
        .env("PATH", &path)
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"right\n");
    // Without a shell it is.
    let mut command = pipewright();
    let output = command
        .args(["run", "--", "echo", "|", "cat"])
        .env("PATH", &path)
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"wrong one");
}

#[test]
fn a_function_that_was_exported_is_run_by_the_shell() {
    let _watchdog = watchdog();
    let script = format!(
        "seq() {{ echo mine; }}; export -f seq; {} run 'seq 3 | cat'",
        env!("CARGO_BIN_EXE_pipewright")
    );
    let output = std::process::Command::new("bash")
        .args(["-c", &script])
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"mine\n");
}

#[test]
fn stages_inherit_stdin_environment_directory_and_the_descriptors_that_bash_leaves_them() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let text = "{ cat; pwd -P; echo $MARK; ls /proc/self/fd; } | cat";
    let read = |mut command: std::process::Command, option: &str| {
        command.args([option, text]);
        command.current_dir(directory.path()).env("MARK", "set");
        String::from_utf8(feed(&mut command, b"from stdin\n").stdout).unwrap()
    };
    let ours = read(pipewright(), "run");
    assert_eq!(ours, read(std::process::Command::new("bash"), "-c"));
    let place = directory.path().canonicalize().unwrap();
    // 3 is the directory that ls reads, unless the caller of this test left it something there.
    let begin = format!("from stdin\n{}\nset\n0\n1\n", place.display());
    assert!(ours.starts_with(&begin), "{ours}");
}

#[test]
fn three_hundred_stages_are_no_trouble() {
    let _watchdog = watchdog();
    // With few of them, bash runs the text as a whole.
    if !may_have_descriptors(400) {
        return;
    }
    let text = format!("seq 1000{} | tail -n 1", " | cat".repeat(300));
    let output = run(&["--summary", "always", &text]);
    assert_eq!(output.stdout, b"1000\n", "{}", stderr(&output));
    assert!(
        stderr(&output).contains("  302  tail -n 1"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn wrong_words_on_the_command_line_are_explained_in_few_lines() {
    let _watchdog = watchdog();
    for (arguments, why) in [
        (&["run", "sort", "names", "|", "uniq"][..], "quotes"),
        (&["run"], "there is no pipeline"),
        (&["run", "--status", "all", "true"], "pipefail, last, any"),
        (&["run", "--pipe-size", "1X", "true"], "64K"),
        (&["run", "--timeout", "-1", "true"], "give seconds"),
        (&["run", "--colour", "always", "true"], "--color"),
        (&["rum", "true"], "run"),
        (&["completions", "tcsh"], "bash"),
    ] {
        let output = pipewright().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{arguments:?}");
        let said = stderr(&output);
        assert!(said.contains(why) && said.lines().count() < 12, "{said}");
        assert!(output.stdout.is_empty());
    }
    // What was asked for is no error.
    for asked in [
        &["--help"][..],
        &["run", "--help"],
        &["run", "-h"],
        &["--version"],
    ] {
        let output = pipewright().args(asked).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{asked:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty());
    }
}

#[test]
fn arguments_need_not_be_utf_8() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let name = std::ffi::OsStr::from_bytes(b"latin \xe9");
    std::fs::write(directory.path().join(name), "found\n").unwrap();
    let file = directory.path().join("script");
    std::fs::write(&file, "cat \"$1\" | cat").unwrap();
    for before in [&["--", "cat"][..], &["-f", "script"]] {
        let mut command = pipewright();
        command.arg("run").args(before).arg(name);
        let output = command.current_dir(&directory).output().unwrap();
        assert_eq!(output.stdout, b"found\n", "{}", stderr(&output));
    }
    // Nor need a text: bash runs it whole.
    let text = std::ffi::OsStr::from_bytes(b"echo \xe9 | cat");
    let output = pipewright().arg("run").arg(text).output().unwrap();
    assert_eq!(output.stdout, b"\xe9\n");
}

#[test]
fn wrong_options_are_refused_before_anything_runs() {
    let _watchdog = watchdog();
    for wrong in [
        &["--no-such-flag", "true"][..],
        &["--pipe-size", "lots", "true"],
        &["--timeout", "soon", "true"],
        &["--kill-after", "1", "true"],
        &["sort", "words", "|", "cat"],
        &["-q", "-v", "true"],
        &[],
    ] {
        let output = run(wrong);
        assert_eq!(output.status.code(), Some(125), "{wrong:?}");
        assert!(!stderr(&output).is_empty());
    }
}

#[test]
fn a_number_that_is_none_is_answered_with_what_to_give() {
    let commands: [&[&str]; 11] = [
        &["run", "--record", "x", "--record-links", "N", "true"],
        &["run", "--restart", "replay", "--restart-max", "N", "true"],
        &["run", "--compare", "--warmup", "N", "true", "true"],
        &["run", "--compare", "--runs", "N", "true", "true"],
        &["workers", "--header", "N", "--", "cat"],
        &["workers", "--retries", "N", "--", "cat"],
        &["workers", "-j", "N", "--", "cat"],
        &["replay", "x", "N"],
        &["replay", "x", "--speed", "N"],
        &["watch", "N"],
        &["resize", "N", "1M"],
    ];
    for command in commands {
        for number in ["many", "-1", "1.5.2", "99999999999999999999x"] {
            let words = command.iter().map(|word| match *word {
                "N" => number,
                word => word,
            });
            let output = pipewright().args(words).output().unwrap();
            let said = stderr(&output);
            assert_eq!(
                output.status.code(),
                Some(125),
                "{command:?} {number}: {said}"
            );
            assert!(said.contains(": give "), "{command:?} {number}: {said}");
        }
    }
}

#[test]
fn a_dry_run_tells_how_each_stage_would_start_and_runs_nothing() {
    let _watchdog = watchdog();
    let output = run(&["--dry-run", "touch ran-anyway |& sort -u | wc -l >out"]);
    let plan = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<&str> = plan.lines().collect();
    assert_eq!(
        rows,
        [
            "1  direct    touch ran-anyway  (stderr too)",
            "2  direct    sort -u",
            "3  bash -c   wc -l >out"
        ]
    );
    assert!(!std::path::Path::new("ran-anyway").exists());
    let plan = run(&["--dry-run", "--shell", "sh", "echo x"]).stdout;
    assert_eq!(String::from_utf8_lossy(&plan), "1  sh -c     echo x\n");
}

#[test]
fn builtins_go_to_the_shell_that_was_asked_for() {
    let _watchdog = watchdog();
    assert_eq!(run(&["echo -e 'a\\tb' | cat"]).stdout, b"a\tb\n");
    let output = run(&["--shell", "sh", "echo $0 | cat"]);
    assert_eq!(output.stdout, b"sh\n");
    let output = run(&["--shell", "/no/such/shell", "echo x | cat"]);
    assert_eq!(output.status.code(), Some(127));
}

#[test]
fn pipes_have_the_size_that_was_asked_for() {
    let _watchdog = watchdog();
    let capacity = |size: &[&str]| {
        let directory = tempfile::tempdir().unwrap();
        // In a subshell: for an echo of its own the shell would make the file its stdout for a moment.
        let mut child = pipewright()
            .arg("run")
            .args(size)
            .arg("sh -c '(echo $$ >pid); read line; :' | cat")
            .current_dir(&directory)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = testing::wait_for_lines(&directory.path().join("pid"), 1);
        let pipe = PipeHandle::of_process(pid.trim().parse().unwrap(), 1).unwrap();
        let capacity = pipe.level().unwrap().capacity;
        drop(child.stdin.take());
        child.wait().unwrap();
        capacity
    };
    assert_eq!(
        capacity(&["--pipe-size", "default"]),
        16 * rustix::param::page_size() as u64
    );
    assert_eq!(capacity(&["--pipe-size", "128K"]), 128 << 10);
    assert!(capacity(&[]) >= capacity(&["--pipe-size", "default"]));
}

#[test]
fn the_summary_is_shown_when_asked_for_or_when_something_failed() {
    let _watchdog = watchdog();
    let said = |arguments: &[&str]| stderr(&run(arguments));
    assert_eq!(said(&["true | true"]), "");
    assert!(said(&["--summary", "always", "true | true"]).contains("ok in"));
    let failed = said(&["true | sh -c 'exit 3'"]);
    assert!(failed.contains("stage 2 failed: exit status 3"), "{failed}");
    assert_eq!(said(&["--summary", "never", "true | sh -c 'exit 3'"]), "");
    assert_eq!(said(&["-q", "true | sh -c 'exit 3'"]), "");
    let verbose = said(&["-v", "true | sort"]);
    assert!(
        verbose.contains("run by bash; ")
            && verbose.contains(" pipe to the next stage\n")
            && verbose.contains("run directly\n"),
        "{verbose}"
    );
    let coloured = said(&["--color", "always", "--summary", "always", "true"]);
    assert!(coloured.contains("\x1b["), "{coloured:?}");
    assert!(!failed.contains('\x1b'));
}

#[test]
fn a_summary_in_a_log_cuts_no_stage() {
    let _watchdog = watchdog();
    let text = format!("echo {} | cat", "long ".repeat(40).trim_end());
    let said = stderr(&run(&["--summary", "always", &text]));
    assert!(said.contains(text.trim_end_matches(" | cat")), "{said}");
}

#[test]
fn the_time_of_a_child_that_a_terminated_shell_left_counts() {
    let _watchdog = watchdog();
    let busy = "bash -c 'while :; do :; done'";
    // The shell waits for it, and is gone first.
    let output = run(&["--json", "--timeout", "2", &format!("{busy} </dev/null; :")]);
    let run: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    let stage = &run["stages"][0];
    let cpu = stage["user_seconds"].as_f64().unwrap() + stage["system_seconds"].as_f64().unwrap();
    assert!(cpu > 0.05, "{run:#}");
}

#[test]
fn control_characters_in_a_command_do_not_come_out() {
    let _watchdog = watchdog();
    let hostile = "no-such '\x1b]0;title\x07' | cat";
    for arguments in [
        &["--summary", "always", hostile][..],
        &["--dry-run", hostile],
        &["-q", hostile],
    ] {
        let output = run(arguments);
        let all = [output.stdout, output.stderr].concat();
        assert!(
            !all.contains(&0x1b) && !all.contains(&0x07),
            "{:?}",
            String::from_utf8_lossy(&all)
        );
    }
}

#[test]
fn the_json_object_tells_each_end_and_the_status_that_they_make() {
    let _watchdog = watchdog();
    let output = run(&["--json", "! sh -c 'exit 3' | sh -c 'kill -9 $$' | cat"]);
    let full = run(&["--json=/dev/full", "-q", "true"]);
    let run: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(run["negated"], true);
    assert_eq!(
        (&run["exit_code"], &run["success"]),
        (&0.into(), &true.into())
    );
    assert_eq!(run["signal"], serde_json::Value::Null);
    assert_eq!(run["failed_stage"], 2);
    let stages = run["stages"].as_array().unwrap();
    for (index, stage) in stages.iter().enumerate() {
        assert_eq!(stage["number"], index + 1);
        assert!(stage["wall_seconds"].as_f64() <= run["wall_seconds"].as_f64());
    }
    let ends: Vec<_> = stages.iter().map(|stage| stage["end"].clone()).collect();
    assert_eq!(
        serde_json::Value::from(ends),
        serde_json::json!([
            {"kind": "exited", "code": 3},
            {"kind": "signaled", "signal": "SIGKILL", "number": 9, "core_dumped": false},
            {"kind": "exited", "code": 0},
        ])
    );
    assert_eq!(stages[1]["exit_code"], 137);
    // Also where it cannot be written to the end: an error, and not in silence.
    assert_eq!(full.status.code(), Some(125));
    assert!(
        stderr(&full).contains("cannot write to /dev/full: No space left"),
        "{}",
        stderr(&full)
    );
}

#[test]
fn json_tells_everything_in_one_versioned_object() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("run.json");
    let json = format!("--json={}", file.display());
    let text = "yes |& sh -c 'head -1; exit 3' | no-such";
    let output = run(&[&json, "-q", "--start-anyway", text]);
    assert_eq!(output.status.code(), Some(127));
    let without_file = run(&["--json", "true | true"]);
    let run: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(run["version"], 2);
    assert_eq!(
        (&run["success"], &run["exit_code"], &run["timed_out"]),
        (&false.into(), &127.into(), &false.into())
    );
    let stages = run["stages"].as_array().unwrap();
    assert_eq!(stages.len(), 3);
    // What lacks a stage is not watched.
    assert_eq!(run["verdict"], serde_json::Value::Null);
    assert_eq!(stages[0]["text"], "yes");
    assert_eq!(stages[0]["start"], "direct");
    assert_eq!(stages[0]["end"]["kind"], "closed_early");
    assert!(stages[0]["pid"].as_u64().unwrap() > 1);
    assert!(stages[0]["wall_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(stages[2]["end"]["kind"], "not_started");
    assert!(
        stages[2]["end"]["reason"]
            .as_str()
            .unwrap()
            .contains("no-such")
    );
    assert_eq!(run["pipes"][0]["stderr_too"], true);
    assert_eq!(
        (&run["pipes"][1]["from"], &run["pipes"][1]["to"]),
        (&2.into(), &3.into())
    );
    assert!(run["pipes"][0]["capacity_bytes"].as_u64().unwrap() >= 4096);

    let to_stderr: serde_json::Value = serde_json::from_slice(&without_file.stderr).unwrap();
    assert_eq!(to_stderr["exit_code"], 0);
    // Behind what the last stage writes.
    let output = crate::run(&["--json=-", "-q", "echo data | cat"]);
    let json = output.stdout.strip_prefix(b"data\n").unwrap();
    let run: serde_json::Value = serde_json::from_slice(json).unwrap();
    assert_eq!(run["exit_code"], 0);
    let output = run_in_vain();
    assert!(output.contains("cannot write to /no/such"), "{output}");
}

/// A file that cannot be written is an error before anything runs.
fn run_in_vain() -> String {
    let directory = tempfile::tempdir().unwrap();
    let witness = directory.path().join("ran");
    let output = run(&[
        "--json=/no/such/file",
        &format!("touch '{}'", witness.display()),
    ]);
    assert_eq!(output.status.code(), Some(125));
    assert!(!witness.exists());
    stderr(&output)
}

#[test]
fn a_pipeline_that_is_over_before_anybody_looks_has_no_verdict() {
    let _watchdog = watchdog();
    // On a busy machine even `true` may take longer than that, but not each time.
    loop {
        let output = run(&["--json", "true"]);
        let run: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        if run["wall_seconds"].as_f64().unwrap() < 0.05 {
            assert!(run["verdict"].is_null(), "{run:#}");
            assert!(run["stages"][0]["shares"].is_null(), "{run:#}");
            return;
        }
    }
}

#[test]
fn what_was_seen_is_told_of_a_pipeline_that_runs_long_enough() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let samples = directory.path().join("samples");
    // Long enough is what makes the loading of the programs the smaller part of it.
    let mut seconds = 1;
    loop {
        let text = format!("sleep {seconds} | cat | cat");
        let output = run(&["--json", "--samples", samples.to_str().unwrap(), &text]);
        let run: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        let lines = std::fs::read_to_string(&samples).unwrap();
        let lines: Vec<serde_json::Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        for line in &lines {
            assert_eq!(line["stages"].as_array().unwrap().len(), 3);
        }
        let sentence = run["verdict"]["sentence"].as_str().unwrap_or_default();
        let waiting = &run["stages"][1]["shares"]["waiting_for_input"];
        if sentence.starts_with(&format!("stage 1 (sleep {seconds}) is the bottleneck"))
            && waiting.as_f64() > Some(0.5)
            && lines.len() > 10
        {
            break;
        }
        assert!(seconds < 60, "{} samples, {run:#}", lines.len());
        seconds *= 3;
    }
}

#[test]
fn limits_tell_default_from_ceiling() {
    let _watchdog = watchdog();
    let output = pipewright().arg("limits").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("default capacity  65536 bytes") && text.contains("ceiling"),
        "{text}"
    );
    let output = pipewright().args(["limits", "--json"]).output().unwrap();
    let limits: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |name: &str| {
        std::fs::read_to_string(format!("/proc/sys/fs/{name}"))
            .unwrap()
            .trim()
            .parse::<u64>()
            .unwrap()
    };
    assert_eq!(limits["ceiling_bytes"], number("pipe-max-size"));
    assert_eq!(limits["soft_quota_pages"], number("pipe-user-pages-soft"));
    assert_eq!(limits["default_bytes"], 16 * rustix::param::page_size());
}

#[test]
fn a_reader_of_its_own_output_that_goes_early_is_no_panic() {
    let _watchdog = watchdog();
    for text in ["man", "limits", "run --dry-run 'true'"] {
        let script = format!(
            "{} {text} | true; echo ${{PIPESTATUS[0]}}",
            env!("CARGO_BIN_EXE_pipewright")
        );
        let output = std::process::Command::new("bash")
            .args(["-c", &script])
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"0\n", "{text}: {}", stderr(&output));
    }
    // Nobody reads the summary.
    let script = format!(
        "{} run --summary always 'true|true' 2>&1 >/dev/null | true; echo ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_pipewright")
    );
    let output = std::process::Command::new("bash")
        .args(["-c", &script])
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"0\n");
}
