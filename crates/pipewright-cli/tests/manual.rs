//! Manual pages and completions, read by the programs that they are made for.

mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use support::pipewright;
use testing::{stderr, watchdog};

fn stdout_of(arguments: &[&str]) -> String {
    let output = pipewright().args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        stderr(&output)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A page of the manual without what roff needs.
fn page(arguments: &[&str]) -> String {
    let page = stdout_of(&[&["man"], arguments].concat());
    page.replace("\\-", "-")
        .replace("\\fB", "")
        .replace("\\fR", "")
        .replace("\\fI", "")
}

/// The names before `(1)` that begin with pipewright.
fn pages_named_in(text: &str) -> BTreeSet<String> {
    let words = text
        .split_whitespace()
        .filter_map(|word| word.strip_suffix("(1)"));
    words
        .filter(|word| word.starts_with("pipewright-"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_page_that_the_main_page_names_exists_and_is_whole() {
    let _watchdog = watchdog();
    let named = pages_named_in(&page(&[]));
    assert!(named.len() >= 8, "{named:?}");
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("share/man/man1");
    stdout_of(&["man", "--all", pages.to_str().unwrap()]);
    for name in &named {
        let subcommand = name.strip_prefix("pipewright-").unwrap();
        let saved = std::fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        assert_eq!(saved, stdout_of(&["man", subcommand]), "{name}");
        let page = page(&[subcommand]);
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "EXIT STATUS"] {
            let heading = [format!(".SH {section}\n"), format!(".SH \"{section}\"\n")];
            assert!(
                heading.iter().any(|it| page.contains(it)),
                "{name}: {section}: {page}"
            );
        }
    }
    let saved = std::fs::read_dir(&pages).unwrap().count();
    assert_eq!(
        saved,
        named.len() + 1,
        "the main page, and one for each subcommand"
    );
    let main = page(&[]);
    for section in ["ENVIRONMENT", "FILES", "EXIT STATUS", "SEE ALSO"] {
        assert!(main.contains(section), "{section}");
    }

    let output = pipewright().args(["man", "fly"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(
        stderr(&output).contains("fly is not a subcommand"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn the_synopsis_has_every_option_with_its_value() {
    let _watchdog = watchdog();
    for name in ["run", "ls", "watch", "resize", "workers", "limits"] {
        let page = page(&[name]);
        let synopsis = page.split(".SH SYNOPSIS\n").nth(1).unwrap();
        let synopsis = synopsis.split(".SH").next().unwrap();
        let options = page.split(".SH OPTIONS\n").nth(1).unwrap();
        let options = options.split(".SH").next().unwrap();
        for line in options.lines().filter(|line| line.starts_with('-')) {
            let word = |word: &str| word.trim_matches([',', '[', ']']).to_owned();
            for option in line
                .split_whitespace()
                .map(word)
                .filter(|it| it.starts_with('-'))
            {
                let option = option.split('=').next().unwrap();
                assert!(synopsis.contains(option), "{name}: {option}: {synopsis}");
            }
        }
    }
    let run = page(&["run"]);
    for part in [
        "--pipe-size SIZE",
        "--json[=FILE]",
        "-f|--file FILE",
        "PIPELINE",
        "-- ",
        "WORD",
    ] {
        assert!(run.contains(part), "{part}: {run}");
    }
}

#[test]
fn the_reader_of_manual_pages_has_no_complaint() {
    let _watchdog = watchdog();
    for name in [
        "",
        "run",
        "ls",
        "watch",
        "resize",
        "workers",
        "limits",
        "completions",
        "spool",
        "replay",
        "man",
    ] {
        let arguments: &[&str] = if name.is_empty() { &[] } else { &[name] };
        let page = stdout_of(&[&["man"], arguments].concat());
        let man = Command::new("man")
            .args(["--warnings", "-l", "-"])
            .env("MANWIDTH", "80")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut man) = man else {
            println!("skipped: there is no man");
            return;
        };
        man.stdin
            .take()
            .unwrap()
            .write_all(page.as_bytes())
            .unwrap();
        let output = man.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("SYNOPSIS"),
            "{name}: {text}"
        );
        assert_eq!(stderr(&output), "", "{name}");
    }
}

/// `sleep 60 | cat`, and what `script` says in a shell that finds this pipewright first.
fn beside_a_pipeline(shell: &str, script: &str) -> Option<(String, [u32; 2])> {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut sleep = Command::new("sleep")
        .arg("60")
        .stdout(writer)
        .spawn()
        .unwrap();
    let mut cat = Command::new("cat")
        .stdin(reader)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let completions = pipewright()
        .args(["completions", shell])
        .output()
        .unwrap()
        .stdout;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("completions");
    std::fs::write(&file, completions).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_pipewright"));
    let path = std::env::var("PATH").unwrap();
    let output = Command::new(shell)
        .args(["-c", script])
        .env(
            "PATH",
            format!("{}:{path}", program.parent().unwrap().display()),
        )
        .env("HOME", directory.path())
        .env("SCRIPT", &file)
        .output();
    let pids = [sleep.id(), cat.id()];
    for child in [&mut sleep, &mut cat] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let Ok(output) = output else {
        println!("skipped: there is no {shell}");
        return None;
    };
    assert_eq!(stderr(&output), "", "{shell}");
    Some((String::from_utf8(output.stdout).unwrap(), pids))
}

#[test]
fn bash_completes_processes_sizes_and_options() {
    let _watchdog = watchdog();
    let script = r#"
        . "$SCRIPT"
        function=$(complete -p pipewright | sed -E 's/.*-F ([^ ]+).*/\1/')
        tab() {
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
            "$function" pipewright "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
            echo "$*: ${COMPREPLY[*]} "
        }
        tab pipewright watch ''
        tab pipewright watch -i 1s ''
        tab pipewright resize ''
        tab pipewright resize 4711 ''
        tab pipewright run --pipe-size ''
        tab pipewright watch --
        tab pipewright li
    "#;
    let Some((told, pids)) = beside_a_pipeline("bash", script) else {
        return;
    };
    let lines: Vec<&str> = told.lines().collect();
    for line in &lines[..3] {
        for pid in pids {
            assert!(line.contains(&format!(" {pid} ")), "{pid}: {told}");
        }
    }
    assert!(lines[3].contains("max default"), "{told}");
    assert!(lines[4].contains("max default"), "{told}");
    assert!(lines[5].contains("--interval"), "{told}");
    assert!(lines[6].contains("limits"), "{told}");
}

#[test]
fn zsh_completes_processes_with_their_command_lines() {
    let _watchdog = watchdog();
    // What zsh's own completion system would do with the candidates.
    let script = r#"
        compdef() { }
        _call_program() { shift; "$@" }
        _describe() { print -l -- "${(@P)4}" }
        . "$SCRIPT"
        words=(pipewright watch '')
        _pipewright_processes
        grep -c ":process:_pipewright_processes'" "$SCRIPT"
        grep -F -e "--pipe-size=" "$SCRIPT"
    "#;
    let Some((told, [sleep, cat])) = beside_a_pipeline("zsh", script) else {
        return;
    };
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines.contains(&&*format!("{sleep}:sleep 60")), "{told}");
    assert!(lines.contains(&&*format!("{cat}:cat")), "{told}");
    assert!(lines.contains(&"2"), "watch and resize: {told}");
    assert!(told.contains("(max default 64K"), "{told}");
}

#[test]
fn fish_completes_processes_with_their_command_lines() {
    let _watchdog = watchdog();
    let script = r#"
        source $SCRIPT
        complete -C "pipewright watch "
        complete -C "pipewright resize 4711 "
        complete -C "pipewright run --pipe-size "
    "#;
    let Some((told, [sleep, cat])) = beside_a_pipeline("fish", script) else {
        return;
    };
    assert!(told.contains(&format!("{sleep}\tsleep 60\n")), "{told}");
    assert!(told.contains(&format!("{cat}\tcat\n")), "{told}");
    assert_eq!(told.matches("default").count(), 2, "{told}");
}
