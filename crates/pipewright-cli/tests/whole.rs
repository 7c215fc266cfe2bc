//! Texts that bash runs as a whole, and what is known of them.

mod support;

use std::process::{Command, Stdio};

use support::{pipewright, run};
use testing::{feed, shell_status, stderr, watchdog, write_script};

/// stdout and the status, by the shell's convention.
fn outcome(command: &mut Command) -> (String, i32) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        shell_status(&output),
    )
}

fn assert_as_bash(text: &str, prepare: impl Fn(&mut Command)) {
    let mut bash = Command::new("bash");
    bash.args(["-c", text]);
    let mut ours = pipewright();
    ours.args(["run", "-q", "--status", "last", text]);
    prepare(&mut bash);
    prepare(&mut ours);
    assert_eq!(outcome(&mut ours), outcome(&mut bash), "{text:?}");
}

#[test]
fn what_could_be_cut_wrongly_is_run_as_bash_runs_it() {
    let _watchdog = watchdog();
    for text in [
        "{ ((1<<1))\n:; } | { echo lost; }",
        "x=abc; echo ${x:1<<1} | cat",
        "a[1<<2]=3 | cat; echo ${a[4]}",
        "echo $(case a in a) echo x;; esac) | cat",
        "cat <<E | { cat; echo $((1<<3)); }\nbody\nE",
        "[[ a ]] |& cat",
        "select x in a b; do echo $x; done <<<1 | cat",
        "cat <<E | cat\na\\\nE\nE",
        "for ((i=0;i<3;i++)); do echo $i; done | tac",
        "for x in a b; { echo $x; } | cat",
        "{ cat <&$fd; } {fd}</dev/null | cat",
        "cat <(echo a) | cat",
        "x='*([}'; echo ${x##*([\\}]} | cat",
        "cat <<${a} | cat\nb\n${a}",
        "cat <<E | cat\nno end",
        "true &\\\n& echo both",
        "echo a |\\\n| echo b",
        "echo end \\",
        "coproc { echo x; }; wait",
        "shopt -s extglob\necho !(x) | cat",
        "time -p true",
        "",
        "# only a comment",
    ] {
        assert_as_bash(text, |_| {});
    }
}

#[test]
fn lists_loops_and_scripts_are_run() {
    let _watchdog = watchdog();
    for text in [
        "echo a; echo b | cat",
        "false || echo or",
        "true && echo and | cat",
        "echo a & wait",
        "echo a\necho b | tac\nexit 3",
        "for i in 1 2; do echo $i | cat; done; exit 4",
        "f() { echo \"in f: $1\" | cat; return 5; }; f x",
        "trap 'echo bye' EXIT; echo hi | cat",
        "set -e; false; echo not reached",
        "echo $LINENO\necho $LINENO $# $0",
        "x=$(echo a | cat); echo \"$x\"; kill -TERM $$",
    ] {
        assert_as_bash(text, |command| _ = command.env("LC_ALL", "C.UTF-8"));
    }
}

#[test]
fn every_operator_joins_as_in_bash() {
    let _watchdog = watchdog();
    let texts = [
        "cat",
        "echo 'a | b; c'",
        "cat <<< $'x\\ny'",
        "cat <<A <<'B C'\n|\nA\n; $x\nB C\n",
        "{ echo \"$(echo a | tr a b)\"; exit 3; }",
        "! (exit 4)",
        "case x in (x|y) echo x;; esac",
        "[[ ab =~ a|b ]]",
        "echo $((1<<2)) ${x:-a|b} # c | d\n",
        "nosuch 2>/dev/null",
    ];
    let operators = [" | ", " |& ", " && ", " || ", "; ", " & wait; ", "\n"];
    for (first, second) in texts.iter().flat_map(|a| texts.iter().map(move |b| (a, b))) {
        // A different operator for each pair, and in the other order of the same two.
        let at = texts.iter().position(|it| it == first).unwrap() * 3
            + texts.iter().position(|it| it == second).unwrap();
        for operator in [operators[at % 7], operators[(at + 3) % 7]] {
            // The body of a document has to follow its line.
            let text = match first.split_once('\n') {
                Some((line, rest)) if line.contains("<<A") && !operator.contains('\n') => {
                    format!(
                        "{line}{operator}{}\n{rest}",
                        second.replace("<<A <<'B C'", "")
                    )
                }
                _ => format!("{first}{operator}{second}"),
            };
            assert_as_bash(&text, |_| {});
        }
    }
}

