//! The command `pipewright`.
fn main() {}
