//! What the contenders exchange, and the clock that both sides share.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The first argument of the peers' children.
pub(super) const CHILD: &str = "handoff-child";

/// What a runtime might hand over: a few settings and a large rest.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Config {
    hostname: String,
    mounts: Vec<Mount>,
    timeout_ms: u64,
    profile: String,
}

#[derive(Clone, Serialize, Deserialize)]
struct Mount {
    source: String,
    target: String,
    read_only: bool,
}

impl Config {
    /// About that many bytes, encoded.
    pub(super) fn of_size(bytes: usize) -> Self {
        let mount = |number: u32| Mount {
            source: format!("/var/lib/container/layers/{number}"),
            target: format!("/mnt/{number}"),
            read_only: number.is_multiple_of(2),
        };
        Self {
            hostname: "container-17".to_owned(),
            mounts: (0..16).map(mount).collect(),
            timeout_ms: 10_000,
            profile: "x".repeat(bytes - 700),
        }
    }

    /// A figure of every part, so that nothing of it can be left out.
    pub(super) fn checksum(&self) -> u64 {
        let mounts: usize = self.mounts.iter().map(|mount| mount.source.len()).sum();
        (self.hostname.len() + mounts + self.profile.len()) as u64 + self.timeout_ms
    }
}

/// 64 bytes, encoded.
#[derive(Serialize, Deserialize)]
pub(super) struct Small {
    number: u32,
    pub(super) text: String,
}

impl Small {
    pub(super) fn new() -> Self {
        Self {
            number: 7,
            text: "t".repeat(62),
        }
    }
}

/// Now, in nanoseconds of the clock that all processes share.
pub(super) fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The seconds from `begin` to `end`, both in nanoseconds.
pub(super) fn seconds(begin: u64, end: u64) -> f64 {
    Duration::from_nanos(end.saturating_sub(begin)).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_have_the_sizes_that_are_told() {
        assert_eq!(postcard::to_allocvec(&Small::new()).unwrap().len(), 64);
        for bytes in [4 << 10, 8 << 20] {
            let encoded = postcard::to_allocvec(&Config::of_size(bytes)).unwrap();
            assert!(encoded.len().abs_diff(bytes) < 200, "{}", encoded.len());
        }
    }
}
