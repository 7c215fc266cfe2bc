//! `pipewright run` gives the bytes and the status that bash gives.

mod support;

use std::path::Path;
use std::process::{Output, Stdio};

use support::{pipewright, watchdog};

/// Pipelines of every kind of syntax. Each is run in a directory of its own with the files that
/// [`prepare`] makes.
const PIPELINES: &[&str] = &[
    // Plain.
    "printf 'b\\na\\nc\\n' | sort",
    "cat words | sort | uniq -c | sort -rn | head -3",
    "seq 100 | wc -l",
    "cat words|tr a-z A-Z|rev",
    "sort words",
    "cat nothing-here 2>/dev/null",
    "true | true",
    "seq 3 | cat | cat | cat | cat | cat | cat",
    // Quotes.
    "printf '%s\\n' 'a | b' \"c | d\" e\\|f | cat",
    "grep -c '|' bars | cat",
    "echo \"it's\" 'a \"quote\"' | cat",
    "printf '%s' \"$(echo 'x | y')\" | cat",
    "echo $'tab\\there' | cat",
    "echo \"a'b\" | sed \"s/'/|/\"",
    "echo a\\ b\\\\c | cat",
    "awk '{print $1 | \"cat\"}' words | sort",
    "grep '' words | awk -F' ' '{print NR\": \"$0}'",
    // Compound commands.
    "{ echo a; echo b; } | tac",
    "(echo a; echo b) | tac",
    "{ echo a | cat; } | { read x; echo \"<$x>\"; }",
    "for i in 1 2 3; do echo $i | cat; done | sort -r",
    "i=0; while [ $i -lt 3 ]; do echo $i; i=$((i+1)); done | cat",
    "while read -r line; do echo \"[$line]\"; done < words | head -2",
    "if true; then echo yes; else echo no; fi | cat",
    "case x in a|b) echo 1;; x|y) echo 2;; esac | cat",
    "until false; do echo once; break; done | cat",
    "[[ a == a || b == c ]] | cat",
    "((1 | 2)) | cat",
    "f() { echo in f | cat; }; f | cat",
    "select_not() { :; } | cat",
    "(cd sub && pwd | sed 's#.*/##') | cat",
    "{ { { echo deep; } | cat; } | cat; } | cat",
    // Here-documents and here-strings.
    "cat <<EOF | tr a-z A-Z\none | two\nthree\nEOF\n",
    "cat <<'EOF' | cat\n$HOME `x` \\\nEOF",
    "cat <<-EOF | cat\n\tindented\n\t\tmore\n\tEOF\n",
    "cat <<A - <<B | cat\nfirst\nA\nsecond\nB\n",
    "cat <<A |\nbody of a\nA\ntr a b",
    "cat <<A | cat - /dev/fd/3 3<<B\nfrom a\nA\nfrom b\nB\n",
    "cat <<< 'a | b' | cat",
    "{ cat <<X\nin braces | yes\nX\n} | cat",
    "x=5; cat <<E | cat\n$x $((x+1)) $(echo sub | tr s S)\nE",
    "cat <<\"A B\" | wc -l\n1\nA B \n2\nA B\n",
    "cat <<A | while read l; do cat <<B; done\n1\n2\nA\n<$l>\nB\n",
    // Redirections.
    "sort < words | head -1",
    "<words sort | head -1",
    "cat missing words 2>/dev/null | head -1",
    "cat missing 2>&1 | sed 's/:.*//'",
    "{ echo out; echo err >&2; } 2>/dev/null | cat",
    "{ echo out; echo err >&2; } |& sort",
    "ls missing |& wc -l",
    "echo x | tee copy | cat; cat copy",
    "echo to a file >made | cat made - | cat",
    "echo 3 >&2 2>/dev/null | wc -c",
    "cat 3<words <&3 | head -1",
    "echo both &>made | cat",
    "exec 5>&1 | cat",
    // Expansions.
    "echo $((1+2)) ${#HOME} ${unset:-default} | wc -w",
    "echo {a,b}{1,2} | cat",
    "echo *.txt | cat",
    "echo ~root | cat",
    "A=1 B=2 sh -c 'echo $A$B' | cat",
    "VAR=val env | grep '^VAR=' | cat",
    "a=(1 2 3); echo ${a[@]:1} | cat",
    "echo `echo back | tr b B` | cat",
    "diff <(printf '1\\n2\\n') <(printf '1\\n3\\n') | cat",
    "cat <(echo a | cat) <(echo b) | sort -r",
    "seq 3 | tee >(cat >/dev/null) | cat",
    "set -- a b c; echo $# $1 | cat",
    // Builtins behave as at the prompt.
    "echo -e 'a\\tb' | cat",
    "printf '%q\\n' 'a b' | cat",
    "kill -l 9 | cat",
    "type echo | head -1",
    "test a = a | cat",
    "[ 1 -lt 2 ] | cat",
    "pwd | sed 's/./x/g' | head -c 1",
    "read a b < words | echo \"$a\"",
    "ulimit -c | cat",
    // Layout.
    "echo a |\n  cat |\n\n  cat",
    "# a comment\necho a | # not | a stage\ncat # end\n",
    "echo one \\\n  two | cat",
    "  \n\n echo spaces \t|\tcat  \n\n",
    "echo a | cat;",
    "echo ende|cat",
    // Bytes.
    "echo 'größe → 日本' | cat",
    "printf 'ä\\nö\\n' | grep 'ö'",
    "cat bytes | cat",
    "head -c 3000000 /dev/zero | tr '\\0' 'x' | cat",
    "seq 300000 | sort -rn | head -c 2000000 | cat",
    "cat empty | cat",
    "head -c 100000 bytes | od -c | tail -3",
    "printf 'no newline' | cat",
    // Ends.
    "yes | head -1",
    "yes | head -c 500000 | tail -c 3",
    "seq 1000000 | sed 5q",
    "exit 3 | cat",
    "cat words | (exit 4)",
    "false | false | true",
    "sh -c 'kill -TERM $$' | cat",
    "echo x | sh -c 'kill -KILL $$'",
    "! true | false",
    "! echo x | cat",
    "! cat words | grep -q nowhere",
    "no-such-program-anywhere | cat",
    "echo x | no-such-program-anywhere",
    "echo x | no-such-program-anywhere | cat",
    "echo x | ./words",
    "cat words | sh -c 'exit 300'",
];

