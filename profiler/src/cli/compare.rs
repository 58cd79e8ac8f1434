//! Comparing builds, and checking targets.

use std::{
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum, builder::PossibleValue};

use super::{args::Messages, exit};
use crate::{
    compare::{
        Comparison, Outcome, conditions,
        input::{self, Round},
        report::{self, Format},
        targets::{self, Aliases, Target},
        verdict::Rules,
    },
    options::parse_percent,
    output,
    profile::{Recording, Source},
};

const EXAMPLES: &str = "\
Examples:
  profiler compare before.profile after.profile --threshold 10
      One round a side: tells what changed, but not how sure that is.
  profiler compare --baseline a*.profile --candidate b*.profile --write diff.svg
      Seven rounds a side and more, recorded in turn: a b a b …
  profiler compare a1.json,a2.json,a3.json b1.json,b2.json,b3.json --format junit
  profiler compare load.json --targets performance_targets.yaml
      One build against its targets.

A metric is worse when its change for the worse is real (beyond the noise floor
of this host, at the error rate --alpha for all metrics together) and its
interval does not exclude a change of --threshold or more. It is the same when
its interval lies within the threshold both ways.

Exit codes: 0 nothing got worse and all targets are met, 1 something got worse or
a target was missed, 2 could not compare, 3 not enough evidence: for CPU time or a
metric of a probe, or a target that was not measured.";

/// Tell what changed between two builds, and how sure that is.
///
/// Compares recordings (.profile), JSON reports, and files of metrics that probes
/// write: CPU time by container, process and function, waits by reason, system
/// calls, disk and network, all as rates a second of recording. They mean the
/// same only under the same load.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompareArgs {
    /// Baseline and candidate; several rounds of each separated by commas. With
    /// --targets, one alone is checked against them.
    #[arg(value_name = "BASELINE CANDIDATE", num_args = 0..=2)]
    pub sides: Vec<PathBuf>,

    /// Rounds of the baseline, instead of the first argument.
    #[arg(
        long,
        value_name = "FILE",
        num_args = 1..,
        value_delimiter = ',',
        conflicts_with = "sides",
        requires = "candidate"
    )]
    pub baseline: Vec<PathBuf>,

    /// Rounds of the candidate, instead of the second argument.
    #[arg(
        long,
        alias = "current",
        value_name = "FILE",
        num_args = 1..,
        value_delimiter = ',',
        conflicts_with = "sides"
    )]
    pub candidate: Vec<PathBuf>,

    #[command(flatten)]
    pub rules: RuleArgs,

    /// Chance of calling anything changed when nothing is, percent, over all metrics:
    /// half of it better, half of it worse.
    #[arg(long, value_name = "PERCENT", default_value = "4", value_parser = parse_percent)]
    pub alpha: f64,

    /// Do not judge parts smaller than this share of their whole.
    #[arg(long, value_name = "PERCENT", default_value = "1", value_parser = parse_percent)]
    pub min_share: f64,

    /// Judge only metrics whose id matches one of these globs, separated by
    /// commas, as `--format json` names them: `on_cpu/process/web/*`.
    #[arg(long, value_name = "GLOBS", value_delimiter = ',')]
    pub only: Vec<String>,

    /// More rounds of the baseline's build, from another session: what they differ
    /// by from the baseline is noise of this host, and raises the noise floor.
    #[arg(long, value_name = "FILE", num_args = 1.., value_delimiter = ',')]
    pub same_build: Vec<PathBuf>,

    /// Rounds at the same place of both sides were measured together, so that what
    /// disturbed one disturbed the other: compare pair by pair.
    #[arg(long)]
    pub paired: bool,

    /// Compare though the CPUs or the architecture of the two sides differ.
    #[arg(long)]
    pub allow_unlike_hosts: bool,

    #[command(flatten)]
    pub targets: TargetArgs,

    /// What stacks to compare.
    #[arg(long, value_enum, default_value = "on-cpu")]
    pub source: Source,

    /// Format of the result [default: the extension of --output, else text]
    ///
    /// With github, the Markdown is appended to $GITHUB_STEP_SUMMARY too.
    #[arg(long, value_enum)]
    pub format: Option<Format>,

    /// Write the result to this file instead of stdout.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Write it to this file too; may be given several times. The extension says
    /// how: .json, .xml (JUnit), .md, .txt, .svg, .baseline.svg, .folded.
    #[arg(long, value_name = "FILE")]
    pub write: Vec<PathBuf>,
}

/// How changes are judged.
#[derive(Debug, Args)]
pub struct RuleArgs {
    /// The change that matters, percent.
    #[arg(long, value_name = "PERCENT", default_value = "10", value_parser = parse_percent)]
    pub threshold: f64,

