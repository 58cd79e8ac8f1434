//! `profiler postgres`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;

use super::{exit, probe_output::ProbeOutput, stop};
use crate::{
    options::parse_duration,
    probes::{
        postgres::{self, Baseline, Login, Options},
        window::Window,
    },
};

/// Probe a PostgreSQL server, 12 or later: what it does, what it waits for, and
/// what could be better.
///
/// Reads the server's own statistics twice and samples its sessions in between.
/// It only reads: each statement is a read-only transaction, with a limit of
/// time. What cannot be read is in the report with its reason. Statements
/// come from pg_stat_statements, where that is installed. A role with
/// pg_monitor sees everything.
///
/// Ends with 0 when the server answered, and with 2 when it could not be
/// reached.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  PGPASSWORD=… profiler postgres postgres://monitor@db.example/shop --duration 1m
  profiler postgres 'host=/run/postgresql dbname=shop user=postgres'
  profiler postgres postgres://monitor@db.example/shop --format markdown --output shop.md
  profiler postgres postgres://monitor@db.example/shop --explain 'SELECT * FROM orders WHERE id = 1'
  profiler postgres postgres://monitor@db.example/shop --explain-worst 3
  profiler postgres postgres://monitor@db.example/shop --explain-worst 3 --baseline last-week.json

As libpq: what the URL leaves out comes from PGHOST, PGPORT, PGUSER, PGDATABASE,
PGPASSWORD, PGPASSFILE or ~/.pgpass, PGSSLMODE and PGSSLROOTCERT. sslmode is disable, allow
(as disable), prefer (the default), require, verify-ca or verify-full; without
sslrootcert the authorities are the system's. A password in a URL can be seen by
other users of this host in its list of processes; in the environment it cannot.")]
pub struct PostgresArgs {
    /// postgres://USER@HOST:PORT/DATABASE?sslmode=…, or 'host=… dbname=…'
    /// [default: the environment's, else the local server].
    #[arg(value_name = "URL")]
    pub url: Option<String>,

    /// How long to watch: seconds, or 10s, 2m, 1h.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_duration)]
    pub duration: Duration,

    /// Time between two samples of the sessions.
    #[arg(long, value_name = "SECONDS", default_value = "500ms", value_parser = parse_duration)]
    pub interval: Duration,

    /// Longest time for connecting and for each statement of the probe.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = parse_duration)]
    pub timeout: Duration,

    /// Execute this statement with EXPLAIN (ANALYZE, BUFFERS), or the one in a
    /// file (@FILE): in a read-only transaction that is rolled back, within
    /// --timeout. One SELECT, WITH, VALUES or TABLE.
    #[arg(long, value_name = "SQL|@FILE")]
    pub explain: Option<String>,

    /// Show the plans of the N reading statements that took the most time. They
    /// are planned for any parameters and not executed.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=20))]
    pub explain_worst: u8,

    /// An earlier report of this verb in JSON: say what changed in the plans of
    /// --explain and --explain-worst since.
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,

    /// Show the literals of statements, which may be anyone's data. Without it
    /// each is a `?`.
    #[arg(long)]
    pub literals: bool,

    #[command(flatten)]
    pub output: ProbeOutput,
}

pub fn run(arguments: &PostgresArgs) -> anyhow::Result<u8> {
    let target = arguments.output.target()?;
    let plans = arguments.explain.is_some() || arguments.explain_worst > 0;
    anyhow::ensure!(
        plans || arguments.baseline.is_none(),
        "--baseline compares plans: add --explain or --explain-worst"
    );
    let baseline = arguments
        .baseline
        .as_deref()
        .map(Baseline::read)
        .transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let report = runtime.block_on(async {
        let window = Window {
            duration: arguments.duration,
            stop: stop::on_signals()?,
        };
        let options = Options {
            login: Login::find(arguments.url.as_deref())?,
            any_database: false,
            window,
            interval: arguments.interval,
            timeout: arguments.timeout,
            literals: arguments.literals,
            explain: arguments.explain.as_deref().map(statement).transpose()?,
            explain_worst: usize::from(arguments.explain_worst),
            baseline,
        };
        postgres::probe(options).await
    })?;
    // A resolver that hangs in a thread is not waited for.
    runtime.shutdown_background();
    arguments
        .output
        .write(&target, &report.document(), &|to| report.write_json(to))?;
    Ok(exit::DONE)
}

fn statement(given: &str) -> anyhow::Result<String> {
    match given.strip_prefix('@') {
        None => Ok(given.to_owned()),
        Some(path) => fs::read_to_string(Path::new(path))
            .with_context(|| format!("cannot read the statement to explain from {path}")),
    }
}
