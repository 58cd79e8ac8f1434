//! The report for people.

use super::report::Report;
use crate::{
    probes::database::{Column, Document, Part, Section},
    report::text::{Utc, bytes, count, percent},
};

const LISTED: usize = 15;

impl Report {
    pub fn document(&self) -> Document {
        let transport = if self.encrypted {
            "encrypted"
        } else {
            "not encrypted"
        };
        let server = match &self.server {
            Section::Measured { data } => format!(
                "Redis {} ({}, {}) at {}, {transport}",
                data.version,
                data.mode.as_deref().unwrap_or("mode not known"),
                data.role.as_deref().unwrap_or("role not known"),
                self.address
            ),
            Section::NotMeasured { reason } => format!("at {}: {reason}", self.address),
        };
        let mut parts = vec![
            self.counters(),
            self.commands(),
            self.slow_log(),
            self.latency(),
            self.events(),
            self.memory_use(),
            self.database_sizes(),
            self.largest_keys(),
            self.prefixes(),
        ];
        if let Some(benchmark) = &self.benchmark {
            parts.insert(0, benchmark_part(benchmark));
        }
        Document {
            title: format!("Redis: {}", self.address),
            about: vec![
                ("server".into(), server),
                (
                    "window".into(),
                    format!(
                        "{:.1} s from {}",
                        self.window_seconds,
                        Utc::new(self.started_unix_ms).text()
                    ),
                ),
            ],
            findings: self.findings.clone(),
            parts,
        }
    }

    fn counters(&self) -> Part {
        let columns = vec![
            Column::text("Counter"),
            Column::number("Window"),
            Column::number("A second"),
            Column::number("Since the start"),
        ];
        Part::of("Counters", &self.counters, columns, |counters, part| {
            for counter in &counters.counters {
                let rate = counter
                    .window
                    .map(|window| window as f64 / self.window_seconds.max(1e-9));
                part.row(vec![
                    counter.name.to_owned(),
                    counter.window.map_or_else(|| "reset".to_owned(), count),
                    rate.map_or_else(|| "–".to_owned(), |rate| format!("{rate:.1}")),
                    count(counter.total),
                ]);
            }
            let hit = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), percent);
            part.row(vec![
                "hit rate".to_owned(),
                hit(counters.window_hit_percent),
                String::new(),
                hit(counters.total_hit_percent),
            ]);
            part.note(format!(
                "{} commands of the window are the probe's own",
                count(counters.own_commands)
            ));
        })
    }

    fn commands(&self) -> Part {
        let columns = vec![
            Column::text("Command"),
            Column::number("Calls in the window"),
            Column::number("Time"),
            Column::number("Mean"),
            Column::number("Calls in all"),
            Column::number("p50"),
            Column::number("p99"),
            Column::number("p99.9"),
        ];
        Part::of("Commands", &self.commands, columns, |commands, part| {
            for command in commands.iter().take(LISTED) {
                part.row(vec![
                    command.name.clone(),
                    command
                        .window_calls
                        .map_or_else(|| "reset".to_owned(), count),
                    microseconds(command.window_us.map(|us| us as f64)),
                    microseconds(command.window_mean_us()),
                    count(command.total_calls),
                    microseconds(command.p50_us),
                    microseconds(command.p99_us),
                    microseconds(command.p999_us),
                ]);
            }
            part.note("Percentiles are the server's own, of all calls since its start (since 7.0)");
        })
    }

    fn slow_log(&self) -> Part {
        let columns = vec![
            Column::number("Took"),
            Column::text("In the window"),
            Column::text("Command"),
            Column::text("Client"),
        ];
        Part::of("Slow log", &self.slow_commands, columns, |entries, part| {
            for entry in entries.iter().take(LISTED) {
                part.row(vec![
                    microseconds(Some(entry.duration_us as f64)),
                    if entry.in_window { "yes" } else { "no" }.to_owned(),
                    entry.command.clone(),
                    entry.client.clone().unwrap_or_default(),
                ]);
            }
            if !self.literals {
                part.note("Without arguments (--literals shows them)");
            }
        })
    }

    fn latency(&self) -> Part {
        let columns = vec![
            Column::number("Pings"),
            Column::number("p50"),
            Column::number("p99"),
            Column::number("Max"),
        ];
        Part::of(
            "PING as this host sees it",
            &self.pings,
            columns,
            |pings, part| {
                part.row(vec![
                    count(pings.pings),
                    microseconds(Some(pings.p50_us)),
                    microseconds(pings.p99_us),
                    microseconds(Some(pings.max_us)),
                ]);
                if let Some(failure) = &pings.failure {
                    part.note(format!("{} pings failed: {failure}", pings.failed));
                }
            },
        )
    }

    fn events(&self) -> Part {
        let columns = vec![
            Column::text("Event"),
            Column::number("Latest"),
            Column::number("Max"),
        ];
        Part::of(
            "Latency monitor",
            &self.latency_events,
            columns,
            |events, part| {
                for event in events {
                    part.row(vec![
                        event.event.clone(),
                        format!("{} ms", event.latest_ms),
                        format!("{} ms", event.max_ms),
                    ]);
                }
                if events.is_empty() {
                    part.note("No event; it is off unless latency-monitor-threshold is set");
                }
            },
        )
    }

    fn memory_use(&self) -> Part {
        let columns = vec![Column::text("Memory"), Column::number("Value")];
        Part::of("Memory", &self.memory, columns, |memory, part| {
            let size = |value: Option<u64>| value.map_or_else(|| "–".to_owned(), bytes);
            for (name, value) in [
                ("used", size(memory.used_bytes)),
                ("peak", size(memory.peak_bytes)),
                ("resident", size(memory.resident_bytes)),
                (
                    "maxmemory",
                    match memory.max_bytes {
                        Some(0) => "no limit".to_owned(),
                        max => size(max),
                    },
                ),
                ("policy", memory.max_policy.clone().unwrap_or_default()),
            ] {
                part.row(vec![name.to_owned(), value]);
            }
        })
    }

    fn database_sizes(&self) -> Part {
        let columns = vec![
            Column::text("Database"),
            Column::number("Keys"),
            Column::number("That expire"),
        ];
        Part::of("Databases", &self.databases, columns, |databases, part| {
            for database in databases {
                part.row(vec![
                    database.number.clone(),
                    count(database.keys),
                    count(database.expiring_keys),
                ]);
            }
        })
    }

    fn largest_keys(&self) -> Part {
        let columns = vec![
            Column::text("Key"),
            Column::text("Type"),
            Column::number("About"),
        ];
        Part::of("Largest keys", &self.keys, columns, |keys, part| {
            for key in keys.largest.iter().take(LISTED) {
                part.row(vec![
                    key.name.clone(),
                    key.kind.clone().unwrap_or_default(),
                    bytes(key.estimated_bytes),
                ]);
            }
            part.note(format!(
                "{} of {} keys in {:.1} s{}; sizes are MEMORY USAGE's, from 5 elements",
                count(keys.looked_at),
                count(keys.keys_in_database),
                keys.seconds,
                if keys.complete {
                    ""
                } else {
                    ", not all: see --scan-keys"
                }
            ));
        })
    }

    fn prefixes(&self) -> Part {
        let columns = vec![
            Column::text("Prefix"),
            Column::number("Keys"),
            Column::number("About"),
        ];
        Part::of("Memory by prefix", &self.keys, columns, |keys, part| {
            for prefix in keys.prefixes.iter().take(LISTED) {
                part.row(vec![
                    prefix.prefix.clone(),
                    count(prefix.keys),
                    bytes(prefix.estimated_bytes),
                ]);
            }
        })
    }
}

