//! `pipewright run TEXT` against `bash -c TEXT`: the same bytes, the same status, the same files made.

mod support;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::pipewright;
use testing::{feed, shell_status, stderr, watchdog};

/// What the first stage finds on stdin where there is something.
const INPUT: &str = "one\ntwo words\ndrei größere → Wörter\n\nlast without an end";

/// Which of bash's two rules the status is compared under.
#[derive(Clone, Copy, PartialEq)]
enum Rule {
    /// The last stage's status alone.
    Last,
    /// The rightmost failure's; `set -o pipefail`.
    Pipefail,
}

/// Compares under both rules, with nothing and with something on stdin.
fn agrees(texts: &[&str]) {
    compare_all(
        texts,
        &[
            (Rule::Last, ""),
            (Rule::Last, INPUT),
            (Rule::Pipefail, INPUT),
        ],
    );
}

/// The same for pipelines in which it is a matter of luck whether a stage sees that its reader has
/// gone: only the last stage's status can be compared.
fn agrees_on_the_last_status(texts: &[&str]) {
    compare_all(texts, &[(Rule::Last, ""), (Rule::Last, INPUT)]);
}

fn compare_all(texts: &[&str], ways: &[(Rule, &str)]) {
    let each = texts
        .iter()
        .flat_map(|text| ways.iter().map(move |way| (text, way)));
    let differences: Vec<String> = each
        .filter_map(|(text, (rule, input))| difference(text, input, *rule))
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// What pipewright does otherwise than bash.
fn difference(text: &str, input: &str, rule: Rule) -> Option<String> {
    let _watchdog = watchdog();
    let (options, status) = match rule {
        Rule::Last => (&["-c"][..], "last"),
        Rule::Pipefail => (&["-o", "pipefail", "-c"][..], "any"),
    };
    let mut bash = Command::new("bash");
    bash.args(options).arg(text);
    let mut ours = pipewright();
    ours.args(["run", "-q", "--status", status, text]);
    let (bash, ours) = (outcome(&mut bash, input), outcome(&mut ours, input));
    (bash != ours).then(|| {
        format!(
            "{text:?}, --status {status}, {} bytes on stdin\n  bash: {bash}\n  ours: {ours}",
            input.len(),
        )
    })
}

/// What a run came to.
struct Outcome {
    output: Output,
    /// The files that it made or changed.
    files: BTreeMap<String, Vec<u8>>,
}

/// The same but for stderr: messages are each program's own.
impl PartialEq for Outcome {
    fn eq(&self, other: &Self) -> bool {
        let compared = |it: &Self| (shell_status(&it.output), it.output.stdout.len());
        compared(self) == compared(other)
            && self.output.stdout == other.output.stdout
            && self.files == other.files
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stdout = &self.output.stdout;
        write!(
            f,
            "status {}, {} bytes \"{}\", files {:?}\n    said: {}",
            shell_status(&self.output),
            stdout.len(),
            stdout[..stdout.len().min(200)].escape_ascii(),
            self.files.keys().collect::<Vec<_>>(),
            stderr(&self.output).lines().next().unwrap_or_default(),
        )
    }
}

/// Runs it in a directory of its own, with the same files in each.
fn outcome(command: &mut Command, input: &str) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    let before = files(directory.path());
    // Neither this user's environment nor the place decides what is compared.
    command
        .current_dir(directory.path())
        .env("HOME", "/home/of somebody")
        .env("GREETING", "hello  there")
        .env("LC_ALL", "C.UTF-8")
        .env_remove("BASH_ENV");
    let output = match input {
        "" => command.stdin(Stdio::null()).output().unwrap(),
        input => feed(command, input.as_bytes()),
    };
    let mut files = files(directory.path());
    files.retain(|name, bytes| before.get(name) != Some(bytes));
    Outcome { output, files }
}

