//! Tables that are read whole, their indexes, and what vacuum leaves.

use super::STATEMENT;
use crate::{
    probes::{
        database::{Finding, Severity},
        postgres::{report::Report, tables::LARGE_ROWS},
    },
    report::text::{bytes, count, percent, shorten},
};

/// An index is worth a word from here.
const LARGE_INDEX_BYTES: u64 = 1 << 20;
/// The estimate is not good for less.
const BLOAT_PERCENT: f64 = 40.0;
const BLOAT_BYTES: u64 = 10 << 20;
/// What grows in no order has a third of it free by nature.
const INDEX_BLOAT_PERCENT: f64 = 50.0;
const DEAD_PERCENT: f64 = 20.0;
const DEAD_ROWS: u64 = 10_000;
/// Emergency vacuums begin at 200 million (autovacuum_freeze_max_age), and
/// writes end at two billion.
const FROZEN_AGE: i64 = 1_000_000_000;

pub fn reads(report: &Report, found: &mut Vec<Finding>) {
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

pub fn indexes(report: &Report, found: &mut Vec<Finding>) {
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

pub fn bloat(report: &Report, found: &mut Vec<Finding>) {
    let tables = report.bloat.data().map_or(&[][..], |bloat| &bloat.tables);
    for table in tables {
        if table.spare.estimated_bloat_percent < BLOAT_PERCENT
            || table.spare.estimated_bloat_bytes < BLOAT_BYTES
        {
            continue;
        }
        found.push(
            Finding::new(
                Severity::Warning,
                "bloat",
                format!(
                    "about {} of table {} hold no row",
                    bytes(table.spare.estimated_bloat_bytes),
                    table.table
                ),
            )
            .evidence(format!(
                "estimated: {} of {}; pgstattuple_approx('{}') measures it",
                percent(table.spare.estimated_bloat_percent),
                bytes(table.spare.bytes),
                table.table
            ))
            .advice(
                "reading it whole reads that too: VACUUM FULL (locks the table) or pg_repack gives \
                 it back; autovacuum that runs more often keeps it from growing",
            ),
        );
    }
}

pub fn index_bloat(report: &Report, found: &mut Vec<Finding>) {
    let bloat = report.index_bloat.data();
    let indexes = bloat.map_or(&[][..], |bloat| &bloat.indexes);
    for index in indexes {
        if index.spare.estimated_bloat_percent < INDEX_BLOAT_PERCENT
            || index.spare.estimated_bloat_bytes < BLOAT_BYTES
        {
            continue;
        }
        found.push(
            Finding::new(
                Severity::Warning,
                "index_bloat",
                format!(
                    "about {} of index {} on {} hold no entry",
                    bytes(index.spare.estimated_bloat_bytes),
                    index.index,
                    index.table
                ),
            )
            .evidence(format!(
                "estimated: {} of {}; pgstatindex('{}') measures it",
                percent(index.spare.estimated_bloat_percent),
                bytes(index.spare.bytes),
                index.index
            ))
            .advice(format!(
                "REINDEX INDEX CONCURRENTLY {} builds it anew without locking out writers",
                index.index
            )),
        );
    }
}

pub fn upkeep(report: &Report, found: &mut Vec<Finding>) {
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
}
