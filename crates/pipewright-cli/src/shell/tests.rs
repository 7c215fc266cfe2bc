use super::*;

fn parsed(text: &str) -> Script {
    parse(text, |_, _| false).unwrap_or_else(|refusal| panic!("{text:?}: {refusal}"))
}

fn texts(text: &str) -> Vec<String> {
    parsed(text)
        .stages
        .into_iter()
        .map(|stage| stage.text)
        .collect()
}

fn refused(text: &str) -> Refusal {
    parse(text, |_, _| false).expect_err(text)
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
        texts("case x in a|b) c;; esac | d"),
        ["case x in a|b) c;; esac", "d"]
    );
    assert_eq!(
        texts("[[ a == b || c == d ]] | e"),
        ["[[ a == b || c == d ]]", "e"]
    );
    assert_eq!(texts("f() { a | b; } | c"), ["f() { a | b; }", "c"]);
    assert_eq!(
        texts("for i in 1 2; do a | b; done | c"),
        ["for i in 1 2; do a | b; done", "c"]
    );
    assert_eq!(texts("((1 | 2)) | a"), ["((1 | 2))", "a"]);
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
    // Where it ends cannot be told: it is refused rather than cut in the wrong place.
    let refusal = refused("a | > >(b | c)").to_string();
    assert!(refusal.contains("run it with bash -c"), "{refusal}");
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
        texts("{ cat <<A\nbody | x\nA\n} | b"),
        ["{ cat <<A\nbody | x\nA\n}", "b"]
    );
    assert_eq!(
        texts("cat <<A | b 2>c\nbody\nA"),
        ["cat <<A\nbody\nA", "b 2>c"]
    );
}

#[test]
fn a_text_may_be_several_lines_with_comments() {
    let text = "#!/usr/bin/env -S pipewright run -f\n# what it does\n\na 1 | # first | not a stage\n  b \\\n   2 |\n\n c # end\n\n# bye\n";
    let script = parsed(text);
    assert_eq!(script.stages.len(), 3);
    assert_eq!(script.stages[0].text, "a 1");
    assert_eq!(
        script.stages[1].start,
        Start::Direct(vec!["b".into(), "2".into()])
    );
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
    let script = parse("mine x", |name, _| name == "mine").unwrap();
    assert_eq!(script.stages[0].start, Start::Shell);
}

#[test]
fn lists_time_and_nothing_are_refused_with_what_to_do() {
    assert_eq!(refused(""), Refusal::Empty);
    assert_eq!(refused("  \n# only a comment\n"), Refusal::Empty);
    assert_eq!(refused("a && b"), Refusal::List("'&&'"));
    assert_eq!(refused("a | b || c"), Refusal::List("'||'"));
    assert_eq!(refused("a &"), Refusal::List("'&'"));
    assert_eq!(refused("a; b"), Refusal::List("';' or a new line"));
    assert_eq!(refused("a\nb"), Refusal::List("';' or a new line"));
    assert_eq!(refused("time a | b"), Refusal::Time);
    assert!(refused("a; b").to_string().contains("braces"));
    assert_eq!(texts("a | b;"), ["a", "b"]);
}

#[test]
fn a_syntax_error_shows_its_place() {
    let text = refused("a | | b").to_string();
    assert!(text.ends_with("\n  a | | b\n      ^"), "{text}");
    // Each of these two takes two columns.
    let text = refused("日本 | | b").to_string();
    assert!(text.ends_with("\n  日本 | | b\n         ^"), "{text}");
    let text = refused("a | (b").to_string();
    assert!(text.contains("missing at the end"), "{text}");
    for broken in ["a | 'b", "a |", "| a", "a | )", "if a"] {
        assert!(
            matches!(refused(broken), Refusal::Syntax { .. }),
            "{broken}"
        );
    }
}

#[test]
fn words_are_cut_at_bars_of_their_own() {
    let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
    let script = from_words(&words("a -x | b |& c")).unwrap();
    assert_eq!(script.stages.len(), 3);
    assert_eq!(script.stages[0].start, Start::Direct(words("a -x")));
    assert!(script.stages[1].stderr_too);
    // No shell: nothing is expanded, and builtins are programs.
    let script = from_words(&words("echo $HOME")).unwrap();
    assert_eq!(script.stages[0].start, Start::Direct(words("echo $HOME")));
    assert_eq!(script.stages[0].text, "echo '$HOME'");
    for broken in ["| a", "a |", "a | | b"] {
        assert!(
            matches!(from_words(&words(broken)), Err(Refusal::Syntax { .. })),
            "{broken}"
        );
    }
    assert_eq!(from_words(&[]), Err(Refusal::Empty));
}
