use super::*;

fn read(text: &str) -> Script {
    parse(OsStr::new(text), |_, _| false)
}

fn parsed(text: &str) -> Script {
    let script = read(text);
    assert_eq!(script.whole, None, "{text:?}");
    script
}

fn texts(text: &str) -> Vec<String> {
    let stages = parsed(text).stages.into_iter();
    stages
        .map(|stage| stage.text.into_string().unwrap())
        .collect()
}

/// Why a text is run whole.
fn whole(text: &str) -> String {
    let script = read(text);
    assert_eq!(script.stages.len(), 1, "{text:?}");
    assert_eq!(script.stages[0].text, text);
    let reason = script.whole;
    let reason = reason.unwrap_or_else(|| panic!("{text:?} was cut: {:?}", script.stages));
    reason.to_string()
}

#[test]
fn stages_are_cut_at_the_top_level_only() {
    assert_eq!(texts("a | b|c"), ["a", "b", "c"]);
    assert_eq!(texts("{ a | b; } | c"), ["{ a | b; }", "c"]);
    assert_eq!(
        texts("(a | b) | while read x; do echo $x | d; done"),
        ["(a | b)", "while read x; do echo $x | d; done"]
    );
    assert_eq!(
        texts("a '|' | b \"|\" | c \\| d"),
        ["a '|'", "b \"|\"", "c \\| d"]
    );
    assert_eq!(
        texts("a $(b | c) | d `e | f` | g <(h | i)"),
        ["a $(b | c)", "d `e | f`", "g <(h | i)"]
    );
    assert_eq!(
        texts("if a | b; then c; else d | e; fi | f"),
        ["if a | b; then c; else d | e; fi", "f"]
    );
    assert_eq!(
        texts("for i in 1 2; do a | b; done | c"),
        ["for i in 1 2; do a | b; done", "c"]
    );
    assert_eq!(
        texts("echo $((1 | 2)) ${x:-a} \"${y#|}\" | a"),
        ["echo $((1 | 2)) ${x:-a} \"${y#|}\"", "a"]
    );
}

#[test]
fn trailing_redirections_belong_to_their_stage() {
    assert_eq!(
        texts("sort 2>/dev/null | uniq >out"),
        ["sort 2>/dev/null", "uniq >out"]
    );
    assert_eq!(
        texts("{ a; } 2>&1 | (b) <c >d"),
        ["{ a; } 2>&1", "(b) <c >d"]
    );
    assert_eq!(texts("<in cat | >out cat"), ["<in cat", ">out cat"]);
    assert_eq!(texts("{ a | b; } | >out | c"), ["{ a | b; }", ">out", "c"]);
    assert_eq!(texts("a | <<E >out\n|\nE\n"), ["a", "<<E >out\n|\nE\n"]);
    assert_eq!(texts("cat 3<&0 >&2 | b &>c"), ["cat 3<&0 >&2", "b &>c"]);
    assert_eq!(texts("A=1 B=2 a | C=3 b"), ["A=1 B=2 a", "C=3 b"]);
}

#[test]
fn stderr_goes_down_the_pipe_where_the_operator_says_so() {
    let script = parsed("a |& b | c");
    let both: Vec<bool> = script.stages.iter().map(|stage| stage.stderr_too).collect();
    assert_eq!(both, [true, false, false]);
    assert_eq!(texts("a |& b"), ["a", "b"]);
    // Behind the redirections that are there, and before the bodies.
    assert_eq!(
        texts("(a) >b |& c $d <<E 2>f |&\nbody\nE\ng"),
        ["(a) >b 2>&1", "c $d <<E 2>f 2>&1\nbody\nE\n", "g"]
    );
    assert!(matches!(parsed("a |& b").stages[0].start, Start::Direct(_)));
}

#[test]
fn a_here_document_goes_to_the_stage_that_has_it() {
    assert_eq!(
        texts("cat <<A | tr a b\nbody\nA\n"),
        ["cat <<A\nbody\nA\n", "tr a b"]
    );
    assert_eq!(
        texts("cat <<A |\nbody\nA\ntr a b"),
        ["cat <<A\nbody\nA\n", "tr a b"]
    );
    assert_eq!(
        texts("cat <<A - <<'B C' | x <<-D\none\nA\ntwo\nB C\n\tthree\n\tD\n"),
        [
            "cat <<A - <<'B C'\none\nA\ntwo\nB C\n",
            "x <<-D\n\tthree\n\tD\n"
        ]
    );
    assert_eq!(
        texts("cat <<A | b 2>c\nbody\nA"),
        ["cat <<A\nbody\nA\n", "b 2>c"]
    );
}

