//! A recorded pipeline on disk: what was run, what each link carried, how each stage ended.

pub(crate) mod directory;
pub(crate) mod manifest;
pub(crate) mod plan;
