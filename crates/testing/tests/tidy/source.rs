//! The source files of the workspace's crates.

use std::path::{Path, PathBuf};

/// One source file of a crate.
pub(crate) struct File {
    /// The crate's folder and the path below its `src`: `pipewright/spawn/image.rs`.
    pub(crate) name: String,
    pub(crate) text: String,
}

impl File {
    /// Counts the lines that are neither blank nor comments, up to the tests at the end.
    pub(crate) fn lines_of_code(&self) -> usize {
        let code = self.text.split("\n#[cfg(test)]\nmod tests {").next();
        code.unwrap_or_default()
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("//"))
            .count()
    }

    pub(crate) fn has_unsafe_code(&self) -> bool {
        self.text
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with("//"))
            .any(|line| {
                [
                    "unsafe {",
                    "unsafe fn",
                    "unsafe impl",
                    "unsafe extern",
                    "unsafe(no_mangle)",
                    "unsafe(link_section",
                ]
                .iter()
                .any(|form| line.contains(form))
            })
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Reads a file of the repository.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All source files of all crates, build scripts, tests and examples aside.
pub(crate) fn rust_files() -> Vec<File> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let folder = entry.unwrap().path();
        let source = folder.join("src");
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let mut folders = vec![source.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let below = path.strip_prefix(&source).unwrap().to_str().unwrap();
                    files.push(File {
                        name: format!("{name}/{below}"),
                        text: std::fs::read_to_string(&path).unwrap(),
                    });
                }
            }
        }
    }
    assert!(files.len() > 50, "the crates are found");
    files.sort_by(|one, other| one.name.cmp(&other.name));
    files
}
