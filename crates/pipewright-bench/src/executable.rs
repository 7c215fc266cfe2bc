//! The `pipewright` command, built the way this program was built.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail, ensure};

/// The path of `pipewright` beside this program.
///
/// Under `cargo run` it is brought up to date first, so that no stale one is
/// measured.
///
/// # Errors
///
/// If it cannot be built, is not there where cargo is not at hand, or does not
/// run a pipeline.
pub(crate) fn pipewright() -> anyhow::Result<PathBuf> {
    let this = env::current_exe().context("cannot tell where this program lies")?;
    let directory = this.parent().context("this program lies in no directory")?;
    let path = directory.join("pipewright");
    if let (Some(cargo), Some(manifest)) = (env::var_os("CARGO"), env::var_os("CARGO_MANIFEST_DIR"))
    {
        let mut build = Command::new(cargo);
        build
            .args(["build", "--quiet", "-p", "pipewright-cli"])
            .current_dir(manifest);
        if cfg!(feature = "nats") {
            build.args(["--features", "nats"]);
        }
        // The target directory holds one directory a profile.
        let profile = directory.file_name().unwrap_or_default();
        build.arg("--profile").arg(if profile == "debug" {
            "dev".as_ref()
        } else {
            profile
        });
        build.arg("--target-dir").arg(directory.join(".."));
        let status = build
            .status()
            .context("cannot run cargo to build `pipewright`")?;
        ensure!(status.success(), "{build:?} ended with {status}");
    }
    if !path.exists() {
        bail!(
            "there is no {}: build it with `cargo build --release -p pipewright-cli`",
            path.display()
        );
    }
    // One that ends at once, whatever is asked of it, would beat everybody.
    let output = Command::new(&path)
        .args(["run", "printf 12345 | wc -c"])
        .output()
        .with_context(|| format!("cannot run {}", path.display()))?;
    let counted = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && counted.trim() == "5",
        "{} does not run pipelines: {}, and `{counted}` instead of 5 bytes",
        path.display(),
        output.status,
    );
    Ok(path)
}
