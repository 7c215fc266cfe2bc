//! What can be asked of the command, and what it says.

mod support;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use support::{pipewright, run, stderr, watchdog};

#[test]
fn the_pipeline_may_come_from_a_file_or_from_stdin() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("nightly.pipe");
    let text = "#!/usr/bin/env -S pipewright run -f\n# what it does\n\nprintf '%s\\n' \"$1\" b |\n  # the second stage\n  sort -r\n";
    std::fs::write(&file, text).unwrap();
    let output = run(&["-f", file.to_str().unwrap(), "argument"]);
    assert_eq!(output.stdout, b"b\nargument\n", "{}", stderr(&output));

    // As a program of its own.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
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
fn what_is_no_pipeline_is_refused_before_anything_runs() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let witness = directory.path().join("ran");
    let touch = format!("touch {}", witness.display());
    let cases = [
        (format!("{touch} && true"), "braces"),
        (format!("{touch}; true"), "braces"),
        (format!("{touch} &"), "braces"),
        (format!("time {touch}"), "summary"),
        (format!("{touch} | | cat"), "^"),
        (format!("{touch} | 'x"), "bash syntax"),
        (String::new(), "no command"),
    ];
    for (text, said) in &cases {
        let output = run(&[text]);
        assert_eq!(output.status.code(), Some(125), "{text}");
        assert!(
            stderr(&output).contains(said),
            "{text}: {}",
            stderr(&output)
        );
    }
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
    assert!(!witness.exists());
}

#[test]
fn a_caret_shows_where_the_syntax_is_wrong() {
    let _watchdog = watchdog();
    let said = stderr(&run(&["cat a | | wc"]));
    assert!(said.ends_with("\n  cat a | | wc\n          ^\n"), "{said}");
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
    // F_GETPIPE_SZ
    let ask = "python3 -c 'import fcntl; print(fcntl.fcntl(1, 1032))' | cat";
    let capacity = |size: &[&str]| {
        let output = run(&[size, &[ask]].concat());
        String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse::<usize>()
            .unwrap()
    };
    assert_eq!(
        capacity(&["--pipe-size", "default"]),
        16 * rustix::param::page_size()
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
        verbose.contains("run by bash; then | of ") && verbose.contains("executed directly"),
        "{verbose}"
    );
    let coloured = said(&["--color", "always", "--summary", "always", "true"]);
    assert!(coloured.contains("\x1b["), "{coloured:?}");
    assert!(!failed.contains('\x1b'));
}

#[test]
fn control_characters_in_a_command_do_not_come_out() {
    let _watchdog = watchdog();
    let hostile = "no-such '\x1b]0;title\x07' | cat";
    for arguments in [
        &["--summary", "always", hostile][..],
        &["--dry-run", hostile],
        &["-q", hostile],
        &["\x1b[2J | |"],
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
fn json_tells_everything_in_one_versioned_object() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("run.json");
    let json = format!("--json={}", file.display());
    let output = run(&[&json, "-q", "yes |& sh -c 'head -1; exit 3' | no-such"]);
    assert_eq!(output.status.code(), Some(127));
    let run: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(run["version"], 1);
    assert_eq!(
        (&run["success"], &run["exit_code"], &run["timed_out"]),
        (&false.into(), &127.into(), &false.into())
    );
    let stages = run["stages"].as_array().unwrap();
    assert_eq!(stages.len(), 3);
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

    let output = super_short(&["--json", "true | true"]);
    let to_stderr: serde_json::Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(to_stderr["exit_code"], 0);
    assert_eq!(to_stderr["verdict"], serde_json::Value::Null);
    let output = run_in_vain();
    assert!(output.contains("cannot write to /no/such"), "{output}");
}

fn super_short(arguments: &[&str]) -> Vec<u8> {
    run(arguments).stderr
}

/// A file that cannot be written is an error before anything runs.
fn run_in_vain() -> String {
    let directory = tempfile::tempdir().unwrap();
    let witness = directory.path().join("ran");
    let output = run(&[
        "--json=/no/such/file",
        &format!("touch {}", witness.display()),
    ]);
    assert_eq!(output.status.code(), Some(125));
    assert!(!witness.exists());
    stderr(&output)
}

#[test]
fn what_was_seen_is_told_of_a_pipeline_that_runs_long_enough() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let samples = directory.path().join("samples");
    let output = run(&[
        "--json",
        "--samples",
        samples.to_str().unwrap(),
        "sleep 1 | cat | cat",
    ]);
    let run: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    let sentence = run["verdict"]["sentence"].as_str().unwrap();
    assert!(
        sentence.starts_with("stage 1 (sleep 1) is the bottleneck"),
        "{sentence}"
    );
    assert!(
        run["stages"][1]["shares"]["waiting_for_input"]
            .as_f64()
            .unwrap()
            > 0.8,
        "{run:#}"
    );
    let lines = std::fs::read_to_string(samples).unwrap();
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["stages"].as_array().unwrap().len(), 3);
    assert!(lines.len() > 10 && lines[1]["stages"].as_array().unwrap().len() == 3);
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
fn completions_and_the_manual_know_every_subcommand() {
    let _watchdog = watchdog();
    for shell in ["bash", "zsh", "fish"] {
        let output = pipewright().args(["completions", shell]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(
            script.contains("pipewright") && script.contains("limits"),
            "{shell}"
        );
    }
    // bash itself finds nothing wrong with its script.
    let script = pipewright()
        .args(["completions", "bash"])
        .output()
        .unwrap()
        .stdout;
    let mut check = std::process::Command::new("bash")
        .arg("-n")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(&script).unwrap();
    assert!(check.wait().unwrap().success());

    let page = String::from_utf8(pipewright().arg("man").output().unwrap().stdout).unwrap();
    for section in [
        ".TH pipewright",
        "PIPEWRIGHT RUN",
        "PIPEWRIGHT LIMITS",
        "Exit status",
        "\\-\\-timeout",
    ] {
        assert!(page.contains(section), "{section}");
    }
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
