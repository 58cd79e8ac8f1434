//! Options and verbs, with their help.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::{
    Format,
    compare::{CompareArgs, RuleArgs, TargetArgs},
    load::LoadArgs,
    mysql::MysqlArgs,
    pools::PoolsArgs,
    postgres::PostgresArgs,
    probes::ProbeArgs,
    redis::RedisArgs,
    vectors::VectorsArgs,
};
use crate::{
    options::{MAX_FREQUENCY, parse_duration, parse_percent},
    profile::Source,
    report::{ProfileType, Selection},
};

const EXAMPLES: &str = "\
Examples:
  sudo profiler --duration 10 --output report.html
      Where the whole host spends its time, as one HTML file.
  sudo profiler --containers 'shop-*' --endpoints all --load light --output shop.html
      The same of these containers, while their services are loaded and their
      databases asked (--mode full); what is wrong is at the top of the report.
  sudo profiler --mode system --containers 'web-*,db' --format flamegraph --output web.svg
  sudo profiler --pid 4242 --duration 2m --output app.profile
      Keeps the recording; `profiler report app.profile --format …` renders it.
  profiler doctor
      What this host allows, and what to do about the rest.

Exit codes:
  0  done
  1  a target was missed, or something regressed (--targets, --baseline)
  2  could not run: usage, permission or kernel; the message says what to do
  3  not enough evidence to judge: too few rounds, or `load` got no complete response

Results go to stdout unless --output is given; progress and messages go to
stderr. Ctrl-C ends a recording early and keeps what was recorded.";

/// A system profiler: where does the time of this host go?
///
/// Records with eBPF what every process on this Linux host spends its time on, on
/// CPUs and waiting, with native, Python, JavaScript and kernel stacks, without
/// restarting or changing any of them. Needs root, or the capabilities that `profiler doctor` names.
#[derive(Debug, Parser)]
#[command(
    name = "profiler",
    version,
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Verbs",
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Option<Verb>,
    #[command(flatten)]
    pub record: RecordArgs,
    #[command(flatten)]
    pub messages: Messages,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    Doctor(DoctorArgs),
    Load(Box<LoadArgs>),
    Report(ReportArgs),
    Compare(Box<CompareArgs>),
    Postgres(PostgresArgs),
    Mysql(MysqlArgs),
    Redis(RedisArgs),
    Vectors(Box<VectorsArgs>),
    Pools(PoolsArgs),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:
  profiler completions bash > /etc/bash_completion.d/profiler")]
    Completions {
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the manual page.
    #[command(after_help = "Example:
  profiler man > /usr/local/share/man/man1/profiler.1")]
    Man {
        /// The page of this verb instead of the program's.
        verb: Option<String>,
    },
}

/// What a recording can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    /// All of the others but frontend.
    Full,
    /// system, while the endpoints of services are loaded (--endpoints, --load).
    Backend,
    /// Not in this version.
    Frontend,
    /// system, while PostgreSQL, MySQL, Redis and vector databases are asked what they do.
    Database,
    /// Time of processes, containers and the kernel: on CPUs and waiting.
    System,
}

/// What can be recorded or left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SourceArg {
    All,
    /// CPU time, sampled.
    OnCpu,
    /// Where threads wait, and the wall time of each thread.
    OffCpu,
    /// Counts, errors and durations of system calls. As a part of `all` they are
    /// counted until that costs 2 % of the host; asked for by name, always.
    Syscalls,
    /// Disk requests and who made them.
    Disk,
    /// Connections and what goes through them.
    Network,
    /// Page faults and the out-of-memory killer.
    Memory,
}

#[derive(Debug, Args)]
pub struct RecordArgs {
    /// What to record, and whom to ask meanwhile.
    #[arg(long, value_enum, default_value_t = ModeArg::Full)]
    pub mode: ModeArg,

    /// Write the result to this file instead of stdout.
    ///
    /// Without --format its extension decides: .json, .html, .md, .svg,
    /// .folded, .raw, .pb.gz or .pprof, .pstats or .prof, .speedscope.json;
    /// .profile keeps the whole recording for `profiler report`. The file is readable by its owner only.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Format of the result [default: the extension of --output, else json]
    #[arg(long, value_enum, hide_default_value = true)]
    pub format: Option<Format>,

    /// How long to record: seconds, or 10s, 2m, 1h.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse_duration)]
    pub duration: Duration,