fn prepare(directory: &Path) {
    let write = |name: &str, bytes: &[u8]| std::fs::write(directory.join(name), bytes).unwrap();
    write("numbers", b"3\n1\n2\n1\n");
    write("größe 1.txt", "zwei\ndrei\n".as_bytes());
    write("a.txt", b"in a\n");
    write("b.txt", b"in b\n");
    write("bars", b"a|b\nc\n|\n");
    write("plain", b"not executable\n");
    write(
        "bytes",
        &(0..=255).cycle().take(1 << 17).collect::<Vec<u8>>(),
    );
    // Written by nobody here: what is open for writing in some thread's new child cannot be executed.
    for program in ["tool", "headless"] {
        let programs = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs"));
        std::os::unix::fs::symlink(programs.join(program), directory.join(program)).unwrap();
    }
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn plain_stages() {
    agrees(&[
        "cat",
        "cat numbers",
        "cat numbers | sort | uniq -c",
        "cat|sort|tr a-z A-Z",
        "sort -n numbers | tail -n 2 | tr '\\n' ','",
        "cat numbers | cat | cat | cat | cat | cat | cat | cat",
        "./tool 'a b' c | cat",
        ": | ./tool",
        "./headless x | cat",
        "/bin/echo -n x | cat",
        "env printf '%s\\n' a b | sort -r",
        "grep nothing-of-the-kind numbers | cat",
        "cat numbers | grep -c 1",
        "cat numbers | wc -l;",
        "  cat numbers   |    wc -l   ",
        "\tcat numbers\t|\twc -l\t",
    ]);
}

#[test]
fn compound_commands() {
    agrees(&[
        "{ echo a; echo b; } | sort -r",
        "{ echo a | tr a b; cat numbers; } | { read x; echo \"[$x]\"; cat; }",
        "(echo a; exit 3) | cat",
        "(cd / && pwd) | cat; ",
        "((1 + 1)) | cat",
        ": | ((0))",
        "(( 5 | 2 )) | cat",
        "[[ a == a || b == c ]] | cat",
        ": | [[ abc =~ ^a(b|c) ]]",
        ": | [[ a > b ]]",
        "for i in 1 2 3; do echo $i; done | tac",
        "for ((i = 0; i < 3; i++)); do echo $i | tr 0-9 a-j; done | cat -n",
        "while read -r line; do echo \"<$line>\"; done | cat",
        "cat numbers | while read n; do echo $((n * 2)); done | sort -n",
        "until [ ${i:-0} = 3 ]; do i=$((i+1)); echo $i; done | tac",
        "until true; do :; done | cat",
        "if grep -q 1 numbers; then echo yes; else echo no; fi | cat",
        "if false; then echo a; elif true; then echo b | cat; fi | tr b c",
        "case abc in a*|b*) echo first;; *) echo other;; esac | cat",
        "cat numbers | case x in (y | x) cat;; esac",
        "case x in x) echo 1;;& [a-z]) echo 2;& y) echo 3;; esac | cat",
        "f() { echo in f \"$@\" | cat; } | cat",
        "{ f() { echo \"f:$1\"; return 4; }; f x; } | cat",
        "cat numbers | { f() { cat | tail -1; return 4; }; f; }",
        "{ { { echo deep; } | cat; } | cat; } | cat",
        "( ( ( echo deep ) | cat ) | cat ) | cat",
        "{ echo a; exit 5; } | { cat; exit 6; }",
        ": | (exit 9)",
        "{ sleep 0.01 & wait; echo waited; } | cat",
        "{ trap 'echo bye' EXIT; echo hi; } | cat",
        "{ set -e; false; echo not reached; } | cat",
        "{ shopt -s nullglob; echo x*x*x; } | cat",
    ]);
}

#[test]
fn here_documents() {
    agrees(&[
        "cat <<END | tr a-z A-Z\nbody\nEND",
        "cat <<END | tr a-z A-Z\nbody\nEND\n",
        "cat <<END |\nbody\nEND\ntr a-z A-Z\n",
        "cat <<END\nalone\nEND\n",
        "cat <<END | cat -n\nhome: $HOME, sum: $((1+2)), `echo back`, $(echo new | tr n N)\nEND\n",
        "cat <<'END' | cat -n\nhome: $HOME $((1+2)) `echo` \\\nEND\n",
        "cat <<\"E F\" | cat -n\n$HOME\nE F\n",
        "cat <<\\END | cat -n\n$HOME\nEND\n",
        "cat <<-END | cat -A\n\tone\n\t\ttwo\n  three\n\tEND\n",
        "cat <<-'END' | cat -A\n\t$one\n\tEND\n",
        "cat <<END | cat\na | b |& c && d; e & f\n\"quote ' and ) } done\nEND\n",
        "cat <<A - <<B | cat -n\nfirst\nA\nsecond\nB\n",
        "{ cat <&3; cat; } 3<<A <<B | cat -n\nfirst\nA\nsecond\nB\n",
        "cat <<A | cat - /dev/fd/3 3<<B | cat -n\nfirst\nA\nsecond\nB\n",
        "cat <<A >one | cat <<B >two | cat <<C\nfirst\nA\nsecond\nB\nthird\nC\n",
        "cat <<A 2>/dev/null | tr a-z A-Z >out\nfirst\nA\n",
        "cat <<A |& cat -n\nfirst\nA\n",
        "cat <<A | # a comment | here\nfirst\nA\n  tr a-z A-Z # and here\n",
        "{ cat <<A\nin braces | x\nA\n} | cat -n",
        "{ cat <<A; echo after\nin braces\nA\n} | cat -n",
        "while read x; do cat <<A\n[$x]\nA\ndone < numbers | cat -n",
        "if true; then cat <<A | tr a b\nabc\nA\nfi | cat -n",
        "cat <<A | cat -n\nA\n",
        "cat <<A | cat -n\n\nA\n",
        "cat <<END | cat -n\nEND of it\n END\nEND\n",
        "cat <<ENDE | cat -n\ngrößer → 日本\nENDE\n",
        "cat <<Größe | cat -n\nx\nGröße\n",
        "cat <<A | cat -n\na \\\nb\nA\n",
        "cat <<A | while read l; do cat <<B; done\n1\n2\nA\n<$l>\nB\n",
        "cat <<\"A B\" | wc -l\n1\nA B \n2\nA B\n",
        "cat \\\n <<A \\\n | cat -n\nx\nA\n",
        "cat <<< here | tr a-z A-Z",
        "cat <<< \"$GREETING | x\" | cat -n",
        "tr a-z A-Z <<<'a|b' | cat",
        "cat numbers | cat - <(cat <<A\nin a substitution\nA\n) | cat -n",
        "echo \"$(cat <<A\nin a | substitution\nA\n)\" | cat -n",
        "cat <<A | grep -v '<<B' | cat -n\n<<B\nx\nA\n",
    ]);
}

#[test]
fn quotes_and_escapes() {
    agrees(&[
        "echo '|' | cat",
        "echo \"|\" | cat",
        "echo \\| | cat",
        "echo 'a | b' \"c | d\" e\\|f | tr '|' '!'",
        "echo 'it'\\''s' | cat",
        "echo \"a \\\" | \\\" b\" | cat",
        "echo $'a\\tb\\'c|d' | cat -A",
        "echo $\"x | y\" | cat",
        "echo 'a\nb | c' | cat -n",
        "echo a\\\nb | cat",
        "grep -c '' 'größe 1.txt' | cat",
        "cat gr\\öße\\ 1.txt | cat",
        "\"cat\" numbers | 'sort'",
        "c\"a\"t numbers | so'r't",
        "\\cat numbers | cat",
        "echo '' \"\" | cat -A",
        "env printf '[%s]' '' \"\" 'a  b' | cat",
        "cat 'numbers' | tr \"1\" '|' | grep '|'",
        "printf '%s\\n' '#' a#b '$x' '`' '\\' | cat",
        "env printf '%s\\n' '#' a#b | cat # '|'",
        "echo '\t' | cat -A",
        "env echo ~ | cat",
        "env echo a~ ~root/ a=~ | cat",
        "env echo 'größe →' ü | tr ü u",
        "env echo ! | cat",
        "env echo {} a{b | cat",
        "env echo [ ] | cat",
        "env echo ^a a^b | cat",
        "env echo % + , @ : . / _ - = | cat",
        "env echo -- -n | cat",
        "awk '{print $1 | \"cat\"}' numbers | sort",
        "grep -c '|' bars | cat",
        "echo \"a'b\" | sed \"s/'/|/\"",
        "printf '%s' \"$(echo 'x | y')\" | cat",
    ]);
}

#[test]
fn redirections() {
    agrees(&[
        "sort < numbers | uniq > out",
        "< numbers sort | > out uniq",
        "<numbers sort|>out uniq",
        "cat <numbers >copy | cat",
        "cat numbers missing 2>errors | cat",
        "cat numbers missing 2>/dev/null | sort 2>/dev/null",
        "{ echo out; echo err >&2; } 2>&1 | sort",
        "{ echo out; echo err >&2; } 2>&1 >/dev/null | sort",
        "{ echo out; echo err >&2; } |& sort",
        "{ echo out; echo err >&2; } >file |& sort",
        "{ echo out; echo err >&2; } 2>/dev/null |& sort",
        "sh -c 'echo out; echo err >&2' |& sort",
        "sh -c 'echo out; echo err >&2' >file |& sort",
        "cat <<A - missing |& sed 's/.*: //'\nbody\nA\n",
        "echo x |& cat |& cat",
        "no-such-program |& cat",
        "/no/such/program |& sed s/x/y/",
        "no-such-program a b |& cat |& cat",
        "for i in 1 2; do echo $i; echo e$i >&2; done |& sort",
        "{ echo out; echo err >&2; } &>both | cat",
        "{ echo out; echo err >&2; } >& both | cat",
        "{ echo a >out; echo b >>out; cat out; } | cat",
        "cat numbers &>> a.txt | cat",
        "{ echo three >&3; } 3>&1 | tr a-z A-Z",
        "cat 3<a.txt <&3 3<&- | cat",
        "{ read -u 4 x; echo \"got $x\"; } 4<b.txt | cat",
        "cat <> a.txt | cat",
        "echo x >| out | cat",
        "cat numbers | tee out1 | sort >out2",
        "cat numbers | cat >&2 | cat",
        "cat /dev/null | >out",
        "{ cat /dev/null | cat; } | >out 2>&1 | <numbers cat",
        "cat /dev/null <<A | >out | cat <<B\n|\nA\nin b\nB\n",
        "{ exec 2>&1; ls missing >/dev/null; } | sed 's/.*: //'",
        "cat <missing | cat",
        ": | cat >missing/out",
        "exec {n}<a.txt | cat",
        "cat <&- 2>/dev/null | wc -c",
    ]);
}

#[test]
fn substitutions_and_expansions() {
    agrees(&[
        "cat <(echo a | cat) <(echo b) | cat -n",
        "diff <(sort numbers) <(sort -u numbers) | cat",
        "cat numbers | tee >(cat >/dev/null) | cat",
        "comm -12 <(sort numbers) <(printf '1\\n') | cat",
        "echo $(cat numbers | sort | uniq) | cat",
        "echo \"$(cat numbers | sort)\" | cat",
        "echo `cat numbers | wc -l` | cat",
        "echo `echo \\`echo nested | cat\\`` | cat",
        "echo \"$(echo \"a $(echo 'b | c' | cat) d\")\" | cat",
        "echo $((1 + 2 * 3)) $((7 | 8)) $((1 << 4)) | cat",
        "echo ${GREETING} \"${GREETING}\" ${#GREETING} | cat",
        "echo ${GREETING/hello/|} ${MISSING:-a|b} ${GREETING^^} | cat",
        "echo \"${MISSING:-\"a | b\"}\" | cat",
        "echo ${MISSING:?not there} 2>/dev/null | cat",
        "echo {a,b}{1..3} | cat",
        "echo *.txt [ab].txt ?.txt | cat",
        "cat *.txt | wc -l",
        "env echo nothing-like-*-this | cat",
        "echo ~ ~/x \"~\" | cat",
        "echo $HOME '$HOME' \"$HOME\" | cat",
        "cat $(echo numbers) | $(echo sort)",
        "x=$(echo a | tr a b) env | grep ^x=",
        "A=1 B='2 3' env | grep -E '^(A|B)=' | sort",
        "A=1 | cat",
        "GREETING=other printenv GREETING | cat",
        "echo \"$#:$0:$*\" | cat",
        "echo $? $- | tr -d hBc | cat",
        "echo $LINENO | cat",
        "cat numbers | IFS=, read a | cat",
        "cat numbers | { mapfile -t lines; echo \"${#lines[@]} ${lines[1]}\"; }",
        "{ a=(x 'y z'); echo \"${a[1]}\" \"${#a[@]}\"; } | cat",
        "{ declare -A m=([k]=v); echo ${m[k]}; } | cat",
        "echo a | { read x; echo ${x@Q}; }",
        "echo ${BASH_VERSINFO[0]} | cat",
        "PATH=/nowhere cat numbers | cat",
        "PATH=.:$PATH tool | cat",
    ]);
}

#[test]
fn negation_comments_and_lines() {
    agrees(&[
        "! cat numbers | grep -q 1",
        "! cat numbers | grep -q nothing",
        "! true",
        "! false",
        "! { exit 9; } | cat",
        "! cat <<A | grep -q x\nx\nA\n",
        "! ! cat numbers | grep -q 1",
        "cat numbers # a comment | wc",
        "cat numbers | # a comment | wc\nsort",
        "# first | line\ncat numbers | sort\n# last | line\n",
        "\n\n  cat numbers |\n\n\n  sort |\n  uniq -c\n\n",
        "cat \\\n  numbers \\\n  | sort \\\n  | uniq -c",
        "cat numbers |\\\nsort",
        "cat num\\\nbers | sort",
        "c\\\nat numbers | sort",
        "cat numbers |& # comment\n  sort",
        "#!/usr/bin/env -S pipewright run -f\ncat numbers | sort\n",
        "{ # comment with | and ' and (\n  echo a # another '\n} | cat",
        "cat numbers | sort #",
        "echo a#b | cat",
        "cat numbers | sort;\n",
        "cat numbers | {\n  sort\n  echo end\n}",
        "cat numbers | (\n  sort\n) |\nuniq",
    ]);
}

#[test]
fn builtins_behave_as_at_the_prompt() {
    agrees(&[
        "echo -e 'a\\tb' | cat",
        "echo -n x | cat",
        "printf '%q %s\\n' 'a b' c | cat",
        "printf '%(%Y)T\\n' 0 | cat",
        "printf -v x a | cat",
        "cat numbers | read x",
        "read x | cat",
        "cat numbers | { read a; read b; echo $b$a; }",
        "kill -l | tail -n 1",
        "kill -l 13 | cat",
        ": | test -p /dev/stdin",
        "test 1 -gt 2 | cat",
        "[ -f numbers ] | cat",
        ": | [ a = b ]",
        "type cd | cat",
        "type -t cat echo if | cat",
        "command -v echo | cat",
        "cd / | pwd | wc -l",
        "true | false",
        "false | true",
        ": | cat",
        "exit 12 | cat",
        ": | exit 12",
        "eval 'echo a | tr a b' | cat",
        "ulimit -S -c 0 | cat",
        "umask | cat",
        "times | wc -l",
        "help true | tail -n 1",
        "hash | cat",
        "set | grep ^GREETING= | cat",
        "export X=1 | cat",
        "alias | cat",
        "let 1+1 | cat",
        "shift | cat",
        ". ./missing 2>/dev/null | cat",
        "command cat </dev/null | builtin echo x",
        "exec cat numbers | exec sort",
        "jobs | cat",
        "return 3 2>/dev/null | cat",
        "break 2>/dev/null | cat",
        "wait | cat",
        ": | local x 2>/dev/null",
    ]);
}

#[test]
fn data_of_every_kind() {
    agrees(&[
        "cat bytes | cat",
        "cat bytes | tr -d '\\n' | cat",
        "cat bytes bytes | rev | cat -A",
        "cat bytes | gzip -c | gzip -dc",
        "head -c 3000000 /dev/zero | tr '\\0' 'x' | cat",
        "head -c 3000000 /dev/zero | cat | cat | cat | cat",
        "seq 200000 | sort -r | sort -n",
        "{ cat bytes; seq 100000; cat bytes; } | cat | cat",
        "head -c 5000000 /dev/zero | cksum",
        "head -c 1000000 /dev/zero | cat >zeros",
        "cat /dev/null | cat",
        "cat /dev/null | wc -c",
        "true | cat | cat",
        "printf '\\0' | cat",
        "printf '\\377\\376' | cat | wc -m",
        "printf 'no end of line' | cat",
        "cat 'größe 1.txt' | tr -d '\\n' | rev",
        "echo 'größe → 日本 👍' | cat | wc -m",
        "grep -o 'größere →' | cat -n",
        "cat numbers | tr 1 '\\n' | cat",
    ]);
}

#[test]
fn stages_that_do_not_read_or_stop_early() {
    agrees_on_the_last_status(&[
        "yes | head -n 1",
        "yes | head -n 100000 | tail -n 1",
        "cat /dev/zero | head -c 1000000 | wc -c",
        "seq 1000000 | head -n 3 | tac",
        "seq 1000000 | true",
        "seq 1000000 | cat | cat | true",
        "seq 1000000 | { read x; echo $x; }",
        "seq 1000000 | sed 5q | tail -n 1",
        "seq 1000000 | grep -q 7 | cat",
        "while :; do echo x; done | head -n 2",
        "{ while echo x; do :; done; } 2>/dev/null | head -n 2",
        "cat numbers | ./tool | exit 3",
        "seq 1000000 | ((0))",
        "cat <<A | cat <<B | cat <<C\nfirst\nA\nsecond\nB\nthird\nC\n",
        "cat numbers | echo does not read | cat",
        "yes | : | echo end",
        "seq 1000000 | head -n 1 | false",
        "(trap '' PIPE; seq 1000000 2>/dev/null; echo $? >&2) | head -n 1",
    ]);
}

#[test]
fn statuses_of_every_kind() {
    agrees(&[
        "exit 0 | exit 1",
        "exit 1 | exit 0",
        "exit 1 | exit 2 | exit 3",
        "exit 3 | exit 2 | true",
        "exit 255 | true",
        "true | exit 256",
        "true | exit 300",
        "sh -c 'exit 77' | sh -c 'cat; exit 78'",
        "sh -c 'kill -9 $$' | cat",
        ": | sh -c 'kill -TERM $$'",
        "sh -c 'kill -SEGV $$' 2>/dev/null | sh -c 'exit 4'",
        "{ kill -9 $BASHPID; } | cat",
        "no-such-program | cat",
        ": | no-such-program",
        ": | no-such-program | cat",
        "no-such-program | no-such-program-either",
        "./plain | cat",
        ": | ./plain",
        "./missing | cat",
        ": | ./numbers/x",
        "/ | cat",
        ": | /etc",
        "no-such-program $HOME | cat",
        ": | no-such-program 2>/dev/null",
        "'' | cat",
        ": | ''",
        "'no such program' | cat",
        ": | -c echo",
        "! no-such-program | cat",
        "sort -Z 2>/dev/null | cat",
        "cat numbers | grep -q nothing",
        "a=b | exit 3",
        "$MISSING | cat",
        ": | $MISSING",
        ": | -x $HOME",
        ": | +x $HOME",
        ": | - $HOME",
        ": | -- $HOME",
    ]);
}

#[test]
fn a_pipeline_of_many_stages() {
    let text = format!("cat numbers{}", " | cat".repeat(99));
    agrees(&[&text]);
}

#[test]
fn what_comes_on_stdin_reaches_the_first_stage_whole() {
    let _watchdog = watchdog();
    let bytes: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
    for text in ["cat", "cat | cat", "{ cat; } | cat"] {
        let output = feed(pipewright().args(["run", text]), &bytes);
        assert!(output.stdout == bytes, "{text}");
    }
}

/// What the tests here take for different would be told if it were.
#[test]
fn a_difference_would_be_seen() {
    let _watchdog = watchdog();
    let ours = |text: &str| outcome(pipewright().args(["run", text]), "");
    assert!(ours("echo a | cat") == ours("echo a | cat"));
    for other in [
        "echo b | cat",
        "echo a | sh -c 'cat; exit 3'",
        "echo a | tee made",
    ] {
        assert!(ours("echo a | cat") != ours(other), "{other}");
    }
}
