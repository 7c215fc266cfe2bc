//! What people install: the tarball and the Debian package, built, installed and used.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use testing::{stderr, watchdog};

fn script() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/build");
    let is_there = script.exists();
    if !is_there {
        println!("skipped: the package stands alone, without the script beside it");
    }
    is_there.then_some(script)
}

fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", stderr(&output));
    output
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("skipped: there is no {program} that this user can run");
    }
    found
}

/// Everything that is to be below a prefix, `zsh` being where this kind of package puts completions for it.
fn check(prefix: &Path, zsh: &str) {
    let program = prefix.join("bin/pipewright");
    let output = done(Command::new(&program).args(["run", "echo installed | cat"]));
    assert_eq!(output.stdout, b"installed\n");

    let pages = std::fs::read_dir(prefix.join("share/man/man1")).unwrap();
    let pages: Vec<_> = pages
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    for page in [
        "pipewright.1.gz",
        "pipewright-run.1.gz",
        "pipewright-man.1.gz",
    ] {
        assert!(pages.iter().any(|it| it == page), "{page}: {pages:?}");
    }
    let whole = done(
        Command::new("gzip")
            .arg("-dc")
            .arg(prefix.join("share/man/man1/pipewright-run.1.gz")),
    );
    let printed = done(Command::new(&program).args(["man", "run"]));
    assert_eq!(whole.stdout, printed.stdout);

    for (shell, file) in [
        ("bash", "bash-completion/completions/pipewright".to_owned()),
        ("zsh", format!("zsh/{zsh}/_pipewright")),
        (
            "fish",
            "fish/vendor_completions.d/pipewright.fish".to_owned(),
        ),
    ] {
        let installed = std::fs::read(prefix.join("share").join(file)).unwrap();
        let printed = done(Command::new(&program).args(["completions", shell]));
        assert!(installed == printed.stdout, "{shell}");
    }
    let documents = prefix.join("share/doc/pipewright");
    let licences = std::fs::read_to_string(documents.join("LICENSES-OF-DEPENDENCIES")).unwrap();
    assert!(licences.contains("\nclap ") && licences.contains("Permission is hereby granted"));
    assert!(!licences.contains(env!("CARGO_MANIFEST_DIR")));
    assert!(documents.join("README.md").exists());
}

#[test]
fn what_is_packaged_can_be_installed_used_and_removed() {
    let _watchdog = watchdog();
    let Some(script) = script() else { return };
    if !has("dpkg-deb") || !has("python3") || !has("cargo") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let output = done(
        Command::new(script)
            .args(["--binary", env!("CARGO_BIN_EXE_pipewright"), "--out"])
            .arg(&out)
            // A quick package, not a small one.
            .env("DPKG_DEB_COMPRESSOR_TYPE", "none"),
    );
    let told = String::from_utf8(output.stdout).unwrap();
    let [tarball, package] = told.lines().collect::<Vec<_>>()[..] else {
        panic!("a tarball and a package: {told}");
    };

    let local = directory.path().join("local");
    std::fs::create_dir(&local).unwrap();
    done(
        Command::new("tar")
            .args(["-xf", tarball, "--strip-components=1", "-C"])
            .arg(&local),
    );
    check(&local, "site-functions");
    assert!(local.join("share/doc/pipewright/LICENSE-MIT").exists());

    let field = |name| {
        let output = done(Command::new("dpkg-deb").args(["--field", package, name]));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(field("Version"), env!("CARGO_PKG_VERSION"));
    assert!(
        field("Depends").starts_with("libc6 (>= 2."),
        "{}",
        field("Depends")
    );

    let root = directory.path().join("root");
    std::fs::create_dir(&root).unwrap();
    if !rustix::process::geteuid().is_root() {
        println!("unpacked only: who is not root cannot install");
        done(
            Command::new("dpkg-deb")
                .args(["--extract", package])
                .arg(&root),
        );
        return check(&root.join("usr"), "vendor-completions");
    }
    let database = root.join("var/lib/dpkg");
    for name in ["info", "updates", "triggers"] {
        std::fs::create_dir_all(database.join(name)).unwrap();
    }
    for name in ["status", "available"] {
        std::fs::write(database.join(name), "").unwrap();
    }
    let dpkg = || {
        let mut dpkg = Command::new("dpkg");
        dpkg.arg("--root").arg(&root).arg("--log=/dev/null");
        dpkg
    };
    // Nothing else is installed there, and no program runs in it.
    done(dpkg().args(["--force-depends", "--install", package]));
    check(&root.join("usr"), "vendor-completions");
    let copyright =
        std::fs::read_to_string(root.join("usr/share/doc/pipewright/copyright")).unwrap();
    assert!(
        copyright.contains("Permission is hereby granted") && copyright.contains("Apache License")
    );
    done(dpkg().args(["--purge", "pipewright"]));
    let left =
        root.join("usr/bin/pipewright").exists() || root.join("usr/share/doc/pipewright").exists();
    assert!(!left, "removed without a rest");
}
