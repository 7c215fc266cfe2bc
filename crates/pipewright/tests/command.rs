//! What a command was given is what the program gets, and what errors and `Display` tell of it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use pipewright::{Command, Error, Signal, Stdio, pipe};
use testing::watchdog;

#[test]
fn arguments_reach_the_program_as_they_are() {
    let _watchdog = watchdog();
    let odd = ["$HOME;  'as it is'", "", "\u{e9}\n*", "-n"];
    let command = Command::new("printf").arg("[%s]").args(odd);
    let output = command.capture().output().unwrap();
    assert_eq!(
        output.stdout,
        odd.map(|it| format!("[{it}]")).concat().as_bytes()
    );
    let no_text = OsStr::from_bytes(b"\xff\xfe");
    let output = Command::new("printf")
        .arg("%s")
        .arg(no_text)
        .capture()
        .output();
    assert_eq!(output.unwrap().stdout, b"\xff\xfe");
    let before = Command::new("env")
        .args(["sh", "-c", "echo $LEVEL"])
        .first_args(["LEVEL=2"]);
    assert_eq!(before.capture().read().unwrap(), "2");
}

#[test]
fn an_open_file_is_executed_wherever_it_is() {
    let _watchdog = watchdog();
    let file = std::fs::File::open("/bin/echo").unwrap();
    let command = Command::new("no/such/name").arg("it").executable(file);
    assert_eq!(command.capture().read().unwrap(), "it");
    // Another file under the name, and the table of descriptors on the way.
    let file = std::fs::File::open("/bin/echo").unwrap();
    let (reader, _writer) = pipe().unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&file);
    let command = Command::new("/bin/false").arg("it").fd(number, reader);
    assert_eq!(command.executable(file).capture().read().unwrap(), "it");
    // The interpreter of a script would have to open it.
    let script = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut &script, b"#!/bin/sh\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    script.set_permissions(mode).unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&script));
    let read_only = std::fs::File::open(path).unwrap();
    drop(script);
    let error = Command::new("script")
        .executable(read_only)
        .spawn()
        .unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error}");
}

#[test]
fn a_parent_death_signal_is_the_one_that_was_asked_for() {
    let _watchdog = watchdog();
    let program = "import ctypes
signal = ctypes.c_int()
ctypes.CDLL(None).prctl(2, ctypes.byref(signal))
print(signal.value)";
    let python = Command::new("python3").args(["-c", program]);
    match python.parent_death_signal(Signal::TERM).capture().read() {
        Ok(signal) => assert_eq!(signal, "15"),
        Err(error) => eprintln!("skipped: {error}"),
    }
}

/// As one would type it at a shell.
#[test]
fn a_command_is_shown_so_that_a_shell_reads_the_same() {
    let _watchdog = watchdog();
    let show = |arguments: &[&str]| Command::new("printf").args(arguments).to_string();
    assert_eq!(show(&["-c", "two words"]), "printf -c 'two words'");
    assert_eq!(show(&["it's"]), r#"printf "it's""#);
    let words = [
        "%s|",
        "",
        "a b",
        "it's",
        "$x `y` \\ !",
        "\"'",
        "tab\there",
        "~",
        "#",
        "*",
    ];
    let shown = show(&words);
    let by_bash = Command::new("bash")
        .args(["-c", &shown])
        .stderr(Stdio::Inherit);
    let by_bash = by_bash.capture().output().unwrap();
    let expected = words[1..].join("|") + "|";
    assert_eq!(
        String::from_utf8_lossy(&by_bash.stdout),
        expected,
        "{shown}"
    );
}

#[test]
fn a_wrapper_adds_arguments_in_front_and_sees_which_numbers_are_taken() {
    let _watchdog = watchdog();
    let (reader, writer) = pipe().unwrap();
    let given = Command::new("printf").args(["%s-", "last"]);
    let given = given.fd(7, reader).fd(4, writer);
    assert_eq!(given.get_program(), "printf");
    assert_eq!(given.fd_numbers().collect::<Vec<_>>(), [7, 4]);
    let wrapped = given.first_args(["first %s ", "second"]);
    let output = wrapped.capture().output().unwrap();
    assert_eq!(output.stdout, b"first second first %s- first last ");
}

#[test]
fn an_error_has_the_status_that_a_shell_would_give() {
    let _watchdog = watchdog();
    let code = |program: &str| Command::new(program).spawn().unwrap_err().exit_code();
    assert_eq!(code("/no/such/program"), 127);
    assert_eq!(code("no-such-program"), 127);
    assert_eq!(code("/tmp"), 126);
    assert_eq!(code("/etc/passwd"), 126);
    let Err(Error::Start(failure)) = Command::new("/").spawn() else {
        panic!("a directory ran")
    };
    assert_eq!(failure.program, "/");
    assert_eq!(failure.advice.as_deref(), Some("it is a directory"));
    let before = Command::new("true").current_dir("/nope").spawn();
    assert_eq!(before.unwrap_err().exit_code(), 125);
}
