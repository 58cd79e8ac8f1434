//! What the numbers mean, and what to do about it.

use std::collections::BTreeSet;

use super::{report::Report, tables::LARGE_ROWS};
use crate::{
    probes::database::{Finding, Severity},
    report::text::{bytes, count, percent, shorten},
};

/// An index is worth a word from here.
const LARGE_INDEX_BYTES: u64 = 1 << 20;
const CACHE_HIT_PERCENT: f64 = 90.0;
/// Fewer blocks say nothing of a ratio.
const CACHE_BLOCKS: u64 = 1000;
const DEAD_PERCENT: f64 = 20.0;
const DEAD_ROWS: u64 = 10_000;
const CONNECTIONS_PERCENT: f64 = 80.0;
const IDLE_IN_TRANSACTION_SECONDS: f64 = 10.0;
const LONG_TRANSACTION_SECONDS: f64 = 60.0;
/// A statement that runs so much more often than transactions is in a loop.
const CALLS_PER_TRANSACTION: f64 = 10.0;
const LOOP_CALLS: u64 = 200;
/// Emergency vacuums begin at 200 million (autovacuum_freeze_max_age), and
/// writes end at two billion.
const FROZEN_AGE: i64 = 1_000_000_000;
const LAG_BYTES: f64 = 64.0 * 1024.0 * 1024.0;
const RETAINED_BYTES: f64 = 1024.0 * 1024.0 * 1024.0;
/// Longest statement in a finding, characters.
const STATEMENT: usize = 160;

/// The findings of a report, the worst first.
pub fn findings(report: &Report) -> Vec<Finding> {
    let mut found = Vec::new();
    locks(report, &mut found);
    transactions(report, &mut found);
    reads(report, &mut found);
    statements(report, &mut found);
    database(report, &mut found);
    indexes(report, &mut found);
    upkeep(report, &mut found);
    copies(report, &mut found);
    for plan in &report.plans {
        found.extend(plan.findings());
    }
    found.sort_by_key(|finding| finding.severity);
    found
}

fn quote(statement: Option<&str>) -> String {
    match statement {
        Some(text) if !text.trim().is_empty() => {
            let text = text.trim().trim_end_matches(';');
            shorten(text.trim_end(), STATEMENT).into_owned()
        }
        _ => "(no statement is shown)".to_owned(),
    }
}

fn locks(report: &Report, found: &mut Vec<Finding>) {
    let Some(tree) = report.activity.data().and_then(|it| it.blocking.as_ref()) else {
        return;
    };
    for blocker in &tree.blockers {
        let waiting = blocker.waiting.len();
        let what = match (blocker.pid, blocker.state.as_deref(), blocker.state_seconds) {
            (0, ..) => "a prepared transaction".to_owned(),
            (pid, Some(state), Some(seconds)) => format!("pid {pid}, {state} for {seconds:.1} s"),
            (pid, ..) => format!("pid {pid}"),
        };
        let locks: BTreeSet<&str> = blocker
            .waiting
            .iter()
            .filter_map(|waiter| waiter.lock.as_deref())
            .collect();
        let locks: Vec<&str> = locks.into_iter().take(3).collect();
        let sessions = if waiting == 1 {
            "session waits"
        } else {
            "sessions wait"
        };
        let advice = match blocker.pid {
            0 => {
                "finish it: COMMIT PREPARED or ROLLBACK PREPARED (see pg_prepared_xacts)".to_owned()
            }
            pid => format!(
                "end its transaction sooner in the application; SELECT pg_terminate_backend({pid}) \
                 ends the session now"
            ),
        };
        found.push(
            Finding::new(
                Severity::Problem,
                "lock_pile_up",
                format!("lock pile-up: {waiting} {sessions} behind {what}"),
            )
            .evidence(format!(
                "{:.1} s after the beginning; its last statement: {}; waited for: {}",
                tree.at_seconds,
                quote(blocker.query.as_deref()),
                if locks.is_empty() {
                    "not known".to_owned()
                } else {
                    locks.join(", ")
                },
            ))
            .advice(advice),
        );
    }
}

