//! How large the next chunk should be. Pure.

use std::time::Duration;

/// A chunk should take this many times what a start takes, so that starting costs at most 2 %.
const TIMES_THE_START: u32 = 50;

/// At the beginning it takes less: at the end of the input some workers wait for the last, and how much
/// input there is nobody knows. So a chunk takes a share of the time so far, and this many times its start
/// at least.
const TIMES_AT_FIRST: u32 = 8;
const SHARE: u32 = 8;

/// The least and the most that a chunk holds, in bytes, unless somebody can hold only less.
const LEAST: usize = 64 << 10;
const MOST: usize = 64 << 20;

/// The size of chunks, which follows what they turn out to cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChunkSize {
    /// As the user wants it.
    Fixed(usize),
    /// Adapts until a chunk takes 50 times the start.
    Adapting {
        /// The size now.
        bytes: usize,
        /// The largest that it comes to.
        most: usize,
    },
}

impl ChunkSize {
    /// Begins with 1 MiB.
    #[must_use]
    pub fn adapting() -> Self {
        Self::adapting_up_to(MOST)
    }

    /// Likewise, and never comes to more than `most` bytes.
    #[must_use]
    pub fn adapting_up_to(most: usize) -> Self {
        let most = most.clamp(1, MOST);
        Self::Adapting {
            bytes: most.min(1 << 20),
            most,
        }
    }

    /// Gives the size of the next chunk, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Fixed(bytes) | Self::Adapting { bytes, .. } => *bytes,
        }
    }

    /// Learns from a chunk of `bytes` that took `run` from its start to its end, `start` of that until
    /// its program was ready to read; `so_far` is how long the stage has run. The size changes fourfold at
    /// most at a time: one chunk may be unlike the rest.
    pub fn learn(&mut self, bytes: usize, run: Duration, start: Duration, so_far: Duration) {
        let Self::Adapting {
            bytes: size,
            most: bound,
        } = self
        else {
            return;
        };
        let work = run.saturating_sub(start).max(Duration::from_micros(1));
        let wanted_time = (so_far / SHARE)
            .clamp(start * TIMES_AT_FIRST, start * TIMES_THE_START)
            .max(Duration::from_millis(5));
        let wanted = bytes as f64 * wanted_time.as_secs_f64() / work.as_secs_f64();
        let (least, most) = (*size / 4, size.saturating_mul(4));
        *size = (wanted as usize).clamp(least, most).max(LEAST).min(*bound);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_stage_that_may_be_over_soon_has_smaller_chunks() {
        let start = Duration::from_millis(20);
        let size_after = |so_far| {
            let mut size = ChunkSize::adapting();
            for _ in 0..10 {
                // 1 MB a second.
                let run = start + Duration::from_micros(size.bytes() as u64);
                size.learn(size.bytes(), run, start, so_far);
            }
            size.bytes()
        };
        assert_eq!(size_after(Duration::ZERO), 160_000);
        assert_eq!(size_after(Duration::from_secs(4)), 500_000);
        assert_eq!(size_after(LONG), 1_000_000);
    }

    #[test]
    fn the_size_settles_where_a_chunk_takes_fifty_starts() {
        let start = Duration::from_millis(1);
        // 100 MB/s: 50 ms are 5 MB.
        let cost = |bytes: usize| start + Duration::from_secs_f64(bytes as f64 / 100e6);
        let mut size = ChunkSize::adapting();
        for _ in 0..10 {
            size.learn(size.bytes(), cost(size.bytes()), start, LONG);
        }
        assert!((4_900_000..5_100_000).contains(&size.bytes()), "{size:?}");
    }

    #[test]
    fn a_slow_program_gets_small_chunks_and_a_fast_one_bounded_ones() {
        let start = Duration::from_millis(1);
        let mut size = ChunkSize::adapting();
        for _ in 0..20 {
            size.learn(size.bytes(), Duration::from_secs(60), start, LONG);
        }
        assert_eq!(size.bytes(), LEAST);
        for _ in 0..20 {
            size.learn(size.bytes(), Duration::ZERO, start, LONG);
        }
        assert_eq!(size.bytes(), MOST);
    }

    #[test]
    fn nobody_gets_more_than_they_can_hold() {
        for most in [1, 1000, 4 << 20, usize::MAX] {
            let mut size = ChunkSize::adapting_up_to(most);
            for _ in 0..20 {
                assert!(size.bytes() <= most.min(MOST), "{size:?}");
                size.learn(size.bytes(), Duration::ZERO, Duration::from_millis(1), LONG);
            }
            assert_eq!(size.bytes(), most.min(MOST));
        }
    }

    #[test]
    fn a_size_that_was_asked_for_stays() {
        let mut size = ChunkSize::Fixed(7);
        size.learn(7, Duration::ZERO, Duration::from_secs(1), LONG);
        assert_eq!(size.bytes(), 7);
    }
}
