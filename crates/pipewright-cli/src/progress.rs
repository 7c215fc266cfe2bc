//! How far a pipeline is in its input: all files that its first stage reads. Pure but for `look`.

mod elsewhere;
pub(crate) mod look;
mod source;
mod stage;
pub(crate) mod words;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pipewright_observe::workspace::FilePosition;

/// The current rate is that of so much time.
const RECENT: Duration = Duration::from_secs(5);

/// The way through an input whose size is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Progress {
    /// Bytes that were read.
    pub(crate) read: u64,
    /// Bytes in all.
    pub(crate) total: u64,
    /// The time to the end at the average rate; `None`: too early to tell, or nothing is left.
    pub(crate) left: Option<Duration>,
    /// Bytes a second since the start, or since somebody watches.
    pub(crate) average: Option<f64>,
    /// Bytes a second over the last seconds.
    pub(crate) current: Option<f64>,
}

impl Progress {
    /// 0 to 1.
    pub(crate) fn fraction(&self) -> f64 {
        (self.read as f64 / self.total as f64).min(1.0)
    }
}

/// Rates and the time left, from how much was read when.
#[derive(Debug)]
pub(crate) struct Pace {
    since: Option<(Instant, u64)>,
    recent: VecDeque<(Instant, u64)>,
}

impl Pace {
    /// `started`: when nothing had been read, if that is known.
    pub(crate) fn new(started: Option<Instant>) -> Self {
        Self {
            since: started.map(|started| (started, 0)),
            recent: VecDeque::new(),
        }
    }

    pub(crate) fn progress(&mut self, now: Instant, read: u64, total: u64) -> Progress {
        let since = *self.since.get_or_insert((now, read));
        let old = |seen: &(Instant, u64)| now.duration_since(seen.0) > RECENT;
        while self.recent.len() > 1 && self.recent.get(1).is_some_and(old) {
            self.recent.pop_front();
        }
        self.recent.push_back((now, read));
        let rate = |(then, before): (Instant, u64)| {
            let passed = now.duration_since(then).as_secs_f64();
            let gone = read.checked_sub(before).filter(|gone| *gone > 0)?;
            (passed > 0.1).then(|| gone as f64 / passed)
        };
        let average = rate(since);
        let missing = total.saturating_sub(read);
        Progress {
            read,
            total,
            left: average
                .filter(|_| missing > 0)
                .and_then(|rate| Duration::try_from_secs_f64(missing as f64 / rate).ok()),
            average,
            current: self.recent.front().copied().and_then(rate),
        }
    }
}

/// The files of an input, in the order in which they were named, and how far each was read.
#[derive(Debug, Default)]
pub(crate) struct Files {
    files: Vec<InputFile>,
    /// One of them was seen to be read onwards.
    believed: bool,
    /// What was seen fits no reading from the first to the last byte: nothing more is told.
    refuted: bool,
    /// What the readers have read of anything, by the kernel's counters.
    counted: Option<u64>,
}

#[derive(Debug, Clone)]
struct InputFile {
    path: PathBuf,
    size: u64,
    read: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unseen,
    Open,
    Closed,
}

impl Files {
    pub(crate) fn new(files: Vec<(PathBuf, u64)>) -> Self {
        let files = files.into_iter().map(|(path, size)| InputFile {
            path,
            size,
            read: 0,
            state: State::Unseen,
        });
        Self {
            files: files.collect(),
            ..Self::default()
        }
    }

    /// Nothing can be known of this input.
    pub(crate) fn unknown() -> Self {
        Self {
            refuted: true,
            ..Self::default()
        }
    }

    /// Nothing is told of this input.
    pub(crate) fn is_unknown(&self) -> bool {
        self.refuted
    }

    /// One of them was seen to be read onwards.
    pub(crate) fn is_believed(&self) -> bool {
        self.believed
    }

    /// Takes note of what the readers have read of anything. Splices are in no counter.
    pub(crate) fn count(&mut self, counted: Option<u64>) {
        self.counted = counted;
    }

    pub(crate) fn name(&self, path: &Path) -> bool {
        self.files.iter().any(|file| file.path == path)
    }

    /// Adds one that was not named: what the first stage has as its stdin.
    pub(crate) fn add(&mut self, path: PathBuf, size: u64) {
        self.files.extend(Self::new(vec![(path, size)]).files);
    }

    /// Takes note of the files that are open now, and returns the bytes that were read and those in
    /// all; `None` where that cannot be said, or not yet.
    pub(crate) fn see(&mut self, open: &[FilePosition]) -> Option<(u64, u64)> {
        if self.refuted {
            return None;
        }
        // What the program may write to is no input, or not only.
        for output in open.iter().filter(|file| file.writable) {
            self.files.retain(|file| file.path != output.path);
        }
        let open: Vec<_> = open.iter().filter(|file| !file.writable).collect();
        let mut known: u64 = self.files.iter().map(|file| file.read).sum();
        for file in &mut self.files {
            if file.state == State::Open && !open.iter().any(|seen| seen.path == file.path) {
                file.state = State::Closed;
                // It was read to its end, so fast that nobody saw the last of it; or its reader was ended
                // before, and then the counter lacks the rest.
                let rest = file.size - file.read;
                let lacks = |counted| (known..known + rest).contains(&counted);
                if !self.counted.is_some_and(lacks) {
                    file.read = file.size;
                    known += rest;
                }
            }
        }
        for seen in &open {
            self.see_open(seen);
        }
        // Others are read besides: the input is more than what was named.
        let stranger = |seen: &&&FilePosition| seen.offset > 0 && !self.name(&seen.path);
        if open.iter().any(|seen| stranger(&seen)) || self.refuted || !self.believed {
            return None;
        }
        // A small file may have come and gone between two looks: those before one that was seen have
        // been read.
        let last = self
            .files
            .iter()
            .rposition(|it| it.state != State::Unseen)?;
        let files = self.files.iter().enumerate();
        let read = files.map(|(index, file)| match file.state {
            State::Unseen if index < last => file.size,
            _ => file.read,
        });
        let total = self.files.iter().map(|file| file.size).sum();
        (total > 0).then(|| (read.sum::<u64>().min(total), total))
    }

