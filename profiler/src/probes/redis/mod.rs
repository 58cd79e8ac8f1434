//! A probe of a Redis server, or of one that speaks as it does (Valkey). It
//! never asks for all keys at once (KEYS) nor listens to all commands
//! (MONITOR), and writes only for a benchmark that was asked for.

pub mod benchmark;
mod client;
mod credentials;
mod findings;
mod info;
mod keys;
mod report;
mod resp;
mod show;
mod slow;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

pub use credentials::Login;
pub use keys::ScanLimits;
pub use report::Report;

use crate::probes::{database::Section, window::Window};
use benchmark::BenchmarkOptions;
use client::Client;
use info::{Clients, Counters, Info, Memory, Persistence, Server};

pub struct Options {
    pub login: Login,
    /// While counters are watched.
    pub window: Window,
    /// Between two pings.
    pub interval: Duration,
    /// For each command, and for connecting.
    pub timeout: Duration,
    /// Arguments of slow commands are shown.
    pub literals: bool,
    pub scan: Option<ScanLimits>,
    pub benchmark: Option<BenchmarkOptions>,
}

/// Probes the server.
///
/// # Errors
/// When there is no connection or no INFO. Whatever else fails is a section of
/// the report with its reason.
pub async fn probe(options: Options) -> Result<Report> {
    let address = options.login.address.to_string();
    let place = || format!("Redis at {address}");
    let started_unix_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64);
    let login = options.login.clone();
    let mut client = Client::open(options.login, options.timeout)
        .await
        .with_context(place)?;
    let before = Info::read(&mut client).await.with_context(place)?;
    let newest_slow = slow::newest(&mut client).await;

    let benchmark = match &options.benchmark {
        None => None,
        Some(benchmark) => Some(benchmark::run(&mut client, &login, benchmark).await),
    };
    let own = client.commands();
    let window = Instant::now();
    // The benchmark's counters are not those of the server's users.
    let before = match &benchmark {
        None => Ok(before),
        Some(_) => Info::read(&mut client).await,
    };
    let pinger = slow::watch(&mut client, options.window, options.interval).await;
    let after = Info::read(&mut client).await;
    let window = window.elapsed();
    let own = client.commands() - own;

    let slow_commands = match newest_slow {
        Ok(newest) => slow::entries(&mut client, newest, options.literals).await,
        Err(error) => Err(error),
    };
    let latency_events = slow::latency_events(&mut client).await;
    let keys = match options.scan {
        None => Section::missing("it was not asked for: --scan looks at keys at a limited rate"),
        Some(limits) => keys::scan(&mut client, limits).await.into(),
    };
    let both = match (&before, &after) {
        (Ok(before), Ok(after)) => Ok((before, after)),
        (Err(error), _) | (_, Err(error)) => Err(error.to_string()),
    };
    let of_both = |make: &dyn Fn(&Info, &Info) -> Counters| match &both {
        Ok((before, after)) => Ok(make(before, after)),
        Err(reason) => Err(reason.clone()),
    };
    let now = after.as_ref().map_err(ToString::to_string);
    let mut report = Report {
        schema_version: report::SCHEMA_VERSION,
        generator: "profiler",
        started_unix_ms,
        window_seconds: window.as_secs_f64(),
        interval_seconds: options.interval.as_secs_f64(),
        literals: options.literals,
        encrypted: login.tls.is_some(),
        server: after
            .as_ref()
            .or(before.as_ref())
            .map(Server::new)
            .map_err(ToString::to_string)
            .into(),
        findings: Vec::new(),
        counters: of_both(&|before, after| Counters::new(before, after, own)).into(),
        commands: both
            .as_ref()
            .map(|(before, after)| info::commands(before, after))
            .map_err(Clone::clone)
            .into(),
        memory: now
            .as_ref()
            .map(|it| Memory::new(it))
            .map_err(Clone::clone)
            .into(),
        clients: now
            .as_ref()
            .map(|it| Clients::new(it))
            .map_err(Clone::clone)
            .into(),
        persistence: now
            .as_ref()
            .map(|it| Persistence::new(it))
            .map_err(Clone::clone)
            .into(),
        databases: now
            .as_ref()
            .map(|it| info::databases(it))
            .map_err(Clone::clone)
            .into(),
        pings: pinger.finish().into(),
        slow_commands: slow_commands.into(),
        latency_events: latency_events.into(),
        keys,
        benchmark: benchmark.map(Section::from),
        address,
    };
    report.findings = findings::findings(&report);
    Ok(report)
}
