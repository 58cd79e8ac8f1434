//! The server as a whole: its caches, its log and its copies.

use crate::{
    probes::{
        database::{Finding, Severity},
        mysql::{report::Report, status::Status},
    },
    report::text::{bytes, count, percent},
};

const HIT_PERCENT: f64 = 95.0;
/// Fewer pages say nothing of a share.
const REQUESTS: u64 = 10_000;
const ON_DISK_PERCENT: f64 = 25.0;
const TEMPORARY_TABLES: u64 = 100;
const HISTORY: u64 = 100_000;
const LAG_SECONDS: u64 = 30;

pub fn status(report: &Report, found: &mut Vec<Finding>) {
    let Some(status) = report.status.data() else {
        return;
    };
    let during = format!("in {:.1} s", report.window_seconds);
    let window = |name: &str| status.counter(name).and_then(|it| it.window);
    buffer_pool(report, status, found);
    if let Some(share) = status.window.temporary_tables_on_disk_percent
        && let Some(made) = window("Created_tmp_tables")
        && share >= ON_DISK_PERCENT
        && made >= TEMPORARY_TABLES
    {
        found.push(
            Finding::new(
                Severity::Warning,
                "temporary_tables_on_disk",
                format!("{} of the temporary tables are on disk", percent(share)),
            )
            .evidence(format!(
                "{} of {} {during}; one in memory may have {}",
                count(window("Created_tmp_disk_tables").unwrap_or_default()),
                count(made),
                bytes(report.server.temporary_table_bytes)
            ))
            .advice(
                "let GROUP BY and ORDER BY use an index and select fewer long columns, or raise \
                 tmp_table_size and max_heap_table_size",
            ),
        );
    }
    let occurred = |name: &str| window(name).filter(|&number| number > 0);
    if let Some(deadlocks) = occurred("Innodb_deadlocks") {
        found.push(
            Finding::new(
                Severity::Problem,
                "deadlocks",
                format!("{deadlocks} deadlocks"),
            )
            .evidence(during.clone())
            .advice(
                "take locks in the same order everywhere; SHOW ENGINE INNODB STATUS has the last",
            ),
        );
    }
    if let Some(waits) = occurred("Innodb_log_waits") {
        found.push(
            Finding::new(
                Severity::Warning,
                "log_waits",
                format!("transactions waited {waits} times for room in the log's buffer"),
            )
            .evidence(during.clone())
            .advice("raise innodb_log_buffer_size"),
        );
    }
    if let Some(overflows) = occurred("Table_open_cache_overflows") {
        found.push(
            Finding::new(
                Severity::Hint,
                "open_tables",
                format!("{} tables were closed to open others", count(overflows)),
            )
            .evidence(format!(
                "{during}; table_open_cache {}",
                report.server.table_open_cache
            ))
            .advice("raise table_open_cache"),
        );
    }
    if let Some(length) = status.now.history_list_length
        && length >= HISTORY
    {
        found.push(
            Finding::new(
                Severity::Warning,
                "history_list",
                format!(
                    "old versions of rows of {} transactions are kept",
                    count(length)
                ),
            )
            .evidence("the history list, at the end of the window")
            .advice("purge waits for the oldest transaction that is open: end it"),
        );
    }
}

fn buffer_pool(report: &Report, status: &Status, found: &mut Vec<Finding>) {
    let Some(requests) = status.counter("Innodb_buffer_pool_read_requests") else {
        return;
    };
    let reads = status.counter("Innodb_buffer_pool_reads");
    let enough = |number: Option<u64>| number >= Some(REQUESTS);
    let (hit, requests, reads, when) = if enough(requests.window) {
        let window = reads.and_then(|it| it.window);
        let hit = status.window.buffer_pool_hit_percent;
        (hit, requests.window, window, "during the probe")
    } else {
        let hit = status.totals.buffer_pool_hit_percent;
        let total = reads.map(|it| it.total);
        (hit, Some(requests.total), total, "since the server's start")
    };
    let Some(hit) = hit.filter(|&hit| hit < HIT_PERCENT && enough(requests)) else {
        return;
    };
    found.push(
        Finding::new(
            Severity::Warning,
            "buffer_pool_hit",
            format!("buffer pool hit {} {when}", percent(hit)),
        )
        .evidence(format!(
            "{} pages were asked for, {} of them read from disk; innodb_buffer_pool_size {}",
            count(requests.unwrap_or_default()),
            count(reads.unwrap_or_default()),
            bytes(report.server.buffer_pool_bytes)
        ))
        .advice("read less (statements without an index), or raise innodb_buffer_pool_size"),
    );
}

pub fn replication(report: &Report, found: &mut Vec<Finding>) {
    for channel in report.replication.data().into_iter().flatten() {
        let name = if channel.name.is_empty() {
            String::new()
        } else {
            format!(" {}", channel.name)
        };
        if !channel.is_running() {
            found.push(
                Finding::new(
                    Severity::Problem,
                    "replication_broken",
                    format!("replication{name} from {} does not run", channel.source),
                )
                .evidence(format!(
                    "fetching: {} (error {}), replaying: {} (error {})",
                    channel.fetching, channel.fetch_error, channel.replaying, channel.replay_error
                ))
                .advice(
                    "SHOW REPLICA STATUS has the errors' texts; unless it was stopped by hand, \
                     START REPLICA once they are dealt with",
                ),
            );
        } else if let Some(behind) = channel.behind_seconds
            && behind >= LAG_SECONDS
        {
            found.push(
                Finding::new(
                    Severity::Problem,
                    "replication_lag",
                    format!(
                        "replication{name} from {} is {behind} s behind",
                        channel.source
                    ),
                )
                .evidence("as the server counts it, at the end of the window")
                .advice(
                    "look at this server's disk, at long transactions on the source, and at \
                     parallel replay",
                ),
            );
        }
    }
}
