//! How large the next chunk should be. Pure.

use std::time::Duration;

/// A chunk should take this many times what a start takes, so that starting costs at most 2 %.
const TIMES_THE_START: u32 = 50;

/// The least and the most that a chunk holds, in bytes.
const BOUNDS: (usize, usize) = (64 << 10, 64 << 20);

/// The size of chunks, which follows what they turn out to cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChunkSize {
    /// As the user wants it.
    Fixed(usize),
    /// Adapts until a chunk takes 50 times the start.
    Adapting(usize),
}

impl ChunkSize {
    /// Begins with 1 MiB.
    #[must_use]
    pub fn adapting() -> Self {
        Self::Adapting(1 << 20)
    }

    /// Gives the size of the next chunk, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Fixed(bytes) | Self::Adapting(bytes) => *bytes,
        }
    }

    /// Learns from a chunk of `bytes` that took `run` from its start to its end, `start` of that until
    /// its program ran. The size changes fourfold at most at a time: one chunk may be unlike the rest.
    pub fn learn(&mut self, bytes: usize, run: Duration, start: Duration) {
        let Self::Adapting(size) = self else {
            return;
        };
        let work = run.saturating_sub(start).max(Duration::from_micros(1));
        let wanted_time = (start * TIMES_THE_START).max(Duration::from_millis(5));
        let wanted = bytes as f64 * wanted_time.as_secs_f64() / work.as_secs_f64();
        let (least, most) = (*size / 4, size.saturating_mul(4));
        *size = (wanted as usize)
            .clamp(least, most)
            .clamp(BOUNDS.0, BOUNDS.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_settles_where_a_chunk_takes_fifty_starts() {
        let start = Duration::from_millis(1);
        // 100 MB/s: 50 ms are 5 MB.
        let cost = |bytes: usize| start + Duration::from_secs_f64(bytes as f64 / 100e6);
        let mut size = ChunkSize::adapting();
        for _ in 0..10 {
            size.learn(size.bytes(), cost(size.bytes()), start);
        }
        assert!((4_900_000..5_100_000).contains(&size.bytes()), "{size:?}");
    }

    #[test]
    fn a_slow_program_gets_small_chunks_and_a_fast_one_bounded_ones() {
        let start = Duration::from_millis(1);
        let mut size = ChunkSize::adapting();
        for _ in 0..20 {
            size.learn(size.bytes(), Duration::from_secs(60), start);
        }
        assert_eq!(size.bytes(), BOUNDS.0);
        for _ in 0..20 {
            size.learn(size.bytes(), Duration::ZERO, start);
        }
        assert_eq!(size.bytes(), BOUNDS.1);
    }

    #[test]
    fn a_size_that_was_asked_for_stays() {
        let mut size = ChunkSize::Fixed(7);
        size.learn(7, Duration::ZERO, Duration::from_secs(1));
        assert_eq!(size.bytes(), 7);
    }
}
