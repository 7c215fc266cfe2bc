//! Whether an awk program treats each record by itself.

/// One piece of an awk program.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Name(String),
    /// A number, a string or a regular expression.
    Value,
    /// A line's end, which ends a statement as `;` does.
    NewLine,
    Sign(&'static str),
}

/// Words that print, read, run or decide something beyond the record at hand.
const REFUSED: [(&str, &str); 17] = [
    ("NR", "NR counts the records of all input"),
    ("FNR", "FNR counts the records of all input"),
    ("BEGIN", "what BEGIN prints would come once a part"),
    ("END", "END comes once a part"),
    ("BEGINFILE", "BEGINFILE comes once a part"),
    ("ENDFILE", "ENDFILE comes once a part"),
    ("RS", "RS makes other records than lines"),
    ("RT", "RT is another record separator"),
    ("getline", "getline reads on"),
    ("nextfile", "nextfile leaves out the rest of the input"),
    ("exit", "exit ends before the input does"),
    ("rand", "rand goes on from record to record"),
    ("srand", "srand sets what goes on from record to record"),
    ("system", "system has side effects"),
    ("close", "close is for other files"),
    ("function", "functions are not looked into"),
    ("func", "functions are not looked into"),
];

/// Built-in names that the record at hand decides.
const KNOWN: [&str; 38] = [
    "print", "printf", "if", "else", "while", "do", "for", "in", "next", "break", "continue",
    "length", "substr", "index", "split", "sub", "gsub", "gensub", "match", "sprintf", "tolower",
    "toupper", "int", "sqrt", "exp", "log", "sin", "cos", "atan2", "NF", "FS", "OFS", "ORS",
    "SUBSEP", "and", "or", "xor", "strtonum",
];

/// What gawk goes by from its next record on.
const SETTINGS: [&str; 8] = [
    "IGNORECASE",
    "FPAT",
    "FIELDWIDTHS",
    "CONVFMT",
    "OFMT",
    "BINMODE",
    "LINT",
    "PROCINFO",
];

const SIGNS: [&str; 42] = [
    "**=", "&&", "||", "==", "!=", "<=", ">=", "+=", "-=", "*=", "/=", "%=", "^=", "++", "--",
    "**", "!~", ">>", "|&", "{", "}", "(", ")", "[", "]", ";", ",", "+", "-", "*", "/", "%", "^",
    "!", "<", ">", "|", "~", "?", ":", "=", "$",
];

/// Checks a program.
pub(super) fn check(program: &str) -> Result<(), String> {
    let tokens = tokens(program)?;
    for token in &tokens {
        let Token::Name(name) = token else { continue };
        if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| refused == name) {
            return Err((*why).to_owned());
        }
    }
    let mut depth = 0_i32;
    let mut in_pattern = true;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Sign("{") => {
                depth += 1;
                in_pattern = false;
            }
            Token::Sign("}") => {
                depth -= 1;
                in_pattern = depth == 0;
            }
            Token::Sign(",") if in_pattern && parentheses(&tokens[..at]) == 0 => {
                return Err(
                    "a range of records can begin in one part and end in another".to_owned(),
                );
            }
            Token::Sign("|" | "|&" | ">>") => {
                return Err("it writes to other files or programs".to_owned());
            }
            Token::Sign(">") if !in_pattern && in_print(&tokens[..at]) => {
                return Err("it writes to other files".to_owned());
            }
            Token::Sign("[") => return Err("an array can go on from record to record".to_owned()),
            _ => {}
        }
    }
    variables(&tokens)
}

/// `!seen[$0]++` and its like, with any name: the first of equal lines.
pub(super) fn is_first_of_equal(program: &str) -> bool {
    let compact: String = program.split_whitespace().collect();
    let name = compact
        .strip_prefix('!')
        .and_then(|rest| rest.strip_suffix("[$0]++"));
    name.is_some_and(|name| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    })
}

