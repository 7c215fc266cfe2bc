//! `pipewright man`: manual pages, from the definition of the command line.

use std::fmt::Write;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::cli::{self, Arguments};
use crate::view;

pub(crate) fn man(options: &cli::Man) -> anyhow::Result<ExitCode> {
    let mut command = Arguments::command();
    command.build();
    if let Some(directory) = &options.all {
        return save_all(&command, directory);
    }
    let page = match &options.subcommand {
        None => main_page(&command)?,
        Some(name) => {
            let found = subcommands(&command).find(|it| it.get_name() == name);
            let known: Vec<_> = subcommands(&command).map(Command::get_name).collect();
            let found = found.with_context(|| {
                format!(
                    "{name} is not a subcommand; there are pages for {}",
                    known.join(", ")
                )
            })?;
            page_of(found)?
        }
    };
    view::print(page.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn save_all(command: &Command, directory: &Path) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot create the directory {}", directory.display()))?;
    let save = |name: &str, page: String| {
        let path = directory.join(format!("{name}.1"));
        std::fs::write(&path, page).with_context(|| format!("cannot write to {}", path.display()))
    };
    save("pipewright", main_page(command)?)?;
    for subcommand in subcommands(command) {
        save(
            &format!("pipewright-{}", subcommand.get_name()),
            page_of(subcommand)?,
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Those that have a page.
fn subcommands(command: &Command) -> impl Iterator<Item = &Command> {
    let all = command.get_subcommands();
    all.filter(|it| it.get_name() != "help" && !it.is_hide_set())
}

fn main_page(command: &Command) -> anyhow::Result<String> {
    let mut page = begun(command)?;
    writeln!(page, ".SH DESCRIPTION\n{}", escaped(DESCRIPTION))?;
    writeln!(page, ".SH SUBCOMMANDS")?;
    for subcommand in subcommands(command) {
        let about = subcommand.get_about().map(ToString::to_string);
        let about = escaped(&about.unwrap_or_default());
        writeln!(
            page,
            ".TP\n\\fBpipewright\\-{}\\fR(1)\n{about}",
            subcommand.get_name()
        )?;
    }
    if let Some(notes) = command.get_after_help().or(command.get_after_long_help()) {
        add_notes(&mut page, &notes.to_string());
    }
    add_list(&mut page, "EXIT STATUS", EXIT_STATUS);
    add_list(&mut page, "ENVIRONMENT", &concerning(ENVIRONMENT, None));
    add_list(&mut page, "FILES", &concerning(FILES, None));
    writeln!(page, ".SH \"SEE ALSO\"\n{}", escaped(SEE_ALSO))?;
    Ok(page)
}

fn page_of(command: &Command) -> anyhow::Result<String> {
    let name = command.get_name();
    let mut page = begun(command)?;
    page += &rendered(|out| Man::new(command.clone()).render_description_section(out))?;
    let is_shown = |it: &&clap::Arg| !it.is_hide_set() && it.get_id() != "help";
    if command.get_arguments().any(|it| is_shown(&it)) {
        page += &rendered(|out| Man::new(command.clone()).render_options_section(out))?;
    }
    let notes = command.get_after_long_help().map(ToString::to_string);
    let notes = notes.unwrap_or_default();
    if !notes.contains("Examples:") {
        add_notes(&mut page, examples(name));
    }
    add_notes(&mut page, &notes);
    if !notes.contains("Exit status:") {
        let looks = ["ls", "watch", "resize"].contains(&name);
        let statuses = EXIT_STATUS
            .iter()
            .filter(|(status, _)| looks || *status != "1");
        let statuses: Vec<_> = statuses
            .take_while(|(it, _)| *it != OTHERS)
            .copied()
            .collect();
        add_list(&mut page, "EXIT STATUS", &statuses);
    }
    add_list(
        &mut page,
        "ENVIRONMENT",
        &concerning(ENVIRONMENT, Some(name)),
    );
    add_list(&mut page, "FILES", &concerning(FILES, Some(name)));
    writeln!(
        page,
        ".SH \"SEE ALSO\"\npipewright(1), {}",
        escaped(SEE_ALSO)
    )?;
    Ok(page)
}

/// The title, the name and the whole synopsis.
fn begun(command: &Command) -> anyhow::Result<String> {
    let version = concat!("pipewright ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone())
        .date("")
        .source(version)
        .manual("User Commands");
    let mut page = rendered(|out| man.render_title(out))?;
    let name = command.get_display_name().unwrap_or(command.get_name());
    let about = command.get_about().map(ToString::to_string);
    let about = escaped(&about.unwrap_or_default());
    writeln!(page, ".SH NAME\n{} \\- {about}", escaped(name))?;
    writeln!(page, ".SH SYNOPSIS")?;
    let binary = command.get_bin_name().unwrap_or(name);
    let usage = command.clone().render_usage().to_string();
    let forms = usage.trim_start_matches("Usage:").lines();
    for (index, form) in forms.map(str::trim).filter(|it| !it.is_empty()).enumerate() {
        // The first form has every option with its value; the others have the same.
        let (program, arguments) = form.split_at(binary.len().min(form.len()));
        let arguments = match (index, arguments.strip_prefix(" [OPTIONS]")) {
            (0, rest) => format!(" {}{}", options(command), rest.unwrap_or(arguments)),
            _ => arguments.to_owned(),
        };
        let start = if index == 0 { "" } else { ".br\n" };
        writeln!(page, "{start}\\fB{program}\\fR{}", escaped(&arguments))?;
    }
    Ok(page)
}

/// `[-i|--interval DURATION] [--color WHEN]`
fn options(command: &Command) -> String {
    let shown = command
        .get_arguments()
        .filter(|it| !it.is_positional() && !it.is_hide_set());
    let options = shown.map(|it| {
        let short = it.get_short().map(|short| format!("-{short}"));
        let long = it.get_long().map(|long| format!("--{long}"));
        let names: Vec<_> = short.into_iter().chain(long).collect();
        let values = it.get_num_args().unwrap_or_default();
        let value = it
            .get_value_names()
            .map(|names| names.join(" "))
            .unwrap_or_default();
        let value = match (values.max_values(), values.min_values()) {
            (0, _) => String::new(),
            (_, 0) => format!("[={value}]"),
            _ => format!(" {value}"),
        };
        format!("[{}{value}]", names.join("|"))
    });
    options.collect::<Vec<_>>().join(" ")
}

fn rendered(write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    write(&mut bytes)?;
    Ok(String::from_utf8(bytes)?)
}

/// Text that roff takes for nothing but text.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let text = text.replace("\n'", "\n\\&'").replace("\n.", "\n\\&.");
    match text.chars().next() {
        Some('.' | '\'') => format!("\\&{text}"),
        _ => text,
    }
}

/// The notes of a help text, each heading a section.
fn add_notes(page: &mut String, notes: &str) {
    let mut title = "";
    let mut was_indented = false;
    for line in notes.lines() {
        let heading = line.strip_suffix(':').filter(|it| !it.starts_with(' '));
        let status = line.trim_start().split_once("  ");
        let status = status.filter(|(first, _)| first.parse::<u8>().is_ok());
        *page += &match (heading, status) {
            (Some(heading), _) => {
                title = heading;
                format!(".SH \"{}\"", title.to_uppercase())
            }
            (_, Some((status, text))) => format!(".TP\n{status}\n{}", escaped(text.trim())),
            _ if line.is_empty() => ".PP".to_owned(),
            // Laid out by hand, line by line.
            _ if title == "Examples" && line.starts_with(' ') => {
                format!(".nf\n{}\n.fi", escaped(line.trim()))
            }
            // What follows a list of statuses is no more of its last item.
            _ if was_indented && !line.starts_with(' ') => format!(".PP\n{}", escaped(line)),
            _ => escaped(line.trim()),
        };
        *page += "\n";
        was_indented = line.starts_with(' ');
    }
}

/// A list of terms, if there is any.
fn add_list(page: &mut String, title: &str, list: &[(&str, &str)]) {
    if !list.is_empty() {
        *page += &format!(".SH \"{title}\"\n");
    }
    for (term, text) in list {
        *page += &format!(".TP\n{}\n{}\n", escaped(term), escaped(text));
    }
}

/// Those of a list that concern a subcommand, or all.
fn concerning(list: &[About], subcommand: Option<&str>) -> Vec<(&'static str, &'static str)> {
    let these = list
        .iter()
        .filter(|about| subcommand.is_none_or(|it| about.of.contains(&it)));
    these.map(|about| (about.term, about.text)).collect()
}

/// A variable or a file, and the subcommands that it concerns.
struct About {
    of: &'static [&'static str],
    term: &'static str,
    text: &'static str,
}

const SEE_ALSO: &str = "bash(1), pv(1), timeout(1), pipe(7), fcntl(2), proc(5)";

const DESCRIPTION: &str = "pipewright runs pipelines as a shell does, reports how each stage ended, \
and shows which one is slow. The stages are connected directly by kernel pipes of the largest \
capacity that the kernel grants: no byte passes through pipewright.";

/// The statuses of what is run.
const OTHERS: &str = "any other";

const EXIT_STATUS: &[(&str, &str)] = &[
    ("0", "It did what was asked."),
    (
        "1",
        "The pipeline or the process that was asked for is not there, or may not be looked at; the kernel \
         refused to resize a pipe.",
    ),
    (
        "125",
        "pipewright itself failed, or a wrong option was given.",
    ),
    (
        OTHERS,
        "run and workers end with the status of what they run; see pipewright-run(1).",
    ),
];

const ENVIRONMENT: &[About] = &[
    About {
        of: &["run", "workers"],
        term: "PATH",
        text: "Where programs are looked for.",
    },
    About {
        of: &["run", "watch"],
        term: "TERM",
        text: "If it is unset or dumb, nothing is drawn on the terminal.",
    },
    About {
        of: &["run", "ls", "watch"],
        term: "NO_COLOR",
        text: "If it is set and not empty, no colours are used.",
    },
    About {
        of: &["run", "ls", "watch", "resize"],
        term: "LC_ALL, LC_CTYPE, LANG",
        text: "The first that is set and not empty names the locale. If that is not a UTF-8 one, nothing but \
               ASCII is printed.",
    },
    About {
        of: &["run"],
        term: "BASH_ENV, SHELLOPTS, BASHOPTS, EXECIGNORE",
        text: "They change how bash runs a text, so the text is then run whole by one bash. So it is where \
               IFS, RANDOM or another variable that bash sets anew is in the environment.",
    },
    About {
        of: &["run"],
        term: "SHLVL, _, PWD, OLDPWD",
        text: "The stages find them as bash would set them.",
    },
    About {
        of: &["run"],
        term: "TZ",
        text: "The time zone of the times on the page of --report.",
    },
    About {
        of: &["run", "spool", "workers"],
        term: "TMPDIR",
        text: "Where unnamed files are made: for chunks that are too many for memory, and for a recording \
               that goes to stdout. /tmp by default.",
    },
];

const FILES: &[About] = &[
    About {
        of: &["ls", "watch", "resize", "run"],
        term: "/proc/PID",
        text: "What a process is doing, and which pipes it holds. Nothing is written there.",
    },
    About {
        of: &["run", "resize", "limits"],
        term: "/proc/sys/fs/pipe-max-size",
        text: "The largest capacity that a pipe may be given without privilege.",
    },
    About {
        of: &["run", "resize", "limits"],
        term: "/proc/sys/fs/pipe-user-pages-soft, /proc/sys/fs/pipe-user-pages-hard",
        text: "How many pages the pipes of one user may have together.",
    },
    About {
        of: &["completions"],
        term: "/usr/share/bash-completion/completions/pipewright, \
               /usr/share/zsh/vendor-completions/_pipewright, \
               /usr/share/fish/vendor_completions.d/pipewright.fish",
        text: "Where a package puts the completions for all users.",
    },
];

/// Examples for pages whose help has none.
fn examples(subcommand: &str) -> &'static str {
    match subcommand {
        "ls" => "Examples:\n  pipewright ls\n  pipewright ls --json",
        "watch" => "Examples:\n  pipewright watch 4711\n  pipewright watch $(pgrep -n gzip)",
        "resize" => {
            "Examples:\n  pipewright resize 4711 1M\n  pipewright resize $(pgrep -n gzip) max"
        }
        "replay" => "Examples:\n  pipewright replay DIR | zstd -d | less",
        "limits" => "Examples:\n  pipewright limits\n  pipewright limits --json",
        _ => "",
    }
}