#[test]
fn a_text_may_be_several_lines_with_comments() {
    let text = "#!/usr/bin/env -S pipewright run -f\n# what it does\n\na 1 | # first | not a stage\n  b \\\n   2 |\n\n c # end\n\n# bye\n";
    let script = parsed(text);
    assert_eq!(script.stages.len(), 3);
    assert_eq!(script.stages[0].text, "a 1");
    assert_eq!(script.stages[2].text, "c");
}

#[test]
fn non_ascii_text_is_cut_where_it_should_be() {
    assert_eq!(
        texts("grep 'größe→' | tr 'ä' \"ö\" | ü"),
        ["grep 'größe→'", "tr 'ä' \"ö\"", "ü"]
    );
}

#[test]
fn a_bang_negates() {
    let script = parsed("! a | b");
    assert!(script.negated);
    assert_eq!(script.stages[0].text, "a");
    assert!(!parsed("a | b").negated);
}

#[test]
fn plain_words_need_no_shell_and_everything_else_does() {
    let direct = |text: &str| match &parsed(text).stages[0].start {
        Start::Direct(words) => Some(words.join("·".as_ref()).into_string().unwrap()),
        Start::Shell => None,
    };
    assert_eq!(
        direct("grep -c 'a b' file").as_deref(),
        Some("grep·-c·a b·file")
    );
    assert_eq!(direct("/bin/echo x | y").as_deref(), Some("/bin/echo·x"));
    for shell in [
        "echo x", "printf x", "a $b", "a >b", "A=1 a", "(a)", "a *", "true", "kill 1", "[ 1 ]",
    ] {
        assert_eq!(direct(shell), None, "{shell}");
    }
    let script = parse(OsStr::new("mine x"), |name, _| name == "mine");
    assert_eq!(script.stages[0].start, Start::Shell);
}

#[test]
fn the_shell_is_asked_only_where_a_stage_holds_other_commands() {
    for plain in [
        "a 'b' | c",
        "a $x >y 2>&1 | b \"${z}\" <<E\n$x\nE\n",
        "a `b`",
    ] {
        assert!(!parsed(plain).ask, "{plain}");
    }
    for nesting in [
        "{ a; } | b",
        "(a) | b",
        "a $(b)",
        "a <(b)",
        "if a; then b; fi",
    ] {
        assert!(parsed(nesting).ask, "{nesting}");
    }
}

#[test]
fn lists_time_and_nothing_are_run_whole() {
    for (text, reason) in [
        ("", "there is no command in it"),
        ("  \n# only a comment\n", "there is no command in it"),
        ("a && b", "it is a list of commands ('&&')"),
        ("a | b || c", "it is a list of commands ('||')"),
        ("a &", "it is a list of commands ('&')"),
        ("a; b", "it is a list of commands (';' or a new line)"),
        ("a\nb", "it is a list of commands (';' or a new line)"),
        ("time a | b", "it has the keyword 'time'"),
    ] {
        assert_eq!(whole(text), reason);
    }
    assert_eq!(texts("a | b;"), ["a", "b"]);
}