fn prepare(directory: &Path) {
    let write = |name: &str, bytes: &[u8]| std::fs::write(directory.join(name), bytes).unwrap();
    write(
        "words",
        b"pear plum\napple\nfig\npear plum\nquince\nfig\nfig\n",
    );
    write("bars", b"a|b\nc\n|\n");
    write("empty", b"");
    write("one.txt", b"1");
    write("two.txt", b"2");
    let every_byte: Vec<u8> = (0..=255).cycle().take(1 << 18).collect();
    write("bytes", &every_byte);
    std::fs::create_dir(directory.join("sub")).unwrap();
}

fn outcome(mut command: std::process::Command) -> Output {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    command
        .current_dir(directory.path())
        .env("LC_ALL", "C.UTF-8");
    command.stdin(Stdio::null()).output().unwrap()
}

/// Lists, which bash takes and `run` does not, are made one stage by braces.
fn as_one_pipeline(text: &str) -> String {
    let refused = pipewright()
        .args(["run", "--dry-run", text])
        .output()
        .unwrap();
    let list = String::from_utf8_lossy(&refused.stderr).contains("list of commands");
    if list {
        format!("{{ {text}\n}} | cat")
    } else {
        text.to_owned()
    }
}

fn compare(policy: &str, bash_options: &[&str]) {
    let _watchdog = watchdog();
    let mut different = Vec::new();
    for text in PIPELINES {
        let text = as_one_pipeline(text);
        let mut bash = std::process::Command::new("bash");
        bash.args(bash_options).arg("-c").arg(&text);
        let mut ours = pipewright();
        ours.args(["run", "--status", policy, &text]);
        let (bash, ours) = (outcome(bash), outcome(ours));
        // By the shell's convention, which std does not apply to signals.
        let code = |output: &Output| {
            use std::os::unix::process::ExitStatusExt;
            output
                .status
                .code()
                .unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0))
        };
        if bash.stdout != ours.stdout || code(&bash) != code(&ours) {
            different.push(format!(
                "{text:?}\n  bash: {} {:?}\n  ours: {} {:?}\n  said: {}",
                code(&bash),
                String::from_utf8_lossy(&bash.stdout[..bash.stdout.len().min(200)]),
                code(&ours),
                String::from_utf8_lossy(&ours.stdout[..ours.stdout.len().min(200)]),
                String::from_utf8_lossy(&ours.stderr),
            ));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn bytes_and_the_last_stages_status_are_bashs() {
    const { assert!(PIPELINES.len() >= 60) };
    compare("last", &[]);
}

#[test]
fn bytes_and_the_status_of_any_stage_are_bashs_with_pipefail() {
    compare("any", &["-o", "pipefail"]);
}

#[test]
fn stdin_reaches_the_first_stage() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let input = directory.path().join("input");
    let bytes: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
    std::fs::write(&input, &bytes).unwrap();
    for text in ["cat | cat", "{ cat; } | cat", "cat"] {
        let open = std::fs::File::open(&input).unwrap();
        let output = pipewright()
            .args(["run", text])
            .stdin(open)
            .output()
            .unwrap();
        assert_eq!(output.stdout, bytes, "{text}");
    }
}

/// What the test takes for different would be told if it were.
#[test]
fn a_difference_would_be_seen() {
    let run = |text: &str| {
        outcome({
            let mut ours = pipewright();
            ours.args(["run", text]);
            ours
        })
    };
    assert_ne!(run("echo a | cat").stdout, run("echo b | cat").stdout);
    assert_ne!(run("true").status, run("exit 1 | sh -c 'exit 2'").status);
}
