//! How durable the server is, as far as one may know: it tells its own clients nothing of it, and its
//! monitoring port everything.

use std::fmt;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde::Deserialize;

/// The port that servers are watched by, usually.
const PORT: u16 = 8222;

/// An answer has at most so many bytes.
const LONGEST: u64 = 1 << 20;

/// What becomes of an acknowledged message when the power goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Durability {
    /// It is on the disk.
    Always,
    /// It is on a disk after so many seconds.
    After(u64),
    /// So many servers have it.
    Replicated(usize),
    /// Nobody says.
    Unknown(String),
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => {
                f.write_str("the NATS server writes each message to its disk before it says so")
            }
            Self::After(seconds) => write!(
                f,
                "the NATS server writes to its disk every {seconds} s only: when its machine loses power, what it has acknowledged since is lost and is computed again; set sync_interval: always in its jetstream block"
            ),
            Self::Replicated(servers) => write!(
                f,
                "{servers} NATS servers have each message before they say so; a power failure of all at once may lose the last ones, unless they have sync_interval: always"
            ),
            Self::Unknown(why) => write!(
                f,
                "nobody says whether the NATS server writes each message to its disk ({why}); with less than sync_interval: always in its jetstream block, its last messages are lost and computed again when its machine loses power"
            ),
        }
    }
}

impl Durability {
    /// Tells whether it is less than durable, so that somebody should be told.
    #[must_use]
    pub fn is_less(&self) -> bool {
        matches!(self, Self::After(_) | Self::Unknown(_))
    }

    /// Asks the monitoring port of each host, or this one.
    pub(crate) fn ask(hosts: &[String], monitor: Option<&str>, replicas: usize) -> Self {
        let places: Vec<String> = match monitor {
            Some(url) => vec![url.trim_end_matches('/').to_owned()],
            None => hosts
                .iter()
                .map(|host| format!("http://{host}:{PORT}"))
                .collect(),
        };
        let answers: Vec<Self> = places.iter().map(|place| ask_one(place)).collect();
        // All of a cluster have to be durable.
        let worst = answers.into_iter().max_by_key(|answer| match answer {
            Self::Always => 0,
            Self::Replicated(_) => 1,
            Self::Unknown(_) => 2,
            Self::After(_) => 3,
        });
        match worst {
            Some(Self::Always) => Self::Always,
            Some(_) if replicas >= 3 => Self::Replicated(replicas),
            Some(less) => less,
            None => Self::Unknown("there is no address to ask".to_owned()),
        }
    }
}

fn ask_one(place: &str) -> Durability {
    match get(place) {
        Ok(body) => read(&body),
        Err(why) => Durability::Unknown(format!(
            "no answer from {place}: {why}; --monitor says where it is"
        )),
    }
}

/// One GET of `/varz`.
fn get(place: &str) -> Result<Vec<u8>, String> {
    let patience = Duration::from_millis(1000);
    let Some(host) = place.strip_prefix("http://") else {
        return Err("only http:// can be asked".to_owned());
    };
    let with_port = if host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
    {
        host.to_owned()
    } else {
        format!("{host}:{PORT}")
    };
    let text = |error: std::io::Error| error.to_string();
    let mut addresses = with_port.to_socket_addrs().map_err(text)?;
    let address = addresses.next().ok_or("the host is not known")?;
    let mut stream = TcpStream::connect_timeout(&address, patience).map_err(text)?;
    stream.set_read_timeout(Some(patience)).map_err(text)?;
    stream.set_write_timeout(Some(patience)).map_err(text)?;
    let request = format!("GET /varz HTTP/1.0\r\nHost: {with_port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(text)?;
    let mut answer = Vec::new();
    stream
        .take(LONGEST)
        .read_to_end(&mut answer)
        .map_err(text)?;
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n");
    body.map(|at| answer.split_off(at + 4))
        .ok_or_else(|| "it is no HTTP".to_owned())
}

#[derive(Deserialize)]
struct Varz {
    jetstream: Option<JetStream>,
}

#[derive(Deserialize)]
struct JetStream {
    config: Option<Config>,
}

#[derive(Deserialize)]
struct Config {
    /// In nanoseconds.
    sync_interval: Option<u64>,
    #[serde(default)]
    sync_always: bool,
}

/// Reads what `/varz` says.
fn read(body: &[u8]) -> Durability {
    let config = serde_json::from_slice::<Varz>(body)
        .ok()
        .and_then(|varz| varz.jetstream?.config);
    match config {
        Some(Config {
            sync_always: true, ..
        }) => Durability::Always,
        Some(Config {
            sync_interval: Some(interval),
            ..
        }) => Durability::After(Duration::from_nanos(interval).as_secs().max(1)),
        _ => Durability::Unknown("it says nothing of a sync interval".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_of_its_disk_is_read() {
        let always =
            br#"{"jetstream":{"config":{"sync_interval":120000000000,"sync_always":true}}}"#;
        assert_eq!(read(always), Durability::Always);
        let later = br#"{"jetstream":{"config":{"sync_interval":120000000000}}}"#;
        assert_eq!(read(later), Durability::After(120));
        for nothing in [&b"{}"[..], b"", b"[1]", br#"{"jetstream":{}}"#] {
            assert!(matches!(read(nothing), Durability::Unknown(_)));
        }
    }

    #[test]
    fn whatever_is_less_than_always_is_said() {
        for (durability, is_less) in [
            (Durability::Always, false),
            (Durability::Replicated(3), false),
            (Durability::After(120), true),
            (Durability::Unknown("x".to_owned()), true),
        ] {
            assert_eq!(durability.is_less(), is_less);
            assert!(!is_less || durability.to_string().contains("sync_interval: always"));
        }
    }
}
