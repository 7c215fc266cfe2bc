//! Percent and time left: of the whole input, or not at all.

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use support::{USUAL, pipewright};
use testing::terminals::{Setup, Terminal};
use testing::watchdog;

const MIB: usize = 1 << 20;

/// A file of so many MiB.
fn file(directory: &Path, name: &str, mib: usize) {
    std::fs::write(directory.join(name), vec![b'x'; mib * MIB]).unwrap();
}

/// A slow reader: of 20 MiB it takes one after the other, and then the rest at once.
const SLOW: &str = "for i in {1..20}; do head -c 1048576 >/dev/null; sleep 0.06; done; cat";

/// A run in this directory, with plain progress every 100 ms.
fn plain(directory: &Path, options: &[&str], text: &str) -> Child {
    pipewright()
        .args([
            "run",
            "--progress",
            "plain",
            "-i",
            "100ms",
            "--summary",
            "never",
        ])
        .args(options)
        .arg(text)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The percentages of its lines, from the first to the last.
fn percentages(child: &mut Child) -> Vec<u32> {
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let lines: Vec<String> = lines.map(|line| line.unwrap()).collect();
    assert!(child.wait().unwrap().success(), "{lines:#?}");
    assert!(lines.len() > 5, "{lines:#?}");
    let percent = |line: &String| {
        let (before, _) = line.split_once(" %")?;
        before.rsplit(' ').next()?.parse().ok()
    };
    // Of the input: the share of a CPU is called cpu.
    let of_input = lines.iter().filter(|line| line.contains(" left"));
    of_input.filter_map(percent).collect()
}

#[test]
fn percent_is_of_all_files_and_never_goes_back() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for (name, mib) in [("a", 12), ("b c", 12), ("tiny", 0)] {
        file(at, name, mib);
    }
    for first in [
        "cat a tiny 'b c'",
        "(cat a; cat 'b c')",
        "{ cat a && cat < 'b c'; }",
        "cat a t* 'b c'",
        "pv -q a 'b c'",
    ] {
        if first.starts_with("pv") && !Path::new("/usr/bin/pv").exists() {
            println!("skipped: there is no pv");
            continue;
        }
        let text = format!("{first} | {{ {SLOW}; }}");
        let seen = percentages(&mut plain(at, &["--pipe-size", "default"], &text));
        assert!(seen.is_sorted(), "{first}: {seen:?}");
        let both = seen.iter().any(|it| *it < 50) && seen.iter().any(|it| *it > 50);
        assert!(both, "{first}: {seen:?}");
    }
}

#[test]
fn percent_is_there_for_redirections_and_a_single_stage() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    file(directory.path(), "a", 12);
    let slow = format!("{{ {SLOW}; }}");
    for text in [
        &format!("cat < a | {slow}")[..],
        &format!("(cat a) | {slow}"),
        "pv -qL 12M a",
        "pv -qL 12M < a >out",
    ] {
        if text.starts_with("pv") && !Path::new("/usr/bin/pv").exists() {
            println!("skipped: there is no pv");
            continue;
        }
        let seen = percentages(&mut plain(
            directory.path(),
            &["--pipe-size", "default"],
            text,
        ));
        assert!(seen.is_sorted() && !seen.is_empty(), "{text}: {seen:?}");
    }
}

#[test]
fn no_percent_is_told_where_the_input_is_not_known() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for name in ["a", "b", "list"] {
        file(at, name, 6);
    }
    std::fs::create_dir(at.join("dir")).unwrap();
    file(&at.join("dir"), "c", 6);
    std::fs::write(at.join("names"), "a\nb\n").unwrap();
    for first in [
        "tar cf - a dir",
        "for f in a b; do cat $f; done",
        "(cat a; cat ?)",
        "xargs cat < names",
        "head -c 6000000 a",
        "tac -s y a",
        "bash -c 'cat a; cat b'",
        "{ cat $(cat names); }",
        "seq 2000000",
    ] {
        let text = format!("{first} | {{ {SLOW}; }}");
        let seen = percentages(&mut plain(at, &["--pipe-size", "default"], &text));
        assert!(seen.is_empty(), "{first}: {seen:?}");
    }
    // Unless somebody says how much it is.
    let text = format!("head -c 12M /dev/zero | {{ {SLOW}; }}");
    let seen = percentages(&mut plain(
        at,
        &["--size", "12M", "--pipe-size", "default"],
        &text,
    ));
    assert!(seen.is_sorted() && !seen.is_empty(), "{seen:?}");
}

