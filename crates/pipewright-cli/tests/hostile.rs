//! `ls`, `watch` and `run` beside processes that make it hard to look at them, and where /proc does
//! not tell, or tells of others.

mod support;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use support::foreign::{Running, Watch, find, listed, mark};
use support::pipewright;
use testing::stubborn::{Unanswering, hold_own_memory, is_stubborn_at_last};
use testing::{is_root, isolated, lives, state, stderr, watchdog};

/// Set in a test process that is to be a stage: the file that cannot be read.
const HOLD: &str = "PIPEWRIGHT_TEST_HOLD";

/// Not a promise: a stage of the pipelines below. Run by itself it does nothing.
#[test]
fn a_stage_that_holds_its_own_memory() {
    if let Some(file) = std::env::var_os(HOLD) {
        hold_own_memory(&PathBuf::from(file));
    }
}

/// The file system that the stage above needs.
fn unanswering() -> Option<Unanswering> {
    Unanswering::mount()
        .map_err(|reason| eprintln!("skipped: no file system that does not answer ({reason})"))
        .ok()
}

/// Shell text for the stage above, with the mark in its command line.
fn stubborn_stage(unanswering: &Unanswering, mark: &str) -> String {
    format!(
        "{HOLD}={} exec -a stubborn-{mark} {} --exact a_stage_that_holds_its_own_memory",
        unanswering.file().display(),
        std::env::current_exe().unwrap().display()
    )
}

/// The number of the second stage of a pipeline.
fn second_stage(found: &serde_json::Value) -> u32 {
    found["stages"][1]["pid"].as_u64().unwrap() as u32
}