#[test]
fn what_bash_refuses_runs_in_no_part() {
    let _watchdog = watchdog();
    for text in [
        "touch made | ls !(x)",
        "touch made | ls foo=(1 2)",
        "touch made | echo $(if true)",
        "touch made | { { a; } >f }",
        "touch made | cat | | cat",
        "touch made | (a",
        "touch made | 'x",
        "touch made |",
        "touch made | { fi; }",
        "touch made | then",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let output = pipewright()
            .args(["run", text])
            .current_dir(&directory)
            .output()
            .unwrap();
        let bash = Command::new("bash")
            .args(["-n", "-c", text])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), bash.status.code(), "{text}");
        assert_eq!(shell_status(&bash).min(2), 2, "{text}");
        assert!(
            stderr(&output).contains("syntax error") || stderr(&output).contains("unexpected EOF"),
            "{}",
            stderr(&output)
        );
        assert!(!directory.path().join("made").exists(), "{text}");
    }
}

#[test]
fn what_changes_bash_itself_changes_a_plain_pipeline_too() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let profile = directory.path().join("profile");
    std::fs::write(&profile, "mytool() { echo mine \"$@\"; }\n").unwrap();
    assert_as_bash("mytool a | cat", |command| {
        _ = command.env("BASH_ENV", &profile)
    });
    let handle = "() {  echo \"handled $1\"\n}";
    assert_as_bash("no-such-tool | cat", |command| {
        command.env("BASH_FUNC_command_not_found_handle%%", handle);
    });
    assert_as_bash("false | true", |command| {
        command.env(
            "SHELLOPTS",
            "braceexpand:hashall:interactive-comments:pipefail",
        );
    });
    assert_as_bash("echo n* | cat", |command| {
        _ = command.env("BASHOPTS", "nullglob")
    });
    let function = "() {  echo \"function\"\n}";
    assert_as_bash("tr a b | cat", |command| {
        _ = command.env("BASH_FUNC_tr%%", function)
    });
}

#[test]
fn a_script_without_a_head_is_run_by_the_shell_that_runs_the_stages() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    write_script(
        &directory.path().join("s"),
        "a=(x y); echo \"${a[1]}\" \"$1\"\n",
    );
    let mut binary = std::fs::read("/proc/self/exe").unwrap();
    binary.truncate(4096);
    binary[18] = 8; // another machine's
    let mut write = Command::new("sh");
    write.args(["-c", "cat >foreign && chmod 755 foreign"]);
    assert!(
        feed(write.current_dir(&directory), &binary)
            .status
            .success()
    );
    for text in [
        "./s 1 | cat",
        "cat /dev/null | ./s",
        "./foreign | cat",
        ": | ./foreign",
    ] {
        assert_as_bash(text, |command| _ = command.current_dir(&directory));
    }
    let output = pipewright()
        .args(["run", ": | ./foreign"])
        .current_dir(&directory)
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(126));
    assert!(
        stderr(&output).contains("cannot execute binary file"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn without_a_path_bash_looks_where_it_always_does() {
    let _watchdog = watchdog();
    let bash = Command::new("sh")
        .args(["-c", "command -v bash"])
        .output()
        .unwrap();
    let bash = String::from_utf8(bash.stdout).unwrap();
    for text in [
        "ls / | wc -l",
        "no-such-tool | cat",
        "ldconfig --version | head -n 1",
    ] {
        let without = |command: &mut Command| outcome(command.env_remove("PATH"));
        let ours = without(pipewright().args(["run", "-q", "--status", "last", text]));
        assert_eq!(
            ours,
            without(Command::new(bash.trim()).args(["-c", text])),
            "{text}"
        );
    }
}

#[test]
fn a_text_longer_than_an_argument_is_run_from_its_file_or_a_copy() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "cat <<E | wc -c\n{}\nE\necho \"$0 $1\"\n",
        "x".repeat(300_000)
    );
    std::fs::write(directory.path().join("-script"), &text).unwrap();
    let mut from_file = pipewright();
    from_file
        .args(["run", "-f", "./-script", "one"])
        .current_dir(&directory);
    assert_eq!(
        outcome(&mut from_file),
        ("300001\n./-script one\n".to_owned(), 0)
    );
    let output = feed(
        pipewright().args(["run", "-f", "-", "one"]),
        text.as_bytes(),
    );
    assert_eq!(output.stdout, b"300001\n- one\n", "{}", stderr(&output));
}

