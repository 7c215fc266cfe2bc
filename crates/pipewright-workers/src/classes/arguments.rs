//! Reads a command line by the flags that a row of the table knows.

/// The flags that a row takes: `"ab:"` is `-a` and `-b VALUE`; long ones likewise, with blanks
/// between: `name` and `name:`, and `name?` for one whose value is optional (`--color`, `--color=auto`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Flags {
    pub(super) short: &'static str,
    pub(super) long: &'static str,
    /// Flags behind an operand are operands, as for a program that runs another.
    pub(super) ends_at_operand: bool,
    /// `-5` is `-n 5`.
    pub(super) numbers: bool,
}

/// A command line that was understood.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Arguments<'a> {
    /// Each flag as it is written in the row, without dashes, with its value.
    pub(super) flags: Vec<(&'a str, Option<&'a str>)>,
    pub(super) operands: Vec<&'a str>,
}

impl<'a> Arguments<'a> {
    pub(super) fn has(&self, names: &[&str]) -> bool {
        self.flags.iter().any(|(flag, _)| names.contains(flag))
    }

    pub(super) fn values(&self, names: &'a [&str]) -> impl Iterator<Item = &'a str> + '_ {
        let named = self.flags.iter().filter(|(flag, _)| names.contains(flag));
        named.filter_map(|(_, value)| *value)
    }

    /// Reads a command line; the error is the argument that the row does not know.
    pub(super) fn read(arguments: &[&'a str], known: Flags) -> Result<Self, &'a str> {
        let mut read = Self::default();
        let mut rest = arguments.iter().copied();
        while let Some(argument) = rest.next() {
            if argument == "--" {
                read.operands.extend(rest);
                break;
            }
            if let Some(long) = argument.strip_prefix("--") {
                let (name, given) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (long, None),
                };
                // Abbreviations are not known: which flag they are depends on the program's version.
                let form = known
                    .long
                    .split_whitespace()
                    .find(|form| form.trim_end_matches([':', '?']) == name);
                let value = match form.ok_or(argument)? {
                    form if form.ends_with(':') => {
                        Some(given.or_else(|| rest.next()).ok_or(argument)?)
                    }
                    form if form.ends_with('?') => given,
                    _ if given.is_some() => return Err(argument),
                    _ => None,
                };
                read.flags.push((name, value));
            } else if argument.len() > 1 && argument.starts_with('-') {
                let number = argument[1..].bytes().all(|byte| byte.is_ascii_digit());
                if number && known.numbers {
                    read.flags.push(("n", Some(&argument[1..])));
                    continue;
                }
                read.short(argument, known, &mut rest)?;
            } else {
                read.operands.push(argument);
                if known.ends_at_operand {
                    read.operands.extend(rest);
                    break;
                }
            }
        }
        Ok(read)
    }

    fn short(
        &mut self,
        argument: &'a str,
        known: Flags,
        rest: &mut impl Iterator<Item = &'a str>,
    ) -> Result<(), &'a str> {
        for (at, letter) in argument.char_indices().skip(1) {
            let behind = at + letter.len_utf8();
            let place = known
                .short
                .find(letter)
                .filter(|_| letter != ':')
                .ok_or(argument)?;
            if known.short[place + letter.len_utf8()..].starts_with(':') {
                let attached = Some(&argument[behind..]).filter(|value| !value.is_empty());
                let value = attached.or_else(|| rest.next()).ok_or(argument)?;
                self.flags.push((&argument[at..behind], Some(value)));
                return Ok(());
            }
            self.flags.push((&argument[at..behind], None));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Flags = Flags {
        short: "ab:n:",
        long: "all by: color?",
        ends_at_operand: false,
        numbers: true,
    };

    #[test]
    fn flags_are_read_as_getopt_reads_them() {
        let read = |arguments: &[&'static str]| Arguments::read(arguments, KNOWN);
        let both = read(&["-ab", "x", "one", "-by", "--", "-a"]).unwrap();
        assert_eq!(
            both.flags,
            [("a", None), ("b", Some("x")), ("b", Some("y"))]
        );
        assert_eq!(both.operands, ["one", "-a"]);
        let long = read(&["--by=x", "--by", "y", "--color", "-5", "-"]).unwrap();
        let expected = [
            ("by", Some("x")),
            ("by", Some("y")),
            ("color", None),
            ("n", Some("5")),
        ];
        assert_eq!(long.flags, expected);
        assert_eq!(long.operands, ["-"]);
    }

    #[test]
    fn whatever_is_not_known_is_named() {
        for wrong in ["-c", "-ac", "--al", "--all=1", "--new"] {
            assert_eq!(Arguments::read(&[wrong], KNOWN), Err(wrong));
        }
        assert_eq!(Arguments::read(&["-b"], KNOWN), Err("-b"));
    }
}