/// Refuses a variable that may still have what an earlier record gave it: each must be assigned in full
/// before it is used, and outside of any condition.
fn variables(tokens: &[Token]) -> Result<(), String> {
    let refuse = |name: &str| Err(format!("{name} may carry something from record to record"));
    let mut fresh: Vec<&str> = Vec::new();
    // Assigned by the statement at hand: its right side still sees what was there before.
    let mut next_fresh: Vec<&str> = Vec::new();
    // Braces of an action, and whether what stands in them always runs.
    let mut always = vec![false];
    let mut condition = false;
    for (at, token) in tokens.iter().enumerate() {
        if matches!(token, Token::Sign(";" | "}") | Token::NewLine) {
            fresh.append(&mut next_fresh);
        }
        match token {
            Token::Sign("{") => {
                always.push(!condition && always.len() == 1);
                condition = false;
            }
            Token::Sign("}") => {
                always.pop();
                condition = false;
                if always.len() == 1 {
                    fresh.clear();
                }
                if always.is_empty() {
                    return Err("braces do not match".to_owned());
                }
            }
            Token::Sign(";") | Token::NewLine if parentheses(&tokens[..at]) == 0 => {
                condition = false
            }
            // Inside the parentheses of a `for`: what follows need not run even once.
            Token::Sign(";") => condition = true,
            Token::Sign("?" | "&&" | "||") => condition = true,
            Token::Name(name) if matches!(name.as_str(), "if" | "else" | "while" | "do") => {
                condition = true
            }
            Token::Name(name)
                if matches!(name.as_str(), "FS" | "OFS" | "ORS" | "SUBSEP" | "NF") =>
            {
                let changes =
                    matches!(tokens.get(at + 1), Some(Token::Sign(sign)) if is_assignment(sign));
                if changes && name != "NF" {
                    return refuse(name);
                }
            }
            Token::Name(name) if KNOWN.contains(&name.as_str()) => {}
            Token::Name(name) if SETTINGS.contains(&name.as_str()) => {
                return Err(format!("{name} changes how the records behind are read"));
            }
            Token::Name(name)
                if matches!(name.as_str(), "RSTART" | "RLENGTH") && !matches_first(tokens) =>
            {
                return refuse(name);
            }
            Token::Name(name) if matches!(name.as_str(), "RSTART" | "RLENGTH") => {}
            Token::Name(name) => {
                let next = tokens.get(at + 1);
                let before = at.checked_sub(1).and_then(|before| tokens.get(before));
                if next == Some(&Token::Sign("(")) {
                    return Err(format!("the function {name} is not known"));
                }
                let changes = matches!(next, Some(Token::Sign(sign)) if is_assignment(sign))
                    || matches!(before, Some(Token::Sign("++" | "--")));
                let field = before == Some(&Token::Sign("$"));
                let runs_always = *always.last().unwrap_or(&false) && !condition;
                if next == Some(&Token::Sign("=")) && runs_always && !field {
                    next_fresh.push(name);
                } else if !fresh.contains(&name.as_str()) {
                    // One that is never assigned, or by -v only, is the same in every record. Told apart
                    // from one that is, only by reading all of the program.
                    let ever = tokens.windows(2).any(|pair| {
                        pair[0] == *token
                            && matches!(&pair[1], Token::Sign(sign) if is_assignment(sign))
                    });
                    if ever || changes || is_target(tokens, at) {
                        return refuse(name);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Tells whether the program begins with a `match` that runs for each record.
fn matches_first(tokens: &[Token]) -> bool {
    let first = tokens
        .iter()
        .find(|token| !matches!(token, Token::NewLine | Token::Sign("{")));
    first == Some(&Token::Name("match".to_owned()))
}

fn is_assignment(sign: &str) -> bool {
    matches!(
        sign,
        "=" | "+=" | "-=" | "*=" | "/=" | "%=" | "^=" | "**=" | "++" | "--"
    )
}

/// Whether the name stands where `sub`, `gsub`, `split` or a `for (… in …)` would change it.
fn is_target(tokens: &[Token], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| tokens.get(before));
    let after = tokens.get(at + 1);
    let argument = before == Some(&Token::Sign(",")) && after == Some(&Token::Sign(")"));
    let walked = after == Some(&Token::Name("in".to_owned()));
    let split = tokens[..at]
        .iter()
        .rev()
        .take(12)
        .any(|token| *token == Token::Name("split".to_owned()));
    argument || walked || split
}

/// How many parentheses are open at the end.
fn parentheses(tokens: &[Token]) -> i32 {
    let change = |token: &Token| match token {
        Token::Sign("(") => 1,
        Token::Sign(")") => -1,
        _ => 0,
    };
    tokens.iter().map(change).sum()
}

/// Whether a `>` at the end of these would send a print somewhere: outside of parentheses, behind print.
fn in_print(tokens: &[Token]) -> bool {
    let statement = tokens
        .rsplit(|token| matches!(token, Token::NewLine | Token::Sign(";" | "{" | "}")))
        .next()
        .unwrap_or_default();
    let prints =
        |token: &Token| matches!(token, Token::Name(name) if name == "print" || name == "printf");
    let begin = statement.iter().rposition(prints);
    begin.is_some_and(|begin| parentheses(&statement[begin..]) == 0)
}

fn tokens(program: &str) -> Result<Vec<Token>, String> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut rest = program;
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            ' ' | '\t' | '\r' => (None, 1),
            '\\' if rest.starts_with("\\\n") => (None, 2),
            '\n' => (Some(Token::NewLine), 1),
            '#' => (None, rest.find('\n').unwrap_or(rest.len())),
            '"' => (Some(Token::Value), closed(rest, '"')?),
            '/' if begins_expression(tokens.last()) => (Some(Token::Value), closed(rest, '/')?),
            '@' | '`' | '\'' => return Err(format!("{first} is not understood")),
            _ if first.is_ascii_digit()
                || (first == '.' && rest[1..].starts_with(|next: char| next.is_ascii_digit())) =>
            {
                let number = |next: char| !(next.is_ascii_alphanumeric() || next == '.');
                (Some(Token::Value), rest.find(number).unwrap_or(rest.len()))
            }
            _ if first.is_ascii_alphabetic() || first == '_' => {
                let name = |next: char| !(next.is_ascii_alphanumeric() || next == '_');
                let length = rest.find(name).unwrap_or(rest.len());
                (Some(Token::Name(rest[..length].to_owned())), length)
            }
            _ => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                let sign = sign.ok_or_else(|| format!("{first} is not understood"))?;
                (Some(Token::Sign(sign)), sign.len())
            }
        };
        tokens.extend(token);
        rest = &rest[length..];
    }
    Ok(tokens)
}

/// Whether a slash behind this begins a regular expression and does not divide.
fn begins_expression(before: Option<&Token>) -> bool {
    !matches!(
        before,
        Some(Token::Value | Token::Name(_) | Token::Sign(")" | "]" | "++" | "--"))
    )
}

/// The length of what begins with a quote or a slash, with the one that ends it.
fn closed(text: &str, end: char) -> Result<usize, String> {
    let mut escaped = true;
    for (at, character) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if character == '\\' {
            escaped = true;
        } else if character == end {
            return Ok(at + 1);
        } else if character == '\n' {
            break;
        }
    }
    Err(format!("a {end} is not closed"))
}

