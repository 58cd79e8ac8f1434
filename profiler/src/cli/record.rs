//! Making a recording and writing its result.

use std::{
    ffi::OsString,
    io::{self, Write as _},
    time::Duration,
};

use anyhow::{anyhow, bail};
use clap::ValueEnum as _;

use super::{
    Format,
    args::{Messages, ModeArg, RecordArgs, SourceArg},
    compare::Gate,
    exit, format, load, probes,
};
use crate::{
    doctor,
    options::{ContainerScope, Mode, RecordOptions, RecordedSources, container_scope},
    output::{self, OutputError, Target},
    profile::Recording,
    progress::{Progress, Silent, Terminal, seconds, thousands},
    report::{self, Selection},
    session,
    syscalls::{self, Class},
};

pub fn run(
    arguments: &RecordArgs,
    messages: &Messages,
    command_line: &[OsString],
) -> anyhow::Result<u8> {
    let options = options(arguments, command_line)?;
    let target = Target::new(arguments.output.as_deref());
    let format = format::choose(arguments.format, &target);
    // Everything that can be known to fail is, before the recording.
    let mut gate = Gate::read(
        &arguments.baseline,
        &arguments.targets,
        &arguments.rules,
        arguments.selection.source,
    )?;
    arguments.probes.check()?;
    doctor::preflight()?;
    options.check_pids()?;
    target.check(format::binary(format))?;
    doctor::raise_limits();

    let mut notes = options.notes();
    let wanted = gate.as_mut().and_then(Gate::targets);
    let mut beside = probes::prepare(&arguments.probes, &options, wanted, &mut notes)?;
    let progress: Box<dyn Progress> = if messages.quiet {
        Box::new(Silent)
    } else {
        Box::new(Terminal::new(options.duration))
    };
    let recorded = session::record(&options, progress.as_ref(), &mut beside);
    if recorded.is_ok() {
        progress.phase("waiting for probes");
    }
    let recorded = recorded.map(|mut recording| {
        beside.finish(&mut recording);
        recording
    });
    progress.finish();
    let mut recording = recorded?;
    recording.notes.extend(notes);
    write(&recording, format, arguments.selection.selection(), &target)?;
    if !messages.quiet {
        say(&summary(&recording, format, &target));
    }
    judge(gate.as_ref(), &recording, messages)
}

/// Judges a recording by what was asked for; without that it is done.
pub(super) fn judge(
    gate: Option<&Gate>,
    recording: &Recording,
    messages: &Messages,
) -> anyhow::Result<u8> {
    let Some(gate) = gate else {
        return Ok(exit::DONE);
    };
    let (code, text) = gate.judge(recording)?;
    if !messages.quiet {
        // A closed stderr is no reason to fail.
        let _ = io::stderr().write_all(text.as_bytes());
    }
    Ok(code)
}

/// Writes the result; when that fails, saves the recording elsewhere.
fn write(
    recording: &Recording,
    format: Format,
    selection: Selection,
    target: &Target,
) -> anyhow::Result<()> {
    let written = target.write(&|to| Ok(report::write(recording, format, selection, to)?));
    let error = match written {
        Ok(()) => return Ok(()),
        Err(error @ OutputError::StdoutClosed) => return Err(error.into()),
        Err(error) => error,
    };
    let Some(path) = output::rescue(recording) else {
        bail!("{error}; the recording is lost, since no other place had room for it");
    };
    let format = match format {
        Format::Profile => Format::Json,
        format => format,
    };
    bail!(
        "{error}; the recording is kept in {path}: `profiler report {path} --format \
         {format}{selection} --output FILE` renders it",
        path = path.display(),
        format = format.name(),
        selection = selection_options(selection),
    )
}

/// The options that ask for `selection`, each after a blank; the defaults are
/// left out.
fn selection_options(selection: Selection) -> String {
    let default = Selection::default();
    let mut text = String::new();
    if selection.profile_type != default.profile_type {
        text += &format!(" --profile-type {}", selection.profile_type.name());
    }
    if selection.source != default.source
        && let Some(value) = selection.source.to_possible_value()
    {
        text += &format!(" --source {}", value.get_name());
    }
    text
}

fn options(arguments: &RecordArgs, command_line: &[OsString]) -> anyhow::Result<RecordOptions> {
    let mode = match arguments.mode {
        ModeArg::Full => Mode::Full,
        ModeArg::System => Mode::System,
        ModeArg::Backend => Mode::Backend,
        ModeArg::Database => Mode::Database,
        ModeArg::Frontend => bail!("this version has no mode frontend: it drives no browser"),
    };
    if arguments.probes.statement_phases && !mode.asks_databases() {
        bail!("--statement-phases goes with --mode full or database");
    }
    let containers = container_scope(&arguments.containers);
    let mut pids = arguments.pid.clone();
    pids.sort_unstable();
    pids.dedup();
    if !pids.is_empty() && containers != ContainerScope::All {
        bail!("--pid and --containers cannot be used together: choose processes or containers");
    }
    let command_line: Vec<String> = command_line
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    Ok(RecordOptions {
        mode,
        duration: arguments.duration,
        frequency: arguments.frequency,
        pids,
        containers,
        sources: sources(&arguments.sources),
        guards_calls: !arguments.sources.contains(&SourceArg::Syscalls)
            && arguments.trace.is_empty(),
        trace: trace(&arguments.trace)?,
        statements: arguments.probes.statement_phases,
        resolve_names: arguments.resolve_names,
        max_overhead: arguments.max_overhead,
        command_line: load::command_line(&command_line),
    })
}

