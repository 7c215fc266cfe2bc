//! The far half: it runs the stage's warden, and lives on without a link until the lease is over.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipewright::{Child, Command};
use rustix::io::Errno;

use crate::exchange::Exchange;
use crate::frames::{Decoder, Frame, Kind};
use crate::lease::Lease;
use crate::link::{Broken, Lane, Link, read_one_frame};
use crate::meeting::{Arrival, Meeting, hand_over};
use crate::messages::{self, End, Hello, Order, Report, Token, Usage, VERSION, Welcome};
use crate::shared::Shared;
use crate::ssh::never_block;
use crate::stream::{Half, Stream};
use crate::warden;

/// How long the stage's warden may take to end everything.
const PATIENCE: Duration = Duration::from_secs(15);

/// So many bytes of reports are for others than looks.
const LOOKS_LEAVE: usize = 1 << 15;

/// Why a far half ended before its stage had told its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FarError {
    /// It cannot talk to the near half.
    #[error("the near half cannot be talked to: {0}")]
    Greeting(String),
    /// What came from the near half makes no sense.
    #[error("what came from the near half makes no sense: {0}")]
    Nonsense(String),
    /// It cannot do what is needed here.
    #[error("cannot {0}")]
    Local(&'static str, #[source] std::io::Error),
    /// Nobody came back within the lease; the stage was ended.
    #[error("nobody came back within the lease, and the stage was ended")]
    LeaseOver,
}

/// Is the far half of whatever the near half at stdin and stdout asks for. `warden` is the command that
/// [watches over](crate::watch_over) a stage; its own command is appended.
///
/// # Errors
///
/// [`FarError`], when the stage could not be run to its end.
pub fn far_half(nonce: &str, warden: &[&str]) -> Result<(), FarError> {
    let local = |what| move |errno: Errno| FarError::Local(what, errno.into());
    let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
    let marker = format!("pipewright-link-{nonce}\n");
    write_all(stdout, marker.as_bytes()).map_err(local("answer"))?;
    let mut decoder = read_one_frame(stdin)
        .map_err(|error| FarError::Greeting(format!("its greeting did not come: {error}")))?;
    let greeting = match decoder.next_frame() {
        Ok(Some(Frame {
            kind: Kind::Hello,
            payload,
            ..
        })) => payload.to_vec(),
        Ok(_) => {
            return Err(FarError::Greeting(
                "it did not begin with a greeting".to_owned(),
            ));
        }
        Err(error) => return Err(FarError::Greeting(error.to_string())),
    };
    let theirs =
        messages::version(&greeting).map_err(|error| FarError::Greeting(error.to_string()))?;
    if theirs != VERSION {
        answer(
            stdout,
            Kind::Welcome,
            &messages::pack(&Welcome {
                version: VERSION,
                positions: Default::default(),
            }),
        );
        return Ok(());
    }
    let hello: Hello =
        messages::unpack(&greeting).map_err(|error| FarError::Greeting(error.to_string()))?;
    let begins = hello.first && hello.lane.0 == 0;
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        match hand_over(hello.token, &greeting, [stdin, stdout]) {
            Ok(()) => return Ok(()),
            Err(Errno::CONNREFUSED) if begins => match Meeting::open(hello.token) {
                Ok(meeting) => return Far::new(meeting, hello, warden)?.live(),
                // Somebody was faster.
                Err(Errno::ADDRINUSE) => {}
                Err(errno) => return Err(local("open a socket")(errno)),
            },
            // The first lane is still on its way.
            Err(Errno::CONNREFUSED) if hello.first && Instant::now() < patience => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(_) => {
                let reason = "its half there is gone: it was killed, or its lease is over";
                answer(stdout, Kind::Refusal, reason.as_bytes());
                return Ok(());
            }
        }
    }
}

fn answer(stdout: BorrowedFd<'_>, kind: Kind, payload: &[u8]) {
    let mut bytes = Vec::new();
    Frame {
        payload,
        ..Frame::bare(kind)
    }
    .encode(&mut bytes);
    // Nobody there: nobody to tell.
    let _ = write_all(stdout, &bytes);
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        let count = rustix::io::retry_on_intr(|| rustix::io::write(to, bytes))?;
        bytes = &bytes[count..];
    }
    Ok(())
}

struct Far<'a> {
    warden: &'a [&'a str],
    token: Token,
    meeting: Meeting,
    exchange: Exchange,
    /// The lanes of the link that is being made, by their places.
    coming: Vec<Option<Lane>>,
    link: u32,
    /// Those who brought the lanes of the link that is there; they end when it is gone.
    ushers: Vec<OwnedFd>,
    orders: Vec<u8>,
    stage: Stage,
}

enum Stage {
    /// It was not asked for yet.
    None,
    Running {
        warden: Box<Child>,
        socket: UnixStream,
        reports: Vec<u8>,
    },
    /// Its end was told.
    Over,
}

