//! What is built once for all tests.

use std::path::PathBuf;

/// Finds an example of a package. `cargo test` builds them all; when only one test file was asked
/// for it does not, and the example is built here.
pub fn example(package: &str, name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let path = profile.join("examples").join(name);
    if !path.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = std::process::Command::new(cargo);
        build.args(["build", "--quiet", "--all-features"]);
        build.args(["--package", package, "--example", name]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(
            build.status().unwrap().success(),
            "cannot build the example {name}"
        );
    }
    path
}
