//! `pipewright remote`: the half of `pipewright on` that ssh starts on the other host.

use std::process::ExitCode;

use anyhow::Context;
use pipewright_remote::{far_half, watch_over};

use crate::cli;

/// How it starts what watches over a stage.
const WARDEN: [&str; 3] = ["remote", "--warden", "--"];

pub(crate) fn remote(options: &cli::Remote) -> anyhow::Result<ExitCode> {
    let Some(nonce) = &options.nonce else {
        match watch_over(&options.command).context("descriptor 3 is not the far half's")? {}
    };
    far_half(nonce, &WARDEN)?;
    Ok(ExitCode::SUCCESS)
}
