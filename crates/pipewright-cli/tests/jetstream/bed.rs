//! A coordinator, workers and what lies on their server.

use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use testing::{NatsServer, feed, shell_status, stderr};

use crate::support::pipewright;

/// Lines, each different.
pub(crate) fn lines(count: usize) -> Vec<u8> {
    (1..=count)
        .flat_map(|number| format!("line {number} of many\n").into_bytes())
        .collect()
}

/// A process that is ended with the test.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .arg(signal)
            .arg(self.0.id().to_string())
            .status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command line: `--` and what follows is the command.
pub(crate) fn coordinator(url: &str, options: &[&str], command: &[&str]) -> Command {
    let mut coordinator = pipewright();
    coordinator
        .args(["workers", "--via", url, "--name", "job", "--block", "64K"])
        .args(options)
        .arg("--")
        .args(command);
    coordinator
}

/// A worker. Its runs know by AT_WORK that they are no checks of the coordinator's.
pub(crate) fn worker(url: &str, command: &[&str]) -> Process {
    let mut worker = pipewright();
    worker
        .env("AT_WORK", "1")
        .args(["worker", url, "--name", "job", "-j", "1", "-v", "--"])
        .args(command)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    Process(worker.spawn().unwrap())
}

/// One run of the command.
pub(crate) fn plain(command: &[&str], bytes: &[u8]) -> Output {
    feed(
        Command::new(command[0])
            .args(&command[1..])
            .env("LC_ALL", "C.UTF-8"),
        bytes,
    )
}

/// The command's bytes, status and stderr by workers, with so many of them.
pub(crate) fn by_workers(
    server: &NatsServer,
    workers: usize,
    options: &[&str],
    command: &[&str],
    bytes: &[u8],
) -> Output {
    let _workers: Vec<_> = (0..workers)
        .map(|_| worker(&server.url(), command))
        .collect();
    feed(&mut coordinator(&server.url(), options, command), bytes)
}

pub(crate) fn assert_same(one: &Output, other: &Output, what: &str) {
    assert_eq!(
        shell_status(one),
        shell_status(other),
        "{what}: {}",
        stderr(other)
    );
    assert!(
        one.stdout == other.stdout,
        "{what}: other bytes; {}",
        stderr(other)
    );
}

/// A script that does something at a line, and else gives its input. It notes the runs of workers.
pub(crate) fn script(directory: &Path, at: &str, then: &str) -> String {
    let path = directory.join("command");
    let text = format!(
        "#!/bin/sh\ninput=$(mktemp); trap 'rm -f \"$input\"' EXIT; cat > \"$input\"\n\
         [ -z \"$AT_WORK\" ] || echo run >> '{}'\n\
         if grep -q '^line {at} of' \"$input\"; then {then}; fi\n\
         sed s/line/LINE/ \"$input\"\n",
        directory.join("runs").display()
    );
    testing::write_script(&path, &text);
    path.display().to_string()
}

pub(crate) fn runs(directory: &Path) -> usize {
    let text = std::fs::read_to_string(directory.join("runs")).unwrap_or_default();
    text.lines().count()
}

/// Puts a message on a subject, as anybody on the network may.
pub(crate) fn publish(server: &NatsServer, subject: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let head = format!(
        "CONNECT {{\"verbose\":false}}\r\nPUB {subject} {}\r\n",
        bytes.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(bytes).unwrap();
    stream.write_all(b"\r\nPING\r\n").unwrap();
    let mut seen: Vec<u8> = Vec::new();
    let mut buffer = [0; 4096];
    while !seen.windows(4).any(|four| four == b"PONG") {
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0);
        seen.extend(&buffer[..length]);
    }
}

/// What the server answers to a request.
pub(crate) fn request(server: &NatsServer, subject: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let head = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB answers 1\r\nPUB {subject} answers {}\r\n",
        body.len()
    );
    let text = [head.as_bytes(), body, b"\r\n"].concat();
    // A server that is being killed, or is only starting, says nothing.
    if stream.write_all(&text).is_err() {
        return String::new();
    }
    let mut from = BufReader::new(stream);
    let mut line = String::new();
    while from.read_line(&mut line).is_ok_and(|length| length > 0) {
        if let Some(length) = line.strip_prefix("MSG answers 1 ") {
            let mut answer = vec![0; length.trim().parse().unwrap()];
            let read = from.read_exact(&mut answer);
            return read.map_or_else(|_| String::new(), |()| String::from_utf8(answer).unwrap());
        }
        line.clear();
    }
    String::new()
}

