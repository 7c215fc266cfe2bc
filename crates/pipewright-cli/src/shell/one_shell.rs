//! What a text may refer to that is the same in all stages only where one shell runs them all.

/// Variables that tell of the shell itself.
const VARIABLES: &[&str] = &[
    "BASHPID",
    "BASH_ARGC",
    "BASH_ARGV",
    "BASH_ARGV0",
    "BASH_COMMAND",
    "BASH_EXECUTION_STRING",
    "BASH_LINENO",
    "BASH_SOURCE",
    "BASH_SUBSHELL",
    "EPOCHREALTIME",
    "FUNCNAME",
    "LINENO",
    "PIPESTATUS",
    "PPID",
    "RANDOM",
    "SECONDS",
    "SHLVL",
    "SRANDOM",
];

/// Builtins that end or change the shell they run in, which is a subshell in a pipeline.
const BUILTINS: &[&str] = &[
    "caller", "enable", "eval", "exec", "return", "set", "shopt", "source", "suspend", "unset",
];

/// The first thing in a stage's text that asks for one shell; `None`: a shell of its own will do.
///
/// Words in single quotes and in here-documents count too: more is run whole than must be.
pub(super) fn needed(text: &str) -> Option<&'static str> {
    if text.contains("$$") {
        return Some("$$");
    }
    let is_part = |c: char| c == '_' || c.is_ascii_alphanumeric();
    let names = text.split(|c| !is_part(c));
    let known = |name: &str| {
        let all = VARIABLES.iter().chain(BUILTINS);
        all.copied().find(|known| *known == name)
    };
    if let Some(found) = names.into_iter().find_map(known) {
        return Some(found);
    }
    // `${name?}` and `${name:?}` end the shell, with another status where it is a subshell.
    text.split("${").skip(1).find_map(|rest| {
        let name = rest.split_once('}').map_or(rest, |(inside, _)| inside);
        name.contains('?').then_some("${…?}")
    })
}
