//! The command `pipewright`.
mod shell;
fn main() {}