/// Waits until the server has something under the subject.
pub(crate) fn until_there(server: &NatsServer, subject: &str) {
    let body = format!("{{\"last_by_subj\":\"pipewright.job.{subject}\"}}");
    let get = "$JS.API.STREAM.MSG.GET.pipewright-job-results";
    while !request(server, get, body.as_bytes()).contains("\"seq\"") {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Puts so much on the server that it takes no more.
pub(crate) fn fill(server: &NatsServer) {
    let stream = br#"{"name":"filler","subjects":["filler"],"retention":"limits","storage":"file","discard":"new","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"num_replicas":1}"#;
    let made = request(server, "$JS.API.STREAM.CREATE.filler", stream);
    assert!(!made.contains("\"error\""), "{made}");
    for size in [500_000, 10_000, 100] {
        while !request(server, "filler", &vec![0; size]).contains("\"error\"") {}
    }
}

/// Takes away what [`fill`] has put.
pub(crate) fn make_room(server: &NatsServer) {
    let deleted = request(server, "$JS.API.STREAM.DELETE.filler", b"");
    assert!(deleted.contains("\"success\":true"), "{deleted}");
}

/// A coordinator at work that is given all of its input but the end, so that its job cannot be over before
/// [`Stage::end`].
pub(crate) struct Stage {
    process: Process,
    hold: Option<mpsc::Sender<()>>,
    output: std::fs::File,
    told: std::fs::File,
}

impl Stage {
    pub(crate) fn begin(command: &mut Command, bytes: &[u8]) -> Self {
        let (output, told) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let mut process = Process(
            command
                .stdin(Stdio::piped())
                .stdout(output.try_clone().unwrap())
                .stderr(told.try_clone().unwrap())
                .spawn()
                .unwrap(),
        );
        let mut stdin = process.0.stdin.take().unwrap();
        let (hold, held) = mpsc::channel::<()>();
        let bytes = bytes.to_vec();
        std::thread::spawn(move || {
            let (begin, end) = bytes.split_at(bytes.len() - 1000);
            // One that is killed takes no more.
            if stdin.write_all(begin).is_ok() {
                let _ = held.recv();
                let _ = stdin.write_all(end);
            }
        });
        Self {
            process,
            hold: Some(hold),
            output,
            told,
        }
    }

    pub(crate) fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    /// Gives it the end of its input.
    pub(crate) fn go_on(&mut self) {
        self.hold = None;
    }

    /// Gives it the end of its input, and waits for its own.
    pub(crate) fn end(mut self) -> Output {
        self.go_on();
        let status = self.process.0.wait().unwrap();
        let all = |mut file: std::fs::File| {
            let mut bytes = Vec::new();
            file.rewind().unwrap();
            file.read_to_end(&mut bytes).unwrap();
            bytes
        };
        Output {
            status,
            stdout: all(self.output),
            stderr: all(self.told),
        }
    }

    /// Ends it by SIGKILL, with its input.
    pub(crate) fn kill(mut self) {
        self.process.signal("-KILL");
        self.process.0.wait().unwrap();
    }
}

/// Puts every ticket of a job on the server twice, until the server goes.
pub(crate) fn double_tickets(server: &NatsServer) {
    let stream = TcpStream::connect(server.address()).unwrap();
    let mut to = stream.try_clone().unwrap();
    to.write_all(b"CONNECT {\"verbose\":false}\r\nSUB pipewright.job.work.> 1\r\nPING\r\n")
        .unwrap();
    let (ready, is_ready) = mpsc::channel();
    std::thread::spawn(move || {
        let mut from = BufReader::new(stream);
        let mut line = String::new();
        while from.read_line(&mut line).is_ok_and(|length| length > 0) {
            let words: Vec<_> = line.split_whitespace().collect();
            match words[..] {
                ["PING"] => to.write_all(b"PONG\r\n").unwrap_or_default(),
                ["PONG"] => ready.send(()).unwrap_or_default(),
                ["MSG", subject, .., length] => {
                    let length: usize = length.parse().unwrap();
                    let mut ticket = vec![0; length + 2];
                    from.read_exact(&mut ticket).unwrap();
                    // Those are the second ones.
                    if !subject.ends_with(".77") {
                        let head = format!("PUB {subject}.77 {length}\r\n");
                        let _ = to.write_all(&[head.as_bytes(), &ticket].concat());
                    }
                }
                _ => {}
            }
            line.clear();
        }
    });
    is_ready.recv().unwrap();
}
