//! Which servers are asked beside a recording, and how.

mod databases;
mod services;

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

use super::{
    compare::Wanted,
    load::{
        ConnectionArgs, RequestArgs,
        requests::{self, Endpoints},
    },
    vectors,
};
use crate::{
    containers::{Containers, paths},
    options::{ContainerScope, RecordOptions},
    probes::{
        beside::{Beside, Job, Place},
        http::{load::Level, target::Target},
        mysql, postgres, redis,
        servers::{self, Server},
    },
    profile::{Note, ProbeKind},
    session::Companion,
};

/// For each question to a server, and for connecting.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Most databases that are asked at the same time.
const DATABASES: usize = 16;

#[derive(Debug, Args)]
#[command(next_help_heading = "Probes (--mode full, backend, database)")]
pub struct ProbeArgs {
    /// Endpoints to load, one after the other, while the recording runs: all that
    /// the OpenAPI description has, the critical ones, which have targets
    /// (--targets), or paths with `*` and `**`, separated by commas.
    ///
    /// Without --targets there are no critical endpoints, and nothing is loaded.
    #[arg(
        long,
        value_name = "all|critical|PATHS",
        value_delimiter = ',',
        default_value = DEFAULT_ENDPOINTS
    )]
    pub endpoints: Vec<String>,

    /// How much load.
    #[arg(long, value_enum, default_value = "normal")]
    pub load: Level,

    /// Service to load; may be given several times [default: the services in the
    /// recorded containers that have an OpenAPI description].
    #[arg(long, value_name = "URL")]
    pub url: Vec<String>,

    /// PostgreSQL server to ask, as `profiler postgres` takes it; may be given
    /// several times [default: those that listen in what is recorded].
    #[arg(long, value_name = "URL")]
    pub postgres: Vec<String>,

    /// MySQL or MariaDB server to ask, as `profiler mysql` takes it; may be given
    /// several times [default: those that listen in what is recorded].
    #[arg(long, value_name = "URL")]
    pub mysql: Vec<String>,

    /// Redis server to ask, as `profiler redis` takes it; may be given several
    /// times [default: those that listen in what is recorded].
    #[arg(long, value_name = "URL")]
    pub redis: Vec<String>,

    /// Vector database to search, as `profiler vectors` takes it; may be given
    /// several times [default: the Qdrant servers that listen in what is recorded].
    #[arg(long, value_name = "URL")]
    pub vectors: Vec<String>,

    /// Time of PostgreSQL's statements in parsing, rewriting, planning and executing,
    /// from the probes in the server's program, where it was built with them.
    ///
    /// Each statement hits some ten of them, which costs its backend 1 to 2 µs each,
    /// and up to 40 µs on some virtual machines.
    #[arg(long)]
    pub statement_phases: bool,

    #[command(flatten)]
    pub request: RequestArgs,

    #[command(flatten)]
    pub connection: ConnectionArgs,
}

pub const DEFAULT_ENDPOINTS: &str = "critical";

impl ProbeArgs {
    /// # Errors
    /// If an option cannot be used, whatever the mode.
    pub fn check(&self) -> anyhow::Result<()> {
        Endpoints::parse(&self.endpoints)?;
        requests::terms(&self.request, &self.connection)?;
        for url in &self.url {
            Target::parse(url)?;
        }
        for url in &self.postgres {
            postgres::Login::find(Some(url))?;
        }
        for url in &self.mysql {
            mysql::Login::find(Some(url))?;
        }
        for url in &self.redis {
            redis::Login::find(url)?;
        }
        for url in &self.vectors {
            vectors::shown(url)?;
        }
        Ok(())
    }
}

impl Companion for Beside {
    fn begin(&mut self, duration: Duration) {
        Beside::begin(self, duration);
    }

    fn end(&mut self) {
        Beside::end(self);
    }
}

/// Finds what shall be asked. What cannot be is in the notes.
///
/// # Errors
/// If an option cannot be used.
pub fn prepare(
    arguments: &ProbeArgs,
    options: &RecordOptions,
    targets: Option<&mut Wanted>,
    notes: &mut Vec<Note>,
) -> anyhow::Result<Beside> {
    let mode = options.mode;
    let mut lanes = Vec::new();
    let servers = if mode.loads_services() || mode.asks_databases() {
        recorded_servers(options)?
    } else {
        Vec::new()
    };
    if mode.asks_databases() {
        lanes.extend(databases::lanes(
            arguments,
            is_named(options),
            &servers,
            notes,
        )?);
    }
    if mode.loads_services() {
        lanes.push(services::lane(
            arguments, options, &servers, targets, notes,
        )?);
    }
    Ok(Beside::new(lanes))
}

/// Those of the processes that are recorded.
fn recorded_servers(options: &RecordOptions) -> anyhow::Result<Vec<Server>> {
    let us = std::process::id();
    let found = match &options.containers {
        _ if !options.pids.is_empty() => servers::find(&|pid| options.pids.contains(&pid)),
        ContainerScope::All => servers::find(&|pid| pid != us),
        ContainerScope::Patterns(patterns) => {
            let mut containers = Containers::new();
            let wanted = containers.select(patterns)?.ids;
            servers::find(&|pid| {
                let (v2, v1) = containers.cgroups_of(pid);
                wanted.v2.contains(&v2) || wanted.v1.contains(&v1)
            })
        }
    };
    found.context("cannot look for servers")
}

/// Whether a user chose what is recorded. Who may call his program `postgres` is not
/// sent the passwords of this environment otherwise.
fn is_named(options: &RecordOptions) -> bool {
    options.containers != ContainerScope::All || !options.pids.is_empty()
}

fn is_in_container(server: &Server) -> bool {
    server
        .cgroups
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .any(|path| paths::classify(path).is_container())
}

fn place(server: &Server) -> Place {
    Place {
        pid: server.pid,
        network: server.network.clone(),
        cgroups: server.cgroups.clone(),
    }
}

/// Of a server that cannot be asked, which its report says.
fn refused(kind: ProbeKind, target: String, place: Option<Place>, why: anyhow::Error) -> Job {
    Job {
        kind,
        target,
        place,
        ask: Box::new(|_| Err(why)),
    }
}

fn runtime() -> anyhow::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .context("cannot start a runtime")
}