    /// How far single rounds of one build lie apart on this host, percent. Needed
    /// to judge one round a side, and fewer than four rounds that did not take
    /// turns with the baseline's; otherwise it is measured.
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    pub noise: Option<f64>,
}

/// Targets to check.
#[derive(Debug, Args)]
pub struct TargetArgs {
    /// Check these targets: a performance_targets.yaml. What was not measured is
    /// unknown, never a pass.
    #[arg(long, value_name = "FILE")]
    pub targets: Option<PathBuf>,

    /// What a name of the targets file is called in the metrics:
    /// `context_create='POST /api/context'`. May be given several times.
    #[arg(long, value_name = "NAME=METRIC", requires = "targets")]
    pub alias: Vec<String>,
}

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.description()))
    }
}

impl RuleArgs {
    fn rules(&self) -> Rules {
        Rules {
            threshold: self.threshold / 100.0,
            noise: self.noise.map(|noise| noise / 100.0),
            ..Rules::default()
        }
    }
}

/// Targets that were read before anything was measured.
pub struct Wanted {
    targets: Vec<Target>,
    file: String,
    aliases: Aliases,
}

impl TargetArgs {
    pub fn read(&self) -> anyhow::Result<Option<Wanted>> {
        let Some(path) = &self.targets else {
            return Ok(None);
        };
        let mut aliases = Aliases::new();
        for text in &self.alias {
            match text.split_once('=') {
                Some((name, metric)) if !name.is_empty() && !metric.is_empty() => {
                    aliases.insert(name.to_owned(), metric.to_owned());
                }
                _ => bail!("--alias {text}: write it as NAME=METRIC"),
            }
        }
        Ok(Some(Wanted {
            targets: targets::read(path)?,
            file: path.display().to_string(),
            aliases,
        }))
    }
}

impl Wanted {
    fn check(&self, rounds: &[Round], comparison: &mut Comparison) {
        comparison.targets = targets::check(&self.targets, rounds, &self.aliases);
        comparison.targets_file.clone_from(&self.file);
    }

    /// What a section has targets for, in the order of the file.
    pub fn names(&self, section: &str) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for target in &self.targets {
            if let [first, name, _, ..] = &target.path[..]
                && first == section
                && !names.contains(&name.as_str())
            {
                names.push(name);
            }
        }
        names
    }

    pub fn alias(&self, name: &str) -> Option<&str> {
        self.aliases.get(name).map(String::as_str)
    }

    /// `name` is called so in the metrics.
    pub fn call(&mut self, name: String, metric: String) {
        self.aliases.insert(name, metric);
    }

    /// The exit code and, as text, how the targets of a section are met.
    pub fn judge(&self, section: &str, rounds: &[Round]) -> anyhow::Result<(u8, String)> {
        let mut comparison = Comparison::of_targets(rounds, Rules::default());
        self.check(rounds, &mut comparison);
        comparison
            .targets
            .retain(|checked| checked.target.path.first().is_some_and(|it| it == section));
        Ok((code(&comparison), text(&comparison)?))
    }
}

