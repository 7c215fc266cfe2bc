//! Making a link: ssh is started, the far half answers, both tell how far they have got.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pipewright::PipeReader;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::frames::{Decoder, Frame, Kind};
use crate::link::{Lane, Link};
use crate::messages::{self, Hello, VERSION, Welcome};
use crate::session::Positions;
use crate::shared::Bell;
use crate::ssh::{Call, Connection, Host};

/// The most that start files may print before the far half answers.
const MOST_CHATTER: usize = 1 << 20;

/// The most of ssh's own words that is kept.
const LAST_WORDS: usize = 4096;

/// A link that was made.
pub(crate) struct Connected {
    pub(crate) link: Link,
    pub(crate) calls: Vec<Call>,
    pub(crate) positions: Positions,
    pub(crate) words: Words,
}

/// Until when, and who may call it off.
#[derive(Clone, Copy)]
pub(crate) struct Limit<'a> {
    pub(crate) deadline: Instant,
    pub(crate) cancel: &'a Bell,
}

/// What ssh has said on stderr, the end of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words(Arc<Mutex<Vec<u8>>>);

impl Words {
    /// Collects them till ssh has ended, from a thread of its own.
    fn collect(stderr: PipeReader) -> Self {
        let words = Self::default();
        let kept = words.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(count @ 1..) =
                rustix::io::retry_on_intr(|| rustix::io::read(&stderr, &mut buffer))
            {
                let mut kept = kept.0.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&buffer[..count]);
                let excess = kept.len().saturating_sub(LAST_WORDS);
                kept.drain(..excess);
            }
        });
        words
    }

    /// Puts this in place of all that was said.
    pub(crate) fn replace(&self, said: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = said.as_bytes().to_vec();
    }

    /// The last line that says something.
    pub(crate) fn last(&self) -> String {
        let words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let words = String::from_utf8_lossy(&words);
        let mut lines = words.lines().map(str::trim);
        lines
            .rfind(|line| !line.is_empty())
            .unwrap_or("nothing")
            .to_owned()
    }
}

/// Connects once.
pub(crate) fn connect(
    host: &Host,
    cached: Option<&str>,
    hello: &Hello,
    connection: Connection,
    limit: Limit<'_>,
) -> Result<Connected> {
    let nonce = nonce();
    let text = host.far_half(&nonce, cached);
    let lanes = hello.lane.1;
    // All at once: they take as long as one.
    let calls = (0..lanes).map(|lane| {
        let connection = match connection {
            Connection::Shared if lane > 0 => Connection::Own { seconds: 10 },
            connection => connection,
        };
        host.open(&text, connection)
    });
    let calls = calls.collect::<Result<Vec<Call>>>()?;
    let mut ready = Vec::new();
    let mut words = Words::default();
    for (lane, call) in calls.into_iter().enumerate() {
        let answer = greet(
            host,
            call,
            &nonce,
            &Hello {
                lane: (lane as u8, lanes),
                ..hello.clone()
            },
            limit,
        );
        let (call, decoder, said) = answer?;
        if lane == 0 {
            words = said;
        }
        ready.push((call, decoder));
    }
    let positions = {
        let (call, decoder) = &mut ready[0];
        let answer = await_welcome(host, call, decoder, limit, &words);
        answer?
    };
    let mut calls = Vec::new();
    let mut made = Vec::new();
    for (call, decoder) in ready {
        let (input, output) = (copy(call.stdout.as_fd())?, copy(call.stdin.as_fd())?);
        made.push(Lane::new(input, output, decoder));
        calls.push(call);
    }
    Ok(Connected {
        link: Link::new(made),
        calls,
        positions,
        words,
    })
}

fn copy(descriptor: impl AsFd) -> Result<OwnedFd> {
    let copied = descriptor.as_fd().try_clone_to_owned();
    copied.map_err(|error| Error::Local("copy a descriptor", error))
}

