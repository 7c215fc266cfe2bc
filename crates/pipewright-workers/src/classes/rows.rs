//! The rows of the table: each a command and the flags with which it belongs to a class.

use super::arguments::Arguments;
use super::row::{Kind, Operands, ROW, Row, flags, that_end, with_numbers};
use super::{awk, perl, sed};

pub(super) const GREP: &[&str] = &["grep", "egrep", "fgrep"];
const AWK: &[&str] = &["awk", "gawk", "mawk", "nawk"];
const PATTERN: Operands = Operands::Text(1, 1, &["e", "regexp"]);
const GREP_LONG: &str = "extended-regexp fixed-strings basic-regexp perl-regexp ignore-case no-ignore-case \
    invert-match word-regexp line-regexp only-matching no-filename text color? colour? \
    regexp: line-buffered no-messages";
const SORT_LONG: &str = "ignore-leading-blanks dictionary-order ignore-case general-numeric-sort \
    human-numeric-sort ignore-nonprinting month-sort numeric-sort reverse version-sort \
    key: field-separator: stable unique buffer-size: temporary-directory: parallel:";

pub(super) const ROWS: &[Row] = &[
    Row {
        names: &["cat"],
        flags: flags("AETvetu", "show-all show-ends show-tabs show-nonprinting"),
        ..ROW
    },
    Row {
        names: &["cat"],
        flags: flags("s", "squeeze-blank"),
        kind: Kind::Again,
        reason: "blank lines can only meet where two parts do",
        ..ROW
    },
    Row {
        names: &["cat"],
        flags: flags("AETvetusnb", "number number-nonblank squeeze-blank"),
        kind: Kind::Offset,
        reason: "it numbers the lines from the start of all input",
        ..ROW
    },
    Row {
        names: GREP,
        flags: flags("EFGPivwxohase:", GREP_LONG),
        operands: PATTERN,
        ..ROW
    },
    Row {
        names: GREP,
        flags: flags(
            "EFGPivwxhasce:",
            "count extended-regexp fixed-strings ignore-case invert-match text regexp:",
        ),
        needs: &["c", "count"],
        operands: PATTERN,
        kind: Kind::Add,
        check: |arguments| match arguments.operands.iter().filter(|it| **it == "-").count() {
            0 | 1 => Ok(()),
            _ => Err("of several files it names each".to_owned()),
        },
        reason: "the counts of the parts add up",
    },
    Row {
        names: GREP,
        flags: flags(
            "EFGPivwxohasnbcHTe:",
            "line-number byte-offset with-filename",
        ),
        operands: PATTERN,
        kind: Kind::Offset,
        reason: "it numbers lines or bytes from the start of all input",
        ..ROW
    },
    Row {
        names: &["sed"],
        flags: flags(
            "nErue:",
            "quiet silent regexp-extended expression: unbuffered sandbox",
        ),
        operands: Operands::Text(1, 1, &["e", "expression"]),
        check: |arguments| sed::check(&text_of(arguments, &["e", "expression"])),
        reason: "its script looks at each line by itself",
        ..ROW
    },
    Row {
        names: AWK,
        flags: that_end(flags("", "")),
        operands: Operands::Text(1, 1, &[]),
        kind: Kind::Again,
        check: |arguments| {
            let first = awk::is_first_of_equal(arguments.operands[0]);
            first.then_some(()).ok_or_else(String::new)
        },
        reason: "the first of equal lines of a part is the only one that can be the first of all",
        ..ROW
    },
    Row {
        names: AWK,
        flags: that_end(flags("F:v:", "field-separator: assign:")),
        operands: Operands::Text(1, 1, &[]),
        check: |arguments| {
            let assigned: Vec<&str> = arguments
                .values(&["v", "assign"])
                .filter_map(|text| text.split_once('=').map(|(name, _)| name))
                .collect();
            if assigned.contains(&"RS") {
                return Err("RS makes other records than lines".to_owned());
            }
            awk::check(arguments.operands[0])
        },
        reason: "its program looks at each record by itself",
        ..ROW
    },
    Row {
        names: &["tr"],
        flags: flags("s", "squeeze-repeats"),
        needs: &["s", "squeeze-repeats"],
        operands: Operands::Text(1, 1, &[]),
        kind: Kind::Again,
        check: |arguments| match arguments.operands.as_slice() {
            ["\\n" | "\n"] => Ok(()),
            _ => Err(String::new()),
        },
        reason: "new lines can only meet where two parts do",
    },
    Row {
        names: &["tr"],
        flags: flags("cCdst", "complement delete squeeze-repeats truncate-set1"),
        operands: Operands::Text(1, 2, &[]),
        check: squeezes_no_new_line,
        reason: "it looks at each character by itself",
        ..ROW
    },
    Row {
        names: &["cut"],
        flags: flags(
            "b:c:f:d:sn",
            "bytes: characters: fields: delimiter: complement only-delimited output-delimiter:",
        ),
        check: |arguments| {
            let line = arguments
                .values(&["d", "delimiter"])
                .any(|value| value == "\n");
            if line {
                Err("its fields are lines".to_owned())
            } else {
                Ok(())
            }
        },
        ..ROW
    },
    Row {
        names: &["expand"],
        flags: flags("it:", "initial tabs:"),
        ..ROW
    },
    Row {
        names: &["unexpand"],
        flags: flags("at:", "all first-only tabs:"),
        ..ROW
    },
    Row {
        names: &["fold"],
        flags: with_numbers(flags("bsw:n:", "bytes spaces width:")),
        ..ROW
    },
    Row {
        names: &["pr"],
        flags: flags("t", "omit-header"),
        needs: &["t", "omit-header"],
        ..ROW
    },
    Row {
        names: &["numfmt"],
        flags: flags(
            "d:",
            "from: to: field: delimiter: suffix: padding: format: round: from-unit: to-unit: invalid: grouping",
        ),
        ..ROW
    },
    Row {
        names: &["factor"],
        ..ROW
    },
    Row {
        names: &["strings"],
        flags: with_numbers(flags("n:", "bytes:")),
        reason: "a printable text ends with its line",
        ..ROW
    },
    Row {
        names: &["rev"],
        ..ROW
    },
    Row {
        names: &["iconv"],
        flags: flags("f:t:c", "from-code: to-code:"),
        needs: &["f", "from-code"],
        check: |arguments| {
            let mut names = arguments.values(&["f", "t", "from-code", "to-code"]);
            match names.find(|name| !is_stateless(name)) {
                Some(name) => Err(format!(
                    "{name} is not known to keep nothing from line to line"
                )),
                None => Ok(()),
            }
        },
        reason: "both charsets write each line by itself",
        ..ROW
    },
    Row {
        names: &["xargs"],
        flags: that_end(flags("d:n:", "delimiter: max-args:")),
        needs: &["d", "delimiter"],
        operands: Operands::Any,
        check: |arguments| {
            let lines = arguments
                .values(&["d", "delimiter"])
                .all(|value| matches!(value, "\\n" | "\n"));
            let one = arguments.values(&["n", "max-args"]).collect::<Vec<_>>() == ["1"];
            if lines && one {
                return Ok(());
            }
            Err("only -d '\\n' -n 1 gives each line to a run of its own".to_owned())
        },
        reason: "each line is given to a run of its own",
        ..ROW
    },
    Row {
        names: &["jq"],
        flags: flags(
            "crCMSaj",
            "compact-output raw-output join-output color-output monochrome-output sort-keys ascii-output unbuffered",
        ),
        needs: &["c", "compact-output"],
        operands: Operands::Text(1, 1, &[]),
        check: |arguments| {
            const REFUSED: [&str; 14] = [
                "input",
                "inputs",
                "limit",
                "foreach",
                "input_line_number",
                "halt",
                "halt_error",
                "debug",
                "stderr",
                "now",
                "import",
                "include",
                "input_filename",
                "first",
            ];
            let name = |character: char| !(character.is_ascii_alphanumeric() || character == '_');
            match arguments.operands[0]
                .split(name)
                .find(|word| REFUSED.contains(word))
            {
                Some(word) => Err(format!("{word} looks beyond the text at hand")),
                None => Ok(()),
            }
        },
        reason: "it looks at each JSON text by itself, as long as each stands on one line",
        ..ROW
    },
    Row {
        names: &["perl"],
        flags: that_end(flags("nplae:E:F:", "")),
        needs: &["n", "p"],
        check: |arguments| {
            perl::check(&arguments.values(&["e", "E"]).collect::<Vec<_>>().join("\n"))
        },
        reason: "its text looks at each line by itself",
        ..ROW
    },
    Row {
        names: &["sort"],
        flags: flags("bdfghiMnrVk:t:suS:T:", SORT_LONG),
        kind: Kind::Sort,
        reason: "sorted parts are merged",
        ..ROW
    },
    Row {
        names: &["uniq"],
        flags: flags(
            "if:s:w:",
            "ignore-case skip-fields: skip-chars: check-chars:",
        ),
        kind: Kind::Again,
        reason: "equal lines can only meet where two parts do",
        ..ROW
    },
    Row {
        names: &["uniq"],
        flags: flags("c", "count"),
        kind: Kind::AddAtSeams,
        reason: "equal lines can only meet where two parts do",
        ..ROW
    },
    Row {
        names: &["wc"],
        flags: flags("lwmc", "lines words chars bytes"),
        kind: Kind::Add,
        check: names_no_file,
        reason: "the counts of the parts add up",
        ..ROW
    },
    Row {
        names: &["wc"],
        flags: flags("L", "max-line-length"),
        kind: Kind::Largest,
        check: names_no_file,
        reason: "the longest line of all is the longest of its part",
        ..ROW
    },
    Row {
        names: &["head"],
        flags: with_numbers(flags("n:", "lines:")),
        kind: Kind::Again,
        check: |arguments| {
            one_file(arguments)?;
            only_digits(arguments, "a count from the end needs all of the input")
        },
        reason: "the first lines of all are among the first of each part",
        ..ROW
    },
    Row {
        names: &["tail"],
        flags: with_numbers(flags("n:", "lines:")),
        kind: Kind::Again,
        check: |arguments| {
            one_file(arguments)?;
            only_digits(arguments, "a count from the start needs what stands before")
        },
        reason: "the last lines of all are among the last of each part",
        ..ROW
    },
    Row {
        names: &["tac"],
        kind: Kind::Reverse,
        reason: "the parts are given from the last to the first",
        ..ROW
    },
    Row {
        names: &["nl"],
        flags: flags("b:d:f:h:i:l:n:ps:v:w:", ""),
        kind: Kind::Offset,
        reason: "it numbers the lines from the start of all input",
        ..ROW
    },
];

