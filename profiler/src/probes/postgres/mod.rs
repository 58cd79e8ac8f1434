//! A probe of a PostgreSQL server, 12 and later: what it does, what it waits
//! for, and what could be better. It only reads, and says so to the server.

mod activity;
mod bloat;
mod checkpoints;
mod credentials;
mod encryption;
mod explain;
mod findings;
mod indexes;
mod locks;
mod missing_indexes;
mod plan_difference;
mod replication;
mod report;
mod server;
pub mod session;
mod show;
mod statements;
mod tables;
mod words;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

pub use credentials::Login;
pub use plan_difference::Baseline;
pub use report::Report;

use crate::probes::{
    database::{Section, both, literals::without_literals},
    window::Window,
};
use activity::Observer;
use bloat::{IndexesBloat, TablesBloat};
use checkpoints::{CheckpointCounters, Checkpoints};
use indexes::{Index, Indexes, UnindexedForeignKey};
use replication::Replication;
use server::{Connections, Database, DatabaseCounters, Pool, Server};
use session::{Session, SessionError};
use statements::{Counters, Extension};
use tables::{Table, Tables};

/// Oldest version whose views are known, as the server numbers it.
const OLDEST: u32 = 120_000;
/// Samples that failed one after the other, from which there are no more.
const FAILURES: u32 = 3;

pub struct Options {
    pub login: Login,
    /// Go on to the database that is used most, of those of the server.
    pub any_database: bool,
    /// While counters are watched and sessions sampled.
    pub window: Window,
    /// Between two samples of sessions.
    pub interval: Duration,
    /// For each statement of the probe, and for connecting.
    pub timeout: Duration,
    /// Literals of statements are shown.
    pub literals: bool,
    /// A statement to explain.
    pub explain: Option<String>,
    /// How many of the statements that cost most to explain.
    pub explain_worst: usize,
    /// Earlier plans to compare these with.
    pub baseline: Option<Baseline>,
}

/// Probes the server.
///
/// # Errors
/// When there is no connection, or its version is too old. Whatever else fails
/// is a section of the report with its reason.
pub async fn probe(options: Options) -> Result<Report> {
    let text: fn(&str) -> String = if options.literals {
        str::to_owned
    } else {
        without_literals
    };
    let started_unix_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64);
    let address = options.login.address.to_string();
    let mut session = Session::open(options.login, options.timeout)
        .await
        .with_context(|| format!("PostgreSQL at {address}"))?;
    if options.any_database {
        session
            .use_busiest_database()
            .await
            .with_context(|| format!("PostgreSQL at {address}"))?;
    }
    let server = Server::read(&mut session)
        .await
        .with_context(|| format!("PostgreSQL at {address}"))?;
    anyhow::ensure!(
        server.version_number >= OLDEST,
        "PostgreSQL at {address} is version {}; the probe knows 12 and later",
        server.version
    );
    let encrypted = session.encrypted();

    let extension = Extension::find(&mut session).await;
    let before = Readings::take(&mut session, &extension, &server).await;
    let own = session.statements();
    let watched = Instant::now();
    let mut observer = Observer::default();
    watch(
        &mut session,
        &mut observer,
        options.window,
        options.interval,
        text,
    )
    .await;
    let window = watched.elapsed();
    let after = Readings::take(&mut session, &extension, &server).await;
    let own = session.statements() - own;

    let mut statements = match (&extension, both(&before.statements, &after.statements)) {
        (Ok(extension), Ok((before, after))) => {
            Section::from(extension.statements(&mut session, before, after).await)
        }
        (_, Err(reason)) => Section::missing(reason),
        (Err(error), _) => Section::missing(error.to_string()),
    };
    if let Section::Measured { data } = &mut statements {
        for statement in data.window.iter_mut().chain(&mut data.totals) {
            // Utility statements keep their literals in older versions.
            statement.query = text(&statement.query);
        }
    }
    let indexes = match Index::read(&mut session).await {
        Ok(indexes) => UnindexedForeignKey::read(&mut session)
            .await
            .map(|keys| (Indexes::new(&indexes, keys), indexes)),
        Err(error) => Err(error),
    };
    let tables =
        both(&before.tables, &after.tables).map(|(before, after)| Tables::new(before, after));
    let missing_indexes =
        missing_indexes::missing_indexes(&mut session, &tables, &indexes, &statements).await;
    let mut report = Report {
        schema_version: report::SCHEMA_VERSION,
        generator: "profiler",
        address,
        encrypted,
        started_unix_ms,
        window_seconds: window.as_secs_f64(),
        interval_seconds: options.interval.as_secs_f64(),
        literals: options.literals,
        database: both(&before.database, &after.database)
            .map(|(before, after)| Database::new(before, after.clone(), own))
            .into(),
        connections: Connections::read(&mut session).await.into(),
        pools: Pool::read(&mut session).await.into(),
        activity: observer.finish().into(),
        tables: tables.into(),
        bloat: TablesBloat::read(&mut session).await.into(),
        index_bloat: IndexesBloat::read(&mut session).await.into(),
        indexes: indexes.map(|(indexes, _)| indexes).into(),
        missing_indexes: missing_indexes.into(),
        checkpoints: both(&before.checkpoints, &after.checkpoints)
            .map(|(before, after)| Checkpoints::new(before, after.clone()))
            .into(),
        replication: Replication::read(&mut session, server.in_recovery)
            .await
            .into(),
        plans: Vec::new(),
        findings: Vec::new(),
        statements,
        server,
    };
    if let Some(statement) = &options.explain {
        let plan = explain::given(&mut session, statement, text).await;
        report.plans.push(plan);
    }
    if options.explain_worst > 0 {
        let plans = explain::worst(
            &mut session,
            report.server.version_number,
            &report.statements,
            options.explain_worst,
            text,
        );
        report.plans.extend(plans.await);
    }
    if let Some(baseline) = &options.baseline {
        for plan in &mut report.plans {
            plan.difference = Some(baseline.difference(plan));
        }
    }
    report.findings = findings::findings(&report);
    Ok(report)
}

/// Counters at one moment.
struct Readings {
    database: Result<DatabaseCounters, SessionError>,
    statements: Result<Vec<Counters>, SessionError>,
    tables: Result<Vec<Table>, SessionError>,
    checkpoints: Result<CheckpointCounters, SessionError>,
}

impl Readings {
    async fn take(
        session: &mut Session,
        extension: &Result<Extension, SessionError>,
        server: &Server,
    ) -> Self {
        Self {
            statements: match extension {
                Ok(extension) => extension.read(session).await,
                Err(error) => Err(SessionError::Missing(error.to_string())),
            },
            database: DatabaseCounters::read(session).await,
            tables: Table::read(session).await,
            checkpoints: CheckpointCounters::read(session, server.version_number).await,
        }
    }
}

/// Samples sessions until the window is over or the server is gone.
async fn watch(
    session: &mut Session,
    observer: &mut Observer,
    mut window: Window,
    interval: Duration,
    text: fn(&str) -> String,
) {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut failures = 0;
    while started.elapsed() < window.duration {
        let left = window.duration.saturating_sub(started.elapsed());
        tokio::select! {
            _ = ticks.tick() => {}
            () = tokio::time::sleep(left) => return,
            () = window.stopped() => return,
        }
        let at = started.elapsed().as_secs_f64();
        if observer.observe(session, text, at).await {
            failures = 0;
        } else {
            failures += 1;
        }
        if failures == FAILURES {
            return;
        }
    }
}
