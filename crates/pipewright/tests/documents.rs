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
fn the_table_beside_others_is_the_same_wherever_it_stands() {
    let rows = |file: &str| -> Option<Vec<String>> {
        let text = std::fs::read_to_string(package().join(file)).ok()?;
        let lines = text.lines().map(|line| line.trim_start_matches("//! "));
        let table = lines.skip_while(|line| !line.starts_with("| | pipewright | std |"));
        let rows = table.take_while(|line| line.starts_with('|'));
        Some(rows.map(str::to_owned).collect())
    };
    let here = rows("src/lib.rs").unwrap();
    assert!(here.len() > 10 && here.iter().all(|row| !row.is_empty()));
    for file in ["../../README.md", "../../docs/coming-from.md"] {
        match rows(file) {
            Some(there) => assert_eq!(here, there, "{file}"),
            None => println!("skipped {file}: the package stands alone"),
        }
    }
}
