//! Reads ARCHITECTURE.md: the layout, and the list of files with unsafe code.

use std::collections::BTreeSet;

/// The files that the layout names, as `CRATE/PATH`.
///
/// The layout is the first block between ``` lines. A crate's line starts with `crates/CRATE`; below
/// it stand its files, indented by two columns, several in braces where they share a folder; what
/// follows two blanks is a description.
pub(crate) fn files(architecture: &str) -> BTreeSet<String> {
    let block = architecture
        .split("```")
        .nth(1)
        .expect("a block with the layout");
    let mut krate = "";
    let mut named = BTreeSet::new();
    for line in block.lines() {
        let indent = line.len() - line.trim_start().len();
        let entries = line.trim_start().split("  ").next().unwrap_or_default();
        match indent {
            0 => krate = entries.strip_prefix("crates/").unwrap_or_default(),
            2 => {
                for entry in entries.split(' ') {
                    named.extend(expand(entry).map(|file| format!("{krate}/{file}")));
                }
            }
            _ => {}
        }
    }
    named
}

/// `a/{b,c}.rs` is `a/b.rs` and `a/c.rs`.
fn expand(entry: &str) -> impl Iterator<Item = String> {
    let (before, rest) = entry.split_once('{').unwrap_or((entry, "}"));
    let (names, behind) = rest.split_once('}').unwrap_or(("", ""));
    names
        .split(',')
        .map(move |name| format!("{before}{name}{behind}"))
}

/// The files in backquotes in the section on unsafe code.
pub(crate) fn unsafe_files(architecture: &str) -> BTreeSet<String> {
    let section = architecture
        .split("\n## ")
        .find(|section| section.starts_with("Unsafe code"));
    section
        .expect("a section on unsafe code")
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|quoted| quoted.ends_with(".rs"))
        .flat_map(expand)
        .collect()
}
