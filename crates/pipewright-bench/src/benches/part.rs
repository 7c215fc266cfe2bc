//! A part of a list, so that a long bench can be run in slices. Pure.

/// Every so many of a list, from one of them on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    first: usize,
    step: usize,
}

/// Reads `2/4`: every fourth from the second on.
pub(super) fn part(text: &str) -> Result<Part, String> {
    let parsed = || {
        let (number, of) = text.split_once('/')?;
        let (number, step) = (number.parse::<usize>().ok()?, of.parse().ok()?);
        let first = number.checked_sub(1).filter(|&first| first < step)?;
        Some(Part { first, step })
    };
    parsed().ok_or_else(|| "give a part and how many there are: 2/4".to_owned())
}

impl Part {
    /// Those of a list that are in the part.
    pub(super) fn of<T>(self, all: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
        all.into_iter().skip(self.first).step_by(self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_make_up_the_whole_each_once() {
        let part = |text| part(text).unwrap().of(0..10).collect::<Vec<_>>();
        assert_eq!(part("1/1"), (0..10).collect::<Vec<_>>());
        assert_eq!(part("2/4"), [1, 5, 9]);
        let mut all = [part("1/3"), part("2/3"), part("3/3")].concat();
        all.sort_unstable();
        assert_eq!(all, part("1/1"));
    }

    #[test]
    fn what_is_no_part_is_refused() {
        for text in ["", "0/4", "5/4", "1/0", "1", "a/b"] {
            assert!(part(text).is_err(), "{text}");
        }
    }
}
