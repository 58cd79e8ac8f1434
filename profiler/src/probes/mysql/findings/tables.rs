//! Tables and indexes that cost more than they give.

use crate::{
    probes::{
        database::{Finding, Severity},
        mysql::report::Report,
    },
    report::text::{bytes, percent},
};

/// Free space from here is worth a rebuild.
const FREE_PERCENT: f64 = 30.0;
const MOST: usize = 5;

pub fn indexes(report: &Report, found: &mut Vec<Finding>) {
    let Some(indexes) = report.indexes.data() else {
        return;
    };
    for redundant in indexes.redundant.iter().take(MOST) {
        let index = &redundant.index;
        found.push(
            Finding::new(
                Severity::Hint,
                "duplicate_index",
                format!(
                    "index {} of {} is covered by {}",
                    index.name,
                    index.table_name(),
                    redundant.covered_by
                ),
            )
            .evidence(format!("its columns: {}", index.columns.join(", ")))
            .advice(format!(
                "each write pays for it: ALTER TABLE {} DROP INDEX {}, if no statement names it",
                index.table_name(),
                index.name
            )),
        );
    }
    for index in indexes.unused.iter().flatten().take(MOST) {
        if indexes.redundant.iter().any(|it| it.index == *index) {
            continue;
        }
        found.push(
            Finding::new(
                Severity::Hint,
                "unused_index",
                format!(
                    "index {} of {} was never used",
                    index.name,
                    index.table_name()
                ),
            )
            .evidence(format!(
                "since the server's start {}; its columns: {}",
                report
                    .status
                    .data()
                    .and_then(|status| status.now.up_seconds)
                    .map_or_else(String::new, |up| format!("{up} s ago")),
                index.columns.join(", ")
            ))
            .advice("if replicas and rare jobs do not use it either, drop it"),
        );
    }
}

pub fn upkeep(report: &Report, found: &mut Vec<Finding>) {
    let Some(tables) = report.tables.data() else {
        return;
    };
    for table in tables.without_primary_key.iter().take(MOST) {
        found.push(
            Finding::new(
                Severity::Hint,
                "no_primary_key",
                format!("table {} has no primary key", table.full_name()),
            )
            .evidence(format!(
                "about {} rows",
                table.estimated_rows.unwrap_or_default()
            ))
            .advice(
                "add one: InnoDB keeps rows by it, and replicas look for rows one by one \
                 without it",
            ),
        );
    }
    for table in tables.fragmented.iter().take(MOST) {
        let share = table.free_percent();
        if share < FREE_PERCENT {
            continue;
        }
        found.push(
            Finding::new(
                Severity::Hint,
                "free_space",
                format!(
                    "{} of the file of {} is free",
                    percent(share),
                    table.full_name()
                ),
            )
            .evidence(format!(
                "{} free, {} used",
                bytes(table.free_bytes.unwrap_or_default()),
                bytes(table.bytes())
            ))
            .advice("OPTIMIZE TABLE gives it back, if it is not about to be used again"),
        );
    }
}
