//! `profiler pools`.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, Write as _},
    sync::Mutex,
    time::Duration,
};

use clap::Args;

use super::{
    exit,
    probe_output::{ProbeFormat, ProbeOutput},
};
use crate::{
    doctor,
    options::{RecordOptions, RecordedSources, container_scope, parse_duration},
    privacy,
    probes::database::{Column, Document, Finding, Part, Severity},
    profile::{NoteKind, Pool, Recording, Role},
    progress::{PoolNow, Progress},
    report::{self, Format, ReportError, Selection, peer_text, text},
    session::{self, Companion},
    views,
};

/// Lines that are shown for an interval.
const LINES: usize = 10;

/// Watch connections: how many a process has to each service, how many of them are
/// in use, and what waits when all are.
///
/// From the kernel's sockets, of any protocol and language: TCP and UNIX stream
/// sockets. A connection is in use from when the kernel takes over a request until
/// the client has read the first of the answer. What waits for a connection is on
/// no wire; shown is how many requests the process has in progress for its own
/// clients while all its connections are in use. What the server sees of its
/// clients' pools, `profiler postgres` and `profiler redis` tell.
///
/// Ends with 0 when it was recorded, and with 2 when it could not be.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sudo profiler pools
  sudo profiler pools --containers 'api-*' --duration 1m --interval 5
  sudo profiler pools --pid 4242 --format json | jq '.network.pools.rows[]'")]
pub struct PoolsArgs {
    /// How long to watch: seconds, or 10s, 2m, 1h.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_duration)]
    pub duration: Duration,

    /// Time from line to line of what is seen meanwhile. Only with text.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_duration)]
    pub interval: Duration,

    /// Watch only these containers: names, ids or globs, separated by commas.
    #[arg(
        long,
        value_name = "all|NAMES",
        value_delimiter = ',',
        default_value = "all",
        conflicts_with = "pid"
    )]
    pub containers: Vec<String>,

    /// Watch only these processes, separated by commas.
    #[arg(long, value_name = "PID", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..=(1 << 22)))]
    pub pid: Vec<u32>,

    #[command(flatten)]
    pub output: ProbeOutput,
}

pub fn run(arguments: &PoolsArgs, command_line: &[OsString]) -> anyhow::Result<u8> {
    let command_line: Vec<String> = command_line
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let options = RecordOptions {
        duration: arguments.duration,
        // Stacks are no part of it, and CPU time always is recorded.
        frequency: 1,
        pids: arguments.pid.clone(),
        containers: container_scope(&arguments.containers),
        sources: RecordedSources {
            network: true,
            ..RecordedSources::default()
        },
        command_line: privacy::command_line(&command_line),
        ..RecordOptions::default()
    };
    let target = arguments.output.target()?;
    doctor::preflight()?;
    options.check_pids()?;
    doctor::raise_limits();
    let is_text =
        arguments.output.output.is_none() && arguments.output.chosen() == ProbeFormat::Text;
    let progress: Box<dyn Progress> = if is_text {
        Box::new(Lines::new(arguments.interval))
    } else {
        Box::new(crate::progress::Silent)
    };
    let recording = session::record(&options, progress.as_ref(), &mut Alone)?;
    arguments
        .output
        .write(&target, &document(&recording), &|to| {
            report::write(&recording, Format::Json, Selection::default(), to).map_err(|error| {
                match error {
                    ReportError::Write(error) => error,
                    damaged => io::Error::other(damaged),
                }
            })
        })?;
    Ok(exit::DONE)
}

/// Nothing is done meanwhile.
struct Alone;

impl Companion for Alone {
    fn begin(&mut self, _: Duration) {}

    fn end(&mut self) {}
}

/// Says every so often what was seen since.
struct Lines {
    interval: Duration,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    said: Duration,
    /// By process id, and what it is connected to.
    pools: BTreeMap<(u32, String), Sums>,
}