fn benchmark_part(benchmark: &Section<super::benchmark::Benchmark>) -> Part {
    let columns = vec![
        Column::text("Test"),
        Column::number("Requests"),
        Column::number("A second"),
        Column::number("Mean"),
        Column::number("p50"),
        Column::number("p95"),
        Column::number("p99"),
        Column::number("Max"),
        Column::number("Errors"),
    ];
    Part::of("Benchmark", benchmark, columns, |benchmark, part| {
        for test in &benchmark.tests {
            let us = |us: u64| microseconds(Some(us as f64));
            part.row(vec![
                test.test.to_owned(),
                count(test.requests),
                count(test.requests_per_second as u64),
                microseconds(Some(test.mean_us)),
                us(test.p50_us),
                us(test.p95_us),
                us(test.p99_us),
                us(test.max_us),
                count(test.errors),
            ]);
        }
        part.note(format!(
            "{} clients, {} commands at once, {} bytes; a closed loop; {} keys were removed \
             afterwards",
            benchmark.clients,
            benchmark.pipeline,
            benchmark.data_bytes,
            count(benchmark.removed_keys)
        ));
        if let Some(failure) = &benchmark.failure {
            part.note(format!("It ended early: {failure}"));
        }
        if let Some(failure) = &benchmark.cleanup_failure {
            part.note(format!(
                "Keys that begin with profiler:benchmark: may be left: {failure}"
            ));
        }
    })
}

fn microseconds(us: Option<f64>) -> String {
    us.map_or_else(
        || "–".to_owned(),
        |us| crate::report::text::duration((us.max(0.0) * 1000.0) as u64),
    )
}
