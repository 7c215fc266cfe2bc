//! What a command sees of its surroundings: variables, directory, limits, mask.
//!
//! `cargo run --example environment`

use pipewright::{Command, Resource, Result, Rlimit};

fn main() -> Result<()> {
    let greeting = Command::new("sh")
        .args(["-c", "echo $GREETING from $PWD with HOME=$HOME"])
        .env("GREETING", "hello")
        .env_remove("HOME")
        .current_dir("/")
        .capture()
        .read()?;
    println!("{greeting}");

    // From nothing: only what is set here. The program is searched in this PATH.
    let bare = Command::new("env")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .capture()
        .read()?;
    println!("it sees {bare}");

    // All of it is set between clone and exec, so it costs no fork.
    let files = Some(64);
    let limited = Command::new("sh")
        .args([
            "-c",
            "echo $(ulimit -n) files, new files with mask $(umask)",
        ])
        .rlimit(
            Resource::Nofile,
            Rlimit {
                current: files,
                maximum: files,
            },
        )
        .umask(0o027)
        .capture()
        .read()?;
    println!("{limited}");
    Ok(())
}
