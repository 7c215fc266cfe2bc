//! `pipewright limits`: what the kernel grants here.

use std::fmt;
use std::process::ExitCode;

use anyhow::Context;
use pipewright::{DEFAULT_PAGES, PipeExt};

use crate::cli;
use crate::export::json::values::VERSION;
use crate::view;

/// Capacities in bytes, quotas in pages; 0 is no quota.
#[derive(Debug, serde::Serialize)]
struct Limits {
    version: u32,
    page_bytes: usize,
    default_bytes: usize,
    ceiling_bytes: usize,
    soft_quota_pages: usize,
    hard_quota_pages: usize,
    /// Quotas and the ceiling do not apply to this user.
    exempt: bool,
    /// The capacity of a pipe made just now.
    new_pipe_bytes: usize,
    /// Its capacity after 1 MiB was asked for.
    largest_bytes: usize,
}

pub(crate) fn limits(options: &cli::Limits) -> anyhow::Result<ExitCode> {
    let limits = Limits::find()?;
    let text = if options.json {
        serde_json::to_string_pretty(&limits)? + "\n"
    } else {
        limits.to_string()
    };
    view::print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

const MEBIBYTE: usize = 1 << 20;

impl Limits {
    fn find() -> anyhow::Result<Self> {
        let page = rustix::param::page_size();
        let (reader, _writer) = pipewright::pipe()?;
        let new_pipe_bytes = reader.capacity()?;
        // Refused: it stays as it is.
        let largest_bytes = reader.set_capacity(MEBIBYTE).unwrap_or(new_pipe_bytes);
        Ok(Self {
            version: VERSION,
            page_bytes: page,
            default_bytes: DEFAULT_PAGES * page,
            ceiling_bytes: setting("pipe-max-size")?,
            soft_quota_pages: setting("pipe-user-pages-soft")?,
            hard_quota_pages: setting("pipe-user-pages-hard")?,
            exempt: is_exempt()?,
            new_pipe_bytes,
            largest_bytes,
        })
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let page = self.page_bytes;
        let in_pages = |bytes: usize| format!("{bytes} bytes ({} pages)", bytes / page);
        let quota = |limit: usize| match limit {
            0 => "none".to_owned(),
            _ => format!(
                "{limit} pages: {} pipes of {DEFAULT_PAGES} pages, or {} of {} KiB",
                limit / DEFAULT_PAGES,
                limit / (self.ceiling_bytes / page).max(1),
                self.ceiling_bytes / 1024
            ),
        };
        let (you, about_you) = if self.exempt {
            (
                "privileged",
                "You have CAP_SYS_RESOURCE or CAP_SYS_ADMIN: quotas do not apply to you.",
            )
        } else {
            ("unprivileged", "The ceiling and the quotas apply to you.")
        };
        let about_new = if self.new_pipe_bytes < self.default_bytes {
            "Less than the default: your pipes have reached the soft quota."
        } else {
            "Measured on a pipe made just now."
        };
        let about_largest = if self.largest_bytes < MEBIBYTE {
            "The kernel refused: the ceiling, or your quota."
        } else {
            "Granted. pipewright run asks for it for the pipes between stages."
        };
        for (name, value, sentence) in [
            (
                "default capacity",
                in_pages(self.default_bytes),
                "The size of every new pipe, until somebody asks for more.",
            ),
            (
                "ceiling",
                in_pages(self.ceiling_bytes),
                "The most you can ask for without privilege; no pipe gets it unasked. \
                 (/proc/sys/fs/pipe-max-size)",
            ),
            (
                "soft quota",
                quota(self.soft_quota_pages),
                "For all of a user's pipes together; beyond it new pipes get 2 pages, and none may \
                 grow. (pipe-user-pages-soft)",
            ),
            (
                "hard quota",
                quota(self.hard_quota_pages),
                "Beyond it no pipe can be made at all. (pipe-user-pages-hard)",
            ),
            ("you", you.to_owned(), about_you),
            ("a new pipe", in_pages(self.new_pipe_bytes), about_new),
            (
                "asked for 1 MiB",
                in_pages(self.largest_bytes),
                about_largest,
            ),
        ] {
            writeln!(f, "{name:<18}{value}\n{:18}{sentence}", "")?;
        }
        Ok(())
    }
}

fn setting(name: &str) -> anyhow::Result<usize> {
    let path = format!("/proc/sys/fs/{name}");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    text.trim()
        .parse()
        .with_context(|| format!("{path} is not a number"))
}

/// `true` if this process has one of the two capabilities that lift the quota (pipe(7)).
fn is_exempt() -> anyhow::Result<bool> {
    use rustix::thread::CapabilitySet;
    let sets =
        rustix::thread::capabilities(None).context("cannot read this process's capabilities")?;
    Ok(sets
        .effective
        .intersects(CapabilitySet::SYS_RESOURCE | CapabilitySet::SYS_ADMIN))
}
