//! Stages that are written as `ssh HOST COMMAND`. Pure.

/// The options of ssh that take an argument.
const WITH_ARGUMENT: &str = "BbcDEeFIiJLlmOoPpQRSWw";

/// The host of a stage that runs a command by ssh.
pub(crate) fn host(text: &str) -> Option<&str> {
    let mut words = text.split_ascii_whitespace();
    if words.next() != Some("ssh") {
        return None;
    }
    let host = loop {
        let word = words.next()?;
        let Some(options) = word.strip_prefix('-') else {
            break word;
        };
        // -fNp 22: only the last may have its argument behind it.
        let argument = options.find(|option| WITH_ARGUMENT.contains(option));
        if argument.is_some_and(|at| at + 1 == options.len()) {
            words.next()?;
        }
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "@.-_:/[]%".contains(c);
    // Without a command it is a login.
    (host.chars().all(is_plain) && words.next().is_some()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn the_host_is_found_behind_the_options_and_only_where_a_command_follows() {
        let table = [
            ("ssh big sort -u", Some("big")),
            ("ssh -p 2222 -oX=y -4C me@big 'sort | uniq'", Some("me@big")),
            ("ssh -p2222 big cat", Some("big")),
            ("ssh -4p 2222 big cat", Some("big")),
            ("ssh big", None),
            ("ssh -p 22", None),
            ("ssh $HOST cat", None),
            ("sshd big cat", None),
            ("cat", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(host(text), expected, "{text}");
        }
    }
}
