//! What people type first: it works, or the error names what does.

mod support;

use support::{pipewright, run};
use testing::{stderr, watchdog};

#[test]
fn forgotten_quotes_run_no_data_file_as_code() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let witness = directory.path().join("ran");
    let names = directory.path().join("names.txt");
    std::fs::write(&names, format!("touch '{}'\n", witness.display())).unwrap();
    let names = names.to_str().unwrap();
    let file = format!("--file={names}");
    for words in [
        &["sort", "-f", names][..],
        &["sort", "--file", names],
        &["grep", &file],
        &["-q", "grep", "-c", "-f", names],
        &["sort", "--", "-f", names],
    ] {
        let output = run(words);
        assert_eq!(output.status.code(), Some(125), "{words:?}");
        let said = stderr(&output);
        assert!(said.contains("put it into quotes"), "{said}");
        assert!(output.stdout.is_empty() && !witness.exists(), "{words:?}");
    }
}

#[test]
fn the_arguments_of_a_file_are_its_own_though_they_look_like_options() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "echo \"$@\" | cat").unwrap();
    let name = file.to_str().unwrap();
    let output = run(&["-f", name, "a", "-q", "--json", "-f"]);
    assert_eq!(output.stdout, b"a -q --json -f\n", "{}", stderr(&output));
    let output = run(&["-f", name, "--", "-v", "--"]);
    assert_eq!(output.stdout, b"-v --\n", "{}", stderr(&output));
}

#[test]
fn a_pipeline_in_quotes_is_run_without_the_word_run() {
    let _watchdog = watchdog();
    for (arguments, stdout) in [
        (&["printf 'b\\na\\n' | sort"][..], "a\nb\n"),
        (&["seq 3|tail -n1"], "3\n"),
        (&["echo one; echo two"], "one\ntwo\n"),
    ] {
        let output = pipewright().args(arguments).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert_eq!(printed, stdout, "{}", stderr(&output));
    }
}

#[test]
fn an_error_names_a_command_line_that_works() {
    let _watchdog = watchdog();
    for (arguments, tip) in [
        (
            &["run", "ls", "-l"][..],
            "pipewright run 'ls -l', or pipewright run -- ls -l",
        ),
        (&["run", "ls", "--", "-l"], "put it into quotes"),
        (&["run", "-l", "ls"], "put the whole pipeline into quotes"),
        (&["run", "a | b", "--json"], "pipewright run --json '…'"),
        (&["run", "--json", "out.json", "a | b"], "--json=out.json"),
        (
            &["run", "--json", "sort", "names"],
            "pipewright run 'sort names'",
        ),
        (
            &["run", "--separator", ":", "a : b"],
            "-- sort names : uniq",
        ),
        (&["run", "--whole", "--", "a"], "one argument"),
        (&["sort", "names"], "pipewright run 'sort names | uniq -c'"),
        (&["--timeout", "3", "a | b"], "pipewright run --timeout"),
        (&["ls", "-l"], "pipewright run 'ls -l"),
    ] {
        let output = pipewright().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{arguments:?}");
        let said = stderr(&output);
        assert!(said.contains(tip), "{arguments:?}: {said}");
        assert!(!said.contains("'-- -"), "{said}");
        assert!(output.stdout.is_empty());
    }
    // The words proposed do what was meant.
    assert!(run(&["ls -l"]).status.success());
    assert!(run(&["--", "ls", "-l"]).status.success());
}

#[test]
fn help_shows_examples_and_each_subcommand_knows_the_version() {
    let _watchdog = watchdog();
    for help in [&["--help"][..], &["-h"], &["help"]] {
        let output = pipewright().args(help).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("pipewright run 'zcat log.gz"), "{text}");
    }
    let output = run(&["--version"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(env!("CARGO_PKG_VERSION")), "{text}");
}

#[test]
fn a_text_that_refers_to_arguments_takes_them_as_bash_does() {
    let _watchdog = watchdog();
    for arguments in [
        &["echo $0 $1 | cat", "name", "x"][..],
        &["printf '%s,' \"$@\" | cat", "_", "a b", "-f", "--json"],
        &["echo ${1} ${#} | cat; echo $2", "_", "one", "two"],
        &["echo $1 | cat", "only the name"],
    ] {
        let bash = std::process::Command::new("bash")
            .arg("-c")
            .args(arguments)
            .output()
            .unwrap();
        let ours = run(arguments);
        assert_eq!(ours.stdout, bash.stdout, "{arguments:?}: {}", stderr(&ours));
    }
    // Others would be lost in silence.
    for text in ["echo $HOME | cat", "echo ${#HOME} | cat"] {
        assert_eq!(run(&[text, "x"]).status.code(), Some(125), "{text}");
    }
}

#[test]
fn a_name_that_is_not_found_is_explained() {
    let _watchdog = watchdog();
    let home = tempfile::tempdir().unwrap();
    std::fs::write(
        home.path().join(".bashrc"),
        "alias ll='ls -alF'\nmine() { cat; }\n",
    )
    .unwrap();
    let functions = home.path().join(".config/fish/functions");
    std::fs::create_dir_all(&functions).unwrap();
    std::fs::write(functions.join("fishy.fish"), "function fishy\nend\n").unwrap();
    for (text, told) in [
        (
            "ll | wc -l",
            "ll is an alias in ~/.bashrc, and those are not seen, as in any script; it stands for ls -alF",
        ),
        (
            "true | mine",
            "mine is a function in ~/.bashrc; after export -f mine (bash) it is seen",
        ),
        (
            "fishy | cat",
            "fishy is a function in ~/.config/fish/functions/fishy.fish",
        ),
        // Run by a shell.
        ("ll >/dev/null | true", "ll is an alias in ~/.bashrc"),
        ("true | srot", "did you mean sort"),
        (
            "no-such-program-at-all | cat",
            "is it installed and in your PATH? aliases, and functions without export -f",
        ),
    ] {
        let mut command = support::pipewright();
        command.args(["run", "--summary", "always", text]);
        let output = command.env("HOME", home.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(127), "{text}");
        let stderr = testing::stderr(&output);
        assert!(stderr.contains(told), "{text}: {stderr}");
    }
}
