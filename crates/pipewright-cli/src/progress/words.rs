//! The words of a stage's text that may name its input. Pure.

/// What the text of the first stage says about its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// Whatever the arguments of its processes name.
    ByArguments,
    /// The same, of one command that a shell started, and may be waiting for.
    OneCommand,
    /// These words: commands one after the other, and nothing in them is expanded.
    Here(Vec<String>),
    /// It cannot be known from outside.
    Unknown,
}

/// Words that make commands depend on others, or repeat them.
const KEYWORDS: &[&str] = &[
    "!", "[", "[[", "case", "cd", "coproc", "do", "else", "eval", "exec", "for", "function", "if",
    "pushd", "select", "test", "then", "until", "while", ".", "source",
];

impl Named {
    /// That of a text that a shell runs.
    pub(crate) fn of(text: &str) -> Self {
        let Some(cut) = cut(text) else {
            return Self::Unknown;
        };
        if cut.commands == 1 {
            return Self::OneCommand;
        }
        let depends = cut
            .words
            .iter()
            .any(|word| KEYWORDS.contains(&word.as_str()));
        if cut.expands || depends {
            return Self::Unknown;
        }
        let mut words: Vec<String> = Vec::new();
        for word in cut.words {
            if !words.contains(&word) {
                words.push(word);
            }
        }
        Self::Here(words)
    }
}

#[derive(Debug, Default)]
struct Cut {
    words: Vec<String>,
    commands: usize,
    expands: bool,
}

/// The words, quotes off; `None` where one command's words decide about another, or other commands
/// are within them.
fn cut(text: &str) -> Option<Cut> {
    let mut cut = Cut::default();
    let mut word: Option<String> = None;
    let mut in_command = false;
    let mut after_output = false;
    let mut characters = text.chars().peekable();
    // A word ends here.
    let end = |word: &mut Option<String>, cut: &mut Cut, after_output: &mut bool| {
        if let Some(word) = word.take()
            && !std::mem::take(after_output)
        {
            cut.words.push(word);
        }
    };
    while let Some(c) = characters.next() {
        match c {
            ' ' | '\t' => end(&mut word, &mut cut, &mut after_output),
            '(' if word.is_some() => return None,
            // `{ cat a; }`, and not `{a,b}`.
            '{' if word.is_some() || !matches!(characters.peek(), Some(' ' | '\n')) => {
                cut.expands = true;
                word.get_or_insert_default().push(c);
            }
            '}' if word.is_some() => word.get_or_insert_default().push(c),
            ';' | '\n' | ')' | '(' | '}' | '{' => {
                end(&mut word, &mut cut, &mut after_output);
                in_command = false;
                continue;
            }
            '&' if characters.peek() == Some(&'&') => {
                characters.next();
                end(&mut word, &mut cut, &mut after_output);
                in_command = false;
                continue;
            }
            '>' => {
                // The 2 of `2>` is no word.
                word.take_if(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
                end(&mut word, &mut cut, &mut after_output);
                after_output = true;
                while matches!(characters.peek(), Some('>' | '|' | '&')) {
                    characters.next();
                }
            }
            '<' => {
                end(&mut word, &mut cut, &mut after_output);
                if matches!(characters.peek(), Some('<' | '(' | '&' | '>')) {
                    return None;
                }
            }
            '|' | '&' | '`' | '#' if word.is_none() || c != '#' => return None,
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        '"' => break,
                        '`' => return None,
                        '$' if characters.peek() == Some(&'(') => return None,
                        '$' | '\\' => cut.expands = true,
                        c => word.push(c),
                    }
                }
            }
            '$' if characters.peek() == Some(&'(') => return None,
            c => {
                cut.expands |= "$*?[\\~".contains(c);
                word.get_or_insert_default().push(c);
            }
        }
        if word.is_some() && !in_command {
            in_command = true;
            cut.commands += 1;
        }
    }
    end(&mut word, &mut cut, &mut after_output);
    Some(cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(words: &[&str]) -> Named {
        Named::Here(words.iter().map(|&word| word.to_owned()).collect())
    }

    #[test]
    fn one_command_tells_by_its_arguments() {
        for text in [
            "gzip -1 < big.txt",
            "(cat big.txt)",
            "{ cat \"$f\"; }",
            "zcat *.gz 2>/dev/null",
            "LC_ALL=C grep -F 'a|b;c' log",
            "gzip<f",
            "gzip <f 2>&1 >out",
        ] {
            assert_eq!(Named::of(text), Named::OneCommand, "{text}");
        }
    }

    #[test]
    fn commands_in_a_row_tell_by_their_words() {
        let two = here(&["cat", "a", "b c"]);
        assert_eq!(Named::of("(cat a; cat 'b c')"), two);
        assert_eq!(Named::of("{ cat a && cat 'b c' 2>>log; }"), two);
        assert_eq!(Named::of("cat <a\ncat \"b c\" >/dev/null"), two);
    }

    #[test]
    fn what_is_expanded_or_depends_on_something_is_unknown() {
        for text in [
            "for f in *.gz; do zcat $f; done",
            "(cat a; cat *.log)",
            "{ cat x {a,b}; cat c; }",
            "f() { cat a; }; f",
            "cat $(ls)",
            "cat `ls`",
            "cat <(zcat a)",
            "cat a | cat",
            "cat a || cat b",
            "if true; then cat a; fi",
            "[ -e a ] && cat b",
            "cat <<END\na\nEND",
            "cat \"$(ls)\"",
            "cd dir && cat a",
            "cat a & cat b",
        ] {
            assert_eq!(Named::of(text), Named::Unknown, "{text}");
        }
    }
}
