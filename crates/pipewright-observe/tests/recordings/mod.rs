//! Recordings of real pipelines, and layouts for made-up ones.

use pipewright_observe::{Layout, PipeId, PipeLayout, ProcessId, Sample, StageLayout};

/// One of the files in `tests/recorded`.
pub(crate) fn recorded(name: &str) -> (Layout, Vec<Sample>) {
    let path = format!("{}/tests/recorded/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A line of stages called s0, s1 and so on.
pub(crate) fn line(stages: usize) -> Layout {
    Layout {
        stages: (0..stages)
            .map(|stage| StageLayout {
                process: ProcessId {
                    pid: stage as u32 + 1,
                    start_time: 1,
                },
                command: format!("s{stage}"),
            })
            .collect(),
        pipes: (1..stages)
            .map(|stage| PipeLayout {
                pipe: PipeId(stage as u64),
                writers: vec![stage - 1],
                readers: vec![stage],
            })
            .collect(),
    }
}