/// Commands that take a core's time with most of their arguments: a stream goes faster through a pipe
/// than through them. Not `sort`: it uses several cores by itself.
pub(super) const COSTLY: &[&str] = &[
    "sed", "awk", "gawk", "mawk", "nawk", "jq", "perl", "factor", "numfmt", "rev",
];

/// Commands that need all of their input whatever their arguments.
pub(super) const WHOLE: &[(&[&str], &str)] = &[
    (
        &["paste", "fmt", "column"],
        "it puts several lines together",
    ),
    (
        &["od", "xxd", "hexdump", "base64", "base32"],
        "it counts bytes from the start of all input",
    ),
    (
        &[
            "md5sum",
            "sha1sum",
            "sha224sum",
            "sha256sum",
            "sha384sum",
            "sha512sum",
            "b2sum",
            "cksum",
            "sum",
        ],
        "a checksum is of all input",
    ),
    (
        &["gzip", "bzip2", "xz", "zstd", "lz4", "lzop", "compress"],
        "it compresses by what came before; pigz, pbzip2, xz -T0 and zstd -T0 use all cores by themselves",
    ),
    (&["shuf", "tsort"], "it needs all of its input"),
    (
        &["split", "csplit", "tee", "dd", "sponge"],
        "what it writes it writes elsewhere, or by counting",
    ),
    (&["bc", "dc"], "it goes on with what came before"),
];