/// Waits for the far half on one lane, and greets it.
fn greet(
    host: &Host,
    mut call: Call,
    nonce: &str,
    hello: &Hello,
    limit: Limit<'_>,
) -> Result<(Call, Decoder, Words)> {
    let words = call.stderr.take().map(Words::collect).unwrap_or_default();
    let link = format!("pipewright-link-{nonce}\n").into_bytes();
    let absent = format!("pipewright-absent-{nonce} ").into_bytes();
    let mut heard = Vec::new();
    let mut buffer = vec![0; 1 << 14];
    let rest = loop {
        if let Some(at) = find(&heard, &link) {
            break heard.split_off(at + link.len());
        }
        if let Some(at) = find(&heard, &absent) {
            let line = &heard[at + absent.len()..];
            if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                return Err(Error::Absent {
                    host: host.name.clone(),
                    machine: String::from_utf8_lossy(&line[..end]).into_owned(),
                });
            }
        }
        let unreachable = |said: String| Error::Unreachable {
            host: host.name.clone(),
            said,
        };
        if heard.len() > MOST_CHATTER {
            return Err(unreachable(
                "its start files print without an end".to_owned(),
            ));
        }
        match read(&call.stdout, &mut buffer, limit) {
            Ok(0) => {
                // ssh may have its last words still to say.
                let _ = call.child.wait_timeout(Duration::from_secs(2));
                std::thread::sleep(Duration::from_millis(20));
                return Err(unreachable(format!(
                    "ssh ended, and said: {}",
                    words.last()
                )));
            }
            Ok(count) => heard.extend_from_slice(&buffer[..count]),
            Err(Errno::TIMEDOUT) => {
                return Err(unreachable("it did not answer in time".to_owned()));
            }
            Err(errno) => return Err(Error::Local("read from ssh", errno.into())),
        }
    };
    let mut decoder = Decoder::default();
    // A far half waits for its greeting before it sends anything.
    let count = rest.len().min(decoder.room().len());
    decoder.room()[..count].copy_from_slice(&rest[..count]);
    decoder.filled(count);
    let mut bytes = Vec::new();
    let payload = &messages::pack(hello);
    Frame {
        payload,
        ..Frame::bare(Kind::Hello)
    }
    .encode(&mut bytes);
    // A pipe that nobody has written to has room for a greeting.
    match rustix::io::write(&call.stdin, &bytes) {
        Ok(count) if count == bytes.len() => Ok((call, decoder, words)),
        Ok(_) => Err(Error::Local(
            "greet the far half",
            std::io::ErrorKind::WriteZero.into(),
        )),
        Err(_) => Err(Error::Unreachable {
            host: host.name.clone(),
            said: format!("ssh ended, and said: {}", words.last()),
        }),
    }
}

fn await_welcome(
    host: &Host,
    call: &Call,
    decoder: &mut Decoder,
    limit: Limit<'_>,
    words: &Words,
) -> Result<Positions> {
    let name = || host.name.clone();
    loop {
        match decoder.next_frame() {
            Ok(Some(frame)) => return welcome(host, &frame),
            Ok(None) => {}
            Err(source) => {
                return Err(Error::Frame {
                    host: name(),
                    source,
                });
            }
        }
        match read(&call.stdout, decoder.room(), limit) {
            Ok(count @ 1..) => decoder.filled(count),
            Ok(0) => {
                let said = format!("its half ended, and said: {}", words.last());
                return Err(Error::Unreachable { host: name(), said });
            }
            Err(Errno::TIMEDOUT) => {
                let said = "it did not answer in time".to_owned();
                return Err(Error::Unreachable { host: name(), said });
            }
            Err(errno) => return Err(Error::Local("read from ssh", errno.into())),
        }
    }
}

fn welcome(host: &Host, frame: &Frame<'_>) -> Result<Positions> {
    let name = || host.name.clone();
    let misuse = |source| Error::Misuse {
        host: name(),
        source,
    };
    match frame.kind {
        Kind::Refusal => Err(Error::Refused {
            host: name(),
            reason: String::from_utf8_lossy(frame.payload).into_owned(),
        }),
        Kind::Welcome => {
            let theirs = messages::version(frame.payload).map_err(misuse)?;
            if theirs != VERSION {
                return Err(Error::Version {
                    host: name(),
                    theirs,
                    ours: VERSION,
                });
            }
            let welcome: Welcome = messages::unpack(frame.payload).map_err(misuse)?;
            Ok(welcome.positions)
        }
        _ => Err(misuse(crate::error::Misuse::Turn(
            "a frame before the welcome",
        ))),
    }
}

/// Reads what is there, once it is; TIMEDOUT when the time is over, or it was called off.
fn read(
    input: &PipeReader,
    buffer: &mut [u8],
    limit: Limit<'_>,
) -> std::result::Result<usize, Errno> {
    loop {
        let left = limit.deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        let mut polled = [
            PollFd::new(input, PollFlags::IN),
            PollFd::new(limit.cancel, PollFlags::IN),
        ];
        match poll(&mut polled, timeout.as_ref()) {
            Ok(0) => return Err(Errno::TIMEDOUT),
            Ok(_) if !polled[1].revents().is_empty() => return Err(Errno::TIMEDOUT),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        match rustix::io::read(input, &mut *buffer) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            read => return read,
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// A word that no start file prints by chance.
pub(crate) fn nonce() -> String {
    random()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Bytes that nobody can guess.
pub(crate) fn random() -> [u8; 16] {
    use std::io::Read;
    let mut bytes = [0; 16];
    let source = std::fs::File::open("/dev/urandom");
    let read = source.and_then(|mut source| source.read_exact(&mut bytes));
    read.expect("every Linux has /dev/urandom");
    bytes
}
