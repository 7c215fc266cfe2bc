//! `pipewright remote`: what ssh starts on the other host for `pipewright on` and `workers --on`.

use std::process::ExitCode;

use anyhow::Context;
use pipewright_remote::{far_half, run_chunks, watch_over};

use crate::cli;

/// How it starts what watches over a stage.
const WARDEN: [&str; 3] = ["remote", "--warden", "--"];

pub(crate) fn remote(options: &cli::Remote) -> anyhow::Result<ExitCode> {
    if options.chunks {
        run_chunks().context("cannot run chunks for another host")?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(nonce) = &options.nonce else {
        match watch_over(&options.command).context("descriptor 3 is not the far half's")? {}
    };
    far_half(nonce, &WARDEN)?;
    Ok(ExitCode::SUCCESS)
}