/// The script: of the flags, joined by new lines, or else the first operand.
fn text_of(arguments: &Arguments<'_>, flags: &'static [&'static str]) -> String {
    let given: Vec<&str> = arguments
        .flags
        .iter()
        .filter(|(flag, _)| flags.contains(flag))
        .filter_map(|(_, value)| *value)
        .collect();
    if given.is_empty() {
        return arguments
            .operands
            .first()
            .copied()
            .unwrap_or_default()
            .to_owned();
    }
    given.join("\n")
}

fn names_no_file(arguments: &Arguments<'_>) -> Result<(), String> {
    if arguments.operands.is_empty() {
        return Ok(());
    }
    Err("behind its counts it writes the name".to_owned())
}

fn one_file(arguments: &Arguments<'_>) -> Result<(), String> {
    if arguments.operands.len() < 2 {
        return Ok(());
    }
    Err("of several files it writes their names".to_owned())
}

fn only_digits(arguments: &Arguments<'_>, otherwise: &str) -> Result<(), String> {
    let mut counts = arguments.values(&["n", "lines"]);
    if counts.all(|count| !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit())) {
        return Ok(());
    }
    Err(otherwise.to_owned())
}

/// With -s a run of new lines, or of what new lines become, may not be squeezed: it could cross a cut.
fn squeezes_no_new_line(arguments: &Arguments<'_>) -> Result<(), String> {
    if !arguments.has(&["s", "squeeze-repeats"]) {
        return Ok(());
    }
    let plain = |set: &str| {
        let without: String = [
            "alpha", "digit", "alnum", "upper", "lower", "punct", "blank",
        ]
        .iter()
        .fold(set.to_owned(), |set, class| {
            set.replace(&format!("[:{class}:]"), "")
        });
        let simple = |character: char| {
            matches!(character, ' '..='~') && !matches!(character, '\\' | '[' | ']')
        };
        // From a tab on, a range has the new line, too.
        !without.contains("\\t-") && without.replace("\\t", "").chars().all(simple)
    };
    let complement = arguments.has(&["c", "C", "complement"]);
    if !complement && arguments.operands.iter().all(|set| plain(set)) {
        return Ok(());
    }
    Err("it may squeeze new lines, which meet where two parts do".to_owned())
}

fn is_stateless(charset: &str) -> bool {
    let name = charset.to_ascii_uppercase();
    let exact = [
        "UTF-8", "UTF8", "ASCII", "US-ASCII", "LATIN1", "KOI8-R", "KOI8-U",
    ];
    let families = ["ISO-8859-", "ISO8859-", "ISO_8859-", "CP125", "WINDOWS-125"];
    let family = families.iter().find_map(|family| name.strip_prefix(family));
    exact.contains(&name.as_str())
        || family
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}
