//! Keeps the house in order: what ARCHITECTURE.md says of it is true, its arrows run one way, its
//! files stay small, and its versions agree.

mod circles;
mod layout;
mod source;

use std::collections::BTreeSet;

use circles::circles;
use source::{File, read, rust_files};

/// The one loop that ARCHITECTURE.md argues for: `spawn` is a method that makes the `Child` which it
/// returns.
const ARGUED: [&str; 2] = ["pipewright/child.rs", "pipewright/spawn.rs"];

/// More code than this in one file is two rooms.
const LINES_OF_CODE: usize = 500;

#[test]
fn every_file_stands_in_the_layout_and_the_layout_names_no_other() {
    let files: BTreeSet<String> = rust_files().into_iter().map(|file| file.name).collect();
    let named = layout::files(&read("ARCHITECTURE.md"));
    let missing: Vec<_> = files.difference(&named).collect();
    let gone: Vec<_> = named.difference(&files).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "ARCHITECTURE.md does not name {missing:#?}, and names {gone:#?}, which are not there"
    );
}

#[test]
fn the_files_with_unsafe_code_are_the_ones_that_are_listed() {
    let with: BTreeSet<String> = rust_files()
        .into_iter()
        .filter(File::has_unsafe_code)
        .map(|file| file.name)
        .collect();
    let listed = layout::unsafe_files(&read("ARCHITECTURE.md"));
    assert_eq!(with, listed, "left: found in the files; right: listed");
}

#[test]
fn the_arrows_between_files_make_no_circle() {
    let found: Vec<_> = circles(&rust_files())
        .into_iter()
        .filter(|circle| !circle.files.iter().eq(ARGUED.iter()))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn no_file_is_longer_than_one_room() {
    let long: Vec<_> = rust_files()
        .into_iter()
        .map(|file| (file.lines_of_code(), file.name))
        .filter(|(lines, _)| *lines > LINES_OF_CODE)
        .collect();
    assert!(long.is_empty(), "lines of code: {long:#?}");
}

#[test]
fn changelog_and_versions_agree() {
    let manifest = read("Cargo.toml");
    let version = quoted_after(&manifest, "[workspace.package]\nversion = ");
    let newest = read("CHANGELOG.md")
        .lines()
        .find_map(|line| Some(line.strip_prefix("## ")?.to_owned()))
        .expect("the changelog has a version");
    assert_eq!(newest.split(' ').next(), Some(version.as_str()));
    for line in manifest
        .lines()
        .filter(|line| line.contains("path = \"crates/pipewright"))
    {
        assert_eq!(quoted_after(line, "version = "), version, "{line}");
    }
}

/// Gives what stands in quotes behind `before`.
fn quoted_after(text: &str, before: &str) -> String {
    let found = text
        .split_once(before)
        .and_then(|(_, rest)| rest.split('"').nth(1));
    found.unwrap_or_else(|| panic!("no {before:?}")).to_owned()
}
