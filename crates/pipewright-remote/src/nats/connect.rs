//! How a server is reached, and who we are there.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_nats::{ConnectOptions, Event, ServerAddr};

/// Where the server is, and by what it knows us.
///
/// A user and a password, or a token, may stand in the address as well: `nats://user:password@host`. What
/// has a meaning of its own there is written as in any URL: `%40` for `@`, `%3A` for `:`.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Login {
    /// `nats://HOST:4222`, `tls://HOST`; several of one cluster with commas between them.
    pub url: String,
    /// A file with a JWT and the key to it, as `nsc` writes it.
    pub credentials: Option<PathBuf>,
    /// A file with the seed of an nkey.
    pub nkey: Option<PathBuf>,
    /// A user and a password.
    pub user: Option<(String, String)>,
    /// A token.
    pub token: Option<String>,
    /// Certificates to trust, beside those of the system.
    pub tls_ca: Option<PathBuf>,
    /// A certificate of ours and its key, for servers that ask for one.
    pub tls_certificate: Option<(PathBuf, PathBuf)>,
}

/// What stands before the `@` of an address.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    /// `nats://USER:PASSWORD@HOST`
    User(String, String),
    /// `nats://TOKEN@HOST`
    Token(String),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The address cannot be read.
    #[error(
        "{url:?} is no address of a NATS server ({why}): give nats://HOST, nats://HOST:4222 or tls://HOST"
    )]
    Address {
        /// What was given.
        url: String,
        /// Why.
        why: String,
    },
    /// A file cannot be read.
    #[error("cannot read the {what} {}", path.display())]
    File {
        /// What should be in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The server is not there, or does not let us in.
    #[error("cannot connect to NATS at {url}: {why}")]
    Connect {
        /// The address, without what is secret in it.
        url: String,
        /// What went wrong.
        why: String,
    },
}

impl Login {
    /// A login by an address alone.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ..Self::default()
        }
    }

    /// The addresses. The scheme decides whether TLS is asked for; a user in it is used.
    fn addresses(&self) -> Result<Vec<ServerAddr>, LoginError> {
        let parse = |text: &str| {
            let is_known = ["nats://", "tls://"]
                .iter()
                .any(|scheme| text.starts_with(scheme));
            let bad = |why: String| LoginError::Address {
                url: without_secrets(text),
                why,
            };
            if !is_known {
                return Err(bad(
                    "it begins neither with nats:// nor with tls://".to_owned()
                ));
            }
            let address: ServerAddr = text
                .parse()
                .map_err(|error: std::io::Error| bad(error.to_string()))?;
            if address.host().is_empty() {
                return Err(bad("it names no host".to_owned()));
            }
            Ok(address)
        };
        self.url.split(',').map(|text| parse(text.trim())).collect()
    }

    /// The hosts, to look for a monitoring port on.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let addresses = self.addresses().unwrap_or_default();
        addresses
            .iter()
            .map(|address| address.host().to_owned())
            .collect()
    }

    /// Who we are by the address. It counts where nothing else was given, as with the usual tools.
    fn named(&self, addresses: &[ServerAddr]) -> Result<Option<Named>, LoginError> {
        // Whatever an address cannot have as it is stands there as %40.
        let decoded = |text: &str| {
            let text = percent_encoding::percent_decode_str(text).decode_utf8();
            text.map(Cow::into_owned).map_err(|_| LoginError::Address {
                url: without_secrets(&self.url),
                why: "what stands before @ is not UTF-8 when its %XX are decoded".to_owned(),
            })
        };
        let has_user = |address: &&ServerAddr| address.username().is_some();
        let Some(address) = addresses.iter().find(has_user) else {
            return Ok(None);
        };
        let user = decoded(address.username().unwrap_or_default())?;
        Ok(Some(match address.password() {
            Some(password) => Named::User(user, decoded(password)?),
            None => Named::Token(user),
        }))
    }

    /// Connects. The number counts how often that was done; the first time included.
    pub(crate) async fn connect(
        &self,
        name: String,
    ) -> Result<(async_nats::Client, Arc<AtomicU64>), LoginError> {
        let addresses = self.addresses()?;
        let connected = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&connected);
        let mut options = ConnectOptions::new()
            .name(name)
            .connection_timeout(Duration::from_secs(5))
            .ping_interval(Duration::from_secs(10))
            .reconnect_delay_callback(|attempts| {
                Duration::from_millis(50 << attempts.min(5)).min(Duration::from_secs(1))
            })
            .event_callback(move |event| {
                if matches!(event, Event::Connected) {
                    count.fetch_add(1, Relaxed);
                }
                std::future::ready(())
            });
        let named = self.named(&addresses)?;
        let user = self.user.clone().or_else(|| match &named {
            Some(Named::User(user, password)) => Some((user.clone(), password.clone())),
            _ => None,
        });
        if let Some((user, password)) = user {
            options = options.user_and_password(user, password);
        }
        let token = self.token.clone().or(match named {
            Some(Named::Token(token)) => Some(token),
            _ => None,
        });
        if let Some(token) = token {
            options = options.token(token);
        }
        if let Some(path) = &self.nkey {
            let seed = std::fs::read_to_string(path).map_err(|source| LoginError::File {
                what: "nkey",
                path: path.clone(),
                source,
            })?;
            options = options.nkey(seed.trim().to_owned());
        }
        if let Some(path) = &self.credentials {
            options = options
                .credentials_file(path)
                .await
                .map_err(|source| LoginError::File {
                    what: "credentials",
                    path: path.clone(),
                    source,
                })?;
        }
        if let Some(path) = &self.tls_ca {
            readable("certificates", path)?;
            options = options.add_root_certificates(path.clone());
        }
        if let Some((certificate, key)) = &self.tls_certificate {
            readable("certificate", certificate)?;
            readable("key", key)?;
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        let client = options.connect(addresses).await.map_err(|error| {
            let mut why = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(next) = source {
                let more = next.to_string();
                if !why.contains(&more) {
                    why = format!("{why}: {more}");
                }
                source = next.source();
            }
            LoginError::Connect {
                url: without_secrets(&self.url),
                why,
            }
        })?;
        Ok((client, connected))
    }
}

