//! What the numbers mean, and what to do about it.

use super::{info::Memory, keys::Keys, report::Report};
use crate::{
    probes::database::{Finding, Severity},
    report::text::{bytes, count, percent},
};

const HIT_PERCENT: f64 = 80.0;
/// Fewer lookups say nothing of a ratio.
const LOOKUPS: u64 = 100;
/// A command that takes longer on average holds up all others, microseconds.
const SLOW_MEAN_US: f64 = 10_000.0;
const BIG_KEY_BYTES: u64 = 1 << 20;
const MEMORY_PERCENT: f64 = 90.0;
const FRAGMENTATION: f64 = 1.5;
/// The ratio says little of a small server.
const FRAGMENTED_BYTES: u64 = 100 << 20;
const CLIENTS_PERCENT: f64 = 80.0;
/// A fork that stops the server for longer, microseconds.
const FORK_US: u64 = 100_000;
/// Commands that look at all keys, or at all of a collection.
const WHOLE: [&str; 5] = ["keys", "smembers", "hgetall", "sort", "flushall"];
const BIG_KEYS: usize = 5;

/// The findings of a report, the worst first.
pub fn findings(report: &Report) -> Vec<Finding> {
    let mut found = Vec::new();
    counters(report, &mut found);
    commands(report, &mut found);
    if let Some(it) = report.memory.data() {
        memory(it, &mut found);
    }
    server(report, &mut found);
    keys(report, &mut found);
    found.sort_by_key(|finding| finding.severity);
    found
}

fn counters(report: &Report, found: &mut Vec<Finding>) {
    let Some(counters) = report.counters.data() else {
        return;
    };
    let seconds = report.window_seconds;
    let in_window = counters.window("keyspace_hits") + counters.window("keyspace_misses");
    let in_all = counters.total("keyspace_hits") + counters.total("keyspace_misses");
    let (hit, lookups, when) = if in_window >= LOOKUPS {
        (
            counters.window_hit_percent,
            in_window,
            format!("in {seconds:.1} s"),
        )
    } else {
        let when = "since the server's start or CONFIG RESETSTAT".to_owned();
        (counters.total_hit_percent, in_all, when)
    };
    if let Some(hit) = hit.filter(|&hit| hit < HIT_PERCENT && lookups >= LOOKUPS) {
        found.push(
            Finding::new(
                Severity::Warning,
                "cache_hit",
                format!("cache hit {}", percent(hit)),
            )
            .evidence(format!(
                "{} lookups {when}{}",
                count(lookups),
                report
                    .keys
                    .data()
                    .and_then(common_prefix)
                    .unwrap_or_default()
            ))
            .advice(
                "see whether what is asked for is ever written, expires too early, or is evicted \
                 (maxmemory)",
            ),
        );
    }
    let evicted = counters.window("evicted_keys");
    if evicted > 0 {
        found.push(
            Finding::new(
                Severity::Problem,
                "evictions",
                format!("{} keys were evicted", count(evicted)),
            )
            .evidence(format!(
                "in {seconds:.1} s; {} in all",
                count(counters.total("evicted_keys"))
            ))
            .advice("raise maxmemory, or keep less: shorter times to live, smaller values"),
        );
    }
    let rejected = counters.window("rejected_connections");
    if rejected > 0 {
        found.push(
            Finding::new(
                Severity::Problem,
                "rejected_connections",
                format!("{} connections were refused", count(rejected)),
            )
            .evidence(format!("in {seconds:.1} s, because of maxclients"))
            .advice("keep connections open in a pool, or raise maxclients"),
        );
    }
}

/// What most keys begin with. Lookups are not counted by key, so this is only
/// where to look first.
fn common_prefix(keys: &Keys) -> Option<String> {
    let most = keys.prefixes.iter().max_by_key(|prefix| prefix.keys)?;
    (most.keys * 2 > keys.looked_at).then(|| {
        format!(
            "; {} of {} keys looked at are {}",
            count(most.keys),
            count(keys.looked_at),
            most.prefix
        )
    })
}

fn commands(report: &Report, found: &mut Vec<Finding>) {
    for command in report.commands.data().into_iter().flatten() {
        let calls = command.window_calls.unwrap_or_default();
        let mean = command.window_mean_us().unwrap_or_default();
        let name = command.name.to_uppercase();
        let evidence = format!(
            "{} calls in {:.1} s, {:.1} ms on average",
            count(calls),
            report.window_seconds,
            mean / 1000.0
        );
        if mean >= SLOW_MEAN_US {
            found.push(
                Finding::new(
                    Severity::Problem,
                    "slow_command",
                    format!("{name} is slow and holds up all other commands"),
                )
                .evidence(evidence)
                .advice(
                    "see the slow log for its arguments (--literals), and ask for less at once",
                ),
            );
        } else if calls > 0 && command.name == "keys" {
            found.push(
                Finding::new(
                    Severity::Warning,
                    "keys_command",
                    "KEYS is used, which looks at all keys while nobody else is served",
                )
                .evidence(evidence)
                .advice("use SCAN, or keep a set of the names"),
            );
        }
    }
    let slow = report.slow_commands.data().into_iter().flatten();
    let slow: Vec<_> = slow.filter(|entry| entry.in_window).collect();
    if let Some(slowest) = slow.first() {
        let name = slowest
            .command
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_uppercase();
        let whole = WHOLE.contains(&name.to_lowercase().as_str());
        found.push(
            Finding::new(
                Severity::Warning,
                "slow_log",
                format!("{} slow commands, the slowest is {name}", slow.len()),
            )
            .evidence(format!(
                "{} took {:.1} ms",
                slowest.command,
                slowest.duration_us as f64 / 1000.0
            ))
            .advice(if whole {
                "it looks at everything at once: ask in parts with SCAN, SSCAN, HSCAN"
            } else {
                "while one command runs, no other does: ask for less at once"
            }),
        );
    }
}

