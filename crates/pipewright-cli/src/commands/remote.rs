//! `pipewright remote`: the half of `pipewright on` that ssh starts on the other host.

use std::process::ExitCode;

use anyhow::Context;
use pipewright_remote::{far_half, keep};

use crate::cli;

/// How it starts what watches over a stage.
const KEEPER: [&str; 3] = ["remote", "--keep", "--"];

pub(crate) fn remote(options: &cli::Remote) -> anyhow::Result<ExitCode> {
    let Some(nonce) = &options.nonce else {
        match keep(&options.command).context("descriptor 3 is not the far half's")? {}
    };
    far_half(nonce, &KEEPER)?;
    Ok(ExitCode::SUCCESS)
}