impl<'a> Far<'a> {
    /// Takes the place of the process that ssh has started, with its stdin and stdout as the first lane.
    fn new(meeting: Meeting, hello: Hello, warden: &'a [&'a str]) -> Result<Self, FarError> {
        let local = |error| FarError::Local("set up the link", error);
        let input = rustix::stdio::stdin().try_clone_to_owned().map_err(local)?;
        let output = rustix::stdio::stdout()
            .try_clone_to_owned()
            .map_err(local)?;
        // The copies are the only ones here, so the link is gone when they are closed.
        let null = std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null");
        let null = null.map_err(local)?;
        rustix::stdio::dup2_stdin(&null).map_err(|errno| local(errno.into()))?;
        rustix::stdio::dup2_stdout(&null).map_err(|errno| local(errno.into()))?;
        let window = (hello.window as usize).clamp(1 << 16, 1 << 30);
        let shared = Shared::new(Half::Far, window).map_err(local)?;
        let lease = Lease::new(hello.lease, Instant::now());
        let mut far = Self {
            warden,
            token: hello.token,
            meeting,
            exchange: Exchange::new(shared, lease),
            coming: Vec::new(),
            link: 0,
            ushers: Vec::new(),
            orders: Vec::new(),
            stage: Stage::None,
        };
        far.take_lane(hello, input, output, None)?;
        Ok(far)
    }

    fn live(mut self) -> Result<(), FarError> {
        let shared = Arc::clone(&self.exchange.shared);
        loop {
            let warden = match &self.stage {
                Stage::Running { socket, .. } => Some(socket.as_fd()),
                _ => None,
            };
            let others: Vec<_> = [self.meeting.as_fd()].into_iter().chain(warden).collect();
            let ready = self.exchange.turn(&others, None);
            let ready = ready.map_err(|broken| match broken {
                Broken::Frame(error) => FarError::Nonsense(error.to_string()),
                Broken::Misuse(error) => FarError::Nonsense(error.to_string()),
                Broken::Away => unreachable!("a lost link is no error"),
            });
            let ready = match ready {
                Ok(ready) => ready,
                Err(error) => return Err(self.end(error)),
            };
            if !self.exchange.has_link() {
                // Those of a link that is being made have brought its first lanes.
                if self.coming.is_empty() {
                    self.ushers.clear();
                }
                if self.exchange.lease.is_over(Instant::now()) {
                    return Err(self.end(FarError::LeaseOver));
                }
            }
            if ready[0]
                && let Some(arrival) = self.meeting.take()
            {
                self.welcome(arrival)?;
            }
            if ready.get(1) == Some(&true) {
                self.take_reports();
            }
            if let Some((what, error)) = shared.take_failure() {
                return Err(self.end(FarError::Local(what, error)));
            }
            if let Err(error) = self.take_orders() {
                return Err(self.end(error));
            }
            if shared.session().was_bye_said() {
                return Ok(());
            }
        }
    }

    /// Takes in a connection that somebody has brought.
    fn welcome(&mut self, arrival: Arrival) -> Result<(), FarError> {
        let Ok(hello) = messages::unpack::<Hello>(&arrival.greeting) else {
            return Ok(());
        };
        if hello.token != self.token {
            return Ok(());
        }
        self.take_lane(hello, arrival.input, arrival.output, Some(arrival.usher))
    }

    /// Takes one lane; with the last one, the link is there.
    fn take_lane(
        &mut self,
        hello: Hello,
        input: OwnedFd,
        output: OwnedFd,
        usher: Option<OwnedFd>,
    ) -> Result<(), FarError> {
        let (lane, lanes) = (usize::from(hello.lane.0), usize::from(hello.lane.1));
        // One that was given up by now.
        if hello.link < self.link || lane >= lanes {
            return Ok(());
        }
        if hello.link > self.link {
            self.link = hello.link;
            self.coming.clear();
            // The near half has given up the other one.
            self.exchange.lose_link();
            self.ushers.clear();
        }
        self.coming.resize_with(lanes, || None);
        let blocks = never_block(&input).and_then(|()| never_block(&output));
        blocks.map_err(|errno| FarError::Local("set up the link", errno.into()))?;
        self.coming[lane] = Some(Lane::new(input, output, Decoder::default()));
        self.ushers.extend(usher);
        if self.coming.iter().any(Option::is_none) {
            return Ok(());
        }
        let mut made: Vec<Lane> = self.coming.drain(..).flatten().collect();
        let mut session = self.exchange.shared.session();
        let positions = session.positions();
        let resumed = session.resume(&hello.positions);
        drop(session);
        let (kind, payload) = match &resumed {
            Ok(()) => {
                let version = VERSION;
                (
                    Kind::Welcome,
                    messages::pack(&Welcome { version, positions }),
                )
            }
            Err(error) => (Kind::Refusal, error.to_string().into_bytes()),
        };
        let payload = &payload;
        let told = made[0].say(&Frame {
            payload,
            ..Frame::bare(kind)
        });
        if let (Ok(()), Ok(())) = (told, &resumed) {
            self.exchange.set_link(Link::new(made));
        }
        Ok(())
    }

    fn take_orders(&mut self) -> Result<(), FarError> {
        let nonsense = |error: crate::error::Misuse| FarError::Nonsense(error.to_string());
        let shared = Arc::clone(&self.exchange.shared);
        {
            let mut session = shared.session();
            let before = self.orders.len();
            session.peek(Stream::Orders, usize::MAX, &mut self.orders);
            session.gave(Stream::Orders, self.orders.len() - before);
        }
        while let Some((order, length)) = messages::read::<Order>(&self.orders).map_err(nonsense)? {
            self.orders.drain(..length);
            match (order, &mut self.stage) {
                (Order::Start(command), Stage::None) if !command.is_empty() => {
                    self.start(command)?
                }
                (Order::Start(_), _) => {
                    return Err(FarError::Nonsense("a second start".to_owned()));
                }
                (order, Stage::Running { socket, .. }) => {
                    // If the warden is gone, its socket tells.
                    let _ = socket.write_all(&messages::write(&order));
                }
                // There is nobody to signal.
                (Order::Signal(_), Stage::None | Stage::Over) => {}
            }
        }
        Ok(())
    }

    fn start(&mut self, command: Vec<Vec<u8>>) -> Result<(), FarError> {
        let local = |error| FarError::Local("start the stage", error);
        let (stdin, to_stdin) = std::io::pipe().map_err(local)?;
        let (from_stdout, stdout) = std::io::pipe().map_err(local)?;
        let (from_stderr, stderr) = std::io::pipe().map_err(local)?;
        for pipe in [to_stdin.as_fd(), from_stdout.as_fd()] {
            let _ = rustix::pipe::fcntl_setpipe_size(pipe, 1 << 20);
        }
        let (socket, theirs) = UnixStream::pair().map_err(local)?;
        let warden = Command::new(Path::new("/proc/self/exe"))
            .args(self.warden)
            .args(command.into_iter().map(OsString::from_vec))
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .fd(warden::SOCKET, OwnedFd::from(theirs))
            .new_session()
            .own_tree()
            .spawn()
            .map_err(|error| {
                FarError::Local("start the stage's warden", std::io::Error::other(error))
            })?;
        let shared = &self.exchange.shared;
        let pump = |work: Box<dyn FnOnce(&Shared) + Send>| {
            let shared = Arc::clone(shared);
            let thread = std::thread::Builder::new().spawn(move || work(&shared));
            thread.map(drop).map_err(local)
        };
        let (to_stdin, from_stdout) = (OwnedFd::from(to_stdin), OwnedFd::from(from_stdout));
        let from_stderr = OwnedFd::from(from_stderr);
        pump(Box::new(|shared| shared.drain(Stream::Stdin, to_stdin)))?;
        pump(Box::new(|shared| shared.feed(Stream::Stdout, from_stdout)))?;
        pump(Box::new(|shared| shared.feed(Stream::Stderr, from_stderr)))?;
        self.stage = Stage::Running {
            warden: Box::new(warden),
            socket,
            reports: Vec::new(),
        };
        Ok(())
    }

    /// Passes on what the warden tells.
    fn take_reports(&mut self) {
        let Stage::Running {
            warden,
            socket,
            reports,
        } = &mut self.stage
        else {
            return;
        };
        let mut buffer = [0; 1024];
        let count = match socket.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return,
            read => read.unwrap_or(0),
        };
        reports.extend_from_slice(&buffer[..count]);
        let mut session = self.exchange.shared.session();
        let mut is_over = false;
        while !is_over && let Ok(Some((report, length))) = messages::read::<Report>(reports) {
            // While nobody hears of it, what it does is of no interest; its end is.
            let is_look = matches!(report, Report::Look(_));
            if !is_look || session.room(Stream::Reports) > LOOKS_LEAVE {
                session.push(Stream::Reports, &reports[..length]);
            }
            reports.drain(..length);
            is_over = matches!(report, Report::Ended { .. } | Report::NotStarted { .. });
        }
        if count == 0 && !is_over {
            // It was killed; what it has left has become this process's.
            let _ = warden.kill_tree(PATIENCE);
            let (end, usage) = (End::Unknown, Usage::default());
            session.push(
                Stream::Reports,
                &messages::write(&Report::Ended { end, usage }),
            );
            is_over = true;
        }
        if is_over {
            session.end(Stream::Reports);
            drop(session);
            let _ = warden.wait();
            self.stage = Stage::Over;
        }
    }

    /// Ends the stage with all that belongs to it.
    fn end(&mut self, error: FarError) -> FarError {
        if let Stage::Running { warden, socket, .. } =
            std::mem::replace(&mut self.stage, Stage::Over)
        {
            drop(socket);
            if !matches!(warden.wait_timeout(PATIENCE), Ok(Some(_))) {
                let _ = warden.kill_tree(PATIENCE);
            }
        }
        error
    }
}
