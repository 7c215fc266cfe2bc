//! What can be done about a program that computes all the time (pure).

/// Flags by which a program already uses all the cores it is given.
type Already = &'static [&'static str];

/// Programs with a faster way, what tells that it is taken already, and what to write.
const FASTER: &[(&[&str], Already, &str)] = &[
    (
        &["gzip"],
        &[],
        "pigz does the same on all cores; zstd -T0 is even faster if you can use its format",
    ),
    (
        &["gunzip", "zcat"],
        &[],
        "this format can be unpacked on one core only; zstd unpacks several times as fast",
    ),
    (&["bzip2"], &[], "lbzip2 or pbzip2 do the same on all cores"),
    (&["bunzip2"], &[], "lbzip2 -d unpacks on all cores"),
    (&["bzcat"], &[], "lbzip2 -dc unpacks on all cores"),
    (
        &["xz", "lzma"],
        &["-T", "--threads"],
        "xz -T0 uses all cores; a lower preset (-1 to -3) is much faster",
    ),
    (
        &["zstd"],
        &["-T", "--threads"],
        "zstd -T0 uses all cores; a lower level is faster",
    ),
    (
        &["sort"],
        &["--parallel"],
        "sort --parallel=N -S 50% uses more cores and memory; LC_ALL=C compares bytes, which is much faster",
    ),
    (
        &["samtools", "bcftools"],
        &["-@", "--threads"],
        "its option -@ N gives it N more threads",
    ),
    (
        &["bgzip"],
        &["-@", "--threads"],
        "bgzip -@ N uses N threads",
    ),
    (
        &["bwa", "bwa-mem2", "bowtie2"],
        &["-t", "-p"],
        "its option for threads (-t, -p) makes it use more cores",
    ),
    (
        &["grep", "egrep"],
        &[],
        "LC_ALL=C makes it compare bytes, -F fixed strings; ripgrep uses all cores on files",
    ),
    (&["sed"], &[], "LC_ALL=C makes it work on bytes"),
    (
        &["awk", "gawk"],
        &[],
        "mawk is often several times as fast; LC_ALL=C makes it work on bytes",
    ),
    (
        &["sha256sum", "md5sum"],
        &[],
        "b3sum or b2sum are faster if you can choose",
    ),
    (
        &["jq"],
        &[],
        "jaq or gojq are often faster; --stream or a simpler filter may help",
    ),
];

/// Shells: what they run is named in their text.
const SHELLS: &[&str] = &["bash", "sh", "dash", "zsh", "ksh", "mksh", "busybox"];

/// Programs that run another with these of its words behind their own flags.
const WRAPPERS: &[&str] = &[
    "env", "nice", "ionice", "chrt", "taskset", "time", "command", "exec", "nohup", "stdbuf",
    "sudo", "setsid", "timeout",
];

/// Words that begin a compound command.
const KEYWORDS: &[&str] = &[
    "while", "until", "for", "if", "case", "select", "function", "coproc",
];

/// What is known of how `program`, run by `command`, can be made faster.
pub(super) fn faster(program: &str, command: &str) -> Option<String> {
    let (_, already, advice) = FASTER
        .iter()
        .find(|(names, _, _)| names.contains(&program))?;
    let is_taken = command.split_whitespace().any(|word| {
        already.iter().any(|flag| {
            // One thread, as -T1 says, is what it has without.
            word.strip_prefix(flag).is_some_and(|rest| rest != "1")
        })
    });
    (!is_taken).then(|| (*advice).to_owned())
}

/// The program that does the work of a stage. A shell that has a redirection to make stays, and runs it as
/// a child; so where a shell was seen its text tells.
pub(super) fn program<'a>(seen: Option<&'a str>, command: &'a str) -> &'a str {
    let seen = seen.map(base_name).unwrap_or_default();
    if seen.is_empty() || SHELLS.contains(&seen) {
        first_program(command).unwrap_or(seen)
    } else {
        seen
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The first program of a command line: behind assignments, redirections, and programs that run another.
/// `None` where it begins with anything else: a group, a loop.
fn first_program(command: &str) -> Option<&str> {
    let mut words = command.split_whitespace().peekable();
    let mut wrapped = false;
    loop {
        let word = words.next()?;
        let redirection = word.trim_start_matches(|letter: char| letter.is_ascii_digit());
        if redirection.starts_with(['<', '>', '&']) {
            // `> file` is two words, `>file` is one.
            if redirection.ends_with(['<', '>', '&', '|']) {
                words.next();
            }
        } else if is_assignment(word) {
        } else if WRAPPERS.contains(&base_name(word)) {
            wrapped = true;
        // Their flags, and a flag's number.
        } else if wrapped
            && (word.starts_with('-') || word.starts_with(|it: char| it.is_ascii_digit()))
        {
        } else {
            let name = base_name(word);
            let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-+".contains(letter);
            let is_name = !name.is_empty() && name.chars().all(is_plain);
            return (is_name && !KEYWORDS.contains(&name)).then_some(name);
        }
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && name
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_behind_assignments_redirections_and_wrappers() {
        for (command, expected) in [
            ("gzip -9 > file", "gzip"),
            ("gzip -9 >file 2>&1", "gzip"),
            ("> file gzip -9", "gzip"),
            ("2>/dev/null >file /usr/bin/xz -9", "xz"),
            ("LC_ALL=C sort -k2 >out", "sort"),
            ("env LC_ALL=C A= nice -n 10 zstd -19 >x", "zstd"),
            ("TMPDIR=/x timeout 5m samtools sort -", "samtools"),
            ("<in bzip2", "bzip2"),
        ] {
            assert_eq!(program(Some("bash"), command), expected, "{command}");
            assert_eq!(program(None, command), expected, "{command}");
        }
    }

    #[test]
    fn what_was_seen_to_run_counts_where_it_is_no_shell() {
        assert_eq!(program(Some("gzip"), "tar czf - x > y"), "gzip");
        assert_eq!(program(Some("/bin/gzip"), "x"), "gzip");
        // Nobody knows what such a text runs.
        for text in [
            "{ gzip; } >x",
            "while read -r x; do echo; done",
            "(gzip)",
            "$X -9",
            "",
        ] {
            assert_eq!(program(Some("bash"), text), "bash", "{text}");
        }
    }

    #[test]
    fn a_program_that_uses_all_cores_already_is_not_told_to() {
        for (name, without, with) in [
            ("xz", "xz -9 >f", "xz -T0 -9 >f"),
            ("zstd", "zstd -T1", "zstd --threads=4"),
            ("sort", "sort -n >f", "sort --parallel=8 >f"),
            ("samtools", "samtools view -b", "samtools view -@ 4"),
        ] {
            assert!(faster(name, without).is_some(), "{without}");
            assert_eq!(faster(name, with), None, "{with}");
        }
        assert!(faster("gzip", "gzip >f").unwrap().contains("pigz"));
        assert!(faster("bzip2", "bzip2 >f").unwrap().contains("lbzip2"));
        assert_eq!(faster("cat", "cat"), None);
    }
}
