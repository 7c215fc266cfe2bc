//! The near half: it stands in the pipeline, and its stage runs on another host.

use std::ffi::OsString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::connect::{Connected, Limit, Words, connect, random};
use crate::error::{Error, Misuse, Result};
use crate::exchange::Exchange;
use crate::lease::Lease;
use crate::link::Broken;
use crate::messages::{self, End, Hello, Look, Order, Report, Token, Usage, VERSION};
use crate::shared::{Bell, Shared};
use crate::ssh::{Call, Connection, Host};
use crate::stream::{Half, Stream};

/// How long the first connection may take.
const FIRST_CONNECTION: Duration = Duration::from_secs(60);

/// The pauses between attempts to connect again; the last one comes again and again.
const PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
];

/// The most bytes of a stream that are under way, per lane.
const WINDOW: u32 = 1 << 22;

/// A stage that is to run on another host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RemoteStage {
    /// Where.
    pub host: Host,
    /// The program and its arguments; no shell reads them.
    pub command: Vec<OsString>,
    /// How long each half lives without the other.
    pub lease: Duration,
    /// How many connections carry the bytes.
    pub channels: u8,
    /// Which copy in the host's cache runs there.
    pub cached: Option<String>,
}

/// The stage's streams here.
#[derive(Debug)]
pub struct Streams {
    /// Read and closed.
    pub stdin: OwnedFd,
    /// Written and closed.
    pub stdout: OwnedFd,
    /// Likewise.
    pub stderr: OwnedFd,
}

/// What is between the stage and whoever has it run: signals for it, and what is seen of it.
pub trait Signals {
    /// Becomes readable when one has come.
    fn readable(&self) -> BorrowedFd<'_>;
    /// Those that have come since.
    fn take(&mut self) -> Vec<i32>;
    /// Takes note of what the stage does on its host, twice a second or more often.
    fn looked(&mut self, _look: &Look) {}
}

/// How a stage ended on its host.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Ended {
    /// Its status, or the signal.
    pub end: End,
    /// What it used there.
    pub usage: Usage,
    /// Why it could not be started, in a sentence of the host's.
    pub not_started: Option<String>,
    /// How often the link was lost and made again.
    pub reconnected: u32,
}

impl RemoteStage {
    /// A stage with a lease of 30 seconds and one connection.
    pub fn new(host: Host, command: Vec<OsString>) -> Self {
        Self {
            host,
            command,
            lease: Duration::from_secs(30),
            channels: 1,
            cached: None,
        }
    }

    /// Runs it to its end. The streams are asked for once the far half has answered.
    ///
    /// # Errors
    ///
    /// Everything but the stage's own end. After [`Error::Lost`] and a signal that came without a link
    /// the far half ends the stage when the lease is over; after the others nothing runs there.
    pub fn run(
        &self,
        streams: impl FnOnce() -> std::io::Result<Streams>,
        signals: &mut impl Signals,
    ) -> Result<Ended> {
        let window = WINDOW * u32::from(self.channels.max(1));
        let local = |error| Error::Local("share what the threads share", error);
        let shared = Shared::new(Half::Near, window as usize).map_err(local)?;
        let start = self
            .command
            .iter()
            .cloned()
            .map(OsString::into_vec)
            .collect();
        let start = Order::Start(start);
        if !messages::fits(&start) {
            let error = std::io::ErrorKind::ArgumentListTooLong.into();
            return Err(Error::Local("send so long a command", error));
        }
        let mut near = Near {
            stage: self,
            hello: Hello {
                version: VERSION,
                token: Token(random()),
                first: true,
                lane: (0, self.channels.max(1)),
                link: 0,
                lease: self.lease,
                window,
                positions: Default::default(),
            },
            exchange: Exchange::new(Arc::clone(&shared), Lease::new(self.lease, Instant::now())),
            calls: Vec::new(),
            words: Words::default(),
            connecting: None,
            attempts: 0,
            reports: Vec::new(),
            looks: Vec::new(),
            ended: None,
            streams: Some(Box::new(streams)),
            reconnected: 0,
        };
        let result = near.run(&start, signals);
        near.call_off();
        shared.abandon();
        for call in near.calls.drain(..) {
            if result.is_ok() {
                call.finish();
            } else {
                call.end();
            }
        }
        result
    }
}

