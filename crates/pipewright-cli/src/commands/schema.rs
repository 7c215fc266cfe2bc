//! `pipewright schema`: what is written as JSON, for programs.

use std::process::ExitCode;

use crate::export::json::SCHEMA;
use crate::view;

pub(crate) fn schema() -> anyhow::Result<ExitCode> {
    view::print(SCHEMA.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
