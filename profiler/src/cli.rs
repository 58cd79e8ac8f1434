//! The command line: what is asked for, and with which code it ends.

mod args;
mod compare;
mod format;
mod load;
mod mysql;
mod pools;
mod postgres;
mod probe_output;
mod probes;
mod record;
mod redis;
mod report;
mod stop;
mod vectors;

use std::{
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::{doctor, output::OutputError};
use args::{Cli, Verb};
pub use format::Format;

/// Exit codes, as the help and the README list them.
pub mod exit {
    pub const DONE: u8 = 0;
    /// A target was missed or something regressed.
    pub const MISSED: u8 = 1;
    /// It could not run: usage, permission, kernel.
    pub const UNUSABLE: u8 = 2;
    /// Not enough evidence to judge.
    pub const NOT_ENOUGH: u8 = 3;
}

/// Runs the program, and says on stderr why it could not.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // A file over `ulimit -f` is then a failed write, after which the recording
    // is saved elsewhere, and not the end of the process.
    // SAFETY: to ignore a signal touches nothing of ours.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let cli = match parse(&arguments) {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(usage(&error)),
    };
    cli.messages.start_log();
    match run(cli, &arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) if stdout_closed(&error) => ExitCode::from(exit::DONE),
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::from(exit::UNUSABLE)
        }
    }
}

fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let matches = Cli::command().try_get_matches_from(arguments)?;
    Cli::from_arg_matches(&matches)
}

fn run(cli: Cli, arguments: &[OsString]) -> anyhow::Result<u8> {
    match cli.verb {
        None => record::run(&cli.record, &cli.messages, arguments),
        Some(Verb::Doctor(options)) => doctor(&options),
        Some(Verb::Load(options)) => load::run(&options, &cli.messages, arguments),
        Some(Verb::Compare(options)) => compare::run(&options, &cli.messages),
        Some(Verb::Report(options)) => report::run(&options, &cli.messages),
        Some(Verb::Postgres(options)) => postgres::run(&options),
        Some(Verb::Mysql(options)) => mysql::run(&options),
        Some(Verb::Redis(options)) => redis::run(&options),
        Some(Verb::Vectors(options)) => vectors::run(&options),
        Some(Verb::Pools(options)) => pools::run(&options, arguments),
        Some(Verb::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "profiler", &mut script);
            print(&script)
        }
        Some(Verb::Man { verb }) => print(&man_page(verb.as_deref())?),
    }
}

fn doctor(options: &args::DoctorArgs) -> anyhow::Result<u8> {
    let findings = doctor::examine();
    let text = match options.format {
        args::DoctorFormat::Table => doctor::table(&findings, doctor::Look::of_stdout()),
        args::DoctorFormat::Json => doctor::json(&findings)?,
    };
    print(text.as_bytes())?;
    Ok(if findings.usable() {
        exit::DONE
    } else {
        exit::UNUSABLE
    })
}

fn man_page(verb: Option<&str>) -> anyhow::Result<Vec<u8>> {
    let mut command = Cli::command();
    command.build();
    let command = match verb {
        None => command,
        Some(verb) => {
            let known = command
                .get_subcommands()
                .find(|known| known.get_name() == verb)
                .cloned();
            let Some(found) = known else {
                anyhow::bail!("there is no verb `{verb}`; `profiler --help` lists them");
            };
            found
                .name(format!("profiler-{verb}"))
                .version(env!("CARGO_PKG_VERSION"))
        }
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(page)
}

/// Writes text to stdout.
fn print(text: &[u8]) -> anyhow::Result<u8> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text)
        .and_then(|()| stdout.flush())
        .map_err(|source| match source.kind() {
            io::ErrorKind::BrokenPipe => OutputError::StdoutClosed,
            _ => OutputError::Stdout { source },
        })?;
    Ok(exit::DONE)
}

fn stdout_closed(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(OutputError::StdoutClosed))
}

/// One line on stderr. A closed stderr is no reason to fail.
fn complain(what: &str) {
    let line: Vec<&str> = what
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let _ = writeln!(io::stderr(), "profiler: {}", line.join("; "));
}

/// Help and version go to stdout; of an error, the line that says what is
/// wrong, and the tip.
fn usage(error: &clap::Error) -> u8 {
    use clap::error::ErrorKind;
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        let _ = error.print();
        return exit::DONE;
    }
    let text = error.render().to_string();
    let mut what = String::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("Usage:") || line.starts_with("For more information") {
            break;
        }
        if !what.is_empty() && !line.is_empty() {
            what.push_str(if line.starts_with("tip:") { "; " } else { " " });
        }
        what.push_str(line);
    }
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    complain(&format!("{what} (see `profiler --help`)"));
    exit::UNUSABLE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_has_an_example_and_a_page() {
        for verb in Cli::command().get_subcommands() {
            let help = verb.clone().render_long_help().to_string();
            assert!(
                help.contains("Example") || verb.get_name() == "help",
                "{help}"
            );
            assert!(man_page(Some(verb.get_name())).is_ok());
        }
        assert!(man_page(Some("nothing")).is_err());
    }
}
