//! `pipewright limits`: what the kernel grants here.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::Context;
use pipewright::{DEFAULT_PAGES, PipeExt};

use crate::cli;
use crate::view;

/// What was found. Capacities in bytes, quotas in pages; 0 is no quota.
#[derive(Debug, serde::Serialize)]
struct Limits {
    version: u32,
    page_bytes: usize,
    default_bytes: usize,
    ceiling_bytes: usize,
    soft_quota_pages: usize,
    hard_quota_pages: usize,
    /// Whether quota and ceiling do not hold for this user.
    exempt: bool,
    /// What a pipe made just now got.
    new_pipe_bytes: usize,
    /// What it got when asked for 1 MiB.
    largest_bytes: usize,
}

pub(crate) fn limits(options: &cli::Limits) -> anyhow::Result<ExitCode> {
    let limits = Limits::find()?;
    let text = match options.json {
        true => serde_json::to_string_pretty(&limits)? + "\n",
        false => limits.told(),
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
            version: 1,
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

    fn told(&self) -> String {
        let page = self.page_bytes;
        let pages = |bytes: usize| bytes / page;
        let mut text = String::new();
        let mut row = |name: &str, value: String, sentence: &str| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name:<18}{value}\n{:18}{sentence}", "");
        };
        row(
            "default capacity",
            format!("{} bytes ({DEFAULT_PAGES} pages)", self.default_bytes),
            "What every new pipe has, until somebody asks for more.",
        );
        row(
            "ceiling",
            format!(
                "{} bytes ({} pages)",
                self.ceiling_bytes,
                pages(self.ceiling_bytes)
            ),
            "The most that may be asked for without privilege; no pipe has it unasked. \
             (/proc/sys/fs/pipe-max-size)",
        );
        let quota = |limit: usize| match limit {
            0 => "none".to_owned(),
            _ => format!(
                "{limit} pages: {} pipes of {DEFAULT_PAGES} pages, or {} of {} KiB",
                limit / DEFAULT_PAGES,
                limit / pages(self.ceiling_bytes).max(1),
                self.ceiling_bytes / 1024
            ),
        };
        row(
            "soft quota",
            quota(self.soft_quota_pages),
            "All of a user's pipes together; past it new pipes get 2 pages, and none may grow. \
             (pipe-user-pages-soft)",
        );
        row(
            "hard quota",
            quota(self.hard_quota_pages),
            "Past it no pipe can be made at all. (pipe-user-pages-hard)",
        );
        let you = match self.exempt {
            true => (
                "privileged",
                "You have CAP_SYS_RESOURCE or CAP_SYS_ADMIN: no quota holds for you.",
            ),
            false => ("unprivileged", "Ceiling and quotas hold for you."),
        };
        row("you", you.0.to_owned(), you.1);
        row(
            "a new pipe",
            format!(
                "{} bytes ({} pages)",
                self.new_pipe_bytes,
                pages(self.new_pipe_bytes)
            ),
            match self.new_pipe_bytes < self.default_bytes {
                true => "Less than the default: your pipes have reached the soft quota.",
                false => "Made just now, and asked.",
            },
        );
        row(
            "asked for 1 MiB",
            format!(
                "{} bytes ({} pages)",
                self.largest_bytes,
                pages(self.largest_bytes)
            ),
            match self.largest_bytes < MEBIBYTE {
                true => "The kernel refused: the ceiling, or your quota.",
                false => "Granted; so does pipewright run for the pipes between stages.",
            },
        );
        text
    }
}

fn setting(name: &str) -> anyhow::Result<usize> {
    let path = format!("/proc/sys/fs/{name}");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    text.trim()
        .parse()
        .with_context(|| format!("{path} is not a number"))
}

/// Whether this process has one of the two capabilities that lift the quota (pipe(7)).
fn is_exempt() -> anyhow::Result<bool> {
    use rustix::thread::CapabilitySet;
    let sets =
        rustix::thread::capabilities(None).context("cannot read this process's capabilities")?;
    Ok(sets
        .effective
        .intersects(CapabilitySet::SYS_RESOURCE | CapabilitySet::SYS_ADMIN))
}
