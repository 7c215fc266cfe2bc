//! A long way: a relay that holds what passes for a while, in each direction.
//!
//! What netem does in the kernel, where a kernel has it. Each direction of a connection has as many bytes
//! under way as a TCP connection with the usual buffers.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

/// The most bytes of one direction that are under way: `net.ipv4.tcp_rmem` has 6 MiB as its largest.
const WINDOW: usize = 6 << 20;

/// A port that leads to another one over a distance.
pub(super) struct Way {
    port: u16,
}

impl Way {
    /// Leads to this address; there and back takes so many milliseconds.
    pub(super) fn new(to: (&str, u16), milliseconds: u32) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot listen")?;
        let port = listener.local_addr().context("cannot listen")?.port();
        let to = (to.0.to_owned(), to.1);
        let each = Duration::from_millis(milliseconds.into()) / 2;
        // It lasts as long as this program.
        thread::spawn(move || {
            for here in listener.incoming().flatten() {
                let Ok(there) = TcpStream::connect((to.0.as_str(), to.1)) else {
                    continue;
                };
                for (from, to) in [(&here, &there), (&there, &here)] {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else {
                        continue;
                    };
                    let _ = to.set_nodelay(true);
                    carry(from, to, each);
                }
            }
        });
        Ok(Self { port })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

/// What is under way: pieces with the time at which they arrive. An empty one is the end.
#[derive(Default)]
struct UnderWay {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
}

fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let shared = Arc::new((Mutex::new(UnderWay::default()), Condvar::new()));
    let other = Arc::clone(&shared);
    thread::spawn(move || {
        let (under_way, changed) = &*shared;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = from.read(&mut buffer).unwrap_or(0);
            let guard = under_way.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = changed.wait_while(guard, |it| it.bytes > WINDOW);
            let mut guard = waited.unwrap_or_else(PoisonError::into_inner);
            guard.bytes += count;
            guard
                .pieces
                .push_back((Instant::now() + delay, buffer[..count].to_vec()));
            changed.notify_all();
            if count == 0 {
                return;
            }
        }
    });
    thread::spawn(move || {
        let (under_way, changed) = &*other;
        loop {
            let guard = under_way.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = changed.wait_while(guard, |it| it.pieces.is_empty());
            let mut guard = waited.unwrap_or_else(PoisonError::into_inner);
            let Some((arrives, bytes)) = guard.pieces.pop_front() else {
                continue;
            };
            drop(guard);
            thread::sleep(arrives.saturating_duration_since(Instant::now()));
            // One that is gone takes no more, and the sender must not wait for it.
            let is_over = bytes.is_empty() || to.write_all(&bytes).is_err();
            under_way
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .bytes -= bytes.len();
            changed.notify_all();
            if is_over {
                let _ = to.shutdown(std::net::Shutdown::Write);
            }
            if bytes.is_empty() {
                return;
            }
        }
    });
}
