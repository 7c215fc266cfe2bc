//! `pipewright completions`: a shell's completions, from the definition of the command line.

use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::cli::Arguments;
use crate::view;

pub(crate) fn completions(shell: Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut visible(), "pipewright", &mut script);
    let script = with_processes(shell, &String::from_utf8(script)?);
    view::print(script.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The command line without what is for pipewright itself.
fn visible() -> Command {
    let all = Arguments::command();
    let subcommands = all.get_subcommands().filter(|it| !it.is_hide_set());
    Command::new("pipewright")
        .version(env!("CARGO_PKG_VERSION"))
        .propagate_version(true)
        .args(all.get_arguments().cloned())
        .subcommands(subcommands.cloned())
}

/// Adds what is known only when somebody presses Tab: which processes there are to watch.
fn with_processes(shell: Shell, script: &str) -> String {
    match shell {
        Shell::Bash => format!("{script}{BASH}"),
        Shell::Fish => format!("{script}{FISH}"),
        Shell::Zsh => {
            let lines = script.lines().map(|line| {
                // Two colons: it may be left out.
                if line.starts_with("':pid -- ") {
                    "':process:_pipewright_processes' \\"
                } else if line.starts_with("'::pid -- ") {
                    "'::process:_pipewright_processes' \\"
                } else {
                    line
                }
            });
            let mut whole = String::new();
            for line in lines {
                if line.starts_with("if [ \"$funcstack[1]\"") {
                    whole += ZSH;
                }
                whole += line;
                whole += "\n";
            }
            whole
        }
        _ => script.to_owned(),
    }
}

const BASH: &str = r#"
# The first word after watch or resize is a process, the second after resize a size.
_pipewright_processes() {
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD - 1]}"
    local command="${COMP_WORDS[1]}" line word pids=""
    if [[ $cur != -* && $COMP_CWORD -ge 2 && $prev != -i && $prev != --interval && $prev != --color ]]; then
        if [[ $command == watch || ( $command == resize && $COMP_CWORD -eq 2 ) ]]; then
            while read -r word line; do pids+=" $word"; done <<< "$("${COMP_WORDS[0]}" ls --pids 2>/dev/null)"
            COMPREPLY=($(compgen -W "$pids" -- "$cur"))
            return 0
        elif [[ $command == resize ]]; then
            COMPREPLY=($(compgen -W "max default 64K 256K 1M" -- "$cur"))
            return 0
        fi
    fi
    _pipewright "$@"
}

complete -F _pipewright_processes -o bashdefault -o default pipewright
"#;

const FISH: &str = r#"
# The first word after watch or resize is a process, the second after resize a size.
complete -c pipewright -n "__fish_pipewright_using_subcommand watch" -f -a "(pipewright ls --pids 2>/dev/null)"
complete -c pipewright -n "__fish_pipewright_using_subcommand resize; and test (count (commandline -opc)) -eq 2" -f -a "(pipewright ls --pids 2>/dev/null)"
complete -c pipewright -n "__fish_pipewright_using_subcommand resize; and test (count (commandline -opc)) -ge 3" -f -a "max default 64K 256K 1M"
"#;

const ZSH: &str = r#"(( $+functions[_pipewright_processes] )) ||
_pipewright_processes() {
    local -a processes
    processes=("${(@f)$(_call_program processes $words[1] ls --pids 2>/dev/null)}")
    processes=("${(@)processes//:/\\:}")
    processes=("${(@)processes/$'\t'/:}")
    _describe -t processes 'process of a pipeline' processes
}

"#;