fn sources(asked: &[SourceArg]) -> RecordedSources {
    let has = |source| asked.contains(&source) || asked.contains(&SourceArg::All);
    RecordedSources {
        waits: has(SourceArg::OffCpu),
        syscalls: has(SourceArg::Syscalls),
        disk: has(SourceArg::Disk),
        network: has(SourceArg::Network),
        memory: has(SourceArg::Memory),
    }
}

fn trace(words: &[String]) -> anyhow::Result<Option<Vec<u32>>> {
    if words.is_empty() {
        return Ok(None);
    }
    let classes = Class::ALL.map(Class::name).join(", ");
    syscalls::numbers(words).map(Some).map_err(|word| {
        anyhow!("--trace: there is no system call `{word}`, nor a class; classes are {classes}")
    })
}

/// What became of it, in one line.
fn summary(recording: &Recording, format: Format, target: &Target) -> String {
    let quality = &recording.quality;
    let about = &recording.about;
    let mut line = format!(
        "{} samples in {} s",
        thousands(quality.samples),
        // Milliseconds are enough.
        seconds(Duration::from_millis(about.duration_ns / 1_000_000))
    );
    if quality.samples_lost > 0 {
        line.push_str(&format!(", {} lost", thousands(quality.samples_lost)));
    }
    if !about.interrupted.is_empty() {
        line.push_str(&format!(" ({})", about.interrupted));
    }
    if let Target::File(path) = target {
        line.push_str(&format!("; wrote {} ({})", path.display(), format.name()));
    }
    line
}

pub(super) fn say(line: &str) {
    // A closed stderr is no reason to fail.
    let _ = writeln!(io::stderr(), "profiler: {line}");
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::{
        cli::args::Cli,
        profile::{About, Container, FORMAT_VERSION, store},
    };

    fn parsed(words: &str) -> anyhow::Result<RecordOptions> {
        let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
        let cli = Cli::try_parse_from(&words)?;
        options(&cli.record, &words)
    }

    #[test]
    fn defaults_are_those_of_the_original_script() {
        let options = parsed("profiler").expect("it is valid");
        assert_eq!(
            options,
            RecordOptions {
                command_line: "profiler".to_string(),
                ..RecordOptions::default()
            }
        );
        let given = "profiler --mode full --endpoints critical --load normal --profile-type \
                     cprofile --containers all --duration 60";
        let given = parsed(given).expect("it is valid");
        assert_eq!(given.mode, Mode::Full);
        assert_eq!(given.containers, ContainerScope::All);
    }

    #[test]
    fn lists_repeat_and_take_commas() {
        let options = parsed("profiler --pid 7,3 --pid 3").expect("it is valid");
        assert_eq!(options.pids, [3, 7]);
        let options =
            parsed("profiler --containers web-*,db --containers cache").expect("it is valid");
        assert_eq!(
            options.containers,
            ContainerScope::Patterns(["web-*", "db", "cache"].map(String::from).to_vec())
        );
        assert!(parsed("profiler --pid 1 --containers all").is_ok());
    }

    #[test]
    fn what_is_not_there_is_refused() {
        for (words, says) in [
            ("--mode frontend", "browser"),
            ("--pid 1 --containers web", "--containers"),
            ("--mode system --statement-phases", "--mode"),
        ] {
            let error = parsed(&format!("profiler {words}")).expect_err(words);
            assert!(error.to_string().contains(says), "{error}");
        }
        for words in [
            "--frequency 0",
            "--frequency 10001",
            "--frequency x",
            "--duration 0",
            "--pid 0",
            "--pid -1",
            "--format exe",
            "--mode all",
            "--profile-type memory",
            "--source swap",
            "--quiet --verbose",
            "stray",
        ] {
            assert!(parsed(&format!("profiler {words}")).is_err(), "{words}");
        }
    }

    #[test]
    fn a_result_that_cannot_be_written_is_not_lost() {
        let recording = Recording {
            format_version: FORMAT_VERSION,
            containers: vec![Container::default()],
            ..Recording::default()
        };
        // Full, like a disk.
        let target = Target::File("/dev/full".into());
        let error = write(&recording, Format::Profile, Selection::default(), &target)
            .expect_err("it is full");
        let text = error.to_string();
        assert!(
            text.starts_with("cannot write /dev/full: the disk is full; "),
            "{text}"
        );
        let path = text
            .split_once("kept in ")
            .and_then(|(_, rest)| rest.split_once(": `profiler report"))
            .map(|(path, _)| path)
            .expect("it says where");
        let kept = store::load(path.as_ref());
        std::fs::remove_file(path).expect("it is there");
        assert_eq!(kept.expect("it can be read"), recording);
    }

    #[test]
    fn what_was_selected_can_be_asked_for_again() {
        for words in [
            "profiler",
            "profiler --profile-type py-spy",
            "profiler --source gil-wait",
            "profiler --profile-type py-spy --source gil-wait",
        ] {
            let cli = Cli::try_parse_from(words.split(' ')).expect("it is valid");
            let options = selection_options(cli.record.selection.selection());
            assert_eq!(format!("profiler{options}"), words);
        }
    }

    #[test]
    fn the_summary_says_where_and_what() {
        let mut recording = Recording {
            about: About {
                duration_ns: 10_000_400_000,
                ..About::default()
            },
            ..Recording::default()
        };
        recording.quality.samples = 1_980;
        let target = Target::File("r.html".into());
        assert_eq!(
            summary(&recording, Format::Html, &target),
            "1,980 samples in 10 s; wrote r.html (html)"
        );
        recording.quality.samples_lost = 3;
        recording.about.interrupted = "interrupted by Ctrl-C".to_string();
        assert_eq!(
            summary(&recording, Format::Json, &Target::Stdout),
            "1,980 samples in 10 s, 3 lost (interrupted by Ctrl-C)"
        );
    }
}
