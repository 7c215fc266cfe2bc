//! `pipewright spool` that cannot do what is asked says why, and what to do.

mod support;

use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

use support::spools::{in_bash, replay, spool, stream};
use testing::{feed, is_root, stderr, watchdog};

#[test]
fn a_directory_that_holds_something_is_refused_with_what_to_do() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let refused = |directory: &Path, word: &str| {
        let output = feed(&mut spool([directory]), b"more");
        assert_eq!(output.status.code(), Some(125));
        assert!(stderr(&output).contains(word), "{}", stderr(&output));
        assert!(output.stdout.is_empty());
    };
    let whole = place.path().join("whole");
    assert!(feed(&mut spool([&whole]), b"whole").status.success());
    refused(&whole, "complete stream of 5 bytes: `pipewright replay");

    let cut = place.path().join("cut");
    let mut child = spool([&cut])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = [0; 4];
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"part").unwrap();
    let stdout = child.stdout.as_mut().unwrap();
    stdout.read_exact(&mut some).unwrap();
    refused(&cut, "another process is using");
    assert!(stderr(&replay(&cut)).contains("another process is using"));
    child.kill().unwrap();
    child.wait().unwrap();
    refused(&cut, "--append");
    // It was refused, and not touched.
    assert_eq!(replay(&cut).status.code(), Some(1));

    refused(place.path(), "no spool's");
    assert!(!place.path().join("lock").exists());
    assert!(stderr(&replay(&place.path().join("nothing"))).contains("is no spool"));
    assert!(!place.path().join("nothing").exists());
}

#[test]
fn a_spool_whose_input_or_files_fail_ends_with_the_reason() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("in"), stream(3 << 20)).unwrap();
    for kept in ["", "$D/kept"] {
        for (stdin, reason) in [("<$D", "directory"), ("0>/dev/null", "descriptor")] {
            let output = in_bash(
                place.path(),
                &format!("rm -rf $D/kept; P spool {kept} {stdin}"),
            );
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(125), "{kept} {stdin}: {said}");
            assert!(said.contains(reason), "{kept} {stdin}: {said}");
        }
        let mut were_short = 0;
        for most in 4..24 {
            let output = in_bash(
                place.path(),
                &format!("rm -rf $D/kept; {{ ulimit -n {most}; P spool {kept}; }} <$D/in >$D/out"),
            );
            let said = stderr(&output);
            let whole = std::fs::read(place.path().join("in")).unwrap();
            let given = std::fs::read(place.path().join("out")).unwrap();
            match output.status.code() {
                Some(0) => assert!(given == whole, "{kept} {most}"),
                _ => assert!(whole.starts_with(&given), "{kept} {most}: {said}"),
            }
            // Whatever the loader of programs needs: from here on it is pipewright that says it.
            let has_begun = said.contains("pipewright: ");
            if output.status.code() == Some(125) && has_begun {
                let advice =
                    format!("this process may have {most} files open: allow more (ulimit -n)");
                assert!(said.contains(&advice), "{kept} {most}: {said}");
                were_short += 1;
            }
        }
        assert!(were_short > 0, "descriptors were never short");
    }
}