#[test]
fn the_summary_says_that_a_text_was_run_whole_and_why() {
    let _watchdog = watchdog();
    let told = |arguments: &[&str]| stderr(&run(&[&["--summary", "always"], arguments].concat()));
    let list = told(&["true; true"]);
    assert!(
        list.contains("run as a whole by bash: it is a list of commands"),
        "{list}"
    );
    let asked = told(&["--whole", "true | true"]);
    assert!(asked.contains("--whole asks for it"), "{asked}");
    let cut = told(&["true | cat"]);
    assert!(!cut.contains("whole"), "{cut}");
    let planned = run(&["--dry-run", "a; b"]);
    let planned = String::from_utf8(planned.stdout).unwrap();
    assert!(
        planned.contains("bash -c") && planned.contains("list of commands"),
        "{planned}"
    );
}

#[test]
fn of_one_pipeline_the_stages_statuses_are_known_and_count() {
    let _watchdog = watchdog();
    let json = |arguments: &[&str]| {
        let output = run(&[&["--json"], arguments].concat());
        let json: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        (
            json["whole"]["statuses"].clone(),
            output.status.code().unwrap(),
        )
    };
    let text = "exit 3 | exit 4 | true";
    assert_eq!(json(&["--whole", text]), (serde_json::json!([3, 4, 0]), 4));
    assert_eq!(
        json(&["--whole", "--status", "last", text]),
        (serde_json::json!([3, 4, 0]), 0)
    );
    assert_eq!(
        json(&["--whole", "--status", "any", text]),
        (serde_json::json!([3, 4, 0]), 4)
    );
    assert_eq!(
        json(&["--whole", "! exit 3 | true"]),
        (serde_json::json!([3, 0]), 0)
    );
    assert_eq!(
        json(&["--whole", "yes | head -n 1 >/dev/null"]),
        (serde_json::json!([141, 0]), 0)
    );
    let shift = "{ ((1<<1)); exit 3; } | case x in x) cat; exit 4;; esac | true";
    assert_eq!(json(&[shift]), (serde_json::json!([3, 4, 0]), 4));
    // Of a list they are not.
    assert_eq!(json(&["exit 3 | true; true"]), (serde_json::json!([]), 0));
    // Nothing of ours is handed to the stages for it.
    let whole = run(&["--whole", "ls /proc/self/fd | cat"]);
    let words = run(&["--", "ls", "/proc/self/fd", "|", "cat"]);
    assert_eq!(whole.stdout, words.stdout);
}

#[test]
fn the_pipelines_of_a_list_are_told_each_with_its_bottleneck() {
    let _watchdog = watchdog();
    let text = "yes | gzip -9 | head -c 300K >/dev/null; yes | xz | head -c 2K >/dev/null";
    let output = run(&["--json", text]);
    let json: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    let pipelines = json["whole"]["pipelines"].as_array().unwrap();
    let first = &pipelines[0];
    let stages = first["stages"].as_array().unwrap();
    let told: Vec<_> = stages
        .iter()
        .map(|it| (&it["number"], &it["command"]))
        .collect();
    let typed = ["yes", "gzip -9", "head -c 300K"].map(serde_json::Value::from);
    let numbers = [1, 2, 3].map(serde_json::Value::from);
    let expected: Vec<_> = numbers.iter().zip(&typed).collect();
    assert_eq!(told, expected, "{pipelines:?}");
    assert_eq!(
        first["verdict"]["finding"]["bottleneck"]["stage"], 2,
        "{first}"
    );
    let told = stderr(&run(&["--summary", "always", text]));
    assert!(told.contains("pipeline 1, watched for "), "{told}");
    assert!(
        told.contains("stage 2 (gzip -9) is the bottleneck"),
        "{told}"
    );
}

