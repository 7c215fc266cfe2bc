//! The same on tokio: captures at once, lines, a pipe's ends, a future that is dropped.
//!
//! `cargo run --example async --features tokio`

use std::time::Duration;

use pipewright::{AsyncPipe, Command, pipe};
use tokio::io::AsyncWriteExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Both run at the same time, on one thread.
    let (sorted, counted) = tokio::try_join!(
        Command::new("sort").capture().input("b\na\n").read_async(),
        Command::new("wc")
            .arg("-c")
            .capture()
            .input("12345")
            .read_async(),
    )?;
    println!("sorted {sorted:?}, counted {counted}");

    // A line at a time, to a command that answers each.
    let (stdin, to_child) = pipe()?;
    let mut to_child = to_child.into_async()?;
    let upper = Command::new("sed").args(["-u", "s/.*/\\U&/"]).stdin(stdin);
    let mut lines = upper.capture().lines_async()?;
    for word in ["hello", "again"] {
        to_child.write_all(format!("{word}\n").as_bytes()).await?;
        if let Some(line) = lines.next_line().await {
            println!("{word} came back as {}", line?.text);
        }
    }
    drop(to_child);
    assert!(lines.next_line().await.is_none());

    // A future that is dropped ends its command, if it was told to.
    let sleep = Command::new("sleep")
        .arg("60")
        .capture()
        .kill_on_drop()
        .output_async();
    let result = tokio::time::timeout(Duration::from_millis(50), sleep).await;
    println!("gave up: {}", result.is_err());
    Ok(())
}
