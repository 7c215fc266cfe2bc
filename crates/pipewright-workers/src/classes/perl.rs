//! Whether a perl text for `-ne` or `-pe` treats each line by itself.

/// Words that look, keep or act beyond the line at hand.
const REFUSED: [&str; 46] = [
    "BEGIN", "END", "INIT", "CHECK", "eof", "our", "local", "state", "open", "system", "exec",
    "qx", "exit", "last", "die", "close", "rand", "srand", "eval", "do", "require", "use", "no",
    "reset", "readline", "pos", "study", "select", "write", "format", "fork", "wait", "sleep",
    "time", "warn", "STDIN", "ARGV", "unlink", "rename", "mkdir", "undef", "sub", "each", "kill",
    "goto", "binmode",
];

/// Checks a text.
pub(super) fn check(text: &str) -> Result<(), String> {
    if text.contains("$.") {
        return Err("$. counts the lines of all input".to_owned());
    }
    let obscure = [
        "`",
        "<",
        "..",
        "@{",
        "${",
        "?{",
        "m?",
        "if //",
        "unless //",
        "~ //",
        "! //",
        "&& //",
        "(//",
        "$^",
    ];
    if obscure.iter().any(|it| text.contains(it)) || names_a_glob(text) {
        return Err("it is not plain enough to tell".to_owned());
    }
    if let Some(word) = words(text).find(|word| REFUSED.contains(word)) {
        return Err(format!("{word} reaches beyond the line"));
    }
    if is_compiled_once(text) {
        return Err("an expression with the flag o is that of the first line".to_owned());
    }
    if let Some(name) = changed_setting(text) {
        return Err(format!("${name} is the same for the lines behind"));
    }
    let mut depth = 0_u32;
    // The depth of braces at which each was declared; it ends with them.
    let mut declared: Vec<(u32, char, &str)> = Vec::new();
    let mut matched = false;
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => {
                depth = depth
                    .checked_sub(1)
                    .ok_or("a } has no {: what follows comes once")?;
                declared.retain(|(at, _, _)| *at <= depth);
            }
            _ => {}
        }
        let Some((sigil, name)) = variable(text, at) else {
            continue;
        };
        if matches!((sigil, name), ('$', "_" | "F") | ('@', "F")) || name.is_empty() {
            continue; // of the line; or the end of a line, in an expression
        }
        if sigil == '$'
            && (name == "&" || name.bytes().all(|byte| byte.is_ascii_digit()))
            && name != "0"
        {
            // They keep what the last successful match gave, of an earlier line, too.
            matched = true;
            continue;
        }
        let is_declared = |(_, of, known): &(u32, char, &str)| {
            // An element of an array or a hash has another sigil.
            *known == name && (*of == sigil || sigil == '$')
        };
        let before = text[..at].trim_end();
        let is_declaration = ["my", "my("].iter().any(|my| {
            before
                .strip_suffix(my)
                .is_some_and(|rest| !rest.ends_with(is_of_word))
        });
        if is_declaration && !is_conditional(&text[at..]) {
            declared.push((depth, sigil, name));
        } else if is_declaration || !declared.iter().any(is_declared) {
            return Err(format!(
                "{sigil}{name} may carry something from line to line"
            ));
        }
    }
    if matched && !is_guarded(text) {
        return Err("$1 keeps what an earlier line has matched".to_owned());
    }
    Ok(())
}

fn is_of_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '$' | '@' | '%')
}

/// Whether a star stands where a glob may, and nothing is multiplied or repeated.
fn names_a_glob(text: &str) -> bool {
    let begins = |(at, _): (usize, &str)| {
        let before = text[..at].trim_end();
        let behind = text[at + 1..].chars().next();
        (before.is_empty() || before.ends_with([';', '{', '(', ',', '=']))
            && behind.is_some_and(|next| next.is_ascii_alphabetic() || next == '_')
    };
    text.match_indices('*').any(begins)
}

/// Whether `my` is taken back by what follows the statement: then the variable is that of the line before.
fn is_conditional(from: &str) -> bool {
    let statement = from.split([';', '}']).next().unwrap_or_default();
    words(statement).any(|word| {
        matches!(
            word,
            "if" | "unless" | "while" | "until" | "for" | "foreach" | "and" | "or"
        )
    }) || statement.contains("&&")
        || statement.contains("||")
}

/// Whether an expression has the flag `o`.
fn is_compiled_once(text: &str) -> bool {
    text.match_indices(['/', '}', '!', '#']).any(|(at, _)| {
        let behind = &text[at + 1..];
        let end = behind
            .find(|next: char| !next.is_ascii_lowercase())
            .unwrap_or(behind.len());
        let flags = &behind[..end];
        flags.contains('o')
            && flags.bytes().all(|flag| b"msixpodualngcer".contains(&flag))
            && !matches!(flags, "or" | "no" | "do")
            && !behind[end..].starts_with(['/', '(', '_'])
    })
}

