//! What a caller leaves to `pipewright run` reaches the stages: closed streams, ignored signals, limits.

use std::process::{Command, Output, Stdio};

use testing::{is_root, shell_status, stderr, watchdog};

/// Runs a script of bash that runs `"$@"` in what it has prepared.
fn prepared(script: &str, words: &[&str]) -> Output {
    let mut bash = Command::new("bash");
    bash.args(["-c", script, "bash"]).args(words);
    bash.stdin(Stdio::null()).output().unwrap()
}

const PIPEWRIGHT: &str = env!("CARGO_BIN_EXE_pipewright");

#[test]
fn a_stream_that_the_caller_closed_is_closed_for_the_stages_as_in_bash() {
    let _watchdog = watchdog();
    let texts = [
        "echo hi | cat",
        "echo hi",
        "cat | wc -c",
        "cat",
        "cat | cat | cat",
        "{ echo out; echo err >&2; } | cat",
        "sh -c 'echo err >&2; exit 3'",
        "test -e /proc/self/fd/0",
        "true | test -e /proc/self/fd/1",
        "true | test -e /proc/self/fd/2",
        "test -e /proc/self/fd/2 | cat",
        "true |& sh -c 'test -e /proc/self/fd/2'",
    ];
    for closing in [
        "<&-",
        ">&-",
        "2>&-",
        "<&- >&-",
        ">&- 2>&-",
        "<&- >&- 2>&-",
        "</dev/null >/dev/null 2>/dev/null",
        "<>/dev/null",
    ] {
        for text in texts {
            let script = format!("\"$@\" {closing}");
            let ours = prepared(&script, &[PIPEWRIGHT, "run", "-q", "--status=last", text]);
            let theirs = prepared(&script, &["bash", "-c", text]);
            let seen = |output: &Output| (shell_status(output), output.stdout.clone());
            assert_eq!(
                seen(&ours),
                seen(&theirs),
                "{text} {closing}: {} and {}",
                stderr(&ours),
                stderr(&theirs)
            );
        }
    }
}

