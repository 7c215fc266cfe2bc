//! The live view in a real pseudo-terminal, read back by a terminal emulator.

mod support;

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use pipewright::Signal;
use support::USUAL;
use testing::terminals::{Setup, Terminal, resize};
use testing::{until_there, watchdog};

#[test]
fn rows_are_shown_while_it_runs_and_wiped_at_the_end() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let done = directory.path().join("done");
    let terminal = Terminal::start(&USUAL, &format!("{{ {}; }} | cat", until_there(&done)));
    // All of it: a picture comes out of the terminal in pieces.
    terminal.wait_for("the view", |screen| {
        ["waiting for input", "│", "1.0 MiB"]
            .iter()
            .all(|wanted| screen.contains(wanted))
    });
    assert!(!terminal.region_is_whole());
    std::fs::write(&done, "").unwrap();
    assert!(terminal.end().success());
    let screen = terminal.screen();
    assert!(
        screen.contains("ok in") && !screen.contains("│"),
        "{screen}"
    );
    assert!(terminal.region_is_whole(), "{:?}", terminal.raw());
}

#[test]
fn a_spool_has_a_row_that_tells_both_rates_what_is_left_and_that_it_is_full() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let done = directory.path().join("done");
    let text = format!(
        "seq 1000000 | '{}' spool --limit 1M --sync disk '{}' | {{ {}; cat; }}",
        USUAL.program,
        directory.path().join("kept").display(),
        until_there(&done)
    );
    let terminal = Terminal::start(&USUAL, &text);
    let row = |screen: &str| {
        let mut rows = screen.lines();
        rows.find(|row| row.contains("stage 2 is a spool: in "))
            .map(str::to_owned)
    };
    terminal.wait_for("the row of a full spool", |screen| {
        row(screen).is_some_and(|row| {
            [", out ", " of 1.0 MiB to give, ", ", full"]
                .iter()
                .all(|word| row.contains(word))
        })
    });
    std::fs::write(&done, "").unwrap();
    assert!(terminal.end().success());
    let screen = terminal.screen();
    assert!(screen.contains("ok in"), "{screen}");
    assert!(
        screen.contains("the spool (stage 2) was full, "),
        "{screen}"
    );
}

#[test]
fn what_stages_write_to_stderr_scrolls_above_unharmed() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let (half, done) = (directory.path().join("half"), directory.path().join("done"));
    let script = format!(
        "{{ for n in 1 2 3 4 5 6 7 8 9; do echo before $n >&2; done; printf 'half a' >&2; {}; \
         echo ' line' >&2; {}; for n in 11 12 13; do echo after $n >&2; done; {}; }} | cat",
        until_there(&half),
        "sleep 0.1",
        until_there(&done)
    );
    let terminal = Terminal::start(&Setup { lines: 14, ..USUAL }, &script);
    terminal.wait_for("the view", |screen| {
        screen.contains("half a") && screen.contains("bottleneck")
    });
    std::fs::write(&half, "").unwrap();
    terminal.wait_for("the rest", |screen| {
        screen.contains("half a line\n") && screen.contains("after 11\nafter 12\nafter 13")
    });
    terminal.wait_for("the view below", |screen| {
        screen
            .find("bottleneck")
            .is_some_and(|at| at > screen.find("after 13").unwrap_or(usize::MAX))
    });
    std::fs::write(&done, "").unwrap();
    assert!(terminal.end().success());
}

#[test]
fn the_view_follows_the_size_of_the_terminal() {
    let _watchdog = watchdog();
    let terminal = Terminal::start(&USUAL, "sleep 1000 | cat");
    terminal.wait_for("the view", |screen| screen.contains("waiting for input"));
    for (lines, columns) in [(24, 60), (10, 30), (6, 20), (30, 120)] {
        let (lock, _) = &*terminal.seen;
        lock.lock()
            .unwrap()
            .screen
            .screen_mut()
            .set_size(lines, columns);
        resize(&terminal.master, lines, columns);
        terminal.wait_for("the view at its new size", |screen| {
            let rows: Vec<&str> = screen.lines().collect();
            rows.last().is_some_and(|row| row.contains("0:"))
                || rows.iter().any(|row| row.contains("▶"))
        });
        assert!(
            terminal
                .screen()
                .lines()
                .all(|row| row.chars().count() <= columns.into())
        );
    }
    terminal.signal(Signal::TERM);
    terminal.end();
    assert!(terminal.region_is_whole(), "{:?}", terminal.raw());
}

#[test]
fn ctrl_c_ends_the_stages_and_gives_the_terminal_back() {
    let _watchdog = watchdog();
    let terminal = Terminal::start(&USUAL, "sleep 1000 | cat");
    terminal.wait_for("the view", |screen| screen.contains("waiting for input"));
    terminal.type_in("\x03");
    assert_eq!(terminal.end().signal(), Some(Signal::INT.as_raw()));
    assert!(terminal.region_is_whole(), "{:?}", terminal.raw());
    assert!(
        terminal.screen().contains("killed by SIGINT"),
        "{}",
        terminal.screen()
    );
}