/// A variable of punctuation that is assigned: it stays so for the lines behind.
fn changed_setting(text: &str) -> Option<char> {
    text.match_indices('$').find_map(|(at, _)| {
        let mut behind = text[at + 1..].chars();
        let name = behind.next()?;
        if !(name.is_ascii_punctuation() || name == '0')
            || matches!(name, '_' | '$' | '{' | '}' | '(' | '#')
        {
            return None;
        }
        let rest = behind.as_str().trim_start();
        let before = text[..at].trim_end();
        let operator = rest.trim_start_matches(['.', '+', '-', '*', '/', '|', '&', '^', 'x', '?']);
        let is_set = (operator.starts_with('=')
            && !operator.starts_with("==")
            && !operator.starts_with("=~"))
            || rest.starts_with("++")
            || rest.starts_with("--")
            || before.ends_with("++")
            || before.ends_with("--");
        is_set.then_some(name)
    })
}

/// Whether `$1` and its like stand only where a match of the same line has succeeded: in the replacement of
/// `s`, or behind a match whose failure leaves the statement out.
fn is_guarded(text: &str) -> bool {
    let capture = |statement: &str| {
        statement.match_indices('$').any(|(at, _)| {
            statement[at + 1..].starts_with(|next: char| next.is_ascii_digit() || next == '&')
        })
    };
    let guarded = |statement: &str| {
        let statement = statement.trim();
        if !capture(statement) {
            return true;
        }
        // s/…/$1/: it is put in only where it has matched.
        if let Some(rest) = statement.strip_prefix("s/") {
            let pattern = rest.split('/').next().unwrap_or_default();
            return rest.matches('/').count() == 2 && !rest.contains("\\/") && !capture(pattern);
        }
        // … if /…/: nothing before the last word is done without a match.
        let Some((action, condition)) = statement.rsplit_once(" if ") else {
            return false;
        };
        let condition = condition.trim().trim_start_matches("$_ =~").trim();
        let flags = |flag: char| flag.is_ascii_lowercase();
        let plain = condition
            .strip_prefix('/')
            .and_then(|rest| rest.trim_end_matches(flags).strip_suffix('/'));
        plain.is_some_and(|expression| {
            !expression.is_empty() && !capture(expression) && !expression.contains('/')
        }) && !action.contains(['{', '}'])
    };
    text.split([';', '\n']).all(guarded)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'))
}

/// The variable that begins here, by sigil and name; an element of `@F` is `$F`.
fn variable(text: &str, at: usize) -> Option<(char, &str)> {
    let mut characters = text[at..].chars();
    let sigil = characters.next()?;
    let behind = characters.as_str();
    match sigil {
        '$' | '@' => {}
        // In quotes it is for printf.
        '%' if behind.starts_with(|next: char| next.is_ascii_alphabetic())
            && !in_quotes(text, at) => {}
        _ => return None,
    }
    let end = behind.find(|next: char| !(next.is_ascii_alphanumeric() || next == '_'));
    let name = &behind[..end.unwrap_or(behind.len())];
    if name.is_empty() && behind.starts_with('&') {
        return Some((sigil, &behind[..1]));
    }
    Some((sigil, name))
}

/// Whether a double quote begins a plain text before, and none ends it.
fn in_quotes(text: &str, at: usize) -> bool {
    let before = &text[..at];
    let quotes = before.matches('"').count();
    let inside = before.rsplit('"').next().unwrap_or_default();
    quotes % 2 == 1 && !inside.contains(['/', '=', ';', '('])
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn texts_for_one_line_at_a_time_are_taken() {
        for text in [
            "s/a/b/",
            "print if /x$/",
            "my $n = length; print \"$n\\n\"",
            "print \"$1\\n\" if /(a+)/",
            "print \"$1-$2\\n\" if /(a+) (b)$/i",
            "s/(a)(b)/$2$1/g",
            "s/a/$&$&/; print",
            "chomp; print \"$_ 2\\n\"",
            "s/x$/o/; s/a/foo/",
            "my $n = 0; if (/a/) { $n = 1 } print $n",
            "printf \"%s\\n\", $F[0] * 2",
            "print $F[0]",
            "tr/a-z/A-Z/",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn texts_that_carry_or_act_are_refused() {
        for text in [
            "print \"$.\"",
            "$n++; print $n",
            "END { print }",
            "$seen{$_}++ or print",
            "print if 1..3",
            "system 'x'",
            "push @all, $_",
            "print <STDIN>",
            "last if /x/",
            "%h = ()",
            "/(a)/; print $1",
            "print $1; /(a)/",
            "if (/(a)/) { print 1 } print $1",
            "print \"$1\" if /a/ || 1",
            "print \"$1\" if /(a)/ or 1",
            "$1 and print if /b/; print $1",
            "$/ = \"a\"; print",
            "undef $/; print",
            "print @F; $, = \":\"",
            "print $_; $\\ .= \"x\"",
            "print if $|--",
            "print ++$|",
            "$0 .= \"x\"; print $0",
            "print $^A; $^A .= \"x\"",
            "print }{ print \"end\"",
            "$n++; if (/a/) { my $n = 1 } print $n",
            "{ my $y = 1 } $y .= \"a\"; print $y",
            "my $x if 0; $x .= \"a\"; print $x",
            "print if /$F[0]/o",
            "print if m?a?",
            "@_ = (@_, 1); print \"@_\"",
            "push @_, 1; print scalar @_",
            "*x = \\$_; print",
            "print if //; /b/",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
    }
}
