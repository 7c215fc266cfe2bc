//! `pipewright diff`: where two recordings differ first.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use pipewright_spool::{Directory, Next, Piece, Reader};

use crate::commands::played::{found, opened};
use crate::recording::directory::{is_recording, read_manifest};
use crate::view::{hexdump, text};
use crate::{cli, view};

/// As diff(1) has it.
const DIFFER: u8 = 1;
const TROUBLE: u8 = 2;

/// So many bytes are shown, from the row before the first that differs.
const SHOWN: u64 = 64;

pub(crate) fn diff(options: &cli::Diff) -> ExitCode {
    match compared(&options.one, &options.other) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(report)) => match view::print(report.as_bytes()) {
            Ok(()) => ExitCode::from(DIFFER),
            Err(error) => trouble(&error.into()),
        },
        Err(error) => trouble(&error),
    }
}

fn trouble(error: &anyhow::Error) -> ExitCode {
    view::complain(&format!("{error:#}"));
    ExitCode::from(TROUBLE)
}

/// Compares, and tells of the first difference.
fn compared(one: &Path, other: &Path) -> anyhow::Result<Option<String>> {
    let whose = [one, other].map(|path| path.display().to_string());
    if !is_recording(one) && !is_recording(other) {
        let streams = [Stream::open(one, None)?, Stream::open(other, None)?];
        return Ok(difference(streams)?.map(|found| {
            let what = found.told(&whose);
            format!("the streams {what}")
        }));
    }
    let manifests = [read_manifest(one)?, read_manifest(other)?];
    let [links, others] = manifests.each_ref().map(|manifest| &manifest.links);
    let both = links.iter().filter(|link| others.contains(link));
    let mut any = false;
    for &link in both {
        any = true;
        let stage = Some(link + 1);
        let streams = [Stream::open(one, stage)?, Stream::open(other, stage)?];
        let Some(found) = difference(streams)? else {
            continue;
        };
        let what = found.told(&whose);
        let Some(before) = link.checked_sub(1) else {
            return Ok(Some(format!("the input of the pipelines {what}")));
        };
        let [name, other_name] = manifests.each_ref().map(|manifest| {
            let name = manifest
                .stages
                .get(before)
                .map(|stage| stage.text.to_string());
            text::line(name.unwrap_or_default().trim_end())
        });
        let name = match name == other_name {
            true => format!("({name})"),
            false => format!("({name}, and {other_name} in {})", whose[1]),
        };
        return Ok(Some(format!("the outputs of stage {link} {name} {what}")));
    }
    if !any {
        anyhow::bail!(
            "there is nothing to compare: no link is recorded in both {} and {}",
            whose[0],
            whose[1]
        );
    }
    Ok(None)
}

/// Where two streams differ first.
struct Difference {
    at: u64,
    /// The ends of the two; a stream that was cut off has none.
    ends: [Option<u64>; 2],
    shown: [String; 2],
}

impl Difference {
    /// Completes "the streams …".
    fn told(&self, whose: &[String; 2]) -> String {
        let at = self.at;
        let ended = |side: usize| self.ends[side] == Some(at);
        let how = match (ended(0), ended(1)) {
            (true, _) => format!(
                "differ: {} ends at byte {at}, and {} goes on",
                whose[0], whose[1]
            ),
            (_, true) => format!(
                "differ: {} ends at byte {at}, and {} goes on",
                whose[1], whose[0]
            ),
            _ => format!("differ from byte {at} on"),
        };
        let sides = whose.iter().zip(&self.shown);
        let sides = sides.map(|(whose, shown)| format!("{whose}\n{shown}"));
        format!("{how}\n{}", sides.collect::<String>())
    }
}

/// A stream as pieces of some length.
struct Stream {
    reader: Reader<Directory>,
    piece: Option<Piece<File>>,
    /// So much of the piece is done with.
    done: u64,
    buffer: Vec<u8>,
    from: usize,
    what: String,
}

impl Stream {
    fn open(path: &Path, stage: Option<usize>) -> anyhow::Result<Self> {
        let path = found(path, stage)?;
        let spool = opened(&path, "compare")?;
        let reader = spool.passer_by();
        if reader.offset() > 0 {
            anyhow::bail!(
                "the beginning of {} was removed for --limit, and cannot be compared",
                path.display()
            );
        }
        Ok(Self {
            reader,
            piece: None,
            done: 0,
            buffer: Vec::new(),
            from: 0,
            what: path.display().to_string(),
        })
    }

    /// Gives some bytes that come next; none at the end.
    fn next(&mut self) -> anyhow::Result<&[u8]> {
        while self.from == self.buffer.len() {
            let piece = match self.piece.take().filter(|piece| self.done < piece.length) {
                Some(piece) => piece,
                None => {
                    let next = self.reader.next_piece();
                    let next = next.with_context(|| format!("cannot compare {}", self.what))?;
                    let Next::Bytes(piece) = next else {
                        break;
                    };
                    self.done = 0;
                    piece
                }
            };
            let length = (piece.length - self.done).min(1 << 16);
            self.buffer.resize(usize::try_from(length)?, 0);
            self.from = 0;
            piece
                .file
                .read_exact_at(&mut self.buffer, piece.at + self.done)
                .with_context(|| format!("cannot read {}", self.what))?;
            self.done += length;
            self.piece = Some(piece);
        }
        Ok(&self.buffer[self.from..])
    }

    /// The bytes around a place, and where the stream ends if that is among them.
    fn around(path: &str, at: u64) -> anyhow::Result<(String, Option<u64>)> {
        let spool = opened(Path::new(path), "compare")?;
        let mut reader = spool.passer_by();
        let from = at.saturating_sub(16) / 16 * 16;
        let to = from + SHOWN;
        let mut bytes = Vec::new();
        while let Next::Bytes(piece) = reader.next_piece()? {
            let (start, end) = (piece.offset, piece.offset + piece.length);
            let (first, last) = (start.max(from), end.min(to));
            if first < last {
                let before = bytes.len();
                bytes.resize(before + usize::try_from(last - first)?, 0);
                let place = piece.at + first - start;
                piece.file.read_exact_at(&mut bytes[before..], place)?;
            }
            if end >= to {
                break;
            }
        }
        let end = from + bytes.len() as u64;
        Ok((hexdump::rows(&bytes, from), (end < to).then_some(end)))
    }
}

fn difference([mut one, mut other]: [Stream; 2]) -> anyhow::Result<Option<Difference>> {
    let mut at = 0;
    loop {
        let (left, right) = (one.next()?, other.next()?);
        let common = left.len().min(right.len());
        let wrong = left
            .iter()
            .zip(right)
            .position(|(left, right)| left != right);
        if wrong.is_none() && left.is_empty() && right.is_empty() {
            return Ok(None);
        }
        if wrong.is_none() && common > 0 {
            at += common as u64;
            one.from += common;
            other.from += common;
            continue;
        }
        at += wrong.unwrap_or(0) as u64;
        let paths = [one.what.clone(), other.what.clone()];
        // The same stream may be on both sides.
        drop((one, other));
        let (left, left_end) = Stream::around(&paths[0], at)?;
        let (right, right_end) = Stream::around(&paths[1], at)?;
        return Ok(Some(Difference {
            at,
            ends: [left_end, right_end],
            shown: [left, right],
        }));
    }
}