#[test]
fn ctrl_z_gives_the_terminal_back_until_it_goes_on() {
    let _watchdog = watchdog();
    // A job can stop only where somebody is there to let it go on: the leader of its session.
    let job = "set -m; \"$PIPEWRIGHT\" run 'sleep 1000 | cat' >/dev/null; echo stopped with $?; read line; \
               fg >/dev/null; echo ended";
    let terminal = Terminal::start(
        &Setup {
            options: &["--progress", "never", "--summary", "never"],
            output: ">&0 2>&0",
            ..USUAL
        },
        &format!(
            "PIPEWRIGHT={} bash -c '{}'",
            env!("CARGO_BIN_EXE_pipewright"),
            job.replace('\'', "'\\''")
        ),
    );
    terminal.wait_for("the view", |screen| screen.contains("waiting for input"));
    terminal.type_in("\x1a");
    terminal.wait_for("the shell", |screen| {
        screen.contains("stopped with") && !screen.contains("waiting for input")
    });
    assert!(terminal.region_is_whole(), "{:?}", terminal.raw());
    terminal.type_in("\n");
    terminal.wait_for("the view again", |screen| {
        screen.contains("waiting for input")
    });
    terminal.type_in("\x03");
    terminal.wait_for("the end", |screen| {
        screen.contains("ended") || screen.contains("SIGINT")
    });
    terminal.signal(Signal::TERM);
    terminal.end();
}

#[test]
fn no_color_means_no_escape_for_looks() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let done = directory.path().join("done");
    let terminal = Terminal::start(
        &Setup {
            no_color: true,
            ..USUAL
        },
        &format!("{{ {}; }} | cat", until_there(&done)),
    );
    // The mark is a word, too.
    terminal.wait_for("the view", |screen| screen.contains("bottleneck"));
    std::fs::write(&done, "").unwrap();
    assert!(terminal.end().success());
    let raw = terminal.raw();
    let looks = raw.match_indices("\x1b[").any(|(at, _)| {
        let end = raw[at + 2..].find(|c: char| !(c.is_ascii_digit() || c == ';'));
        end.is_some_and(|end| raw[at + 2 + end..].starts_with('m'))
    });
    assert!(!looks, "{raw:?}");
}

#[test]
fn a_dumb_terminal_or_one_that_gets_the_output_is_left_alone() {
    let _watchdog = watchdog();
    for setup in [
        Setup {
            term: "dumb",
            ..USUAL
        },
        Setup {
            output: ">&0 2>&0",
            no_color: true,
            ..USUAL
        },
        Setup {
            options: &["--progress", "never"],
            no_color: true,
            ..USUAL
        },
        Setup {
            options: &["-q"],
            ..USUAL
        },
    ] {
        let terminal = Terminal::start(&setup, "sleep 0.8 | cat");
        assert!(terminal.end().success());
        let raw = terminal.raw();
        assert!(!raw.contains('\x1b'), "{raw:?}");
        assert!(!raw.contains('│'), "{raw:?}");
    }
}

#[test]
fn a_terminal_in_the_hands_of_another_program_is_left_alone() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let done = directory.path().join("done");
    let setup = Setup {
        output: ">/dev/null 2>&0; stty -icanon",
        ..USUAL
    };
    let terminal = Terminal::start(&setup, &format!("{{ {}; }} | cat", until_there(&done)));
    // Past the time of the first picture.
    assert!(terminal.status(Duration::from_millis(1200)).is_none());
    assert_eq!(terminal.raw(), "");
    std::fs::write(&done, "").unwrap();
    assert!(terminal.end().success());
}

#[test]
fn escape_sequences_in_a_command_do_not_reach_the_terminal() {
    let _watchdog = watchdog();
    let hostile = "sleep 0.9 '\x1b]0;stolen title\x07\x1b[2J' 2>/dev/null; sleep 0.9";
    let terminal = Terminal::start(&USUAL, &format!("{{ {hostile}; }} | cat"));
    terminal.end();
    let raw = terminal.raw();
    assert!(raw.contains("stolen title"), "{raw:?}");
    assert!(
        !raw.contains("\x1b]") && !raw.contains("\x1b[2J") && !raw.contains('\x07'),
        "{raw:?}"
    );
}

#[test]
fn a_thousand_stages_fit_into_what_room_there_is() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let done = directory.path().join("done");
    let cats = " | cat".repeat(999);
    let terminal = Terminal::start(&USUAL, &format!("{{ {}; }}{cats}", until_there(&done)));
    terminal.wait_for("the note", |screen| {
        screen.contains("stages: cat | cat") && screen.contains("until test")
    });
    std::fs::write(&done, "").unwrap();
    assert!(terminal.end().success());
    assert!(terminal.region_is_whole(), "{:?}", terminal.raw());
}

