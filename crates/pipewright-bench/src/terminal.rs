//! A terminal of its own for a command that behaves otherwise where there is one.

use std::fs::File;
use std::io::Read;
use std::process::ExitStatus;
use std::thread;

use anyhow::Context;
use pipewright::{Command, Stdio};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// What was seen of a command that ran in a terminal.
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    /// All that it wrote to the terminal.
    pub(crate) shown: Vec<u8>,
}

/// Runs `words` as the foreground job of a fresh pseudo-terminal of 24 lines and 100 columns, with
/// stderr on it and /dev/null as stdin and stdout. Somebody reads the terminal all the time.
///
/// # Errors
///
/// If there is no pseudo-terminal or the command cannot be started.
pub(crate) fn run(words: &[impl AsRef<str>]) -> anyhow::Result<Ran> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).context("cannot open a pseudo-terminal")?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let size = Winsize {
        ws_row: 24,
        ws_col: 100,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&master, size)?;
    let name = ptsname(&master, Vec::new())?;

    // The leader of a session that opens a terminal, for reading too, gets it as its own.
    let child = Command::new("sh")
        .args(["-c", r#"exec 2<>"$0" && exec "$@""#])
        .arg(name.to_str().context("the terminal's name is no text")?)
        .args(words.iter().map(AsRef::as_ref))
        .env("TERM", "xterm")
        .stdin(Stdio::Null)
        .stdout(Stdio::Null)
        .new_session()
        .spawn()?;
    let reader = thread::spawn(move || {
        let mut shown = Vec::new();
        // EIO: nobody has the terminal open any more.
        let _ = File::from(master).read_to_end(&mut shown);
        shown
    });
    let status = child.wait()?;
    let shown = reader
        .join()
        .ok()
        .context("the reader of the terminal panicked")?;
    Ok(Ran { status, shown })
}

#[cfg(test)]
mod tests {
    use super::run;

    #[test]
    fn a_command_has_the_terminal_in_the_foreground() {
        // Fields 5 and 8: the process's group, and the one in its terminal's foreground.
        let script = "stty size <&2 >&2; set -- $(cat /proc/$$/stat); echo $5 $8 >&2; exit 3";
        let ran = run(&["sh", "-c", script]).unwrap();
        assert_eq!(ran.status.code(), Some(3));
        let shown = String::from_utf8_lossy(&ran.shown);
        let [lines, columns, group, foreground] = shown.split_whitespace().collect::<Vec<_>>()[..]
        else {
            panic!("shown was: {shown}");
        };
        assert_eq!((lines, columns, group), ("24", "100", foreground));
    }
}
