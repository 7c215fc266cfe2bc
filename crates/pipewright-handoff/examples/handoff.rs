//! The article's program once more, handed over: a parent tells its child who it is, and the child
//! says so. See `docs/from-the-article.md`.

use std::time::Duration;

use pipewright_handoff::{EntryPoints, ParentLink, ReExec, Result};

/// Runs in the child, and nothing of `main` does.
fn child(parent: &mut ParentLink) -> Result<()> {
    let greeting: String = parent.config()?;
    let child = std::process::id();
    eprintln!("[PID: {child}] The main process is saying : {greeting}");
    parent.channel().send(&child)
}

fn main() -> Result<()> {
    EntryPoints::new().entry("child", child).dispatch();

    let greeting = format!("HOLA! [PID: {}]", std::process::id());
    let mut child = ReExec::new("child").config(&greeting)?.spawn()?;
    let heard_by: u32 = child.channel().receive()?;
    assert_eq!(heard_by, child.child().id());
    // Over: the status, or `None` had it taken longer.
    child.into_child().wait_timeout(Duration::from_secs(10))?;
    Ok(())
}
