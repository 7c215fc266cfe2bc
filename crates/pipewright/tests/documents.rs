//! What the documents say of the tests is so.

use std::path::PathBuf;

fn package() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The words of the form `file::name` in backticks.
fn named_tests(text: &str) -> Vec<(&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter_map(|word| word.split_once("::")).collect()
}

/// Whether no crate has this test.
fn missing(file: &str, name: &str) -> bool {
    let crates = std::fs::read_dir(package().join("..")).unwrap();
    !crates.flatten().any(|package| {
        let path = package.path().join("tests").join(file).with_extension("rs");
        let source = std::fs::read_to_string(path);
        source.is_ok_and(|source| source.contains(&format!("fn {name}(")))
    })
}

#[test]
fn every_test_that_stands_for_a_historic_bug_exists() {
    let path = package().join("../../docs/historic-bugs.md");
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("skipped: the package stands alone, without the documents beside it");
        return;
    };
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).collect();
    assert_eq!(rows.len(), 31, "the head and thirty rows");
    for row in &rows[1..] {
        assert!(!named_tests(row).is_empty(), "no test stands for {row}");
    }
    let missing: Vec<_> = named_tests(&text)
        .into_iter()
        .filter(|named| *named != ("file", "name"))
        .filter(|(file, name)| missing(file, name))
        .collect();
    assert_eq!(missing, []);
}

#[test]
fn the_table_beside_others_stands_once_and_the_rest_points_to_it() {
    let head = "| | pipewright | std |";
    let read = |file: &str| std::fs::read_to_string(package().join(file)).ok();
    let Some(guide) = read("../../docs/coming-from.md") else {
        println!("skipped: the package stands alone, without the documents beside it");
        return;
    };
    assert_eq!(guide.matches(head).count(), 1);
    for file in ["src/lib.rs", "../../README.md"] {
        let text = read(file).unwrap();
        assert!(
            !text.contains(head) && text.contains("docs/coming-from.md"),
            "{file}"
        );
    }
}

/// What the guide tells readers to call is there.
#[test]
fn every_method_that_the_guide_names_exists() {
    let path = package().join("../../docs/coming-from.md");
    let Ok(guide) = std::fs::read_to_string(path) else {
        println!("skipped: the package stands alone, without the documents beside it");
        return;
    };
    let mut sources = String::new();
    let mut directories = vec![package().join("src")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            if entry.path().is_dir() {
                directories.push(entry.path());
            } else {
                sources += &std::fs::read_to_string(entry.path()).unwrap();
            }
        }
    }
    // The right column of each table: `.name(`.
    let right = guide
        .lines()
        .filter(|line| line.starts_with('|') && line.matches('|').count() == 3);
    let calls = right.filter_map(|line| line.trim_end_matches('|').rsplit_once('|'));
    let mut names = Vec::new();
    for (_, here) in calls {
        for part in here.split('.').skip(1) {
            let name = part
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap();
            if part[name.len()..].starts_with('(') {
                names.push(name.to_owned());
            }
        }
    }
    assert!(names.len() > 20, "{names:?}");
    let std_has = ["into"];
    names.retain(|name| {
        !std_has.contains(&&**name)
            && !sources.contains(&format!("fn {name}("))
            && !sources.contains(&format!("fn {name}<"))
    });
    assert_eq!(names, Vec::<String>::new());
}

/// crates.io shows the README, and both licences want their text to go along.
#[test]
fn every_published_crate_carries_its_readme_and_its_licences() {
    let crates = std::fs::read_dir(package().join("..")).unwrap().flatten();
    let manifest = |package: PathBuf| std::fs::read_to_string(package.join("Cargo.toml")).ok();
    let published: Vec<_> = crates
        .filter_map(|package| Some((package.file_name(), manifest(package.path())?)))
        .filter(|(_, manifest)| !manifest.contains("publish = false"))
        .collect();
    if published.len() < 2 {
        println!("skipped: the package stands alone, without the others beside it");
        return;
    }
    for (name, manifest) in published {
        let name = name.into_string().unwrap();
        let output = std::process::Command::new(env!("CARGO"))
            .args([
                "package",
                "--list",
                "--allow-dirty",
                "--offline",
                "-p",
                &name,
            ])
            .current_dir(package())
            .output();
        let Ok(output) = output else {
            println!("skipped: this user cannot run cargo");
            return;
        };
        let listed = String::from_utf8(output.stdout).unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            assert!(
                listed.lines().any(|line| line == file),
                "{name} lacks {file}: {listed}{told}"
            );
        }
        assert!(manifest.contains("description = "), "{name}");
    }
}