#[test]
fn no_percent_is_told_where_a_later_stage_reads_what_the_first_one_names() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for (name, mib) in [("a", 6), ("larger", 8), ("smaller", 2)] {
        file(at, name, mib);
    }
    std::fs::write(
        at.join("names"),
        format!("{}\n", "x".repeat(99)).repeat(30_000),
    )
    .unwrap();
    let beside = |file: &str| {
        format!(
            "cat a | {{ for i in {{1..35}}; do head -c 160000 >/dev/null; head -c 50000 <&3 >/dev/null; \
             sleep 0.05; done; cat; }} 3<{file}"
        )
    };
    for (text, is_told) in [
        (
            "cat names | xargs -n 2000 sh -c 'sleep 0.1'".to_owned(),
            false,
        ),
        (
            "cat names | parallel -j1 -n 2000 sleep 0.1 '#'".to_owned(),
            false,
        ),
        (beside("larger"), false),
        (format!("cat a | {{ {SLOW}; cat larger; }}"), false),
        (
            format!(
                "cat a | {{ {SLOW}; f=lar; for f in ${{f}}g*; do head -c 1 $f; sleep 0.3; done; }} 3<larger"
            ),
            false,
        ),
        // A table that is looked up is no input.
        (beside("smaller"), true),
    ] {
        if text.contains("parallel") && !Path::new("/usr/bin/parallel").exists() {
            println!("skipped: there is no parallel");
            continue;
        }
        let seen = percentages(&mut plain(at, &["--pipe-size", "default"], &text));
        assert_eq!(!seen.is_empty(), is_told, "{text}: {seen:?}");
    }
}

#[test]
fn a_position_in_a_later_stages_own_file_counts_where_it_takes_nothing_else() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for (name, mib) in [("a", 12), ("small", 1)] {
        file(at, name, mib);
    }
    for (before, is_told) in [
        ("seq 3 | cat a", true),
        ("for i in 1 2 3; do echo $i; done | cat a", true),
        ("cat small | tr x y | cat < a", true),
        ("seq 3 | tr x y < a", true),
        ("seq 3 | sh -c 'cat a'", true),
        // These read what comes from the stage before, first, last or all the time.
        ("seq 3 | cat - a", false),
        ("seq 3 | cat a /dev/stdin", false),
        ("seq 3 | paste a -", false),
        ("seq 3 | sh -c 'head -c 1 >/dev/null; cat a'", false),
        ("seq 3 | { cat; cat a; }", false),
    ] {
        let text = format!("{before} | {{ {SLOW}; }}");
        let seen = percentages(&mut plain(at, &["--pipe-size", "default"], &text));
        assert_eq!(!seen.is_empty(), is_told, "{before}: {seen:?}");
        assert!(seen.is_sorted(), "{before}: {seen:?}");
    }
}

#[test]
fn the_live_view_tells_percent_time_left_and_rates_of_the_whole() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    file(at, "a", 4);
    file(at, "b", 36);
    let text = format!(
        "cat '{0}/a' '{0}/b' | \
         {{ until test -e '{0}/stop'; do head -c 500000 >/dev/null; sleep 0.05; done; cat; }}",
        at.display()
    );
    let setup = Setup {
        options: &["--pipe-size", "default"],
        columns: 120,
        ..USUAL
    };
    let terminal = Terminal::start(&setup, &text);
    terminal.wait_for("the way through the input", |screen| {
        let told = screen.lines().find(|line| line.contains("% of 40.0 MiB"));
        told.is_some_and(|line| {
            let rates = line.matches("iB/s").count();
            line.contains(" left") && line.contains("average") && rates == 2
        })
    });
    std::fs::write(at.join("stop"), "").unwrap();
    assert!(terminal.end().success());
}
