//! What is written as JSON fits its schema, and docs/json.md has all of it.

#[path = "support/schema.rs"]
mod schema;
mod support;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use schema::{Schema, TEXT, form_of, may_be_null};
use serde_json::Value;
use support::foreign::{Running, find, listed, mark};
use support::{USUAL, pipewright, run};

use testing::terminals::{Setup, Terminal};
use testing::{fault, stderr, watchdog};

/// A run, and what the row is there to show.
struct Row {
    what: &'static str,
    arguments: &'static [&'static str],
    shows: fn(&Value) -> bool,
}

const ROWS: &[Row] = &[
    Row {
        what: "one that is over at once",
        arguments: &["true | true"],
        shows: |run| run["success"] == true && run["failed_stage"].is_null(),
    },
    Row {
        what: "one that fails, is negated, and has a stage that is killed",
        arguments: &["! sh -c 'kill -9 $$' | sh -c 'exit 3'"],
        shows: |run| {
            run["negated"] == true
                && run["failed_stage"] == 2
                && run["stages"][0]["end"]["number"] == 9
        },
    },
    Row {
        what: "a program that is missing: nothing is started",
        arguments: &["seq 3 | no-such-program-here"],
        shows: |run| run["exit_code"] == 127 && run["stages"][0]["pid"].is_null(),
    },
    Row {
        what: "a program that is missing, and the others are started",
        arguments: &["--start-anyway", "seq 3 |& no-such-program-here | cat"],
        shows: |run| run["stages"][1]["end"]["kind"] == "not_started",
    },
    Row {
        what: "an early close",
        arguments: &["yes | head -n 1"],
        shows: |run| {
            run["stages"][0]["end"]["kind"] == "closed_early"
                && run["stages"][0]["reader_gone"] == true
        },
    },
    Row {
        what: "a failure that is forgiven",
        arguments: &["--forgive=sh=23", "sh -c 'exit 23' | cat"],
        shows: |run| run["stages"][0]["forgiven"] == true && run["success"] == true,
    },
    Row {
        what: "a time limit",
        arguments: &["--timeout", "0.6", "sleep 60 | cat"],
        shows: |run| run["timed_out"] == true && run["exit_code"] == 124,
    },
    Row {
        what: "one long enough for a verdict with a prediction",
        arguments: &["seq 15 | while read -r x; do sleep 0.1; echo $x; done | cat"],
        shows: |run| {
            let prediction = &run["verdict"]["prediction"];
            run["verdict"]["finding"]["bottleneck"]["stage"] == 2
                && prediction["limiting_stage"].as_u64() != Some(2)
                && prediction["time_share"].is_number()
        },
    },
    Row {
        what: "a bottleneck that moves",
        arguments: &["{ sleep 2; echo; } | { cat; sleep 2; } | cat"],
        shows: |run| {
            let phases = run["verdict"]["phases"].as_array();
            phases.is_some_and(|it| it.len() == 2 && it[0]["stage"] == 1 && it[1]["stage"] == 2)
        },
    },
    Row {
        what: "an input whose size is known",
        arguments: &[
            "cat zeroes | { for n in 1 2 3 4; do head -c 1M; sleep 0.3; done; cat; } | wc -c",
        ],
        shows: |run| {
            let input = &run["input"];
            input["total_bytes"] == ZEROES
                && input["read_bytes"] == ZEROES
                && input["seconds_left"] == 0.0
        },
    },
    Row {
        what: "an input of which a part is left",
        arguments: &[
            "cat zeroes | for n in 1 2 3 4; do head -c 1M; sleep 0.3; done | { cat; sleep 1; }",
        ],
        shows: |run| {
            let input = &run["input"];
            let read = input["read_bytes"].as_u64();
            read.is_some_and(|read| (2 << 20..ZEROES).contains(&read))
                && input["seconds_left"].as_f64() > Some(0.0)
        },
    },
    Row {
        what: "a size that the user tells, and a reader that is slow",
        arguments: &["--size", "1M", "sleep 0.7 | cat"],
        shows: |run| run["input"]["read_bytes"] == 0 && run["input"]["seconds_left"].is_null(),
    },
    Row {
        what: "a stage that workers run",
        arguments: &["--workers", "2=2", "cat lines | grep 77 | wc -l"],
        shows: |run| {
            let workers = &run["stages"][1]["workers"];
            workers["workers"] == 2 && workers["in_sequence"].is_null()
        },
    },
    Row {
        what: "a stage that workers cannot run by parts after all",
        arguments: &["--workers", "2=2", "printf 'a' | grep a | cat"],
        shows: |run| run["stages"][1]["workers"]["in_sequence"].is_string(),
    },
    Row {
        what: "a stage that takes more memory than pipewright",
        arguments: &["head -c 60M /dev/zero | tail -c 50M | wc -c"],
        shows: |run| run["stages"][1]["peak_memory_bytes"].as_u64() > Some(50 << 20),
    },
    Row {
        what: "a spool that is full for a while",
        arguments: &[
            "seq 1000000 | \"$P\" spool --limit 1M --sync disk $(mktemp -d -p .)/kept | { sleep 2; cat; } | wc -l",
        ],
        shows: |run| {
            let spool = &run["stages"][1]["spool"];
            spool["full_share"].as_f64() > Some(0.1)
                && spool["taken_bytes"] == 6_888_896
                && spool["backlog_bytes"] == 0
                && spool["durable_bytes"] == 6_888_896
                && spool["limit_bytes"] == 1 << 20
        },
    },
    Row {
        what: "a spool without a directory and a limit",
        arguments: &["{ seq 9; sleep 1; } | \"$P\" spool | cat"],
        shows: |run| run["stages"][1]["spool"]["given_bytes"] == 18,
    },
    Row {
        what: "a stage that is started again",
        arguments: &[
            "--restart",
            "2=replay",
            "seq 9 | { [ -e again ] || { touch again; exit 3; }; cat; sleep 1; } | cat",
        ],
        shows: |run| {
            run["stages"][1]["restarts"] == 1 && run["stages"][1]["spool"]["is_input"] == true
        },
    },
    Row {
        what: "a script of several pipelines",
        arguments: &[
            "yes | gzip -9 | head -c 300K >/dev/null; for i in 1 2; do sleep 1 | cat; done",
        ],
        shows: |run| {
            let pipelines = run["whole"]["pipelines"].as_array();
            run["verdict"].is_null()
                && pipelines.is_some_and(|it| {
                    it.len() > 1
                        && it[0]["verdict"]["finding"]["bottleneck"]["stage"] == 2
                        && it[0]["pipes"][0]["readers"] == serde_json::json!([2])
                })
        },
    },
    Row {
        what: "a script with a pipeline whose input has a size",
        arguments: &[
            "true; cat zeroes | for n in 1 2 3 4 5; do head -c 1M; sleep 0.3; done | wc -c; true",
        ],
        shows: |run| run["whole"]["pipelines"][0]["input"]["total_bytes"] == ZEROES,
    },
    Row {
        what: "one pipeline that a shell runs as a whole",
        arguments: &["--whole", "exit 3 | exit 4 | true"],
        shows: |run| run["whole"]["statuses"] == serde_json::json!([3, 4, 0]),
    },
    Row {
        what: "words",
        arguments: &["--", "grep", "-c", "a|b", "lines", "|", "cat"],
        shows: |run| run["text"] == "grep -c 'a|b' lines | cat",
    },
];