    /// Record only these containers: names, ids or globs, separated by commas.
    #[arg(
        long,
        value_name = "all|NAMES",
        value_delimiter = ',',
        default_value = "all"
    )]
    pub containers: Vec<String>,

    /// Record only these processes, separated by commas.
    #[arg(
        long,
        value_name = "PID",
        value_delimiter = ',',
        value_parser = clap::value_parser!(u32).range(1..=(1 << 22))
    )]
    pub pid: Vec<u32>,

    #[command(flatten)]
    pub selection: SelectionArgs,

    /// What to record, separated by commas. CPU time always is. System calls that
    /// are named here, beside `all` too, are counted to the end, whatever it
    /// takes, with the files and peers they are about.
    #[arg(
        long,
        value_enum,
        value_name = "SOURCES",
        value_delimiter = ',',
        default_value = "all"
    )]
    pub sources: Vec<SourceArg>,

    /// Count these system calls only, with the files and peers they are about:
    /// names, or classes as in strace: file, desc, network, process, signal, ipc,
    /// memory. All others cost less then.
    #[arg(long, value_name = "CALLS", value_delimiter = ',')]
    pub trace: Vec<String>,

    /// Look up the names of remote addresses after the recording (reverse DNS), for
    /// up to 5 seconds. The questions leave the host.
    #[arg(long)]
    pub resolve_names: bool,

    /// Keep the profiler's own CPU time and that of its programs in the kernel
    /// below this share of the host's, by lowering rates, and if that is not
    /// enough by counting no more system calls. The report says what was done.
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    pub max_overhead: Option<f64>,

    /// Samples a second on each CPU, 1 to 10000.
    #[arg(
        long,
        value_name = "HZ",
        default_value_t = crate::options::DEFAULT_FREQUENCY,
        value_parser = clap::value_parser!(u64).range(1..=MAX_FREQUENCY)
    )]
    pub frequency: u64,

    #[command(flatten)]
    pub probes: ProbeArgs,

    /// Compare the recording with earlier ones, separated by commas: recordings
    /// (.profile) or JSON reports. The verdicts go to stderr, and decide the exit
    /// code. `profiler compare` can do more.
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    pub baseline: Vec<PathBuf>,

    #[command(flatten)]
    pub rules: RuleArgs,

    #[command(flatten)]
    pub targets: TargetArgs,
}

/// What a result shows of a recording.
#[derive(Debug, Args)]
pub struct SelectionArgs {
    /// How to show Python functions.
    ///
    /// Their times are sampled: counts are samples, not calls. A .profile keeps
    /// everything and can be rendered either way.
    #[arg(
        long,
        value_enum,
        value_name = "TYPE",
        default_value = ProfileType::Cprofile.name()
    )]
    pub profile_type: ProfileType,

    /// What stacks show where a format shows one kind of measurement: folded,
    /// raw, flamegraph, speedscope, pstats, the tables of markdown. json, html
    /// and pprof hold all of them; html and pprof open with this one.
    #[arg(long, value_enum, default_value = "on-cpu")]
    pub source: Source,
}

impl SelectionArgs {
    pub fn selection(&self) -> Selection {
        Selection {
            source: self.source,
            profile_type: self.profile_type,
        }
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Messages")]
pub struct Messages {
    /// No progress and no messages, only errors.
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say more of what is done; twice for debugging. RUST_LOG is obeyed too.
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl Messages {
    pub fn start_log(&self) {
        let default = match (self.quiet, self.verbose) {
            (true, _) => "error",
            (false, 0) => "warn",
            (false, 1) => "info",
            (false, _) => "debug",
        };
        let environment = env_logger::Env::default().default_filter_or(default);
        // Fails only when there is one already: in tests.
        let _ = env_logger::Builder::from_env(environment).try_init();
    }
}

/// Show what this host allows, what each missing thing costs, and how to get
/// it.
///
/// Ends with 0 when a recording works here and with 2 when it does not. Loads
/// and opens things to see whether it may, and leaves nothing behind.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sudo profiler doctor
  sudo profiler doctor --format json | jq '.checks[] | select(.state != \"ok\")'")]
pub struct DoctorArgs {
    #[arg(long, value_enum, default_value_t = DoctorFormat::Table)]
    pub format: DoctorFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DoctorFormat {
    Table,
    Json,
}

/// Render a saved recording in any format, anywhere, without root.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  profiler report app.profile --output app.html
  profiler report app.profile --format folded | head
  profiler report app.profile --profile-type py-spy --output python.svg
  profiler report app.profile --source gil-wait --output gil.svg")]
pub struct ReportArgs {
    /// A recording made with `--output NAME.profile`.
    #[arg(value_name = "FILE")]
    pub recording: PathBuf,

    /// Write the result to this file instead of stdout.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Format of the result [default: the extension of --output, else json]
    #[arg(long, value_enum)]
    pub format: Option<Format>,

    #[command(flatten)]
    pub selection: SelectionArgs,

    /// Compare it with earlier recordings, separated by commas. The verdicts go to
    /// stderr, and decide the exit code.
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    pub baseline: Vec<PathBuf>,

    #[command(flatten)]
    pub rules: RuleArgs,

    #[command(flatten)]
    pub targets: TargetArgs,
}
