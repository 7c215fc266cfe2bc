//! The guide to the command: its examples run, and its glossary has every word that is shown.

mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use support::pipewright;
use testing::{stderr, watchdog, with_time_enough};

fn guide() -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/command.md");
    let text = std::fs::read_to_string(path).ok();
    if text.is_none() {
        println!("skipped: the package stands alone, without the documents beside it");
    }
    text
}

/// The files that the examples name.
fn prepare(directory: &Path) {
    let mut log = String::new();
    for n in 0..20_000 {
        let status = [200, 200, 404, 500][n % 4];
        log += &format!(
            "10.0.0.{} \"GET /page/{}\" {status} {n}ms\n",
            n % 251,
            n % 97
        );
    }
    std::fs::write(directory.join("access.log"), log).unwrap();
    std::fs::create_dir(directory.join("photos")).unwrap();
    for n in 0..50 {
        std::fs::write(directory.join(format!("photos/{n}.jpg")), vec![n; 5000]).unwrap();
    }
    let packed = Command::new("gzip")
        .args(["-k", "access.log"])
        .current_dir(directory)
        .status();
    assert!(packed.unwrap().success());
    let sqlite = Command::new("sqlite3")
        .arg("shop.db")
        .current_dir(directory)
        .stdin(Stdio::piped())
        .spawn();
    if let Ok(mut sqlite) = sqlite {
        let text = b"create table orders(id integer); insert into orders values (1), (2);";
        sqlite.stdin.take().unwrap().write_all(text).unwrap();
        assert!(sqlite.wait().unwrap().success());
    }
}

#[test]
fn the_examples_of_the_guide_run() {
    let _watchdog = watchdog();
    let Some(guide) = guide() else { return };
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    let program = Path::new(env!("CARGO_BIN_EXE_pipewright"));
    let path = format!(
        "{}:{}",
        program.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let mut count = 0;
    for block in guide.split("```sh tested").skip(1) {
        let (options, rest) = block.split_once('\n').unwrap();
        let script = rest.split("\n```").next().unwrap();
        count += 1;
        if let Some(needed) = options.trim().strip_prefix("needs=")
            && Command::new(needed).arg("--version").output().is_err()
        {
            println!("skipped, there is no {needed}: {script}");
            continue;
        }
        let output = Command::new("bash")
            .args(["-euc", script])
            .current_dir(directory.path())
            .env("PATH", &path)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}: {}", stderr(&output));
        assert!(
            !output.stdout.is_empty() || script.contains("> ") || script.contains("-C copy"),
            "{script}"
        );
    }
    assert!(count >= 7, "{count}");
    let made = |file: &str| {
        std::fs::metadata(directory.path().join(file))
            .unwrap()
            .len()
    };
    assert!(
        made("copy/photos/49.jpg") == 5000 && made("access.log.gz.enc") > 0 && made("sums") > 0
    );
}

#[test]
fn the_last_pipeline_runs_again_by_the_function_that_the_guide_gives() {
    let _watchdog = watchdog();
    let Some(guide) = guide() else { return };
    let function = guide
        .lines()
        .find(|line| line.starts_with("pwl() {"))
        .unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_pipewright"));
    let path = format!(
        "{}:{}",
        program.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let mut bash = Command::new("bash")
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let typed = format!("set -o history\n{function}\nseq 7 | wc -l\npwl --json\n");
    bash.stdin
        .take()
        .unwrap()
        .write_all(typed.as_bytes())
        .unwrap();
    let output = bash.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"7\n7\n", "{}", stderr(&output));
    assert!(stderr(&output).contains("\"wc -l\""), "{}", stderr(&output));
}

#[test]
fn the_guide_has_twelve_pipelines() {
    let Some(guide) = guide() else { return };
    let headings = (1..=12).filter(|n| guide.contains(&format!("\n### {n}. ")));
    assert_eq!(headings.count(), 12);
}

#[test]
fn the_glossary_has_every_column_and_every_activity() {
    let _watchdog = watchdog();
    let Some(guide) = guide() else { return };
    // There are all of them once it was looked at for long enough.
    let columns = with_time_enough(|time| {
        let text = format!("sleep {} | cat", time.as_secs_f64());
        let output = pipewright()
            .args(["run", "--summary", "always", &text])
            .output()
            .unwrap();
        let told = stderr(&output);
        let head = told.lines().find(|line| line.contains("stage ")).unwrap();
        let columns = head.split("  ").map(|it| it.trim().to_owned());
        let columns: Vec<String> = columns.filter(|it| !it.is_empty()).collect();
        (columns.len() >= 6).then_some(columns)
    });
    for column in columns {
        assert!(guide.contains(&format!("| `{column}` |")), "{column}");
    }
    for activity in pipewright_observe::Activity::ALL {
        assert!(guide.contains(&format!("| `{activity}` |")), "{activity}");
    }
}