fn memory(memory: &Memory, found: &mut Vec<Finding>) {
    let used = memory.used_bytes.unwrap_or_default();
    if let Some(max) = memory.max_bytes.filter(|&max| max > 0) {
        let share = used as f64 * 100.0 / max as f64;
        if share >= MEMORY_PERCENT {
            let policy = memory.max_policy.as_deref().unwrap_or("not known");
            let (severity, advice) = match policy {
                "noeviction" => (
                    Severity::Problem,
                    "at maxmemory writes fail: raise it, or choose an eviction policy",
                ),
                _ => (
                    Severity::Warning,
                    "at maxmemory keys are evicted: raise it, or keep less",
                ),
            };
            found.push(
                Finding::new(
                    severity,
                    "memory",
                    format!("{} of maxmemory are used", percent(share)),
                )
                .evidence(format!(
                    "{} of {}; policy {policy}",
                    bytes(used),
                    bytes(max)
                ))
                .advice(advice),
            );
        }
    }
    if let Some(ratio) = memory
        .fragmentation_ratio
        .filter(|&ratio| ratio >= FRAGMENTATION)
        && used >= FRAGMENTED_BYTES
    {
        found.push(
            Finding::new(
                Severity::Warning,
                "fragmentation",
                "much of the server's memory is not used by data",
            )
            .evidence(format!(
                "resident {}, used {}: ratio {ratio:.2}",
                bytes(memory.resident_bytes.unwrap_or_default()),
                bytes(used)
            ))
            .advice("CONFIG SET activedefrag yes, or restart it when that is possible"),
        );
    }
}

fn server(report: &Report, found: &mut Vec<Finding>) {
    if let Some(clients) = report.clients.data()
        && let Some((connected, max)) = clients.connected.zip(clients.max)
    {
        let share = connected as f64 * 100.0 / max.max(1) as f64;
        if share >= CLIENTS_PERCENT {
            found.push(
                Finding::new(
                    Severity::Problem,
                    "clients",
                    format!(
                        "{} of {} connections are used",
                        count(connected),
                        count(max)
                    ),
                )
                .evidence("connected_clients and maxclients")
                .advice("smaller pools in the applications, or raise maxclients"),
            );
        }
    }
    let Some(persistence) = report.persistence.data() else {
        return;
    };
    for (state, kind, text, advice) in [
        (
            persistence.last_save_ok,
            "save_failed",
            "the last save to disk failed",
            "see the server's log: often a full disk, or no memory for a fork",
        ),
        (
            persistence.last_append_ok,
            "append_failed",
            "the append-only file cannot be written",
            "see the server's log: often a full disk",
        ),
        (
            persistence.replica_link_up,
            "replica_link_down",
            "this replica has no connection to its primary",
            "what it serves is old: see its log and the network",
        ),
    ] {
        if state == Some(false) {
            found.push(
                Finding::new(Severity::Problem, kind, text)
                    .evidence("INFO persistence and replication")
                    .advice(advice),
            );
        }
    }
    if let Some(us) = persistence.last_fork_us.filter(|&us| us >= FORK_US) {
        found.push(
            Finding::new(
                Severity::Warning,
                "slow_fork",
                "the fork before the last save stopped the server",
            )
            .evidence(format!("{:.0} ms (latest_fork_usec)", us as f64 / 1000.0))
            .advice("save on a replica, or turn off transparent huge pages"),
        );
    }
}

fn keys(report: &Report, found: &mut Vec<Finding>) {
    let Some(keys) = report.keys.data() else {
        return;
    };
    let big = keys
        .largest
        .iter()
        .filter(|key| key.estimated_bytes >= BIG_KEY_BYTES);
    for key in big.take(BIG_KEYS) {
        found.push(
            Finding::new(
                Severity::Warning,
                "big_key",
                format!(
                    "key {} has about {}{}",
                    key.name,
                    bytes(key.estimated_bytes),
                    key.kind.as_deref().map_or_else(String::new, |kind| format!(" ({kind})"))
                ),
            )
            .evidence(format!(
                "MEMORY USAGE SAMPLES 5; {} of {} keys were looked at",
                count(keys.looked_at),
                count(keys.keys_in_database)
            ))
            .advice("split it: reading or deleting it at once holds up all others (UNLINK deletes beside)"),
        );
    }
}