/// The pipeline of so many stages of which one is `sleep` with the mark, whatever the others are
/// called; `None` once it cannot come any more.
fn find_beside(
    mark: &str,
    stages: usize,
    mut may_come: impl FnMut() -> bool,
) -> Option<serde_json::Value> {
    let sleep = format!("sleep {mark}");
    while may_come() {
        let all = listed(&[]);
        let pipelines = all["pipelines"].as_array().unwrap();
        let found = pipelines.iter().find(|pipeline| {
            let found = pipeline["stages"].as_array().unwrap();
            found.len() == stages && found.iter().any(|stage| stage["command"] == sleep)
        });
        if let Some(found) = found {
            return Some(found.clone());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

fn ls(options: &[&str]) -> Output {
    pipewright().arg("ls").args(options).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_process_that_does_not_let_itself_be_read_holds_up_neither_ls_nor_watch() {
    let _watchdog = watchdog();
    let Some(unanswering) = unanswering() else {
        return;
    };
    let mark = mark(2001);
    let stage = stubborn_stage(&unanswering, &mark);
    let running = Running::start(&format!("sleep {mark} | ({stage}) >/dev/null"));
    let pid = second_stage(&find_beside(&mark, 2, || true).unwrap());
    if !is_stubborn_at_last(pid) {
        println!("skipped: the process could not be kept from being read");
        return;
    }
    let found = listed(&[]);
    let pipelines = found["pipelines"].as_array().unwrap();
    let stages = pipelines
        .iter()
        .map(|pipeline| pipeline["stages"].as_array().unwrap())
        .find(|stages| stages.iter().any(|stage| stage["pid"] == pid))
        .unwrap();
    assert_eq!(stages[0]["command"], format!("sleep {mark}"));
    let name = stages[1]["command"].as_str().unwrap();
    assert!(name.starts_with('[') && name.ends_with(']'), "{name}");
    assert!(found["silent_stages"].as_u64() >= Some(1));
    let told = text(&ls(&[]));
    assert!(told.contains("not answer when"), "{told}");

    let mut watch = Watch::start(&pid.to_string());
    watch.wait_for(&["bottleneck", &format!("sleep {mark}"), name]);
    watch.press("q");
    assert!(watch.child.wait().unwrap().success());
    drop(running);
}

#[test]
fn a_stage_that_does_not_let_itself_be_read_is_timed_out_and_told_of() {
    let _watchdog = watchdog();
    // It has to be so before the time is over.
    assert!(
        ["10", "40", "160"]
            .into_iter()
            .any(is_timed_out_and_told_of)
    );
}

/// `false`: the time was over before the stage could not be read any more.
fn is_timed_out_and_told_of(timeout: &str) -> bool {
    let Some(unanswering) = unanswering() else {
        return true;
    };
    let mark = mark(2002);
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("run.json");
    let mut run = pipewright();
    // No shell between: the stage is the process that cannot be read.
    run.args(["run", "--timeout", timeout, "--kill-after", "1"])
        .arg(format!("--json={}", json.display()))
        .args(["--", "sleep", &mark, "|"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_stage_that_holds_its_own_memory"])
        .env(HOLD, unanswering.file())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut run = run.spawn().unwrap();
    let Some(found) = find_beside(&mark, 2, || run.try_wait().unwrap().is_none()) else {
        return false;
    };
    let pid = second_stage(&found);
    if !is_stubborn_at_last(pid) {
        // The kernel does not let the one that reads die before its file system goes.
        drop(unanswering);
        run.wait().unwrap();
        return false;
    }
    // Killed, its main thread ends, and the one that reads when its file system does: that is the
    // kernel's doing.
    while lives(pid) {
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(unanswering);
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(124), "{}", stderr(&output));
    let told = std::fs::read(&json).unwrap();
    let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
    assert_eq!(told["timed_out"], true);
    assert_eq!(told["stages"].as_array().unwrap().len(), 2);
    true
}

#[test]
fn processes_that_change_their_names_all_the_time_are_listed() {
    let _watchdog = watchdog();
    let mark = mark(2003);
    let renames = "while :; do printf '\\e[2J%s\\n' $RANDOM >/proc/$BASHPID/comm; done";
    let running = Running::start(&format!("({renames}) | sleep {mark}"));
    let found = find_beside(&mark, 2, || true).unwrap();
    for _ in 0..20 {
        // While bash points its stdout elsewhere, one look may miss the pipe.
        let again = find_beside(&mark, 2, || true).unwrap();
        for stage in 0..2 {
            assert_eq!(again["stages"][stage]["pid"], found["stages"][stage]["pid"]);
        }
        assert!(!text(&ls(&["--all"])).contains('\x1b'));
    }
    drop(running);
}

#[test]
fn no_name_moves_the_cursor_or_turns_the_text_around() {
    let _watchdog = watchdog();
    let mark = mark(2004);
    let name = r"\e]0;evil\a\u202eright\u200eto\u061cleft\u00ad\U000e0041tag\u200b<b>&amp;\xff\xfe";
    let hostile = format!("(exec -a $'{name}' sleep {mark}) | (exec -a $'{name}' cat)");
    let running = Running::start(&hostile);
    let found = find(&mark, 2);
    let shown = "]0;evilrighttolefttag<b>&amp;\u{fffd}\u{fffd}";
    let command = found["stages"][0]["command"].as_str().unwrap();
    assert!(command.contains(shown), "{command}");
    let mut watch = Watch::start(&found["stages"][0]["pid"].to_string());
    watch.wait_for(&["bottleneck", "righttolefttag"]);
    watch.press("e");
    watch.wait_for(&["┌stage 1", "<b>&amp;"]);
    watch.press("q");
    watch.wait_for(&["wait out"]);
    assert!(watch.child.wait().unwrap().success());
    for output in [text(&ls(&[])), text(&ls(&["--json"]))] {
        let hidden = "\x1b\u{7}\u{202e}\u{200e}\u{61c}\u{ad}\u{e0041}\u{200b}";
        assert!(!output.contains(|c| hidden.contains(c)), "{output}");
    }
    drop(running);
}

#[test]
fn a_megabyte_of_arguments_is_shown_in_part() {
    let _watchdog = watchdog();
    let mark = mark(2005);
    // One argument may have 128 KiB.
    let megabyte = "x() { printf %0125000d 0; }; set -- $(x) $(x) $(x) $(x) $(x) $(x) $(x) $(x)";
    let text_of_it =
        format!("{megabyte}; (exec -a long-{mark} bash -c 'read -r x' \"$@\") | sleep {mark}");
    let running = Running::start(&text_of_it);
    let found = find(&mark, 2);
    let command = found["stages"][0]["command"].as_str().unwrap();
    assert!(
        command.starts_with("long-") && command.ends_with("000…"),
        "{}",
        command.len()
    );
    assert!(command.chars().count() <= 4097);
    assert!(text(&ls(&[])).lines().all(|line| line.len() < 1000));
    drop(running);
}

#[test]
fn a_hundred_thousand_descriptors_are_looked_at() {
    isolated("a_hundred_thousand_descriptors_are_looked_at", || {
        use rustix::process::{Resource, Rlimit, setrlimit};
        const MANY: u64 = 100_000;
        let enough = Rlimit {
            current: Some(MANY + 100),
            maximum: Some(MANY + 100),
        };
        if let Err(error) = setrlimit(Resource::Nofile, enough) {
            eprintln!("skipped: this user may not have so many descriptors ({error})");
            return;
        }
        let mark = mark(2006);
        let running = Running::start(&format!("sleep {mark} | cat"));
        let found = find(&mark, 2);
        let (reader, writer) = std::io::pipe().unwrap();
        let copies: Vec<_> = (0..MANY / 2)
            .map(|_| (reader.try_clone().unwrap(), writer.try_clone().unwrap()))
            .collect();
        let again = find(&mark, 2);
        for stage in 0..2 {
            assert_eq!(again["stages"][stage]["pid"], found["stages"][stage]["pid"]);
        }
        drop((copies, running));
    });
}

/// Runs shell text in new namespaces of root's; `None` where they cannot be had. `$0` is pipewright.
fn in_namespaces(options: &[&str], script: &str) -> Option<Output> {
    if !is_root() {
        eprintln!("skipped: only root can make such namespaces");
        return None;
    }
    let unshare = |script: &str| {
        Command::new("unshare")
            .args(options)
            .args(["sh", "-c", script, env!("CARGO_BIN_EXE_pipewright")])
            .stdin(Stdio::null())
            .output()
    };
    // Some may make a namespace, and mount nothing in it.
    match unshare("mount -t tmpfs none /proc") {
        Ok(output) if output.status.success() => Some(unshare(script).unwrap()),
        tried => {
            eprintln!("skipped: no such namespaces here ({tried:?})");
            None
        }
    }
}

fn refused(output: &Output, word: &str) {
    assert_eq!(output.status.code(), Some(1), "{}", stderr(output));
    assert_eq!(output.stdout, b"");
    let said = stderr(output);
    assert!(said.contains(word), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_proc_of_another_pid_namespace_is_refused_and_nobody_touched() {
    let _watchdog = watchdog();
    // Two stages with small numbers, which name others in the /proc that is mounted.
    let script = |command: &str| {
        format!("sleep 30 | cat & \"$0\" {command}; status=$?; kill %1 2>/dev/null; exit $status")
    };
    for command in ["ls", "ls --all --json", "resize 2 64K"] {
        let Some(output) = in_namespaces(&["--pid", "--fork", "--mount"], &script(command)) else {
            return;
        };
        refused(&output, "/proc belongs to another pid namespace");
    }
    // A run is not watched then, and does what it is for.
    let run = "\"$0\" run --json=- 'echo out | (sleep 0.3; cat)' >&2; exit $?";
    let run = in_namespaces(&["--pid", "--fork", "--mount"], run).unwrap();
    assert!(run.status.success(), "{}", stderr(&run));
    assert!(stderr(&run).contains("out"), "{}", stderr(&run));
}

#[test]
fn where_there_is_no_proc_it_is_said() {
    let _watchdog = watchdog();
    for script in [
        "umount -l /proc; exec \"$0\" ls",
        "mount -t tmpfs none /proc; exec \"$0\" ls",
        "mount -t tmpfs none /proc; mkdir /proc/1 /proc/2 && exec \"$0\" ls --json",
    ] {
        let Some(output) = in_namespaces(&["--mount"], script) else {
            return;
        };
        refused(&output, "no proc file system is mounted on /proc");
    }
}

#[test]
fn what_needs_proc_to_start_is_refused_before_anything_has_started() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let record = format!("--record {}/kept", place.path().display());
    for option in [&record[..], "--restart replay", "--tag"] {
        let script =
            format!("mount -t tmpfs none /proc; exec \"$0\" run {option} 'echo started | cat'");
        let Some(output) = in_namespaces(&["--mount"], &script) else {
            return;
        };
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(125), "{option}: {said}");
        assert_eq!(output.stdout, b"", "{option}");
        assert!(
            said.contains("mount -t proc") && said.lines().count() == 1,
            "{said}"
        );
        assert!(!place.path().join("kept").exists());
    }
}

#[test]
fn a_proc_that_hides_others_is_told_of() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("pipewright");
    testing::copy_program(env!("CARGO_BIN_EXE_pipewright").as_ref(), &copy);
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).unwrap();
    let as_nobody = |hidden: &str, options: &str| {
        let script = format!(
            "mount -t proc -o hidepid={hidden} proc /proc && exec setpriv --reuid 65534 --regid 65534 \
             --clear-groups {} ls {options}",
            copy.display()
        );
        in_namespaces(&["--mount"], &script)
    };
    let Some(invisible) = as_nobody("invisible", "") else {
        return;
    };
    let told = text(&invisible);
    assert!(
        told.contains("hides the processes of other users"),
        "{told}{}",
        stderr(&invisible)
    );
    let json = as_nobody("invisible", "--json").unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["others_hidden"], true);
    // Numbers are seen, and nothing else.
    let told = text(&as_nobody("noaccess", "").unwrap());
    assert!(
        told.contains("belong to other users and were skipped"),
        "{told}"
    );
}

#[test]
fn a_list_that_cannot_be_written_is_an_error() {
    let _watchdog = watchdog();
    for arguments in [
        &["ls"][..],
        &["ls", "--json"],
        &["limits"],
        &["limits", "--json"],
    ] {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let output = pipewright().args(arguments).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{arguments:?}");
        let said = stderr(&output);
        assert!(
            said.contains("cannot write to stdout: No space left"),
            "{said}"
        );
    }
}

#[test]
fn watch_in_an_orphaned_group_goes_on_after_ctrl_z() {
    let _watchdog = watchdog();
    let mark = mark(2007);
    let running = Running::start(&format!("sleep {mark} | cat"));
    let found = find(&mark, 2);
    // A session of its own, of which nobody is left who could let it go on.
    let mut command = pipewright();
    command.args(["watch", &found["stages"][0]["pid"].to_string()]);
    let mut setsid = Command::new("setsid");
    setsid
        .arg("--wait")
        .arg(command.get_program())
        .args(command.get_args())
        .env("LC_ALL", "C.UTF-8");
    let mut watch = Watch::run(setsid);
    watch.wait_for(&["bottleneck"]);
    watch.press("\x1a");
    watch.press("?");
    watch.wait_for(&["┌keys"]);
    watch.press("?");
    watch.press("q");
    watch.wait_for(&["wait out"]);
    assert!(watch.child.wait().unwrap().success());
    drop(running);
}

#[test]
fn watch_that_is_stopped_gives_the_terminal_back_for_as_long() {
    use rustix::process::{Pid, Signal, kill_process};
    let _watchdog = watchdog();
    let mark = mark(2008);
    let running = Running::start(&format!("sleep {mark} | cat"));
    let found = find(&mark, 2);
    let mut command = pipewright();
    command.args(["watch", &found["stages"][0]["pid"].to_string()]);
    // In a group of its own, with a shell above it in the same session.
    command.process_group(0);
    let mut watch = Watch::run(command);
    watch.wait_for(&["bottleneck"]);
    let pid = watch.child.id();
    let process = Pid::from_raw(pid as i32).unwrap();
    for press in [true, false] {
        if press {
            watch.press("\x1a");
        } else {
            kill_process(process, Signal::TSTP).unwrap();
        }
        while state(pid) != Some('T') {
            std::thread::sleep(Duration::from_millis(5));
        }
        watch.wait_until(|screen| !screen.alternate_screen());
        kill_process(process, Signal::CONT).unwrap();
        watch.wait_until(vt100::Screen::alternate_screen);
        watch.press("?");
        watch.wait_for(&["┌keys"]);
        watch.press("?");
    }
    watch.press("q");
    watch.wait_for(&["wait out"]);
    assert!(watch.child.wait().unwrap().success());
    drop(running);
}

/// A cgroup with a limit of 30 MiB, of either version; `None` where none can be made.
struct SmallGroup(PathBuf);

impl SmallGroup {
    fn make() -> Option<Self> {
        let name = format!("pipewright-test-{}", std::process::id());
        for (mount, limit) in [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ] {
            let group = PathBuf::from(mount).join(&name);
            if std::fs::create_dir(&group).is_ok() {
                let made = Self(group);
                if std::fs::write(made.0.join(limit), "30M").is_ok() {
                    // Where there is swap, it would be filled first.
                    for swap in ["memory.memsw.limit_in_bytes", "memory.swap.max"] {
                        let limit = if swap.ends_with("max") { "0" } else { "30M" };
                        let _ = std::fs::write(made.0.join(swap), limit);
                    }
                    return Some(made);
                }
            }
        }
        eprintln!("skipped: no cgroup with a memory limit can be made here");
        None
    }

    /// Shell text that moves the shell there.
    fn enter(&self) -> String {
        format!("echo $$ >{}/cgroup.procs", self.0.display())
    }
}

impl Drop for SmallGroup {
    fn drop(&mut self) {
        // It is empty a moment after its last process has ended.
        while std::fs::remove_dir(&self.0)
            .is_err_and(|error| error.kind() == std::io::ErrorKind::ResourceBusy)
        {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_stage_that_the_kernel_killed_for_memory_is_told_as_such() {
    let _watchdog = watchdog();
    let Some(group) = SmallGroup::make() else {
        return;
    };
    // The whole run in the group, or one stage that has moved there.
    let hog = "tail /dev/zero";
    let (inside, stage) = (
        format!("{}; exec \"$0\" run --json '{hog} | wc -c'", group.enter()),
        format!(
            "exec \"$0\" run --json \"sh -c '{}; exec {hog}' | wc -c\"",
            group.enter().replace('$', r"\$")
        ),
    );
    for script in [inside, stage] {
        let output = Command::new("bash")
            .args(["-c", &script, env!("CARGO_BIN_EXE_pipewright")])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let told: serde_json::Value = serde_json::from_slice(&output.stderr)
            .unwrap_or_else(|_| panic!("{}", stderr(&output)));
        assert_eq!(told["stages"][0]["killed_for_memory"], true, "{told}");
        assert_eq!(told["stages"][1]["killed_for_memory"], false, "{told}");
    }
    // Killed by somebody, it is told as what it is.
    let output = pipewright()
        .args([
            "run",
            "--json=-",
            "sh -c 'sleep 0.1; kill -9 $$' | wc -c >/dev/null",
        ])
        .output()
        .unwrap();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["stages"][0]["end"]["number"], 9);
    assert_eq!(told["stages"][0]["killed_for_memory"], false, "{told}");
}