const ZEROES: u64 = 8 << 20;

/// A directory with the files that the rows read.
fn prepared() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("zeroes"), vec![0; ZEROES as usize]).unwrap();
    let lines: String = (0..200_000).map(|line| format!("{line}\n")).collect();
    std::fs::write(directory.path().join("lines"), lines).unwrap();
    directory
}

/// The objects that a run writes, line by line, of the run itself and of its samples.
fn recorded(directory: &Path, command: &mut Command) -> (Value, Vec<Value>) {
    let at = |name: &str| directory.join(name);
    let output = command.current_dir(directory).output().unwrap();
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let run = serde_json::from_str(&read(at("run.json")));
    let run = run.unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
    let samples = read(at("samples"));
    let samples = samples.lines().map(|it| serde_json::from_str(it).unwrap());
    (run, samples.collect())
}

/// Started by a small shell that forks: the kernel counts what a process was before its exec into its
/// peak memory, and as large as these tests no stage here is.
fn recording(arguments: &[&str]) -> Command {
    let program = pipewright();
    let mut command = Command::new("sh");
    command
        .args(["-c", "\"$0\" \"$@\"; exit $?"])
        .arg(program.get_program())
        .envs(
            program
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .args(["run", "-q", "--json=run.json", "--samples", "samples"])
        .args(arguments)
        .env_remove("NO_COLOR")
        .env("P", env!("CARGO_BIN_EXE_pipewright"))
        // Directories that may not be looked into would leave open what is missing.
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .stdin(Stdio::null());
    command
}

fn check_run(schema: &mut Schema, run: &Value) {
    for (stage, number) in run["stages"].as_array().unwrap().iter().zip(1_u64..) {
        assert_eq!(stage["number"], number);
    }
    schema.check("run", run);
}

fn check_samples(schema: &mut Schema, lines: &[Value]) {
    schema.check("samples_first_line", &lines[0]);
    let stages = lines[0]["stages"].as_array().unwrap();
    for (stage, number) in stages.iter().zip(1_u64..) {
        assert_eq!(stage["number"], number);
    }
    for line in &lines[1..] {
        assert_eq!(line["stages"].as_array().unwrap().len(), stages.len());
        schema.check("samples_line", line);
    }
}

#[test]
fn every_field_that_is_written_is_in_the_schema_and_every_field_in_it_is_written() {
    let _watchdog = watchdog();
    let mut schema = Schema::new();
    let directory = prepared();
    for row in ROWS {
        // What was seen of a run depends on how busy the machine is.
        let mut tries = 0;
        loop {
            let (run, samples) = recorded(directory.path(), &mut recording(row.arguments));
            check_run(&mut schema, &run);
            check_samples(&mut schema, &samples);
            if (row.shows)(&run) {
                break;
            }
            tries += 1;
            assert!(tries < 20, "{}: {run:#}", row.what);
        }
    }
    killed(&mut schema, directory.path());
    unwatched(&mut schema, directory.path());
    lost(&mut schema, directory.path());
    advised(&mut schema, directory.path());
    of_a_person(&mut schema, directory.path());
    lists(&mut schema);
    comparisons(&mut schema, directory.path());
    let limits = pipewright().args(["limits", "--json"]).output().unwrap();
    schema.check("limits", &serde_json::from_slice(&limits.stdout).unwrap());
    assert_all_seen(&schema);
}

/// Where a sandbox denies the status of what has ended.
fn lost(schema: &mut Schema, directory: &Path) {
    let directory = directory.to_owned();
    // What starts a program from this thread passes the filter on.
    let sandboxed = std::thread::spawn(move || {
        fault(libc::SYS_waitid, libc::ECHILD).install();
        recorded(&directory, &mut recording(&["sleep 0.1 | cat"]))
    });
    let (run, samples) = sandboxed.join().unwrap();
    for stage in run["stages"].as_array().unwrap() {
        assert_eq!(stage["end"]["kind"], "status_lost", "{run:#}");
        assert!(stage["end"]["reason"].is_string(), "{run:#}");
    }
    assert_eq!(run["success"], false, "{run:#}");
    check_run(schema, &run);
    check_samples(schema, &samples);
}

/// What workers would gain is only told where a core was free.
fn advised(schema: &mut Schema, directory: &Path) {
    for _ in 0..10 {
        let text = "seq 3000000 | sed -E 's/([0-9])[0-9]*9/x/g' | wc -c";
        let (run, _) = recorded(directory, &mut recording(&[text]));
        check_run(schema, &run);
        if run["workers_advice"].is_string() {
            return;
        }
    }
    println!("skipped: no core was free for a stage that computes");
}

/// A signal that reaches pipewright.
fn killed(schema: &mut Schema, directory: &Path) {
    let text = format!("kill {} | sleep 60", "$PPID");
    let (run, _) = recorded(directory, &mut recording(&[&text]));
    assert_eq!(run["signal"], "SIGTERM", "{run:#}");
    check_run(schema, &run);
}

/// Where /proc cannot be read.
fn unwatched(schema: &mut Schema, directory: &Path) {
    let script = "mount -t tmpfs none /proc && exec \"$0\" run -q --json=run.json --samples samples \
                  'sleep 0.3 | cat'";
    let shell = [
        "--mount",
        "sh",
        "-c",
        script,
        env!("CARGO_BIN_EXE_pipewright"),
    ];
    let mut command = Command::new("unshare");
    command.args(shell).current_dir(directory);
    match command.output() {
        Ok(output) if output.status.success() => {}
        tried => return println!("skipped: no such namespace here ({tried:?})"),
    }
    let (run, samples) = recorded(directory, &mut command);
    let stage = &run["stages"][0];
    for unknown in [&run["verdict"], &stage["shares"], &stage["read_bytes"]] {
        assert!(unknown.is_null(), "{run:#}");
    }
    check_run(schema, &run);
    check_samples(schema, &samples);
}

/// One that waits for a key, until it was seen to.
fn of_a_person(schema: &mut Schema, directory: &Path) {
    let at = |name: &str| directory.join(name).display().to_string();
    let json: &'static str = format!("--json={}", at("person.json")).leak();
    let samples: &'static str = at("person").leak();
    let setup = Setup {
        output: ">&0 2>&0",
        options: vec!["-q", json, "--samples", samples].leak(),
        ..USUAL
    };
    let terminal = Terminal::start(&setup, "cat | wc -l");
    let seen = || std::fs::read_to_string(samples).unwrap_or_default();
    let waits = |seen: &str| {
        let waiting = seen.matches("waiting_for_person").count();
        waiting > 40 && waiting > seen.lines().count() * 3 / 4
    };
    while !waits(&seen()) {
        std::thread::sleep(Duration::from_millis(50));
    }
    terminal.type_in("\u{4}");
    terminal.end();
    let run: Value =
        serde_json::from_str(&std::fs::read_to_string(at("person.json")).unwrap()).unwrap();
    let found = &run["verdict"]["finding"]["bottleneck"];
    assert_eq!(
        (&found["stage"], &found["reason"]),
        (&1.into(), &"person".into()),
        "{run:#}"
    );
    assert!(
        run["stages"][0]["shares"]["person"].as_f64() > Some(0.5),
        "{run:#}"
    );
    check_run(schema, &run);
    let lines: Vec<Value> = seen()
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    check_samples(schema, &lines);
}

fn lists(schema: &mut Schema) {
    let mark = mark(2001);
    let running = Running::start(&format!("yes {mark} | sleep {mark} | cat; true"));
    let found = find(&mark, 3);
    assert_eq!(found["stages"][2]["number"], 3, "{found:#}");
    assert_eq!(found["pipes"][1]["writers"], serde_json::json!([2]));
    schema.check("listed_pipeline", &found);
    for options in [&[][..], &["--all"]] {
        schema.check("ls", &listed(options));
    }
    drop(running);
    let mark = support::foreign::mark(2002);
    let program = env!("CARGO_BIN_EXE_pipewright");
    let running = Running::start(&format!(
        "yes {mark} | '{program}' spool --limit 1M | sleep {mark}; true"
    ));
    let spool = loop {
        let found = find(&mark, 3);
        if found["stages"][1]["spool"]["waits"] == "full" {
            schema.check("listed_pipeline", &found);
            break found["stages"][1]["spool"].clone();
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(spool["held_bytes"], 1 << 20, "{spool:#}");
    assert!(spool["durable_bytes"].is_null(), "{spool:#}");
    drop(running);
}

fn comparisons(schema: &mut Schema, directory: &Path) {
    for arguments in [
        &["--runs", "1", "true | cat", "exit 3 | cat"][..],
        &["--runs", "2", "sleep 0.6 | cat", "sleep 0.7"],
        &["--runs", "2", "--warmup", "0", "date +%N | cat", "true"],
    ] {
        let output = pipewright()
            .args(["run", "--compare", "-q", "--export", "compared.json"])
            .args(arguments)
            .current_dir(directory)
            .output()
            .unwrap();
        let text = std::fs::read_to_string(directory.join("compared.json"));
        let text = text.unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
        schema.check("comparison", &serde_json::from_str(&text).unwrap());
    }
}

/// Fields that cannot be brought to be null here, or not for sure.
const NEVER_NULL: &[&str] = &[
    "on_host.peak_memory_bytes",
    // Of a run that nobody interrupts.
    "comparison.fastest",
    "contender.max",
    "contender.mean",
    "contender.median",
    "contender.min",
    "contender.system",
    "contender.user",
    // Where descriptors are short.
    "pipe.capacity_bytes",
    // Of another user's.
    "inner_pipe.shares",
    "inner_stage.cpu_seconds",
    "inner_stage.read_bytes",
    "inner_stage.shares",
    "inner_stage.written_bytes",
    "listed_pipe.level",
    "stage_figures.on_cpu_seconds",
    "stage_figures.read_bytes",
    "stage_figures.waiting_for_cpu_seconds",
    "stage_figures.written_bytes",
    // Whether it was in time for that depends on the machine.
    "bottleneck.cpus",
    "bottleneck.program",
    "contender_bottleneck.advice",
    "contender_bottleneck.stage",
    "inner_pipe.estimated_bytes",
    "inner_pipeline.input",
    "input.current_bytes_per_second",
    "phase.command",
    "phase.reason",
    "phase.stage",
    "pipe_figures.bytes_per_second",
    "pipe_figures.estimated_bytes",
    "prediction.limiting_stage",
    "verdict.advice",
];

/// Fields that need what may not be here: a core that is free, a socket, another host.
const NEVER_SEEN: &[&str] = &[
    "stage.on_host",
    "on_host.host",
    "on_host.wall_seconds",
    "on_host.user_seconds",
    "on_host.system_seconds",
    "on_host.peak_memory_bytes",
    "on_host.reconnected",
    "run.workers_advice",
    "neighbour.command",
    "neighbour.descriptor",
    "neighbour.pid",
    "socket.descriptor",
    "socket.inode",
    "socket.neighbours",
];

fn assert_all_seen(schema: &Schema) {
    let mut missing = Vec::new();
    for (form, described) in schema.forms() {
        let variants = described["oneOf"].as_array().cloned();
        for described in variants.unwrap_or_else(|| vec![described.clone()]) {
            for (name, field) in described["properties"].as_object().into_iter().flatten() {
                let path = format!("{form}.{name}");
                let key = (form.clone(), name.clone());
                let (value, null) = schema.seen.get(&key).copied().unwrap_or_default();
                if !value && !NEVER_SEEN.contains(&&*path) {
                    missing.push(format!("{path} never has a value"));
                }
                if may_be_null(field) && !null && !NEVER_NULL.contains(&&*path) {
                    missing.push(format!("{path} is never null"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_schema_is_printed_and_is_one() {
    let _watchdog = watchdog();
    let output = pipewright().arg("schema").output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), TEXT);
    let schema: Value = serde_json::from_str(TEXT).unwrap();
    assert!(jsonschema::meta::is_valid(&schema));
    // As a whole it takes each form, and nothing else.
    let any = jsonschema::validator_for(&schema).unwrap();
    let output = run(&["--json", "true"]);
    assert!(any.is_valid(&serde_json::from_slice(&output.stderr).unwrap()));
    assert!(!any.is_valid(&serde_json::json!({"version": 2})));
}

fn page() -> Option<(PathBuf, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/json.md");
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        println!("skipped: the package stands alone, without the documents beside it");
    }
    Some((path, text?))
}

/// PIPEWRIGHT_WRITE_TABLES=1 writes them anew.
#[test]
fn the_tables_of_the_document_are_those_of_the_schema() {
    let Some((path, page)) = page() else { return };
    let schema = Schema::new();
    let mut written = page.clone();
    for (form, described) in schema.forms() {
        let marks = [
            format!("<!-- {form} -->\n"),
            format!("<!-- end of {form} -->"),
        ];
        let [begin, end] = marks.each_ref().map(|mark| written.find(mark.as_str()));
        let (Some(begin), Some(end)) = (begin, end) else {
            panic!("docs/json.md has no place for {form}: {marks:?}");
        };
        written.replace_range(begin + marks[0].len()..end, &table(described));
    }
    if std::env::var_os("PIPEWRIGHT_WRITE_TABLES").is_some() {
        std::fs::write(path, &written).unwrap();
        return;
    }
    let differing = page
        .lines()
        .zip(written.lines())
        .find(|(is, should)| is != should);
    assert_eq!(
        differing, None,
        "PIPEWRIGHT_WRITE_TABLES=1 cargo test --test json writes them"
    );
    assert_eq!(page.len(), written.len());
}

/// A form as the document has it.
fn table(form: &Value) -> String {
    let mut text = format!("{}\n", form["description"].as_str().unwrap());
    let variants = form["oneOf"].as_array().cloned();
    let described = variants.unwrap_or_else(|| vec![form.clone()]);
    if described[0]["properties"].is_null() {
        return text;
    }
    text += "\n| field | type | meaning |\n|---|---|---|\n";
    for form in described {
        let kind = form["properties"]["kind"]["const"].as_str();
        for (name, field) in in_order(&form) {
            let of = match kind {
                Some(kind) if name != "kind" => format!(" ({kind})"),
                _ => String::new(),
            };
            let meaning = field["description"].as_str().unwrap();
            let meaning = meaning.replace('|', "\\|");
            writeln!(text, "| `{name}`{of} | {} | {meaning} |", type_of(field)).unwrap();
        }
    }
    text
}

/// The fields of a form in the order in which they are written; one that may be absent is the last.
fn in_order(form: &Value) -> Vec<(&str, &Value)> {
    let fields = form["properties"].as_object().unwrap();
    let required: Vec<&str> = form["required"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it.as_str().unwrap())
        .collect();
    let optional = fields
        .keys()
        .map(String::as_str)
        .filter(|name| !required.contains(name));
    required
        .iter()
        .copied()
        .chain(optional)
        .map(|name| (name, &fields[name]))
        .collect()
}

fn type_of(field: &Value) -> String {
    let link = |form: String| format!("[{form}](#{form})");
    let plain = if let Some(form) = form_of(field) {
        link(form)
    } else if field["type"] == "array" {
        format!("array of {}", type_of(&field["items"]))
    } else if let Some(form) = form_of(&field["items"]) {
        link(form)
    } else if field["enum"].is_array() || field["const"].is_string() {
        "word".to_owned()
    } else if field["const"].is_number() {
        "integer".to_owned()
    } else {
        let named = &field["type"];
        named.as_str().or(named[0].as_str()).unwrap().to_owned()
    };
    if may_be_null(field) {
        format!("{plain} or null")
    } else {
        plain
    }
}

#[test]
fn the_examples_of_the_document_fit_the_schema() {
    let Some((_, page)) = page() else { return };
    let mut schema = Schema::new();
    let mut forms = Vec::new();
    for block in page.split("```json ").skip(1) {
        let (form, rest) = block.split_once('\n').unwrap();
        let text = rest.split("\n```").next().unwrap();
        let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        for value in values {
            let value = value.unwrap_or_else(|error| panic!("{form}: {error}: {text}"));
            let form = match form {
                "samples" if value["version"].is_null() => "samples_line",
                "samples" => "samples_first_line",
                form => form,
            };
            schema.check(form, &value);
            forms.push(form.to_owned());
        }
    }
    for form in [
        "run",
        "ls",
        "samples_first_line",
        "samples_line",
        "comparison",
    ] {
        assert!(forms.iter().any(|it| it == form), "no example of {form}");
    }
}