#[derive(Default)]
struct Sums {
    process: String,
    samples: u64,
    connections: u64,
    in_use: u64,
    most_in_use: u64,
    saturated: u64,
    requests: u64,
}

impl Lines {
    fn new(interval: Duration) -> Self {
        Self {
            interval,
            seen: Mutex::default(),
        }
    }
}

impl Progress for Lines {
    fn recording(&self, _: Duration, _: u64, _: u64) {}

    fn phase(&self, _: &str) {}

    fn message(&self, _: &str) {}

    fn finish(&self) {}

    fn pools(&self, elapsed: Duration, pools: &[PoolNow<'_>]) {
        let Ok(mut seen) = self.seen.lock() else {
            return;
        };
        for pool in pools {
            let key = (pool.pid, pool.service.to_owned());
            let sums = seen.pools.entry(key).or_default();
            if sums.process.is_empty() {
                pool.process.clone_into(&mut sums.process);
            }
            sums.samples += 1;
            sums.connections += pool.connections;
            sums.in_use += pool.in_use;
            sums.most_in_use = sums.most_in_use.max(pool.in_use);
            sums.saturated += u64::from(pool.in_use == pool.connections);
            sums.requests += pool.requests;
        }
        if elapsed >= seen.said + self.interval {
            seen.said = elapsed;
            let lines = lines(elapsed, &std::mem::take(&mut seen.pools));
            // A closed stdout is told when the result is written.
            let _ = io::stdout().write_all(lines.as_bytes());
        }
    }
}

fn lines(elapsed: Duration, pools: &BTreeMap<(u32, String), Sums>) -> String {
    let mut rows: Vec<_> = pools.iter().collect();
    rows.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.in_use));
    let more = match rows.len().saturating_sub(LINES) {
        0 => String::new(),
        more => format!("{:>6.1} s  and {more} more\n", elapsed.as_secs_f64()),
    };
    rows.iter()
        .take(LINES)
        .map(|((pid, service), sums)| {
            let mean = |sum: u64| sum as f64 / sums.samples.max(1) as f64;
            format!(
                "{:>6.1} s  {} [{pid}] to {}: {:.1} of {:.1} connections in use, at most {}; all \
                 in {:.0} % of {} samples; {:.1} requests in progress\n",
                elapsed.as_secs_f64(),
                text::clean(&sums.process),
                text::clean(service),
                mean(sums.in_use),
                mean(sums.connections),
                sums.most_in_use,
                100.0 * mean(sums.saturated),
                sums.samples,
                mean(sums.requests),
            )
        })
        .chain([more])
        .collect()
}

fn document(recording: &Recording) -> Document {
    let about = &recording.about;
    let pools = recording.network.iter().flat_map(|network| &network.pools);
    let of = |role: Role| pools.clone().filter(move |pool| pool.role == role);
    let mut clients = Part::new(
        "Connections to services",
        vec![
            Column::text("process"),
            Column::text("to"),
            Column::number("at once"),
            Column::number("at most"),
            Column::number("unused"),
            Column::number("made"),
            Column::number("requests"),
            Column::number("mean"),
            Column::number("longest"),
            Column::number("in use"),
            Column::number("all in use"),
            Column::number("then in progress"),
        ],
    );
    for pool in of(Role::Client) {
        clients.row(client(recording, pool));
    }
    let mut servers = Part::new(
        "Clients of services",
        vec![
            Column::text("process"),
            Column::text("at"),
            Column::number("at once"),
            Column::number("at most"),
            Column::number("requests"),
            Column::number("mean"),
            Column::number("longest"),
            Column::number("in progress"),
        ],
    );
    for pool in of(Role::Server) {
        servers.row(server(recording, pool));
    }
    if let Some(network) = &recording.network {
        clients.note(format!(
            "“At once”, “all in use” and “then in progress” are of {} samples; the rest is counted.",
            network.pool_samples
        ));
        clients.note(
            "“Unused” connections are free, or wait for an answer since before: with such, whether \
             all are in use is not known.",
        );
        if network.pools_not_shown > 0 {
            let more = text::count(network.pools_not_shown);
            clients.note(format!("{more} more are not shown."));
        }
    }
    for note in &recording.notes {
        if note.kind == NoteKind::Missing {
            clients.note(note.text.clone());
        }
    }
    Document {
        title: format!("Connections on {}", about.host),
        about: vec![
            ("watched".into(), text::duration(about.duration_ns)),
            ("scope".into(), about.scope.clone()),
        ],
        findings: findings(recording),
        parts: vec![clients, servers],
    }
}

