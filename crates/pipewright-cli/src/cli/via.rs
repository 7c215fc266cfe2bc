//! The options of workers that come and go, with a NATS server between them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use pipewright_remote::nats::JobName;

/// Where a job is, for workers on other hosts.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Workers on other hosts")]
pub(crate) struct Via {
    /// Have the chunks run by workers on any hosts, by a NATS server with JetStream: nats://HOST, tls://HOST
    ///
    /// Each of them is `pipewright worker URL --name JOB -- COMMAND`. What is done stays on the server till
    /// the end: if this process dies, the same command with the same input goes on.
    #[arg(long, value_name = "URL", requires = "name", group = "elsewhere")]
    pub(crate) via: Option<String>,

    /// The name of the job on the server
    #[arg(long, value_name = "JOB", requires = "via")]
    pub(crate) name: Option<JobName>,

    #[command(flatten)]
    pub(crate) login: Login,

    /// Keep the job on the server after a good end
    #[arg(long, requires = "via")]
    pub(crate) keep: bool,

    /// Forget what an earlier run of the job has left there
    #[arg(long, requires = "via")]
    pub(crate) anew: bool,

    /// How many servers of a cluster keep each message
    #[arg(long, value_name = "N", requires = "via", default_value_t = 1,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=5))]
    pub(crate) replicas: usize,

    /// How long a worker may be silent before its chunk is given to another: that of `--on`, which has the
    /// option.
    #[arg(skip)]
    pub(crate) lease: Duration,

    /// The server's monitoring port, to see how durable it is [default: port 8222 of its host]
    #[arg(long, value_name = "URL", requires = "via")]
    pub(crate) monitor: Option<String>,
}

/// Who we are on the server, beside what stands in its URL.
#[derive(Debug, Clone, Args)]
pub(crate) struct Login {
    /// The credentials for the server, as nsc writes them [default: $NATS_CREDS]
    #[arg(long, value_name = "FILE")]
    pub(crate) creds: Option<PathBuf>,

    /// An nkey's seed, for the server [default: $NATS_NKEY]
    #[arg(long, value_name = "FILE")]
    pub(crate) nkey: Option<PathBuf>,

    /// Certificates to trust beside the system's [default: $NATS_CA]
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,

    /// A certificate of ours [default: $NATS_CERT]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Its key [default: $NATS_KEY]
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
}

/// Run chunks of a job on this host: pipewright worker nats://HOST --name JOB -- B
///
/// The job is that of `A | pipewright workers --via nats://HOST --name JOB -- B | C`, on any host. Workers
/// come and go as they like, before and while the job runs; they end with it. B must be the same command
/// as the job's, and is run with the same locale.
#[derive(Debug, Args)]
#[command(after_long_help = WORKER_NOTES)]
pub(crate) struct Worker {
    /// The server: nats://HOST, tls://HOST; with commas between them, several of one cluster
    #[arg(value_name = "URL")]
    pub(crate) url: String,

    /// The name of the job
    #[arg(long, value_name = "JOB")]
    pub(crate) name: JobName,

    #[command(flatten)]
    pub(crate) login: Login,

    /// How many chunks at once [default: one for each core]
    #[arg(short, long, value_name = "N",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub(crate) jobs: Option<usize>,

    /// Say on stderr how it went
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

const WORKER_NOTES: &str = "\
Signals:
  Ctrl-C once: it finishes the chunks that it has; twice, or SIGTERM: it gives them back

Environment:
  NATS_USER and NATS_PASSWORD, NATS_TOKEN, NATS_CREDS, NATS_NKEY, NATS_CA, NATS_CERT, NATS_KEY

Exit status:
  0    the job is over, or it was asked to go
  125  an error of pipewright itself
  126  the command could not be executed
  127  the command was not found";