struct Near<'a> {
    stage: &'a RemoteStage,
    hello: Hello,
    exchange: Exchange,
    calls: Vec<Call>,
    words: Words,
    connecting: Option<Connecting>,
    /// Since the last link.
    attempts: usize,
    reports: Vec<u8>,
    looks: Vec<Look>,
    ended: Option<Ended>,
    /// Until the stage is to be started.
    streams: Option<Box<dyn FnOnce() -> std::io::Result<Streams> + 'a>>,
    reconnected: u32,
}

/// A connection that is being made, from a thread of its own.
struct Connecting {
    cancel: Arc<Bell>,
    result: mpsc::Receiver<Result<Connected>>,
    thread: JoinHandle<()>,
}

impl Near<'_> {
    fn run(&mut self, start: &Order, signals: &mut impl Signals) -> Result<Ended> {
        let host = || self.stage.host.name.clone();
        let host = host();
        let shared = Arc::clone(&self.exchange.shared);
        {
            let mut session = shared.session();
            let bytes = messages::write(start);
            session.push(Stream::Orders, &bytes);
        }
        self.connect(Duration::ZERO)?;
        loop {
            let ready = self.exchange.turn(&[signals.readable()], None);
            let ready = ready.map_err(|broken| match broken {
                Broken::Frame(source) => Error::Frame {
                    host: host.clone(),
                    source,
                },
                Broken::Misuse(source) => Error::Misuse {
                    host: host.clone(),
                    source,
                },
                Broken::Away => unreachable!("a lost link is no error"),
            })?;
            if ready[0] {
                self.pass_on(signals.take())?;
            }
            self.take_connection()?;
            if let Some((what, error)) = shared.take_failure() {
                return Err(self.give_up(Error::Local(what, error)));
            }
            self.take_reports().map_err(|source| Error::Misuse {
                host: host.clone(),
                source,
            })?;
            for look in self.looks.drain(..) {
                signals.looked(&look);
            }
            if !self.exchange.has_link() && self.connecting.is_none() {
                self.again()?;
            }
            let is_over = {
                let session = shared.session();
                session.is_over(Stream::Stdout) && session.is_over(Stream::Stderr)
            };
            if let Some(ended) = self.ended.clone().filter(|_| is_over) {
                // It waits for a lease otherwise, and no longer.
                shared.session().say_bye();
                let patience = Instant::now() + Duration::from_secs(1);
                while self.exchange.has_link()
                    && !self.exchange.is_flushed()
                    && Instant::now() < patience
                {
                    if self.exchange.turn(&[], Some(patience)).is_err() {
                        break;
                    }
                }
                return Ok(Ended {
                    reconnected: self.reconnected,
                    ..ended
                });
            }
        }
    }

    /// Sends signals after the stage. Without a link there is nobody to send them to: the caller ends.
    fn pass_on(&mut self, signals: Vec<i32>) -> Result<()> {
        for signal in signals {
            if !self.exchange.has_link() {
                return Err(Error::Signaled(signal));
            }
            let order = messages::write(&Order::Signal(signal));
            let mut session = self.exchange.shared.session();
            if session.room(Stream::Orders) >= order.len() {
                session.push(Stream::Orders, &order);
            }
        }
        Ok(())
    }

    /// Has the stage ended there before this half ends with an error of its own.
    fn give_up(&mut self, error: Error) -> Error {
        let order = messages::write(&Order::Signal(9));
        self.exchange.shared.session().push(Stream::Orders, &order);
        let patience = Instant::now() + Duration::from_secs(2);
        while self.ended.is_none() && self.exchange.has_link() && Instant::now() < patience {
            if self.exchange.turn(&[], Some(patience)).is_err() || self.take_reports().is_err() {
                break;
            }
        }
        error
    }

    /// Begins to connect after a pause.
    fn connect(&mut self, pause: Duration) -> Result<()> {
        let local = |error| Error::Local("make a thread", error);
        let cancel = Arc::new(Bell::new().map_err(local)?);
        let (sender, result) = mpsc::channel();
        let is_first = self.hello.first;
        self.hello.link += 1;
        self.hello.positions = self.exchange.shared.session().positions();
        let (host, cached, hello) = (
            self.stage.host.clone(),
            self.stage.cached.clone(),
            self.hello.clone(),
        );
        let length = if is_first {
            FIRST_CONNECTION
        } else {
            self.exchange.lease.left(Instant::now())
        };
        let deadline = Instant::now() + length;
        let seconds = (self.stage.lease.as_secs() / 6).clamp(1, 10);
        let (shared, called_off) = (Arc::clone(&self.exchange.shared), Arc::clone(&cancel));
        let connect = move || {
            let mut polled = [rustix::event::PollFd::new(
                &*called_off,
                rustix::event::PollFlags::IN,
            )];
            let timeout = rustix::event::Timespec::try_from(pause).ok();
            if !pause.is_zero() {
                // Woken early: connecting ends at once.
                let _ = rustix::event::poll(&mut polled, timeout.as_ref());
            }
            let connection = if is_first {
                Connection::Shared
            } else {
                Connection::Own { seconds }
            };
            let limit = Limit {
                deadline,
                cancel: &called_off,
            };
            let connected = connect(&host, cached.as_deref(), &hello, connection, limit);
            // Nobody waits for it if it was called off.
            let _ = sender.send(connected);
            shared.link.ring();
        };
        let thread = std::thread::Builder::new().spawn(connect).map_err(local)?;
        self.connecting = Some(Connecting {
            cancel,
            result,
            thread,
        });
        Ok(())
    }

    /// Connects again, if the lease is not over.
    fn again(&mut self) -> Result<()> {
        for call in self.calls.drain(..) {
            call.end();
        }
        if self.exchange.lease.is_over(Instant::now()) {
            return Err(Error::Lost {
                host: self.stage.host.name.clone(),
                lease: self.stage.lease,
                said: self.words.last(),
            });
        }
        let pause = PAUSES[self.attempts.min(PAUSES.len() - 1)];
        self.attempts += 1;
        self.connect(pause)
    }

    /// Takes a connection that was made, or the reason why it was not.
    fn take_connection(&mut self) -> Result<()> {
        let Some(connecting) = &self.connecting else {
            return Ok(());
        };
        let Ok(connected) = connecting.result.try_recv() else {
            return Ok(());
        };
        self.call_off();
        match connected {
            Ok(Connected {
                link,
                calls,
                positions,
                words,
            }) => {
                let misuse = |source| Error::Misuse {
                    host: self.stage.host.name.clone(),
                    source,
                };
                let shared = Arc::clone(&self.exchange.shared);
                shared.session().resume(&positions).map_err(misuse)?;
                self.exchange.set_link(link);
                self.calls = calls;
                self.words = words;
                self.attempts = 0;
                if !std::mem::replace(&mut self.hello.first, false) {
                    self.reconnected += 1;
                }
                if let Some(streams) = self.streams.take() {
                    let streams = streams()
                        .map_err(|error| Error::Local("take the stage's streams", error))?;
                    start_pumps(&shared, streams)?;
                }
                Ok(())
            }
            // The next attempt may get through.
            Err(error @ (Error::Unreachable { .. } | Error::Ssh(_) | Error::Local(..)))
                if !self.hello.first =>
            {
                if let Error::Unreachable { said, .. } = &error {
                    self.words.replace(said);
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Ends the connection that is being made, if there is one.
    fn call_off(&mut self) {
        if let Some(connecting) = self.connecting.take() {
            connecting.cancel.ring();
            // It has nothing left to do but to end.
            let _ = connecting.thread.join();
        }
    }

    fn take_reports(&mut self) -> std::result::Result<(), Misuse> {
        let mut session = self.exchange.shared.session();
        let before = self.reports.len();
        session.peek(Stream::Reports, usize::MAX, &mut self.reports);
        session.gave(Stream::Reports, self.reports.len() - before);
        while let Some((report, length)) = messages::read(&self.reports)? {
            self.reports.drain(..length);
            match report {
                Report::Started => {}
                Report::Look(look) => self.looks.push(look),
                Report::NotStarted { message, status } => {
                    self.ended = Some(Ended {
                        end: End::Exited(status),
                        usage: Usage::default(),
                        not_started: Some(message),
                        reconnected: 0,
                    });
                }
                Report::Ended { end, usage } => {
                    self.ended = Some(Ended {
                        end,
                        usage,
                        not_started: None,
                        reconnected: 0,
                    });
                }
            }
        }
        Ok(())
    }
}

fn start_pumps(shared: &Arc<Shared>, streams: Streams) -> Result<()> {
    let pump = |work: Box<dyn FnOnce(&Shared) + Send>| {
        let shared = Arc::clone(shared);
        let thread = std::thread::Builder::new().spawn(move || work(&shared));
        thread
            .map(drop)
            .map_err(|error| Error::Local("make a thread", error))
    };
    let Streams {
        stdin,
        stdout,
        stderr,
    } = streams;
    pump(Box::new(|shared| shared.feed(Stream::Stdin, stdin)))?;
    pump(Box::new(|shared| shared.drain(Stream::Stdout, stdout)))?;
    pump(Box::new(|shared| shared.drain(Stream::Stderr, stderr)))
}
