//! The article's program: a parent hands a line to a child through a pipe, by starting itself again
//! with the pipe's reader as descriptor 3.
//!
//! ```sh
//! cargo run --release --example process_inout
//! ```
//!
//! prints one line, for example
//!
//! ```text
//! 2025/09/27 13:50:28 [PID: 354560] The main process is saying : HOLA! [PID: 354555]
//! ```

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{FromRawFd, OwnedFd};

use pipewright::{Command, pipe};

/// The number at which the child finds the reader. 0, 1 and 2 are taken by stdin, stdout and
/// stderr; 3 is the first that is free.
const PARENT_PIPE: i32 = 3;

fn main() -> Result<(), Box<dyn Error>> {
    // The program runs twice: first as the parent, then, with one more argument, as the child. The
    // child's branch ends here. (In the article's listing it does not: the child goes on below,
    // makes a pipe of its own and starts a child in its turn, and so on without end.)
    if std::env::args().nth(1).as_deref() == Some("child") {
        return child();
    }
    parent()
}

fn parent() -> Result<(), Box<dyn Error>> {
    // Instruct the kernel to create a pipe. The reader comes first, and the two ends have different
    // types, so that swapping them does not compile.
    let (reader, writer) = pipe()?;

    // The parent's output is redirected: what it prints goes into the pipe. There it waits, in the
    // kernel's memory (65536 bytes of it unless the capacity was changed), until somebody reads;
    // nobody has to be there yet.
    let mut output = writer;
    writeln!(output, "HOLA! [PID: {}]", std::process::id())?;

    // Close the write end. It was the only one, so that the reader will find the line and then the
    // end of file, instead of waiting for more.
    drop(output);

    // /proc/self/exe is this very program, whatever its file was renamed to. The child shares our
    // stdin, stdout and stderr and gets the reader as descriptor 3; nothing else of ours is open in
    // it. The reader moves into the command, and is closed here once the child has it.
    let child = Command::new("/proc/self/exe")
        .arg("child")
        .fd(PARENT_PIPE, reader)
        .spawn()?;

    child.wait()?;
    Ok(())
}

fn child() -> Result<(), Box<dyn Error>> {
    // The child was told nothing but the number.
    let mut reader = BufReader::new(parent_pipe());
    let mut line = String::new();
    reader.read_line(&mut line)?;

    // The form of Go's log package, on stderr.
    let now = jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S");
    let own = std::process::id();
    eprintln!(
        "{now} [PID: {own}] The main process is saying : {}",
        line.trim_end()
    );
    Ok(())
}

/// The pipe's read end, which the parent put at descriptor 3.
#[allow(unsafe_code, reason = "a number becomes an owner")]
fn parent_pipe() -> File {
    // SAFETY: the argument `child` is given together with descriptor 3, and nothing in this process
    // has touched that number before: this is its only owner.
    unsafe { OwnedFd::from_raw_fd(PARENT_PIPE) }.into()
}