#[test]
fn the_pipelines_of_a_list_come_and_go_in_the_view() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    // Each lasts until it was seen.
    let at = |file: &str| directory.path().join(file);
    let until = |file: &str| {
        format!(
            "until test -e '{}'; do sleep 0.05; done",
            at(file).display()
        )
    };
    let text = format!("{} | cat; {} | tr a b", until("first"), until("second"));
    let terminal = testing::terminals::Terminal::start(&support::USUAL, &text);
    for (stage, file) in [("2  cat", "first"), ("2  tr a b", "second")] {
        terminal.wait_for(stage, |screen| screen.contains(stage));
        std::fs::write(at(file), "").unwrap();
    }
    assert!(terminal.end().success());
}

#[test]
fn lines_are_counted_as_in_the_whole_text() {
    let _watchdog = watchdog();
    for text in [
        "\n\nnosuch $x 2>&1 | cat",
        "cat |\n{ nosuch; } 2>&1 |\n\ncat",
    ] {
        assert_as_bash(text, |_| {});
    }
}

#[test]
fn a_program_finds_the_environment_that_bash_gives_it() {
    let _watchdog = watchdog();
    for level in [None, Some("1"), Some("7"), Some("none")] {
        for text in [
            "env | sort",
            "env | cat | sort",
            "cat /dev/null | env | sort",
            "/usr/bin/env | sort",
        ] {
            assert_as_bash(text, |command| {
                command
                    .env_clear()
                    .env("PATH", "/usr/bin:/bin")
                    .env("PWD", "/");
                command
                    .envs(level.map(|level| ("SHLVL", level)))
                    .current_dir("/");
            });
        }
    }
    for (name, value) in [
        ("PWD", "/"),
        ("PWD", "/proc/self/root"),
        ("PWD", "/no/such"),
        ("PWD", "/usr"),
        ("PWD", "."),
        ("PWD", ""),
        ("OLDPWD", "/usr"),
        ("OLDPWD", "/no/such"),
        ("OLDPWD", "/etc/passwd"),
        ("SHLVL", "-5"),
        ("SHLVL", "998"),
        ("SHLVL", "999"),
        ("SHLVL", "99999999999999999999"),
        ("IFS", "a"),
        ("BASH_VERSION", "9"),
        ("BASHPID", "1"),
        ("BASH", "/bin/no"),
        ("PPID", "7"),
        ("RANDOM", "8"),
        ("LINENO", "10"),
        ("SECONDS", "9"),
        ("UID", "5"),
        ("HOSTNAME", "there"),
        ("COLUMNS", "7"),
    ] {
        let one = "printenv SHLVL PWD OLDPWD IFS PATH";
        for text in ["env | sort", one, &format!("! {one}")] {
            assert_as_bash(text, |command| {
                command.env_clear().env("PATH", "/usr/bin:/bin");
                command.env(name, value).current_dir("/");
            });
        }
    }
}

#[test]
fn what_windows_leaves_in_a_text_is_hinted_at() {
    let _watchdog = watchdog();
    for (text, hint) in [
        ("cat /dev/null |\r\nsort\r\n", "\\r"),
        ("\u{feff}cat /dev/null", "byte order mark"),
    ] {
        assert_as_bash(text, |_| {});
        let output = run(&[text]);
        assert_ne!(output.status.code(), Some(0));
        assert!(stderr(&output).contains(hint), "{}", stderr(&output));
    }
}

#[test]
fn a_text_sees_nothing_of_what_stands_behind_it() {
    let _watchdog = watchdog();
    let text = "[[ a ]] | echo \"$BASH_EXECUTION_STRING\"";
    assert_as_bash(text, |_| {});
    let function = "() {  echo \"mine\"\n}";
    assert_as_bash("[[ a ]] | exit 3", |command| {
        command.env("BASH_FUNC_exit%%", function);
    });
}

#[test]
fn where_the_shell_is_another_it_runs_the_whole_text() {
    let _watchdog = watchdog();
    let output = run(&["--shell", "sh", "echo a; echo ${BASH_VERSION-none} | cat"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(output.stdout.starts_with(b"a\n"));
}

#[test]
fn a_bar_can_be_a_word_where_the_separator_is_another() {
    let _watchdog = watchdog();
    let words = [
        "--separator",
        "::",
        "--",
        "printf",
        "a|b\\n",
        "::",
        "tr",
        "|",
        "!",
    ];
    assert_eq!(run(&words).stdout, b"a!b\n");
}
