//! Which file is executed: the running one, also when its path has gone, and the sealed copy.

#[path = "support/without_proc.rs"]
#[allow(
    unreachable_pub,
    reason = "a module of each program that it is part of"
)]
mod without_proc;

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use pipewright::Command;
use pipewright_handoff::{EntryPoints, Error, ParentLink, ReExec, Result, SelfExe};
use testing::copy_program;

fn main() {
    EntryPoints::new()
        .entry("answer", answer)
        .entry("stay", stay)
        .entry("nest", nest)
        .entry("nest in another place", answer)
        .dispatch();
    // Not a test but a parent, for tests about a program whose file changes.
    if std::env::args().nth(1).as_deref() == Some("start again") {
        start_again();
        return;
    }
    testing::trials::run(testing::tests![
        a_program_starts_again_after_its_file_was_unlinked_and_replaced,
        the_sealed_executable_cannot_be_written_through_proc,
        a_sealed_child_starts_sealed_children,
        a_child_of_another_build_is_refused,
        an_entry_point_that_is_not_registered_is_told_with_those_that_are,
        the_article_s_program_prints_one_line_and_ends,
        a_number_that_is_no_hand_over_ends_the_process_with_a_sentence,
        without_proc_it_fails_with_a_sentence_and_an_open_file_helps,
    ]);
}

fn answer(parent: &mut ParentLink) -> Result<()> {
    parent.channel().send(&"from the child".to_owned())
}

fn stay(parent: &mut ParentLink) -> Result<()> {
    parent.wait_for_parent(Duration::MAX)
}

/// Starts this test's program as `start_again` does, from a copy.
fn start_again() {
    let directory = std::env::args().nth(2).unwrap();
    let own = std::env::current_exe().unwrap();
    let ask = |executable: SelfExe| -> Result<String> {
        let mut child = ReExec::new("answer").executable(executable).spawn()?;
        child.channel().receive()
    };
    assert_eq!(ask(SelfExe::Running).unwrap(), "from the child");
    std::fs::remove_file(&own).unwrap();
    assert_eq!(ask(SelfExe::Running).unwrap(), "from the child");
    // Another program at the same path must not be started.
    std::fs::copy("/bin/false", &own).unwrap();
    assert_eq!(ask(SelfExe::Running).unwrap(), "from the child");
    assert_eq!(ask(SelfExe::Sealed).unwrap(), "from the child");
    std::fs::write(format!("{directory}/done"), "done").unwrap();
}

/// mydocker: what `readlink /proc/self/exe` gives is executed, and ends in " (deleted)".
fn a_program_starts_again_after_its_file_was_unlinked_and_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("program");
    copy_program(&std::env::current_exe().unwrap(), &copy);
    let status = Command::new(&copy)
        .arg("start again")
        .arg(directory.path())
        .spawn()
        .unwrap()
        .wait()
        .unwrap();
    assert!(status.success(), "{status}");
    assert!(directory.path().join("done").exists());
}

/// CVE-2019-5736: the host's program was overwritten through `/proc/PID/exe`.
fn the_sealed_executable_cannot_be_written_through_proc() {
    let child = ReExec::new("stay")
        .executable(SelfExe::Sealed)
        .spawn()
        .unwrap();
    let path = format!("/proc/{}/exe", child.child().id());
    assert!(
        std::fs::read_link(&path)
            .unwrap()
            .display()
            .to_string()
            .contains("memfd:")
    );
    // While it runs, the kernel refuses with ETXTBSY, as for every executable. What the attack did
    // was to keep a handle and to write when it ran no more.
    let handle = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::PATH.bits() as i32)
        .open(&path)
        .unwrap();
    let size = File::open(&path).unwrap().metadata().unwrap().len();
    child.into_child().wait().unwrap();
    use std::os::fd::AsRawFd;
    let reopened = format!("/proc/self/fd/{}", handle.as_raw_fd());
    // Where this process may not open it for writing at all, that is as good.
    if let Ok(open) = OpenOptions::new().write(true).open(&reopened) {
        let written = rustix::io::pwrite(&open, b"overwritten", 0).unwrap_err();
        assert_eq!(written, rustix::io::Errno::PERM);
        assert_eq!(
            rustix::fs::ftruncate(&open, 0),
            Err(rustix::io::Errno::PERM)
        );
    }
    assert_eq!(
        File::open(&reopened).unwrap().metadata().unwrap().len(),
        size
    );
    // And the file on the disk was never the one that ran.
    let mut child = ReExec::new("answer")
        .executable(SelfExe::Sealed)
        .spawn()
        .unwrap();
    assert_eq!(
        child.channel().receive::<String>().unwrap(),
        "from the child"
    );
}

