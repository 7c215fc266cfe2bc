//! What it costs a stage to wait for its neighbours again and again.

/// Larger pieces than this, and the waits between them cost next to nothing.
const SMALL_PIECE: f64 = (16 << 10) as f64;
/// A wait costs no more than this: to go to sleep, to be woken on a core that has gone to sleep too, to wake the
/// other side. In virtual machines 2 to 12 microseconds were seen, elsewhere less.
const DEAREST: f64 = 10e-6;
/// To move a byte into a pipe or out of it in small pieces takes about this long, waits apart.
const MOVED: f64 = 0.35e-9;

/// The waits of one stage over some time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// How often it got a CPU.
    pub(super) turns: f64,
    /// Bytes through the pipes next to it.
    pub(super) bytes: f64,
    /// CPU time in the kernel.
    pub(super) system_seconds: f64,
}

impl Waits {
    /// The CPU time that it would not need if it never had to wait.
    ///
    /// A stage that is held up by a neighbour that reads or writes a few pages at a time goes to sleep after each of
    /// them. Once it is the stage that the others wait for, it no longer does. What is left in the kernel is to move
    /// the bytes.
    pub(super) fn seconds(self) -> f64 {
        if self.turns <= 0.0 || self.bytes <= 0.0 || self.bytes / self.turns > SMALL_PIECE {
            return 0.0;
        }
        let more_than_moved = self.system_seconds - self.bytes * MOVED;
        more_than_moved.clamp(0.0, self.turns * DEAREST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(turns: f64, bytes: f64, system_seconds: f64) -> f64 {
        let waits = Waits {
            turns,
            bytes,
            system_seconds,
        };
        waits.seconds()
    }

    #[test]
    fn a_wait_for_each_page_costs_what_the_kernel_needs_besides_moving_bytes() {
        // 80 MB by 4 KiB.
        let waits = cost(20_000.0, 80e6, 0.13);
        assert!((waits - 0.102).abs() < 1e-9, "{waits}");
    }

    #[test]
    fn no_wait_costs_more_than_the_dearest_and_none_less_than_nothing() {
        let waits = cost(20_000.0, 80e6, 2.0);
        assert!((waits - 0.2).abs() < 1e-9, "{waits}");
        assert_eq!(cost(20_000.0, 80e6, 0.01), 0.0);
    }

    #[test]
    fn waits_for_large_pieces_and_for_none_cost_nothing() {
        assert_eq!(cost(2_000.0, 80e6, 0.13), 0.0);
        assert_eq!(cost(0.0, 80e6, 0.13), 0.0);
        assert_eq!(cost(20_000.0, 0.0, 0.13), 0.0);
    }
}