/// What somebody in a hurry types. `DIR` is a directory of the test's own.
const HURRY: &[(&str, &str)] = &[
    ("echo | P spool --limt 1G $D/a", "'--limit'"),
    ("echo | P spool --limit 64K $D/a", "give 256K or more"),
    ("echo | P spool --limit -5 $D/a", "give bytes, such as 512M"),
    (
        "echo | P spool --limit much $D/a",
        "give bytes, such as 512M",
    ),
    ("echo | P spool --sync always $D/a", "none, disk"),
    ("echo | P spool $D/a $D/b", "unexpected argument"),
    ("echo | P spool --append", "<DIR>"),
    ("echo | P spool ''", "a value is required"),
    (
        "echo | P spool $D/no/such",
        "make the directory above it first",
    ),
    (
        "echo >$D/file; echo | P spool $D/file",
        "give a directory, or a name that is free",
    ),
    (
        "echo | P spool $D/file/a",
        "give a directory, or a name that is free",
    ),
    (
        "ln -s nowhere $D/link; echo | P spool $D/link",
        "make the directory above it first",
    ),
    (
        "echo | P spool /",
        "give an empty directory, or one that does not exist",
    ),
    (
        "echo | TMPDIR=$D/no P spool",
        "set TMPDIR to a directory that you may write to",
    ),
    (
        "P spool $D/c <&-",
        "stdin is not open: it stands between two stages",
    ),
    (
        "echo | P spool $D/d >&-",
        "stdout is not open: it stands between two stages",
    ),
    (
        "echo | P spool $D/e >/dev/full",
        "cannot write to stdout: No space left on device",
    ),
    ("P spool $D/f <$D", "cannot read stdin: Is a directory"),
    (
        "echo | P spool $D/g >/dev/null; echo | P spool --append $D/g",
        "for another stream give another directory",
    ),
    (
        "{ echo; until [ -e $D/over ]; do sleep 0.01; done; } | P spool $D/h >$D/first & until [ -s $D/first ]; do sleep 0.01; done; \
         echo | P spool $D/h; status=$?; >$D/over; wait; exit $status",
        "wait until it has ended, or use another directory",
    ),
];

#[test]
fn whoever_is_in_a_hurry_is_told_what_to_do_and_nothing_hangs() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    for (text, advice) in HURRY {
        let output = in_bash(place.path(), text);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(125), "{text}: {said}");
        assert!(said.contains(advice), "{text}: {said}");
        assert!(output.stdout.is_empty(), "{text}");
    }
}

/// A file system of its own, where this user may have one.
const MOUNTED: &[(&str, &str)] = &[
    ("-o ro", "give a directory that you may write to"),
    (
        "-o size=64k",
        "make room, or give a directory on another disk",
    ),
];

#[test]
fn a_file_system_that_takes_nothing_is_told_of_with_what_to_do() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    if !is_root() {
        println!("skipped: this user may not mount a file system");
        return;
    }
    for (options, advice) in MOUNTED {
        let text = format!(
            "unshare --mount bash -c 'mount -t tmpfs {options} tmpfs \"$0\" || exit 77; \
             head -c 1M /dev/zero >\"$0/filler\"; echo | \"$1\" spool \"$0/kept\"' \"$D\" '{}'",
            env!("CARGO_BIN_EXE_pipewright")
        );
        let output = in_bash(place.path(), &text);
        let said = stderr(&output);
        if output.status.code() != Some(125) {
            println!("skipped {options}: {said}");
            continue;
        }
        assert!(said.contains(advice), "{options}: {said}");
    }
}

/// As over a network.
#[test]
fn a_file_system_without_locks_is_told_of_and_one_that_syncs_no_directory_is_used() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let traced = |how: &str| {
        let text = format!(
            "command -v strace >/dev/null || exit 77; echo hi | \
             strace -f -o $D/trace -e inject={how} '{}' spool --sync disk $D/kept; status=$?; rm -rf $D/kept; \
             exit $status",
            env!("CARGO_BIN_EXE_pipewright")
        );
        in_bash(place.path(), &text)
    };
    for (how, advice) in [
        ("flock:error=ENOLCK", "use a directory on a local disk"),
        ("flock:error=EOPNOTSUPP", "use a directory on a local disk"),
        ("fdatasync:error=EIO", "nothing more is written"),
        ("flock:error=EINTR:when=1", ""),
        ("fallocate:error=EOPNOTSUPP", ""),
        ("splice:error=EINVAL", ""),
        ("sendfile:error=EINVAL", ""),
    ] {
        let output = traced(how);
        let said = stderr(&output);
        if output.status.code() == Some(77) || said.contains("ptrace") {
            println!("skipped: there is no strace that may trace");
            return;
        }
        match advice {
            "" => assert_eq!(output.stdout, b"hi\n", "{how}: {said}"),
            advice => {
                assert_eq!(output.status.code(), Some(125), "{how}: {said}");
                assert!(said.contains(advice), "{how}: {said}");
            }
        }
    }
}