    fn see_open(&mut self, seen: &FilePosition) {
        let of_it = |file: &&mut InputFile| file.path == seen.path;
        let mut same: Vec<_> = self.files.iter_mut().filter(of_it).collect();
        // One that is named twice is read twice.
        let current = same.iter().position(|it| it.state != State::Closed);
        let Some(current) = current else {
            self.refuted |= !same.is_empty();
            return;
        };
        let file = &mut same[current];
        file.size = file.size.max(seen.size);
        let offset = seen.offset.min(file.size);
        if file.state == State::Open && offset < file.read {
            file.read = file.size;
            file.state = State::Closed;
            match same.get_mut(current + 1) {
                Some(again) => {
                    again.state = State::Open;
                    again.read = offset;
                }
                // Backwards, as tac reads, or here and there.
                None => self.refuted = true,
            }
            return;
        }
        self.believed |= file.state == State::Open && offset > file.read;
        file.state = State::Open;
        file.read = offset;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str, offset: u64, size: u64) -> FilePosition {
        FilePosition {
            path: path.into(),
            offset,
            size,
            writable: false,
        }
    }

    fn files(named: &[(&str, u64)]) -> Files {
        let named = named.iter().map(|(path, size)| (path.into(), *size));
        Files::new(named.collect())
    }

    #[test]
    fn several_files_are_one_input_and_those_read_count_whole() {
        let mut input = files(&[("a", 100), ("tiny", 2), ("b", 300)]);
        assert_eq!(
            input.see(&[at("a", 10, 100)]),
            None,
            "nobody has seen it move"
        );
        assert_eq!(input.see(&[at("a", 20, 100)]), Some((20, 402)));
        assert_eq!(input.see(&[]), Some((100, 402)), "between two files");
        assert_eq!(input.see(&[at("b", 0, 300)]), Some((102, 402)));
        assert_eq!(input.see(&[at("b", 150, 300)]), Some((252, 402)));
        assert_eq!(input.see(&[]), Some((402, 402)));
    }

    #[test]
    fn a_file_whose_reader_was_ended_is_not_taken_for_read() {
        let seen = |counted| {
            let mut input = files(&[("a", 100), ("b", 300)]);
            for offset in [10, 50] {
                input.see(&[at("a", offset, 100)]);
            }
            input.count(counted);
            input.see(&[])
        };
        assert_eq!(seen(Some(60)), Some((50, 400)));
        for enough in [Some(100), None] {
            assert_eq!(seen(enough), Some((100, 400)), "{enough:?}");
        }
        assert_eq!(seen(Some(20)), Some((100, 400)), "it splices");
    }

    #[test]
    fn files_that_are_read_side_by_side_are_added_up() {
        let mut input = files(&[("a", 100), ("b", 100)]);
        input.see(&[at("a", 10, 100), at("b", 10, 100)]);
        let both = input.see(&[at("a", 40, 100), at("b", 30, 100)]);
        assert_eq!(both, Some((70, 200)));
    }

    #[test]
    fn a_file_that_is_named_twice_is_read_twice() {
        let mut input = files(&[("a", 100), ("a", 100)]);
        input.see(&[at("a", 10, 100)]);
        assert_eq!(input.see(&[at("a", 90, 100)]), Some((90, 200)));
        assert_eq!(input.see(&[at("a", 5, 100)]), Some((105, 200)));
        assert_eq!(input.see(&[at("a", 50, 100)]), Some((150, 200)));
        assert_eq!(input.see(&[at("a", 20, 100)]), None);
    }

    #[test]
    fn nothing_is_told_of_what_is_read_backwards_or_besides_or_written() {
        let mut tac = files(&[("a", 100)]);
        for offset in [90, 80, 81, 90] {
            assert_eq!(tac.see(&[at("a", offset, 100)]), None);
        }
        let mut directory = files(&[("a", 100)]);
        directory.see(&[at("a", 10, 100)]);
        let more = [at("a", 20, 100), at("another", 7, 50)];
        assert_eq!(directory.see(&more), None);
        let mut uniq = files(&[("in", 100), ("out", 50)]);
        let out = FilePosition {
            writable: true,
            ..at("out", 3, 50)
        };
        uniq.see(&[at("in", 10, 100), out.clone()]);
        assert_eq!(uniq.see(&[at("in", 50, 100), out]), Some((50, 100)));
        assert_eq!(Files::unknown().see(&[at("a", 1, 2)]), None);
    }

    #[test]
    fn the_time_left_is_that_of_the_average_rate() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut pace = Pace::new(Some(begin));
        assert_eq!(pace.progress(after(0), 0, 100).left, None);
        pace.progress(after(4), 10, 100);
        let later = pace.progress(after(10), 50, 100);
        assert_eq!(later.left, Some(Duration::from_secs(10)));
        assert_eq!(later.average, Some(5.0));
        assert!(later.current.unwrap() > 5.0);
        assert_eq!(pace.progress(after(20), 100, 100).left, None);
        // Who comes later knows only what it has seen.
        let mut pace = Pace::new(None);
        assert_eq!(pace.progress(after(0), 50, 100).left, None);
        let later = pace.progress(after(5), 75, 100);
        assert_eq!(later.left, Some(Duration::from_secs(5)));
    }
}
