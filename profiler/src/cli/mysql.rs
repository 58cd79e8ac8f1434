//! `profiler mysql`.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::{exit, probe_output::ProbeOutput, stop};
use crate::{
    options::parse_duration,
    probes::{
        mysql::{self, Login, Options},
        window::Window,
    },
};

/// Probe a MySQL or MariaDB server: what it does, what it waits for, and what
/// could be better.
///
/// Reads the server's own statistics twice and samples its sessions in between.
/// It only reads: its session is read-only, and each statement has a limit of
/// time. What cannot be read is in the report with its reason. Statements come
/// from the performance schema, where that is on, and else from the samples. An
/// account with PROCESS, SELECT and REPLICATION CLIENT (in MariaDB, SLAVE
/// MONITOR) sees everything.
///
/// Ends with 0 when the server answered, and with 2 when it could not be
/// reached.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  MYSQL_PWD=… profiler mysql mysql://monitor@db.example --duration 1m
  profiler mysql 'mysql://root@/?socket=/run/mysqld/mysqld.sock'
  profiler mysql mysql://monitor@db.example --format markdown --output db.md

What the URL leaves out comes from MYSQL_HOST, MYSQL_TCP_PORT, MYSQL_UNIX_PORT and
MYSQL_PWD, then from the [client] group of ~/.my.cnf. ?ssl-mode= is DISABLED,
PREFERRED (the default), REQUIRED, VERIFY_CA or VERIFY_IDENTITY; without
?ssl-ca=FILE the authorities are the system's. A password in a URL can be seen by
other users of this host in its list of processes; in the environment it cannot.")]
pub struct MysqlArgs {
    /// mysql://USER@HOST:PORT?ssl-mode=…, or mysql://USER@/?socket=PATH
    /// [default: the environment's, else the local server].
    #[arg(value_name = "URL")]
    pub url: Option<String>,

    /// How long to watch: seconds, or 10s, 2m, 1h.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_duration)]
    pub duration: Duration,

    /// Time between two samples of the sessions: 150ms at least, since InnoDB
    /// does not renew its list of transactions while it is read more often.
    #[arg(long, value_name = "SECONDS", default_value = "500ms", value_parser = parse_duration)]
    pub interval: Duration,

    /// Longest time for connecting and for each statement of the probe.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = parse_duration)]
    pub timeout: Duration,

    /// Show the literals of statements, which may be anyone's data. Without it
    /// each is a `?`. The performance schema keeps none.
    #[arg(long)]
    pub literals: bool,

    #[command(flatten)]
    pub output: ProbeOutput,
}

pub fn run(arguments: &MysqlArgs) -> anyhow::Result<u8> {
    let target = arguments.output.target()?;
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
            window,
            interval: arguments.interval,
            timeout: arguments.timeout,
            literals: arguments.literals,
        };
        mysql::probe(options).await
    })?;
    // A resolver that hangs in a thread is not waited for.
    runtime.shutdown_background();
    arguments
        .output
        .write(&target, &report.document(), &|to| report.write_json(to))?;
    Ok(exit::DONE)
}