fn transactions(report: &Report, found: &mut Vec<Finding>) {
    let Some(activity) = report.activity.data() else {
        return;
    };
    for session in &activity.long_transactions {
        let seconds = session.transaction_seconds.unwrap_or_default();
        let idle = session.is_idle_in_transaction();
        let limit = if idle {
            IDLE_IN_TRANSACTION_SECONDS
        } else {
            LONG_TRANSACTION_SECONDS
        };
        if seconds < limit {
            continue;
        }
        let who = session
            .application
            .as_deref()
            .filter(|name| !name.is_empty());
        let who = who.map_or_else(String::new, |name| format!(" ({name})"));
        let finding = if idle {
            Finding::new(
                Severity::Problem,
                "idle_in_transaction",
                format!(
                    "idle in transaction: pid {}{who} does nothing for {:.0} s inside a transaction",
                    session.pid,
                    session.state_seconds.unwrap_or_default()
                ),
            )
            .advice(
                "it keeps locks, and rows that vacuum cannot remove: commit before waiting for \
                 something else, and set idle_in_transaction_session_timeout",
            )
        } else {
            Finding::new(
                Severity::Warning,
                "long_transaction",
                format!(
                    "pid {}{who} is in a transaction for {seconds:.0} s",
                    session.pid
                ),
            )
            .advice("vacuum cannot remove rows that are younger: make transactions shorter")
        };
        found.push(finding.evidence(format!(
            "transaction {seconds:.1} s; last statement: {}",
            quote(session.query.as_deref())
        )));
    }
}

fn reads(report: &Report, found: &mut Vec<Finding>) {
    let Some(tables) = report.tables.data() else {
        return;
    };
    for reads in tables
        .sequential_reads
        .iter()
        .filter(|reads| reads.of_large_table())
    {
        let table = &reads.table;
        let name = table.full_name();
        let missing = report.missing_indexes.data().into_iter().flatten();
        let missing: Vec<_> = missing.filter(|missing| missing.table == name).collect();
        // By rows: workers of a parallel scan count as scans of their own, and a
        // scan can end early.
        let in_window = reads.window_rows >= table.live_rows;
        if !in_window && missing.is_empty() {
            continue;
        }
        let times = |rows: u64| rows as f64 / table.live_rows.max(1) as f64;
        let scans = if in_window {
            let minutes = (report.window_seconds / 60.0).max(f64::EPSILON);
            format!(
                "{} times a minute",
                count((times(reads.window_rows) / minutes) as u64)
            )
        } else {
            let times = count(times(table.sequentially_read_rows) as u64);
            format!("{times} times since the reset of the statistics")
        };
        let size = table
            .bytes
            .map_or_else(String::new, |size| format!(" ({})", bytes(size)));
        let mut text = format!("table {name} is read whole {scans}{size}");
        let mut finding = if let Some(first) = missing.first() {
            text += &format!(
                ": {} has no index on {}",
                shorten(first.query.trim(), STATEMENT),
                first.column
            );
            let severity = if in_window {
                Severity::Problem
            } else {
                Severity::Warning
            };
            Finding::new(severity, "missing_index", text).advice(format!(
                "CREATE INDEX CONCURRENTLY ON {name} ({}), if few rows have the same value; see \
                 the plan with --explain",
                first.column
            ))
        } else {
            Finding::new(Severity::Warning, "sequential_scans", text).advice(
                "see which statement it is (Statements, or --explain) and whether an index on what \
                 it compares would find the rows",
            )
        };
        finding.evidence = if in_window {
            format!(
                "pg_stat_user_tables: {} scans of {} rows in {:.1} s",
                count(reads.window_scans),
                count(reads.window_rows),
                report.window_seconds
            )
        } else {
            format!(
                "pg_stat_user_tables: {} scans of {} rows in all",
                count(table.sequential_scans),
                count(table.sequentially_read_rows)
            )
        };
        found.push(finding);
    }
}

fn statements(report: &Report, found: &mut Vec<Finding>) {
    let (Some(statements), Some(database)) = (report.statements.data(), report.database.data())
    else {
        return;
    };
    let Some(window) = &database.window else {
        return;
    };
    let transactions = (window.committed_transactions + window.rolled_back_transactions)
        .saturating_sub(database.own_transactions);
    for statement in &statements.window {
        let ratio = statement.calls as f64 / transactions.max(1) as f64;
        let reads = statement.query.trim_start().get(..6);
        let reads = reads.is_some_and(|word| word.eq_ignore_ascii_case("select"));
        if !reads || statement.calls < LOOP_CALLS || ratio < CALLS_PER_TRANSACTION {
            continue;
        }
        found.push(
            Finding::new(
                Severity::Warning,
                "n_plus_one",
                format!(
                    "N+1: one statement ran {ratio:.0} times as often as transactions: {}",
                    quote(Some(&statement.query))
                ),
            )
            .evidence(format!(
                "{} calls and {} transactions of this database in {:.1} s",
                count(statement.calls),
                count(transactions),
                report.window_seconds
            ))
            .advice("ask for all rows at once: a join, or WHERE … = ANY($1)"),
        );
    }
}