fn nest(parent: &mut ParentLink) -> Result<()> {
    let mut inner = ReExec::new("answer").executable(SelfExe::Sealed).spawn()?;
    let answer: String = inner.channel().receive()?;
    let own = std::fs::read_link("/proc/self/exe").unwrap();
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    parent
        .channel()
        .send(&(answer, own.display().to_string(), arguments))
}

fn a_sealed_child_starts_sealed_children() {
    let mut child = ReExec::new("nest")
        .executable(SelfExe::Sealed)
        .spawn()
        .unwrap();
    let (answer, own, arguments): (String, String, Vec<String>) =
        child.channel().receive().unwrap();
    assert_eq!(answer, "from the child");
    assert!(own.contains("memfd:"), "{own}");
    // The name of the entry point shows in a list of processes.
    assert_eq!(arguments, ["nest"]);
}

/// This program with another build id.
fn another_build(directory: &std::path::Path) -> File {
    let mut bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    // A note of a build id: name of four bytes, description of twenty, kind 3, "GNU".
    let note = [4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0, b'G', b'N', b'U', 0];
    match bytes.windows(note.len()).position(|window| window == note) {
        Some(at) => bytes[at + note.len()] ^= 0xff,
        None => {
            // Without one, the code itself counts; this text is part of the program's constants.
            let text = b"This program with another build id marks";
            let at = bytes.windows(text.len()).position(|window| window == text);
            bytes[at.expect("the text is in this program")] ^= 1;
        }
    }
    let (written, path) = (directory.join("written"), directory.join("program"));
    std::fs::write(&written, bytes).unwrap();
    copy_program(&written, &path);
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    File::open(path).unwrap()
}

fn a_child_of_another_build_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let other = another_build(directory.path());
    let mut child = ReExec::new("answer")
        .executable(SelfExe::File(OwnedFd::from(other)))
        .command(|command| command.stderr(pipewright::Stdio::Null))
        .spawn()
        .unwrap();
    let error = child.channel().receive::<String>().unwrap_err();
    assert!(
        error.to_string().contains("built at another time"),
        "{error}"
    );
    assert_eq!(child.into_child().wait().unwrap().code(), Some(125));
}

fn an_entry_point_that_is_not_registered_is_told_with_those_that_are() {
    let mut child = ReExec::new("no such entry").spawn().unwrap();
    let error = child.channel().receive::<String>().unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Remote { .. }), "{text}");
    assert!(
        text.contains("no such entry") && text.contains("\"answer\""),
        "{text}"
    );
    assert_eq!(child.into_child().wait().unwrap().code(), Some(1));
}

fn a_number_that_is_no_hand_over_ends_the_process_with_a_sentence() {
    for number in ["3", "2", "-1", "7x", "", "99999999999"] {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .arg(format!("--pipewright-handoff={number}"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(125), "{number}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("cannot take what was handed over"), "{said}");
    }
}

/// The article's listing: a child that goes on in `main` starts the next child, without end.
fn the_article_s_program_prints_one_line_and_ends() {
    let mut program = std::process::Command::new(testing::example("pipewright-handoff", "handoff"));
    let output = program.output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    let pid = |text: &str| {
        text.split_once("[PID: ")
            .unwrap()
            .1
            .split_once(']')
            .unwrap()
            .0
            .to_owned()
    };
    let (child, parent) = said
        .split_once("The main process is saying : HOLA! ")
        .unwrap();
    assert_ne!(pid(child), pid(parent));
}

fn without_proc_it_fails_with_a_sentence_and_an_open_file_helps() {
    let running = File::open("/proc/self/exe").unwrap();
    let done = std::thread::spawn(move || {
        if let Err(errno) = without_proc::hide() {
            println!("not tested here: /proc cannot be hidden: {errno}");
            return;
        }
        let error = ReExec::new("answer").spawn().unwrap_err().to_string();
        assert!(error.contains("/proc is not mounted here"), "{error}");
        assert!(error.contains("SelfExe::File"), "{error}");
        let mut child = ReExec::new("answer")
            .executable(SelfExe::File(running.into()))
            .spawn()
            .unwrap();
        assert_eq!(
            child.channel().receive::<String>().unwrap(),
            "from the child"
        );
    });
    done.join().unwrap();
}
