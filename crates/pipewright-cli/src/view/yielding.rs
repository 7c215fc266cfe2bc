//! A live view on the terminal that the pipeline's output goes to: it shows while nothing comes.

use std::time::{Duration, Instant};

use super::inline::Inline;
use super::silence::Silence;
use super::style::Row;

/// A pipeline that is over sooner is not listened to: to leave off takes the kernel about 10 ms.
const LISTEN_AFTER: Duration = Duration::from_millis(300);
/// A terminal on which nothing has come for so long seems dead.
pub(crate) const SILENCE: Duration = Duration::from_millis(1100);

/// The view, and how it knows when to make way.
#[derive(Debug)]
pub(crate) struct Yielding {
    inline: Inline,
    started: Instant,
    hearing: Hearing,
}

#[derive(Debug)]
enum Hearing {
    NotYet,
    Silence(Silence),
    /// Here nobody can know whether something is written.
    Deaf,
}

impl Yielding {
    pub(crate) fn new(inline: Inline) -> Self {
        Self {
            inline,
            started: Instant::now(),
            hearing: Hearing::NotYet,
        }
    }

    /// Looks whether something was written. `person`: a stage waits for one, at the keyboard.
    ///
    /// The rows are wiped in a pause, and not in the middle of a character or an escape sequence
    /// that a stage writes in two pieces. Till then they only stand still: what the stages write
    /// scrolls above them. Where there is no pause for a second, they are wiped without one.
    pub(crate) fn look(&mut self, person: bool) {
        if matches!(self.hearing, Hearing::NotYet) && self.started.elapsed() >= LISTEN_AFTER {
            self.hearing = match super::would_take_text().then(Silence::listen).flatten() {
                Some((silence, own)) => {
                    self.inline.paint_through(own);
                    Hearing::Silence(silence)
                }
                None => Hearing::Deaf,
            };
        }
        let Hearing::Silence(silence) = &mut self.hearing else {
            return;
        };
        silence.look();
        let in_the_way = !silence.is_long() || person || !self.inline.may_paint();
        // A flood proves that the terminal takes text, though not at this very moment.
        let is_time = || silence.is_flood() || silence.is_pause() && super::would_take_text();
        if self.inline.is_shown() && in_the_way && is_time() {
            self.inline.restore();
        }
    }

    /// The room for rows, while they may be shown.
    pub(crate) fn room(&mut self, person: bool) -> Option<(usize, usize)> {
        self.look(person);
        let Hearing::Silence(silence) = &mut self.hearing else {
            return None;
        };
        if !silence.is_long() || person || !self.inline.may_paint() {
            return None;
        }
        if !silence.is_proven() {
            self.hearing = Hearing::Deaf;
            return None;
        }
        self.inline.room()
    }

    pub(crate) fn paint(&mut self, rows: &[Row]) {
        self.inline.paint(rows);
    }

    pub(crate) fn restore(&mut self) {
        self.inline.restore();
    }

    /// Where nobody can know whether something is written, the view is not for showing.
    pub(crate) fn is_deaf(&self) -> bool {
        matches!(self.hearing, Hearing::Deaf)
    }

    pub(crate) fn guard_id(&self) -> Option<u32> {
        self.inline.guard_id()
    }

    pub(crate) fn into_inline(self) -> Inline {
        self.inline
    }
}
