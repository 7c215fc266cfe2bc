//! Whether a perl text for `-ne` or `-pe` treats each line by itself.

/// Words that look, keep or act beyond the line at hand.
const REFUSED: [&str; 40] = [
    "BEGIN", "END", "INIT", "CHECK", "eof", "our", "local", "state", "open", "system", "exec",
    "qx", "exit", "last", "die", "close", "rand", "srand", "eval", "do", "require", "use", "no",
    "reset", "readline", "pos", "study", "select", "write", "format", "fork", "wait", "sleep",
    "time", "warn", "STDIN", "ARGV", "unlink", "rename", "mkdir",
];

/// Checks a text.
pub(super) fn check(text: &str) -> Result<(), String> {
    if text.contains("$.") {
        return Err("$. counts the lines of all input".to_owned());
    }
    if text.contains(['`', '<'])
        || text.contains("..")
        || text.contains("@{")
        || text.contains("${")
    {
        return Err("it is not plain enough to tell".to_owned());
    }
    if let Some(word) = words(text).find(|word| REFUSED.contains(word)) {
        return Err(format!("{word} reaches beyond the line"));
    }
    for (sigil, name) in variables(text) {
        let of_the_line = name.bytes().all(|byte| byte.is_ascii_digit())
            || matches!(
                (sigil, name),
                ('$', "_" | "&" | "F" | "," | "/" | "\\") | ('@', "F" | "_")
            );
        let mine = [format!("my {sigil}{name}"), format!("my({sigil}{name}")];
        if name.is_empty() && sigil == '$' {
            continue; // the end of a line, in an expression
        }
        if !of_the_line && !mine.iter().any(|declared| text.contains(declared)) {
            return Err(format!(
                "{sigil}{name} may carry something from line to line"
            ));
        }
    }
    Ok(())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'))
}

/// The variables, by sigil and name; an element of `@F` is `$F`.
fn variables(text: &str) -> impl Iterator<Item = (char, &str)> {
    text.char_indices().filter_map(|(at, sigil)| {
        let behind = &text[at + sigil.len_utf8()..];
        match sigil {
            '$' | '@' => {}
            '%' if behind.starts_with(|next: char| next.is_ascii_alphabetic()) => {}
            _ => return None,
        }
        let end = behind.find(|next: char| !(next.is_ascii_alphanumeric() || next == '_'));
        let name = &behind[..end.unwrap_or(behind.len())];
        if name.is_empty() && behind.starts_with('&') {
            return Some((sigil, &behind[..1]));
        }
        Some((sigil, name))
    })
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
        ] {
            assert!(check(text).is_err(), "{text}");
        }
    }
}
