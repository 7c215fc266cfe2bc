//! What somebody may have meant by a command that was not found.
//!
//! Aliases and functions live in the user's shell alone. Its start files are read as text for their
//! names; nothing in them is run.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use strsim::damerau_levenshtein;

use crate::view::text;

/// The start files of shells, in the home directory.
const START_FILES: &[&str] = &[
    ".bashrc",
    ".bash_aliases",
    ".bash_profile",
    ".profile",
    ".zshrc",
    ".zshenv",
    ".config/fish/config.fish",
];
/// What lies beyond is not read.
const MOST: u64 = 1 << 20;
/// So many names are proposed.
const NAMES: usize = 3;

/// Advice on a name that leads to no program.
pub(crate) fn advice(name: &str) -> String {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let files = home.iter().flat_map(|home| {
        let files = START_FILES.iter();
        files.map(|file| (format!("~/{file}"), home.join(file)))
    });
    for (shown, path) in files {
        let said = read(&path)
            .and_then(|text| definition(&text, name).map(|kind| kind.advice(name, &shown)));
        if let Some(advice) = said {
            return advice;
        }
    }
    let function = format!(".config/fish/functions/{name}.fish");
    if home.is_some_and(|home| home.join(&function).exists()) {
        return Kind::FishFunction.advice(name, &format!("~/{function}"));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let programs = std::env::split_paths(&path).flat_map(|directory| {
        let entries = directory.read_dir().into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok())
    });
    match &near(name, programs)[..] {
        [] => "is it installed and in your PATH? aliases, and functions without export -f, are not seen"
            .to_owned(),
        names => format!(
            "did you mean {}? or is {} not installed?",
            text::line(&names.join(" or ")),
            text::line(name)
        ),
    }
}

fn read(path: &Path) -> Option<String> {
    // A pipe would hold us up.
    let is_file = path.metadata().ok()?.is_file();
    let file = is_file.then(|| File::open(path)).and_then(Result::ok)?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// What a start file makes of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// With what it stands for.
    Alias(String),
    Function,
    FishFunction,
}

impl Kind {
    fn advice(&self, name: &str, file: &str) -> String {
        let name = text::line(name);
        match self {
            Self::Alias(value) => format!(
                "{name} is an alias in {file}, and those are not seen, as in any script; it stands for {}",
                text::line(value)
            ),
            Self::Function => {
                format!("{name} is a function in {file}; after export -f {name} (bash) it is seen")
            }
            Self::FishFunction => format!(
                "{name} is a function in {file}, and fish's are not seen; fish -c '{name} …' runs it as a stage"
            ),
        }
    }
}

/// The definition of a name in the text of a start file, if there is one.
fn definition(text: &str, name: &str) -> Option<Kind> {
    text.lines().find_map(|line| {
        let line = line.trim();
        if let Some(alias) = line.strip_prefix("alias ") {
            let alias = alias.trim_start().strip_prefix(name)?;
            // bash and zsh write `=`, fish a blank.
            let value = alias
                .strip_prefix('=')
                .or_else(|| alias.strip_prefix(' '))?;
            return Some(Kind::Alias(unquoted(value)));
        }
        let (is_named, rest) = match line.strip_prefix("function ") {
            Some(rest) => (true, rest.trim_start()),
            None => (false, line),
        };
        let rest = rest.strip_prefix(name)?.trim_start();
        let is_function =
            rest.starts_with("()") || (is_named && (rest.is_empty() || rest.starts_with('{')));
        is_function.then_some(Kind::Function)
    })
}

/// The first word of a line, quotes off.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    let quote = value.chars().next().filter(|it| matches!(it, '\'' | '"'));
    let word = match quote {
        Some(quote) => value[1..].split(quote).next(),
        None => value.split([' ', ';']).next(),
    };
    word.unwrap_or_default().to_owned()
}

/// The programs whose names are one slip of the fingers away, or two where the name is long.
fn near(name: &str, programs: impl Iterator<Item = String>) -> Vec<String> {
    let letters = name.chars().count();
    let furthest = match letters {
        0..3 => return Vec::new(),
        3..7 => 1,
        _ => 2,
    };
    let close = programs.filter(|it| it.len().abs_diff(name.len()) <= furthest * 4);
    let found: BTreeSet<(usize, String)> = close
        .map(|it| (damerau_levenshtein(name, &it), it))
        .filter(|(distance, _)| (1..=furthest).contains(distance))
        .collect();
    let nearest = found.first().map(|(distance, _)| *distance);
    let nearest = found.into_iter().filter(|(it, _)| Some(*it) == nearest);
    nearest.take(NAMES).map(|(_, it)| it).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_file_tells_of_aliases_and_functions() {
        let text = "# alias no='1'\nalias ll='ls -alF'\n  alias g=git # short\nalias fishy 'ls -l'\n\
                    up() { cd ..; }\nfunction down { cd -; }\nfunction over\nother () {\nllx=3\n";
        let alias = |value: &str| Some(Kind::Alias(value.to_owned()));
        for (name, kind) in [
            ("ll", alias("ls -alF")),
            ("g", alias("git")),
            ("fishy", alias("ls -l")),
            ("up", Some(Kind::Function)),
            ("down", Some(Kind::Function)),
            ("over", Some(Kind::Function)),
            ("other", Some(Kind::Function)),
            ("no", None),
            ("l", None),
            ("llx", None),
            ("git", None),
        ] {
            assert_eq!(definition(text, name), kind, "{name}");
        }
    }

    #[test]
    fn a_slip_of_the_fingers_is_recognised() {
        let programs = [
            "gzip",
            "gunzip",
            "grep",
            "egrep",
            "sha256sum",
            "sha224sum",
            "ls",
            "cat",
        ];
        let near = |name| near(name, programs.iter().map(|it| (*it).to_owned()));
        assert_eq!(near("gzpi"), ["gzip"]);
        assert_eq!(near("gerp"), ["grep"]);
        assert_eq!(near("sha265sum"), ["sha256sum"]);
        assert_eq!(near("catt"), ["cat"]);
        for name in ["l", "sl", "nothing-like-it", ""] {
            assert!(near(name).is_empty(), "{name}");
        }
    }
}