fn readable(what: &'static str, path: &PathBuf) -> Result<(), LoginError> {
    std::fs::File::open(path)
        .map(drop)
        .map_err(|source| LoginError::File {
            what,
            path: path.clone(),
            source,
        })
}

/// An address as it may be shown: what stands before `@` is secret.
pub(crate) fn without_secrets(url: &str) -> String {
    let shown = |text: &str| match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        _ => text.to_owned(),
    };
    url.split(',').map(shown).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (url, shown) in [
            ("nats://me:secret@host:1", "nats://host:1"),
            ("nats://a:b@c,tls://d@e", "nats://c,tls://e"),
            ("x:y@z", "z"),
            ("nats://host", "nats://host"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }

    #[test]
    fn who_we_are_is_read_from_the_address_whatever_bytes_it_has() {
        let named = |url: &str| {
            let login = Login::new(url);
            login.named(&login.addresses().unwrap())
        };
        let user = |user: &str, password: &str| Some(Named::User(user.into(), password.into()));
        for (url, who) in [
            ("nats://host", None),
            ("nats://me:secret@host", user("me", "secret")),
            (
                "nats://me%40lab:p%3Aa%2Fs%25s%20w@host",
                user("me@lab", "p:a/s%s w"),
            ),
            ("nats://a,nats://me:x@b", user("me", "x")),
            ("nats://wo%2Frd@host", Some(Named::Token("wo/rd".into()))),
        ] {
            assert_eq!(named(url).unwrap(), who, "{url}");
        }
        let refused = named("nats://me:secret%ff@host").unwrap_err().to_string();
        assert!(
            refused.contains("not UTF-8") && !refused.contains("secret"),
            "{refused}"
        );
    }

    #[test]
    fn an_address_that_is_none_is_refused_before_anything_is_tried() {
        for url in [
            "host:4222",
            "http://host",
            "nats://",
            "nats://host:99999",
            "",
        ] {
            assert!(Login::new(url).addresses().is_err(), "{url}");
        }
        assert_eq!(Login::new("nats://a:1, tls://b").hosts(), ["a", "b"]);
    }
}