fn findings(recording: &Recording) -> Vec<Finding> {
    use views::FindingKind as Kind;
    // Nothing else is recorded well enough here.
    let of_connections = [
        Kind::PoolTooSmall,
        Kind::FailingConnects,
        Kind::FullListenQueue,
        Kind::OutOfMemory,
    ];
    views::findings(recording)
        .into_iter()
        .filter(|finding| of_connections.contains(&finding.kind))
        .map(|finding| {
            let container = &recording.containers[finding.container as usize].name;
            let text = format!("{container}: {}", finding.text);
            Finding::new(Severity::Warning, finding.kind.name(), text).evidence(finding.evidence)
        })
        .collect()
}

fn process(recording: &Recording, pool: &Pool) -> String {
    let process = &recording.processes[pool.process as usize];
    format!("{} [{}]", process.name, process.pid)
}

fn client(recording: &Recording, pool: &Pool) -> Vec<String> {
    let number = |value: Option<u64>| value.map(text::count).unwrap_or_default();
    vec![
        process(recording, pool),
        peer_text(recording, pool),
        tenths(pool.mean_connections()),
        text::count(pool.samples.most_connections),
        number(pool.unused),
        number(pool.opened),
        text::count(pool.requests),
        pool.mean_ns().map(text::duration).unwrap_or_default(),
        text::duration(pool.longest_ns),
        percent(pool.in_use()),
        percent(pool.saturated()),
        tenths(pool.requests_when_saturated()),
    ]
}

fn server(recording: &Recording, pool: &Pool) -> Vec<String> {
    let length = recording.about.duration_ns.max(1) as f64;
    vec![
        process(recording, pool),
        pool.service.clone(),
        tenths(pool.mean_connections()),
        text::count(pool.samples.most_connections),
        text::count(pool.requests),
        pool.mean_ns().map(text::duration).unwrap_or_default(),
        text::duration(pool.longest_ns),
        tenths(Some(pool.in_use_ns as f64 / length)),
    ]
}

fn tenths(value: Option<f64>) -> String {
    value.map(|value| format!("{value:.1}")).unwrap_or_default()
}

fn percent(part: Option<f64>) -> String {
    part.map(|part| text::percent(100.0 * part))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::sample;

    #[test]
    fn an_interval_in_a_line() {
        let busy = Sums {
            process: "api".into(),
            samples: 10,
            connections: 20,
            in_use: 19,
            most_in_use: 2,
            saturated: 9,
            requests: 140,
        };
        let pools = BTreeMap::from([
            ((7, "10.0.0.3:5432".to_owned()), busy),
            ((8, "10.0.0.4:6379".to_owned()), Sums::default()),
        ]);
        let text = lines(Duration::from_millis(1030), &pools);
        assert!(
            text.starts_with(
                "   1.0 s  api [7] to 10.0.0.3:5432: 1.9 of 2.0 connections in use, at most 2; all \
                 in 90 % of 10 samples; 14.0 requests in progress\n"
            ),
            "{text}"
        );
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn a_recording_as_tables() {
        let mut text = Vec::new();
        report::document::write_text(&document(&sample::plain()), &mut text)
            .expect("memory takes it");
        let text = String::from_utf8(text).expect("text");
        assert!(text.contains("10.0.0.3:5432") && text.contains("/run/api.sock"));
        assert!(
            text.contains("38.3 %") && text.contains("of 600 samples"),
            "{text}"
        );
    }
}
