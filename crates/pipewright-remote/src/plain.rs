//! A stage by ssh alone, where no far half can be had: its bytes are not kept, and a lost link is its end.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;

use pipewright::PipeReader;

use crate::connect::nonce;
use crate::error::{Error, Result};
use crate::quote;
use crate::ssh::Host;

/// How it ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PlainEnd {
    /// The command's status.
    Exited(u8),
    /// ssh's 255: it never was the command's.
    LinkFailed,
    /// ssh was killed here.
    Signaled(i32),
}

/// Runs a command on a host by ssh alone, with this process's stdin and stdout. ssh's 255 is told from the
/// command's.
///
/// # Errors
///
/// [`Error::Ssh`] when there is no ssh.
pub fn run_plainly(
    host: &Host,
    command: &[OsString],
    stdin: OwnedFd,
    stdout: OwnedFd,
) -> Result<PlainEnd> {
    let nonce = nonce();
    let marker = format!("pipewright-255-{nonce}\n");
    // A shell that is told of a 255 says so where ssh cannot.
    let script = "\"$@\"; s=$?; if [ $s = 255 ]; then echo \"pipewright-255-$0\" >&2; fi; exit $s";
    let words = ["sh", "-c", script, &nonce].map(OsString::from);
    let text = quote::for_login_shell(&[&words, command].concat());
    let (reader, writer) = std::io::pipe().map_err(|error| Error::Local("make a pipe", error))?;
    let child = host
        .command(&text)
        .stdin(stdin)
        .stdout(stdout)
        .stderr(writer);
    let child = child.spawn().map_err(Error::Ssh)?;
    let marked = relay(&reader, marker.as_bytes());
    let status = child.wait().map_err(Error::Ssh)?;
    Ok(match (status.code(), status.signal()) {
        (Some(255), _) if !marked => PlainEnd::LinkFailed,
        (Some(code), _) => PlainEnd::Exited(code as u8),
        (None, signal) => PlainEnd::Signaled(signal.unwrap_or(9)),
    })
}

/// Passes stderr on, but for the marker; tells whether that came.
fn relay(from: &PipeReader, marker: &[u8]) -> bool {
    let mut held: Vec<u8> = Vec::new();
    let mut buffer = [0; 1 << 12];
    let mut marked = false;
    // Where stderr cannot be written there is nobody to tell.
    let say = |bytes: &[u8]| drop(std::io::stderr().write_all(bytes));
    while let Ok(count @ 1..) = rustix::io::retry_on_intr(|| rustix::io::read(from, &mut buffer)) {
        held.extend_from_slice(&buffer[..count]);
        if let Some(at) = held
            .windows(marker.len())
            .position(|window| window == marker)
        {
            held.drain(at..at + marker.len());
            marked = true;
        }
        // What may be the beginning of the marker waits for the rest.
        let longest = marker.len().min(held.len() + 1);
        let kept = (0..longest)
            .rev()
            .find(|&kept| held.ends_with(&marker[..kept]))
            .unwrap_or(0);
        let rest = held.split_off(held.len() - kept);
        say(&held);
        held = rest;
    }
    say(&held);
    marked
}
