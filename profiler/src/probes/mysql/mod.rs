//! A probe of a MySQL or MariaDB server: what it does, what it waits for, and
//! what could be better. It only reads, and says so to the server.

mod activity;
mod connection;
mod credentials;
mod findings;
mod indexes;
mod literals;
mod locks;
mod login;
mod replication;
mod report;
mod server;
mod session;
mod show;
mod statements;
mod status;
mod tables;
mod wire;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};

pub use credentials::Login;
pub use report::Report;

use crate::probes::{
    database::{Section, both},
    window::Window,
};
use activity::Observer;
use indexes::{Index, Indexes};
use literals::without_literals;
use replication::Channel;
use server::{Pool, Server};
use session::Session;
use statements::Counters;
use status::{Readings, Status};
use tables::{Table, Tables};

/// Between two samples at least. InnoDB renews its list of transactions when
/// nobody has read it for 100 ms (CACHE_MIN_IDLE_TIME_NS in trx0i_s.cc): who reads
/// it more often sees the same for ever.
const LEAST_INTERVAL: Duration = Duration::from_millis(150);
/// Samples that failed one after the other, from which there are no more.
const FAILURES: u32 = 3;

pub struct Options {
    pub login: Login,
    /// While counters are watched and sessions sampled.
    pub window: Window,
    /// Between two samples of sessions.
    pub interval: Duration,
    /// For each statement of the probe, and for connecting.
    pub timeout: Duration,
    /// Literals of statements are shown.
    pub literals: bool,
}

/// Probes the server.
///
/// # Errors
/// When there is no connection. Whatever else fails is a section of the report
/// with its reason.
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
    let place = || format!("MySQL at {address}");
    let interval = options.interval.max(LEAST_INTERVAL);
    let mut session = Session::open(options.login, options.timeout)
        .await
        .with_context(place)?;
    let server = Server::read(&mut session).await.with_context(place)?;

    // The status is read first and last: its window holds that of the statements.
    let status_before = Readings::take(&mut session).await;
    let watched = Instant::now();
    let statements_before = statements::read(&mut session, &server).await;
    let mut observer = Observer::new(&server);
    watch(&mut session, &mut observer, options.window, interval, text).await;
    let statements_after = statements::read(&mut session, &server).await;
    let status_after = Readings::take(&mut session).await;
    let window = watched.elapsed();

    let statements = both(&statements_before, &statements_after);
    let statements = statements_of(&mut session, statements).await;
    let pools = Pool::read(&mut session).await;
    let replication = Channel::read(&mut session).await;
    let (tables, indexes) = structure(&mut session, &server).await;
    let mut report = Report {
        schema_version: report::SCHEMA_VERSION,
        generator: "profiler",
        encrypted: session.encrypted(),
        started_unix_ms,
        window_seconds: window.as_secs_f64(),
        interval_seconds: interval.as_secs_f64(),
        literals: options.literals,
        server,
        findings: Vec::new(),
        statements,
        activity: observer.finish().into(),
        status: both(&status_before, &status_after)
            .map(|(before, after)| Status::new(before, after, window.as_secs_f64()))
            .into(),
        pools: pools.into(),
        tables,
        indexes,
        replication: replication.into(),
        address,
    };
    session.close().await;
    report.findings = findings::findings(&report);
    Ok(report)
}

async fn statements_of(
    session: &mut Session,
    readings: Result<(&Vec<Counters>, &Vec<Counters>), String>,
) -> Section<statements::Statements> {
    match readings {
        Ok((before, after)) => statements::statements(session, before, after).await.into(),
        Err(reason) => Section::missing(reason),
    }
}

/// Tables and their indexes. A primary key is an index.
async fn structure(session: &mut Session, server: &Server) -> (Section<Tables>, Section<Indexes>) {
    let tables = Table::read(session).await;
    let (indexes, cut) = match Index::read(session).await {
        Ok(read) => read,
        Err(error) => {
            let reason = error.to_string();
            return (Section::missing(reason.clone()), Section::missing(reason));
        }
    };
    let primary = indexes.iter().filter(|index| index.is_primary());
    let keyed: BTreeSet<String> = primary.map(Index::table_name).collect();
    // Of indexes that were not read, nothing is known.
    let tables = tables.map(|tables| Tables::new(&tables, |name| cut || keyed.contains(name)));
    let indexes = Indexes::new(session, server, &indexes, cut).await;
    (tables.into(), Section::Measured { data: indexes })
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
    let mut next = Instant::now();
    let mut failures = 0;
    while started.elapsed() < window.duration {
        let left = window.duration.saturating_sub(started.elapsed());
        let wait = next.saturating_duration_since(Instant::now()).min(left);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = window.stopped() => return,
        }
        if Instant::now() < next {
            return;
        }
        let sampled = Instant::now();
        let at = (sampled - started).as_secs_f64();
        if observer.observe(session, text, at).await {
            failures = 0;
        } else {
            failures += 1;
        }
        if failures == FAILURES {
            return;
        }
        next = (sampled + interval).max(Instant::now() + LEAST_INTERVAL);
    }
}
