//! The server as a whole: its caches, its log and its copies.

use crate::{
    probes::{
        database::{Finding, Severity},
        postgres::{report::Report, server::DatabaseCounters},
    },
    report::text::{bytes, count, percent},
};

const CACHE_HIT_PERCENT: f64 = 90.0;
/// Fewer blocks say nothing of a ratio.
const CACHE_BLOCKS: u64 = 1000;
const LAG_BYTES: f64 = 64.0 * 1024.0 * 1024.0;
const RETAINED_BYTES: f64 = 1024.0 * 1024.0 * 1024.0;

pub fn database(report: &Report, found: &mut Vec<Finding>) {
    if let Some(database) = report.database.data() {
        let window = database.window.as_ref();
        let asked = |it: &DatabaseCounters| it.cache_hit_blocks + it.cache_missed_blocks;
        let (counters, when) = match window.filter(|window| asked(window) >= CACHE_BLOCKS) {
            Some(window) => (window, "during the probe"),
            None => (&database.totals, "since the reset of the statistics"),
        };
        if let Some(hit) = counters.cache_hit_percent()
            && hit < CACHE_HIT_PERCENT
            && asked(counters) >= CACHE_BLOCKS
        {
            found.push(
                Finding::new(
                    Severity::Warning,
                    "cache_hit",
                    format!("cache hit {} {when}", percent(hit)),
                )
                .evidence(format!(
                    "{} blocks found in shared_buffers ({}), {} read",
                    count(counters.cache_hit_blocks),
                    bytes(report.server.shared_buffers_bytes),
                    count(counters.cache_missed_blocks)
                ))
                .advice(
                    "read less (tables that are read whole, above), or raise shared_buffers; what \
                     is read may still come from the kernel's cache",
                ),
            );
        }
        if let Some(window) = window.filter(|window| window.temporary_bytes > 0) {
            found.push(
                Finding::new(
                    Severity::Warning,
                    "spill",
                    format!(
                        "sorts and hashes wrote {} to disk",
                        bytes(window.temporary_bytes)
                    ),
                )
                .evidence(format!(
                    "{} temporary files in {:.1} s",
                    count(window.temporary_files),
                    report.window_seconds
                ))
                .advice("raise work_mem for the statements that do it, or let them sort less"),
            );
        }
        if let Some(window) = window.filter(|window| window.deadlocks > 0) {
            found.push(
                Finding::new(
                    Severity::Problem,
                    "deadlocks",
                    format!("{} deadlocks", window.deadlocks),
                )
                .evidence(format!("in {:.1} s", report.window_seconds))
                .advice("take locks in the same order everywhere; the server's log names the statements"),
            );
        }
    }
}

pub fn checkpoints(report: &Report, found: &mut Vec<Finding>) {
    if let Some(checkpoints) = report.checkpoints.data() {
        let (timed, requested) = (checkpoints.totals.timed, checkpoints.totals.requested);
        if requested >= 10 && requested > timed {
            found.push(
                Finding::new(
                    Severity::Warning,
                    "checkpoints",
                    "most checkpoints come before their time",
                )
                .evidence(format!(
                    "{} requested, {} timed; max_wal_size {}",
                    count(requested),
                    count(timed),
                    report.server.max_wal_size
                ))
                .advice("raise max_wal_size, if they were not asked for by hand or by backups"),
            );
        }
    }
}

pub fn copies(report: &Report, found: &mut Vec<Finding>) {
    let Some(replication) = report.replication.data() else {
        return;
    };
    for standby in &replication.standbys {
        let Some(lag) = standby.lag_bytes.filter(|&lag| lag >= LAG_BYTES) else {
            continue;
        };
        let name = standby.application.as_deref().unwrap_or("a standby");
        found.push(
            Finding::new(
                Severity::Problem,
                "replication_lag",
                format!("standby {name} is {} behind", bytes(lag as u64)),
            )
            .evidence(format!(
                "state {}; replay lag {}",
                standby.state.as_deref().unwrap_or("not shown"),
                standby
                    .replay_lag_seconds
                    .map_or_else(|| "not known".to_owned(), |lag| format!("{lag:.1} s"))
            ))
            .advice("look at its disk, and for long queries there that replay waits for"),
        );
    }
    for slot in replication.slots.iter().filter(|slot| !slot.active) {
        let Some(kept) = slot.retained_bytes.filter(|&kept| kept >= RETAINED_BYTES) else {
            continue;
        };
        found.push(
            Finding::new(
                Severity::Problem,
                "inactive_slot",
                format!("nobody reads replication slot {}", slot.name),
            )
            .evidence(format!("{} of the log are kept for it", bytes(kept as u64)))
            .advice("start its reader, or drop it: SELECT pg_drop_replication_slot(…)"),
        );
    }
}
