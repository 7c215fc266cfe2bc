//! Whether a sed script treats each line by itself.

/// Checks a script (the texts of several `-e` joined by new lines): only commands that look at one line
/// at a time, with no address or one that is a regular expression.
pub(super) fn check(script: &str) -> Result<(), String> {
    let mut rest = script;
    let mut depth = 0_u32;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\n', ';']);
        let Some(first) = rest.chars().next() else {
            return if depth == 0 {
                Ok(())
            } else {
                Err("a { is not closed".to_owned())
            };
        };
        if first == '#' {
            rest = rest.split_once('\n').map_or("", |(_, behind)| behind);
            continue;
        }
        rest = match first {
            '0'..='9' | '$' | '~' => {
                return Err(
                    "an address counts lines, and each part counts from its own start".to_owned(),
                );
            }
            '/' | '\\' => address(rest)?,
            _ => rest,
        };
        rest = rest.trim_start_matches([' ', '\t']);
        if rest.starts_with(',') {
            return Err("a range of lines can begin in one part and end in another".to_owned());
        }
        rest = rest.trim_start_matches(['!', ' ', '\t']);
        let command = rest.chars().next().ok_or("an address has no command")?;
        let behind = &rest[command.len_utf8()..];
        rest = match command {
            's' => substitution(behind)?,
            'y' => sections(behind, 2)?,
            'd' | 'p' => behind,
            'a' | 'i' | 'c' => text(behind),
            'b' | 't' | ':' => behind
                .split_once(['\n', ';', '}'])
                .map_or("", |(label, _)| &behind[label.len()..]),
            '{' => {
                depth += 1;
                behind
            }
            '}' => {
                depth = depth.checked_sub(1).ok_or("a } has no {")?;
                behind
            }
            'n' | 'N' | 'D' | 'P' | 'h' | 'H' | 'g' | 'G' | 'x' => {
                return Err(format!(
                    "the command {command} carries text from line to line"
                ));
            }
            'q' | 'Q' => return Err("it ends before its input does".to_owned()),
            '=' => return Err("it prints line numbers".to_owned()),
            _ => {
                return Err(format!(
                    "the command {command} is not known to look at one line only"
                ));
            }
        };
        // What follows a command is a separator, a closing brace or a comment.
        let after = rest.trim_start_matches([' ', '\t']);
        if !after.is_empty() && !after.starts_with([';', '\n', '}', '#']) && !matches!(command, '{')
        {
            return Err(format!(
                "what follows the command {command} is not understood"
            ));
        }
    }
}

fn address(text: &str) -> Result<&str, String> {
    let text = text.strip_prefix('\\').unwrap_or(text);
    let behind = sections(text, 1)?;
    Ok(behind.trim_start_matches(['I', 'M']))
}

/// Skips the flags of `s` and refuses those that do more than to change the line.
fn substitution(text: &str) -> Result<&str, String> {
    let behind = sections(text, 2)?;
    let rest =
        behind.trim_start_matches(|flag: char| flag.is_ascii_digit() || "gpiImM".contains(flag));
    if rest.starts_with(['w', 'e']) {
        return Err("s with the flag w or e has side effects".to_owned());
    }
    Ok(rest)
}

/// Skips a delimiter and this many sections, each ended by it. A delimiter in brackets is one too only
/// for `s` and `y` of some versions: such a text is refused.
fn sections(text: &str, count: usize) -> Result<&str, String> {
    let mut characters = text.char_indices();
    let delimiter = characters.next().map(|(_, delimiter)| delimiter);
    let delimiter = delimiter
        .filter(|it| !matches!(it, '\n' | '\\'))
        .ok_or("a delimiter is missing")?;
    let mut left = count;
    while let Some((at, character)) = characters.next() {
        if character == '\\' {
            characters.next();
        } else if character == '[' && delimiter != '[' {
            let bracket = &text[at..];
            let end = bracket.find(']').unwrap_or(bracket.len());
            if bracket[..end].contains(delimiter) {
                return Err("the delimiter stands in brackets".to_owned());
            }
        } else if character == delimiter {
            left -= 1;
            if left == 0 {
                return Ok(&text[at + delimiter.len_utf8()..]);
            }
        }
    }
    Err("a command is not complete".to_owned())
}

/// Skips the text of `a`, `i` and `c`: the rest of the line, and the next after a backslash.
fn text(behind: &str) -> &str {
    let mut characters = behind.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => {
                characters.next();
            }
            '\n' => return &behind[at..],
            _ => {}
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn scripts_for_one_line_at_a_time_are_taken() {
        for script in [
            "s/a/b/",
            "s/a/b/g;s|c|d|2p",
            "/x/d",
            "/x/!s/a/b/I",
            "y/abc/xyz/",
            "/a/{s/b/c/;p}",
            "/x/a more",
            "i\\\nabove",
            ":top;s/aa/a/;ttop",
            "# note\ns/a/b/",
            "\\,x,d",
            "s/[a-z]*//; s/ //g",
            "",
        ] {
            assert_eq!(check(script), Ok(()), "{script}");
        }
    }

    #[test]
    fn scripts_that_look_further_are_refused() {
        for script in [
            "1d",
            "$d",
            "2,3p",
            "/a/,/b/d",
            "N;P;D",
            "G",
            "x",
            "h",
            "=",
            "5q",
            "/x/q",
            "s/a/b/w out",
            "s/a/b/e",
            "n;d",
            "{p",
            "r file",
            "w file",
            "z",
            "l",
            "s/a/b",
            "1~2p",
            "/x/,+2d",
            "F",
            "e ls",
        ] {
            assert!(check(script).is_err(), "{script}");
        }
    }
}