/// The stages that the rows of a view name, in order: `3` and `4-7`.
fn numbered(screen: &str) -> Vec<std::ops::RangeInclusive<usize>> {
    let numbers = |row: &str| {
        let word = row.trim_start_matches(['▶', ' ']).split(' ').next()?;
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    screen.lines().filter_map(numbers).collect()
}

#[test]
fn on_a_narrow_terminal_quiet_stages_share_a_row_and_none_is_missing() {
    let _watchdog = watchdog();
    for (lines, columns) in [(24, 80), (20, 60), (16, 40), (14, 30), (12, 20)] {
        let directory = tempfile::tempdir().unwrap();
        let done = directory.path().join("done");
        let setup = Setup {
            lines,
            columns,
            ..USUAL
        };
        let cats = " | cat".repeat(11);
        let terminal = Terminal::start(&setup, &format!("{{ {}; }}{cats}", until_there(&done)));
        terminal.wait_for("all stages, some of them in one row", |screen| {
            let rows = numbered(screen);
            let is_folded = rows.len() < 12;
            is_folded && screen.contains('▶') && rows.into_iter().flatten().eq(1..=12)
        });
        let screen = terminal.screen();
        let fits = |row: &str| row.chars().count() <= columns.into();
        assert!(screen.lines().all(fits), "{screen}");
        std::fs::write(&done, "").unwrap();
        assert!(terminal.end().success());
        assert!(terminal.region_is_whole(), "{:?}", terminal.raw());
    }
}

/// `pipewright run` with plain progress, five lines a second, on a pipe.
fn plain(
    options: &[&str],
    pipeline: &str,
) -> (std::process::Child, impl Iterator<Item = String> + use<>) {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_pipewright"))
        .args(["run", "--progress", "plain", "-i", "200ms"])
        .args(["--summary", "never"])
        .args(options)
        .arg(pipeline)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    (child, stderr.lines().map(|line| line.unwrap()))
}

#[test]
fn plain_progress_is_a_line_an_interval_and_needs_no_terminal() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let done = directory.path().join("done");
    let begin = Instant::now();
    let (mut child, mut lines) = plain(&[], &format!("{{ {}; }} | cat", until_there(&done)));
    let mut text: Vec<String> = lines.by_ref().take(3).collect();
    std::fs::write(&done, "").unwrap();
    text.extend(lines);
    assert!(child.wait().unwrap().success());
    let intervals = begin.elapsed().div_duration_f64(Duration::from_millis(200));
    assert!((3.0..=intervals).contains(&(text.len() as f64)), "{text:?}");
    for line in text {
        let date = |c: char| c.is_ascii_digit() || "-: ".contains(c);
        assert!(line[..20].chars().all(date), "{line:?}");
        assert!(line[19..].starts_with(" 0:0"), "{line:?}");
        assert!(line.contains(" - % of -, "), "{line:?}");
        assert!(line.chars().count() <= 120, "{line:?}");
        assert!(!line.contains('\x1b'), "{line:?}");
    }
}

#[test]
fn a_stage_that_splices_has_a_rate_that_is_not_known() {
    // dd moves bytes through itself; a splicing program does not. python3 has os.splice since 3.10.
    let splice = "import os, sys\nwhile os.splice(0, 1, 1 << 20): pass";
    let probe = std::process::Command::new("python3")
        .args(["-c", "import os; os.splice"])
        .output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        eprintln!("skipped: there is no python3 with os.splice");
        return;
    }
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let at = |file: &str| directory.path().join(file);
    let (done, json, samples) = (at("done"), at("run.json"), at("samples"));
    let script = format!(
        "{{ until test -e '{}'; do seq 50000; done; }} | python3 -c '{splice}' \
         | python3 -c '{splice}' | cat",
        done.display()
    );
    let options = [
        format!("--json={}", json.display()),
        format!("--samples={}", samples.display()),
    ];
    let (mut child, mut lines) = plain(&options.each_ref().map(|it| &it[..]), &script);
    // Once the last stage gets something, the rates of the first and the last pipe are known. What a
    // stage has read while it was loaded may be taken for a rate before.
    let is_told = lines.by_ref().take(500).any(|_| {
        let recorded = std::fs::read_to_string(&samples).unwrap();
        let samples = recorded.lines().rev();
        let samples =
            samples.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let newest = samples
            .map(|it| it["figures"]["pipes"].clone())
            .find(|it| it.is_array());
        let known =
            |pipe: &serde_json::Value| pipe["bytes_per_second"].as_f64().map(|rate| rate > 0.0);
        newest.is_some_and(|pipes| {
            let known: Vec<_> = pipes.as_array().unwrap().iter().map(known).collect();
            known == [Some(true), None, Some(true)]
        })
    });
    std::fs::write(&done, "").unwrap();
    lines.for_each(drop);
    assert!(child.wait().unwrap().success());
    assert!(is_told, "{}", std::fs::read_to_string(samples).unwrap());
    let run: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    let bytes = |pipe: usize| &run["pipes"][pipe]["estimated_bytes"];
    assert_eq!(*bytes(1), serde_json::Value::Null, "{run:#}");
    assert_ne!(*bytes(0), 0, "{run:#}");
}