#[test]
fn what_pipewright_prints_itself_to_a_closed_stdout_is_an_error() {
    let _watchdog = watchdog();
    let output = prepared("\"$@\" >&-", &[PIPEWRIGHT, "limits"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(
        stderr(&output).contains("Bad file descriptor"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn statuses_are_right_where_the_caller_ignores_sigchld() {
    let _watchdog = watchdog();
    // The stages have it at its default, so that they get the statuses of their own children.
    let asks =
        "grep SigIgn /proc/self/status | { read -r name mask; exit $((0x$mask >> 16 & 1)); }";
    for (text, status) in [
        ("true | false", 1),
        ("exit 7", 7),
        ("false | true", 1),
        ("sleep 0.1 | sh -c 'kill -TERM $$'", 143),
        (asks, 0),
    ] {
        let output = prepared("trap '' CHLD; \"$@\"", &[PIPEWRIGHT, "run", text]);
        assert_eq!(shell_status(&output), status, "{text}: {}", stderr(&output));
    }
}

/// bash gives up what a set-user-ID bit has given it.
#[test]
fn what_is_started_has_the_real_ids_of_the_caller_as_in_bash() {
    let _watchdog = watchdog();
    if !is_root() {
        eprintln!("skipped: only root can have several ids at once");
        return;
    }
    let told = |become_it: &str, words: &[&str]| {
        let output = prepared(&format!("setpriv {become_it} \"$@\""), words);
        assert!(output.status.success(), "{become_it}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("pipewright");
    testing::copy_program(PIPEWRIGHT.as_ref(), &program);
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).unwrap();
    let program = program.to_str().unwrap();
    for become_it in [
        "--ruid=65534 --euid=0",
        "--ruid=0 --euid=65534",
        "--rgid=65534 --egid=0 --keep-groups",
        "--rgid=65534 --egid=0 --ruid=65534 --euid=0 --clear-groups",
    ] {
        for text in [
            "grep -E '^(Uid|Gid|CapEff)' /proc/self/status | cat",
            "cat /proc/self/status | grep -E '^(Uid|Gid|CapEff)'",
            "true; grep -E '^(Uid|Gid|CapEff)' /proc/self/status",
        ] {
            let ours = told(become_it, &[program, "run", "-q", text]);
            assert_eq!(
                ours,
                told(become_it, &["bash", "-c", text]),
                "{become_it} {text}"
            );
        }
    }
}

#[test]
fn a_pipeline_longer_than_the_soft_limit_of_descriptors_runs_and_its_stages_keep_that_limit() {
    let _watchdog = watchdog();
    let cats = "cat | ".repeat(100);
    let text = format!("ulimit -Sn | {cats} {{ cat; ulimit -Sn; }}");
    let output = prepared("ulimit -Sn 40; \"$@\"", &[PIPEWRIGHT, "run", &text]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "40\n40\n",
        "{}",
        stderr(&output)
    );
    assert!(output.status.success());
}

#[test]
fn where_no_handle_of_each_stage_can_be_held_the_pipeline_runs_all_the_same() {
    let _watchdog = watchdog();
    // From as few descriptors on as bash itself needs.
    for (limit, stages) in [(16, 41), (7, 2), (6, 3), (20, 5)] {
        let text = format!(
            "echo data{} | {{ cat; exit 3; }}",
            " | cat".repeat(stages - 2)
        );
        let limit = format!("ulimit -n {limit} && exec \"$@\"");
        let output = prepared(&limit, &[PIPEWRIGHT, "run", "-q", &text]);
        assert_eq!(
            (output.status.code(), &*output.stdout),
            (Some(3), &b"data\n"[..]),
            "{limit}: {}",
            stderr(&output)
        );
    }
    // So for words; a program is not mistaken for a builtin, and nothing in them is for a shell.
    let words = ["it's $HOME", "|", "cat", "|", "test", "-e", "/"];
    let script = "ulimit -n 8 && exec \"$@\"";
    let output = prepared(
        script,
        &[&[PIPEWRIGHT, "run", "-q", "--", "echo"], &words[..]].concat(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let output = prepared(
        script,
        &[PIPEWRIGHT, "run", "-q", "--", "echo", words[0], "|", "cat"],
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), "it's $HOME\n");
}

#[test]
fn what_the_caller_has_open_from_3_on_reaches_every_stage_as_in_bash() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("f");
    std::fs::write(&file, "from the file\n").unwrap();
    let opened = format!("exec 3<'{}'; \"$@\"", file.display());
    let ours = |options: &[&str], text: &str| {
        let words = [&[PIPEWRIGHT, "run", "-q"], options, &[text]].concat();
        prepared(&opened, &words).stdout
    };
    for text in [
        "cat <&3 | cat",
        "cat /dev/null | cat /dev/fd/3 | cat",
        "ls /proc/self/fd | cat",
        "cat <&3; ls /proc/self/fd | cat",
    ] {
        let bash = prepared(&opened, &["bash", "-c", text]).stdout;
        assert_eq!(ours(&[], text), bash, "{text}");
        assert_eq!(ours(&["--whole"], text), bash, "{text}");
    }
    let words = format!("{PIPEWRIGHT} run -- cat <(echo hi) '|' cat");
    assert_eq!(prepared(&words, &[]).stdout, b"hi\n");
    // With everything that pipewright can have open at once, none of it is handed on.
    let json = format!("--json={}", directory.path().join("run.json").display());
    let samples = format!("--samples={}", directory.path().join("samples").display());
    let listed = ours(&[&json, &samples], "sleep 0.3 | ls /proc/self/fd | cat");
    let bash = prepared(&opened, &["bash", "-c", "ls /proc/self/fd | cat"]);
    assert_eq!(listed, bash.stdout);
}

#[test]
fn a_make_below_finds_the_jobserver() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("Makefile"),
        "all:\n\t+@$(PIPEWRIGHT) run '$(MAKE) --no-print-directory below | cat'\nbelow: a b\na b:\n\t@echo $@\n",
    )
    .unwrap();
    let mut make = Command::new("make");
    make.arg("-j2").env("PIPEWRIGHT", PIPEWRIGHT);
    let made = make.current_dir(&directory).output();
    let Ok(made) = made else {
        eprintln!("skipped: there is no make");
        return;
    };
    let said = stderr(&made);
    assert!(
        made.status.success() && !said.contains("jobserver"),
        "{said}"
    );
}