#[test]
fn what_could_be_cut_wrongly_is_run_whole() {
    for text in [
        "{ ((1<<1))\n:; } | { echo lost; }",
        "echo ${x:1<<1} | cat",
        "a[1<<2]=3 | cat",
        "a[x<<y ]=1\n:\ny\n",
        "echo $(case a in a) echo x;; esac) | cat",
        "cat <<E | { cat; echo $((1<<3)); }\nbody\nE\n",
        "[[ a ]] |& cat",
        "select x in a b; do echo $x; done | cat",
        "cat <<E | cat\na\\\nE\nb\nE\n",
        "cat <<E | cat\nno end",
        "cat <<E$x | cat\nE\n",
        "{ cat <<A\nbody | x\nA\n} | b",
        "echo `cat <<A\nA\n` | b",
        "for ((i=0;i<3;i++)); do a; done | b",
        "for x do echo $x; done | b",
        "case x in a|b) c;; esac | d",
        "f() { a | b; } | c",
        "function f { a; } | c",
        "coproc a | b",
        "touch made | ls !(x)",
        "a <>2>&1 | b",
        "a >{x}>f | b",
        "ls foo=(1 2) | a",
        "a |\\\n| b",
        "a &\\\n& b",
        "ec\\\nho a | b",
        "a | b \\",
        "a\r\n| b\r\n",
        "{ a; } {fd}<f | b",
        "a $[1 + 2] | b",
        "! ! a | b",
        "! exit 3",
        "a | ! b",
        "a | time b",
        "a | b 'c",
        "a | | b",
        "| a",
        "a |",
        "a | )",
        "if a",
        "{ a | b",
        "echo $$ | { read x; echo $x $$; }",
        "{ echo $BASHPID; } | cat",
        "{ set -u; echo $y; } | cat",
        "echo ${x?} | cat",
        "echo \"${x:?not set}\" | cat",
    ] {
        whole(text);
    }
    let deep = format!("{}a{}", "$(".repeat(5000), ")".repeat(5000));
    whole(&deep);
    whole(&format!("a | {}", "{ ".repeat(5000)));
}

#[test]
fn the_stages_of_a_text_that_is_not_cut_are_counted() {
    let count = |text: &str| {
        let pipeline = WholePipeline::of(OsStr::new(text))?;
        Some((pipeline.stages, pipeline.inverted))
    };
    for stage in [
        "case x in a|b) c | d;; (e) f & ;; *) g;& h) i;;& esac",
        "case $(a | b) in\n esac",
        "[[ a || b && c =~ ^(a|b) ]]",
        "((1<<2 | 3))",
        "{ ((1<<1))\n:; }",
        "for ((i=0;i<1<<2;i++)); do a | b; done",
        "for x do a | b; done",
        "select x in a b; do c | d; done",
        "f() { a | b; }",
        "function g () ( a | b )",
        "echo ${x:1<<1} $((1<<2)) \"${x:-'}'}\"",
        "echo $(case a in a) echo x | cat;; esac)",
        "x=(a b 'c|d') y+=( $(a | b) )",
        "{ cat <<A\nbody | x\nA\n}",
        "ls !(a|b)",
        "ec\\\nho a",
    ] {
        assert_eq!(count(&format!("{stage} | a")), Some((2, false)), "{stage}");
        assert_eq!(
            count(&format!("! a |& {stage} | b")),
            Some((3, true)),
            "{stage}"
        );
        assert_eq!(count(stage), None, "{stage}");
        assert_eq!(count(&format!("{stage} | a; b")), None, "{stage}");
    }
}

#[test]
fn bytes_that_are_no_text_are_run_whole() {
    use std::os::unix::ffi::OsStrExt;
    let text = OsStr::from_bytes(b"printf '\xff' | cat");
    let script = parse(text, |_, _| false);
    assert_eq!(script.stages[0].text, text);
    let long = format!("echo {} | cat", "x".repeat(LONGEST_ARGUMENT));
    assert_eq!(whole(&long), Reason::Long.to_string());
}

#[test]
fn words_are_cut_at_separators_of_their_own() {
    let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
    let bar = OsStr::new("|");
    let script = from_words(&words("a -x | b |& c"), bar).unwrap();
    assert_eq!(script.stages.len(), 3);
    assert_eq!(script.stages[0].start, Start::Direct(words("a -x")));
    assert!(script.stages[1].stderr_too);
    // No shell: nothing is expanded, and builtins are programs.
    let script = from_words(&words("echo $HOME"), bar).unwrap();
    assert_eq!(script.stages[0].start, Start::Direct(words("echo $HOME")));
    assert_eq!(script.stages[0].text, "echo '$HOME'");
    for broken in ["| a", "a |", "a | | b"] {
        assert_eq!(from_words(&words(broken), bar), Err(WordsError::EmptyStage));
    }
    assert_eq!(from_words(&[], bar), Err(WordsError::Empty));
    // With a separator of its own, a bar is a word.
    let script = from_words(&words("grep | f :: wc ::& x"), OsStr::new("::")).unwrap();
    assert_eq!(script.stages[0].start, Start::Direct(words("grep | f")));
    assert!(script.stages[1].stderr_too);
}