fn database(report: &Report, found: &mut Vec<Finding>) {
    if let Some(database) = report.database.data() {
        let window = database.window.as_ref();
        let asked =
            |it: &super::server::DatabaseCounters| it.cache_hit_blocks + it.cache_missed_blocks;
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
    if let Some(connections) = report.connections.data() {
        let usable = connections.max.saturating_sub(connections.reserved);
        let used = f64::from(connections.used) * 100.0 / f64::from(usable.max(1));
        if used >= CONNECTIONS_PERCENT {
            found.push(
                Finding::new(
                    Severity::Problem,
                    "connections",
                    format!("{} of {usable} connections are used", connections.used),
                )
                .evidence(format!(
                    "{} active, {} idle, {} idle in transaction",
                    connections.active, connections.idle, connections.idle_in_transaction
                ))
                .advice(
                    "smaller pools in the applications, or a pooler such as PgBouncer in front",
                ),
            );
        }
    }
}

fn indexes(report: &Report, found: &mut Vec<Finding>) {
    let Some(indexes) = report.indexes.data() else {
        return;
    };
    let since = report
        .database
        .data()
        .and_then(|it| it.totals.reset_seconds_ago);
    let since = since.map_or_else(
        || "since the database was made".to_owned(),
        |seconds| format!("in {:.1} days", seconds / 86_400.0),
    );
    for duplicate in &indexes.duplicate {
        let index = &duplicate.index;
        let same = if duplicate.identical {
            "is the same as"
        } else {
            "begins like"
        };
        found.push(
            Finding::new(
                Severity::Warning,
                "duplicate_index",
                format!(
                    "index {} {same} {} on {}",
                    index.full_name(),
                    duplicate.covered_by,
                    index.table
                ),
            )
            .evidence(format!(
                "({}); {}, {} scans",
                index.column_list(),
                index
                    .bytes
                    .map_or_else(|| "size not known".to_owned(), bytes),
                count(index.scans)
            ))
            .advice(format!("DROP INDEX CONCURRENTLY {}", index.full_name())),
        );
    }
    for index in &indexes.unused {
        let Some(size) = index.bytes.filter(|&size| size >= LARGE_INDEX_BYTES) else {
            continue;
        };
        found.push(
            Finding::new(
                Severity::Warning,
                "unused_index",
                format!(
                    "index {} on {} is never used",
                    index.full_name(),
                    index.table
                ),
            )
            .evidence(format!("0 scans {since}; {}", bytes(size)))
            .advice(format!(
                "DROP INDEX CONCURRENTLY {}, once no standby uses it either: each server counts \
                 its own",
                index.full_name()
            )),
        );
    }
    for index in &indexes.invalid {
        found.push(
            Finding::new(
                Severity::Warning,
                "invalid_index",
                format!("index {} on {} is invalid", index.full_name(), index.table),
            )
            .evidence("pg_index.indisvalid is false")
            .advice("it costs writes and serves nobody: drop it, or REINDEX INDEX CONCURRENTLY"),
        );
    }
    for key in &indexes.unindexed_foreign_keys {
        if key.estimated_rows < LARGE_ROWS as f64 {
            continue;
        }
        found.push(
            Finding::new(
                Severity::Hint,
                "foreign_key_without_index",
                format!("foreign key {} of {} has no index", key.name, key.table),
            )
            .evidence(format!(
                "({}), about {:.0} rows",
                key.columns.join(", "),
                key.estimated_rows
            ))
            .advice("deleting what it refers to reads the table whole, unless it is indexed"),
        );
    }
}

fn upkeep(report: &Report, found: &mut Vec<Finding>) {
    for table in report
        .tables
        .data()
        .into_iter()
        .flat_map(|tables| &tables.dead_rows)
    {
        let share = table.dead_percent();
        if table.dead_rows < DEAD_ROWS || share < DEAD_PERCENT {
            continue;
        }
        let vacuumed = table.vacuumed_seconds_ago.map_or_else(
            || "never vacuumed".to_owned(),
            |seconds| format!("vacuumed {seconds:.0} s ago"),
        );
        found.push(
            Finding::new(
                Severity::Warning,
                "dead_rows",
                format!(
                    "{} of the rows of {} are dead",
                    percent(share),
                    table.full_name()
                ),
            )
            .evidence(format!(
                "{} dead, {} live, as the server counts; autovacuum is due from {:.0}; {vacuumed}",
                count(table.dead_rows),
                count(table.live_rows),
                table.vacuum_due_rows
            ))
            .advice(
                "look for old transactions (above), then lower autovacuum_vacuum_scale_factor for \
                 the table",
            ),
        );
    }
    let ages = report
        .tables
        .data()
        .into_iter()
        .flat_map(|tables| &tables.dead_rows);
    for table in ages.filter(|table| table.frozen_transaction_age >= Some(FROZEN_AGE)) {
        found.push(
            Finding::new(
                Severity::Problem,
                "wraparound",
                format!("table {} is far from being frozen", table.full_name()),
            )
            .evidence(format!(
                "age {}",
                table.frozen_transaction_age.unwrap_or_default()
            ))
            .advice("VACUUM (FREEZE) it before the age reaches two billion, where writes end"),
        );
    }
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

fn copies(report: &Report, found: &mut Vec<Finding>) {
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