fn text(comparison: &Comparison) -> anyhow::Result<String> {
    let mut text = Vec::new();
    report::write(comparison, Format::Text, &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// What a recording is judged by after it was made.
pub struct Gate {
    baseline: Vec<Round>,
    targets: Option<Wanted>,
    rules: Rules,
    source: Source,
}

impl Gate {
    /// Reads all of it; `None` if nothing was asked for.
    pub fn read(
        baseline: &[PathBuf],
        targets: &TargetArgs,
        rules: &RuleArgs,
        source: Source,
    ) -> anyhow::Result<Option<Self>> {
        let targets = targets.read()?;
        if baseline.is_empty() && targets.is_none() {
            return Ok(None);
        }
        Ok(Some(Self {
            baseline: rounds(baseline, source)?,
            targets,
            rules: rules.rules(),
            source,
        }))
    }

    pub fn targets(&mut self) -> Option<&mut Wanted> {
        self.targets.as_mut()
    }

    /// The exit code, and the judgement as text.
    pub fn judge(&self, recording: &Recording) -> anyhow::Result<(u8, String)> {
        let round = input::round(Path::new("this recording"), recording, self.source);
        let candidate = [round];
        let mut comparison = if self.baseline.is_empty() {
            Comparison::of_targets(&candidate, self.rules.clone())
        } else {
            refuse_unlike(&self.baseline, &candidate, "leave --baseline out")?;
            Comparison::new(&self.baseline, &candidate, &[], self.rules.clone())
        };
        if let Some(targets) = &self.targets {
            targets.check(&candidate, &mut comparison);
        }
        Ok((code(&comparison), text(&comparison)?))
    }
}

pub fn run(arguments: &CompareArgs, messages: &Messages) -> anyhow::Result<u8> {
    let wanted = arguments.targets.read()?;
    let (baseline, candidate) = sides(arguments)?;
    let target = output::Target::new(arguments.output.as_deref());
    let format = arguments.format.or_else(|| match &target {
        output::Target::File(path) => Format::from_path(path),
        output::Target::Stdout => None,
    });
    let mut results = vec![(format.unwrap_or(Format::Text), target)];
    for path in &arguments.write {
        let format = Format::from_path(path).with_context(|| {
            format!(
                "--write {}: its extension is none of .json, .xml, .md, .txt, .svg, .folded",
                path.display()
            )
        })?;
        results.push((format, output::Target::new(Some(path))));
    }
    for (_, target) in &results {
        target.check(None)?;
    }

    let baseline = rounds(&baseline, arguments.source)?;
    let candidate = rounds(&candidate, arguments.source)?;
    let same_build = rounds(&arguments.same_build, arguments.source)?;
    let rules = Rules {
        alpha: arguments.alpha / 100.0,
        min_share: arguments.min_share / 100.0,
        only: arguments.only.clone(),
        paired: arguments.paired,
        ..arguments.rules.rules()
    };
    let mut comparison = if baseline.is_empty() {
        Comparison::of_targets(&candidate, rules)
    } else {
        if !arguments.allow_unlike_hosts {
            refuse_unlike(&baseline, &candidate, "--allow-unlike-hosts compares them")?;
        }
        Comparison::new(&baseline, &candidate, &same_build, rules)
    };
    if let Some(wanted) = &wanted {
        wanted.check(&candidate, &mut comparison);
    }

    let asked = results[0].0;
    let to_file = matches!(results[0].1, output::Target::File(_));
    for (format, target) in results {
        target.write(&|to| Ok(report::write(&comparison, format, to)?))?;
    }
    if asked == Format::Github {
        step_summary(&comparison)?;
    }
    // Tables say it themselves.
    if !messages.quiet && (to_file || asked != Format::Text) {
        super::record::say(&report::summary(&comparison));
    }
    Ok(code(&comparison))
}

fn code(comparison: &Comparison) -> u8 {
    match comparison.outcome() {
        Outcome::Fine => exit::DONE,
        Outcome::Missed => exit::MISSED,
        Outcome::NotEnoughEvidence => exit::NOT_ENOUGH,
    }
}

/// Files of the two sides; of the baseline none where targets alone are checked.
fn sides(arguments: &CompareArgs) -> anyhow::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let alone = arguments.targets.targets.is_some();
    let found = match &arguments.sides[..] {
        [] => (arguments.baseline.clone(), arguments.candidate.clone()),
        [candidate] if alone => (Vec::new(), split(candidate)),
        [_] => bail!("compare takes a baseline and a candidate, or one build and --targets"),
        [baseline, candidate, ..] => (split(baseline), split(candidate)),
    };
    if found.1.is_empty() || (found.0.is_empty() && !alone) {
        bail!("nothing to compare: name a baseline and a candidate");
    }
    Ok(found)
}

/// A list separated by commas, unless it is the name of a file as a whole.
fn split(list: &Path) -> Vec<PathBuf> {
    match list.to_str() {
        Some(text) if text.contains(',') && !list.exists() => text
            .split(',')
            .filter(|part| !part.is_empty())
            .map(PathBuf::from)
            .collect(),
        _ => vec![list.to_owned()],
    }
}

fn rounds(files: &[PathBuf], source: Source) -> anyhow::Result<Vec<Round>> {
    let mut rounds = Vec::new();
    for file in files {
        rounds.extend(input::read(file, source)?);
    }
    // Halves of a side, and whether sides took turns, are told by time.
    rounds.sort_by_key(|round| round.start_unix_ms);
    Ok(rounds)
}

fn refuse_unlike(baseline: &[Round], candidate: &[Round], instead: &str) -> anyhow::Result<()> {
    let mismatches = conditions::mismatches(baseline, candidate);
    match mismatches.iter().find(|it| it.forbids) {
        None => Ok(()),
        Some(it) => bail!(
            "the two sides were measured on unlike hosts, so their times do not compare: {} is {} and \
             {}; {instead}",
            it.what,
            it.baseline,
            it.candidate
        ),
    }
}

/// Where GitHub Actions shows Markdown: the file that it names.
fn step_summary(comparison: &Comparison) -> anyhow::Result<()> {
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let append = || -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
        report::write(comparison, Format::Markdown, &mut file)
    };
    append().with_context(|| format!("cannot append to {}", Path::new(&path).display()))
}
