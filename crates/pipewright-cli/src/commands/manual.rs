//! `pipewright completions` and `pipewright man`, both from the definition of the command line.

use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::Arguments;
use crate::view;

pub(crate) fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "pipewright", &mut script);
    view::print(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// One page, with a section for each subcommand.
pub(crate) fn man() -> anyhow::Result<ExitCode> {
    let mut command = Arguments::command();
    command.build();
    let mut page = Vec::new();
    let main = clap_mangen::Man::new(command.clone());
    main.render_title(&mut page)?;
    main.render_name_section(&mut page)?;
    main.render_synopsis_section(&mut page)?;
    writeln!(page, ".SH DESCRIPTION\n{DESCRIPTION}")?;
    main.render_subcommands_section(&mut page)?;
    for subcommand in command
        .get_subcommands()
        .filter(|it| it.get_name() != "help")
    {
        let name = subcommand.get_name().to_uppercase();
        writeln!(page, ".SH \"PIPEWRIGHT {name}\"")?;
        let man = clap_mangen::Man::new(subcommand.clone());
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        if let Some(notes) = subcommand.get_after_long_help() {
            // Laid out by hand: no filling, and no line is a request.
            let notes = notes.to_string().replace('\\', "\\e").replace('-', "\\-");
            let notes = notes.replace("\n'", "\n\\&'").replace("\n.", "\n\\&.");
            writeln!(page, ".PP\n.nf\n{notes}\n.fi")?;
        }
    }
    writeln!(
        page,
        ".SH SEE ALSO\nbash(1), pv(1), timeout(1), pipe(7), fcntl(2)"
    )?;
    view::print(&page)?;
    Ok(ExitCode::SUCCESS)
}

const DESCRIPTION: &str = "pipewright runs pipelines as a shell does, reports how each stage ended, \
and shows which one is slow. The stages are connected directly by kernel pipes of the largest \
capacity that the kernel grants: no byte passes through pipewright.";