#[cfg(test)]
mod tests {
    use super::{check, is_first_of_equal};

    #[test]
    fn programs_for_one_record_at_a_time_are_taken() {
        for program in [
            "{print $1}",
            "/x/",
            "$3 > 5 {print $1, $2}",
            "{s = 0; for (i = 1; i <= NF; i++) s += $i; print s}",
            "{$2 = \"\"; print}",
            "{gsub(/a/, \"b\"); print}",
            "length($0) > 3",
            "{n = length($0); if (n > 3) print n}",
            "NF",
            "1",
            "{print ($1 > 2) ? \"a\" : \"b\"}",
            "{print $1 / 2, $2}",
            "tolower($1) ~ /^a/ && $2 != \"\" {print; next} {print \"-\"}",
            "{printf \"%s\\n\", substr($0, 2)}",
            "{print none $1}",
            "match($0, /b+/) {print substr($0, RSTART, RLENGTH)}",
            "{match($0, /b/); print RSTART}",
        ] {
            assert_eq!(check(program), Ok(()), "{program}");
        }
        assert_eq!(check("$1 > limit"), Ok(()));
    }

    #[test]
    fn programs_that_carry_or_print_elsewhere_are_refused() {
        for program in [
            "{s += $1} END {print s}",
            "{s += $1; print s}",
            "{print NR, $0}",
            "NR % 2",
            "BEGIN {print 1} 1",
            "/a/,/b/",
            "{print > \"out\"}",
            "{print | \"sort\"}",
            "{seen[$1]++}",
            "!seen[$0]++",
            "{n++; print n}",
            "{if ($1) x = 1; print x}",
            "$1 {x = $1} {print x}",
            "{getline; print}",
            "{exit}",
            "{print rand()}",
            "x++",
            "{print x; x = $1}",
            "{OFS = $1; print $1, $2}",
            "{sub(/a/, \"b\", x); print x}",
            "function f() {} {f()}",
            "{split($0, parts); print parts[1]}",
            "{print ++n}",
            "{system($0)}",
            "{$n = 1; n = 2}",
            "/a/{f=1} f",
            "{prev = $0 prev; print prev}",
            "RS == 1",
            "{for (i = 1; i <= NF; i++) t = $i; print t}",
            "{for (i = 1; i <= NF; t = $i) i++; print t}",
            "/a/ {match($0, /b/)} {print RSTART}",
            "{print RLENGTH; match($0, /b/)}",
            "/a/ {print} {IGNORECASE = 1}",
            "{OFMT = \"%.2g\"; print $1 + 0}",
            // What -v sets is the same for each record only if nobody changes it.
            "{print x; x = 2}",
        ] {
            assert!(check(program).is_err(), "{program}");
        }
    }

    #[test]
    fn the_first_of_equal_lines_is_known() {
        assert!(is_first_of_equal("!seen[$0]++") && is_first_of_equal("! a[$0] ++"));
        assert!(!is_first_of_equal("!seen[$1]++") && !is_first_of_equal("!NR[$0]++"));
    }
}
