//! Statements that read more than they need to.

use super::quote;
use crate::{
    probes::{
        database::{Finding, Severity},
        mysql::{
            report::Report,
            statements::{ENABLE, Statement},
        },
    },
    report::text::{count, percent},
};

/// A statement that examines so many rows for each that it sends or changes, …
const ROWS_PER_RESULT: f64 = 100.0;
/// … and so many in a call, reads a table of some size whole.
const ROWS_PER_CALL: f64 = 1000.0;
const MOST: usize = 5;

pub fn unindexed(report: &Report, found: &mut Vec<Finding>) {
    let Some(statements) = report.statements.data() else {
        return;
    };
    let (list, when) = if statements.window.iter().any(reads_whole_tables) {
        (
            &statements.window,
            format!("in {:.1} s", report.window_seconds),
        )
    } else {
        (
            &statements.totals,
            "since the reset of its counters".to_owned(),
        )
    };
    for statement in list.iter().filter(|it| reads_whole_tables(it)).take(MOST) {
        found.push(
            Finding::new(
                Severity::Warning,
                "no_index_used",
                format!(
                    "without an index, {} rows are examined in each call of: {}",
                    count(statement.rows_examined / statement.calls.max(1)),
                    quote(Some(&statement.query))
                ),
            )
            .evidence(format!(
                "{} calls, {} of them without an index, examined {} rows for {} rows sent and {} \
                 changed {when}; {} of the time of all statements",
                count(statement.calls),
                count(statement.no_index_calls),
                count(statement.rows_examined),
                count(statement.rows_sent),
                count(statement.rows_affected),
                percent(statement.percent)
            ))
            .advice("EXPLAIN it, and add an index on what its WHERE compares"),
        );
    }
}

fn reads_whole_tables(statement: &Statement) -> bool {
    let results = (statement.rows_sent + statement.rows_affected).max(1) as f64;
    let examined = statement.rows_examined as f64;
    statement.no_index_calls > 0
        && statement.schema.as_deref() != Some("performance_schema")
        && examined / results >= ROWS_PER_RESULT
        && examined / statement.calls.max(1) as f64 >= ROWS_PER_CALL
}

pub fn not_counted(report: &Report, found: &mut Vec<Finding>) {
    if report.server.performance_schema {
        return;
    }
    found.push(
        Finding::new(
            Severity::Hint,
            "performance_schema_off",
            "the server does not count statements: performance_schema is off",
        )
        .evidence("statements are known from samples of the sessions only")
        .advice(ENABLE),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_tables_may_be_read_whole() {
        let statement = |rows_examined, rows_sent, no_index_calls| Statement {
            schema: Some("shop".to_owned()),
            digest: String::new(),
            query: String::new(),
            calls: 10,
            total_ms: 1.0,
            mean_ms: 0.1,
            percent: 1.0,
            lock_ms: 0.0,
            rows_examined,
            rows_sent,
            rows_affected: 0,
            no_index_calls,
            temporary_disk_tables: 0,
            errors: 0,
        };
        assert!(reads_whole_tables(&statement(100_000, 10, 10)));
        assert!(!reads_whole_tables(&statement(1000, 1, 10)));
        assert!(!reads_whole_tables(&statement(100_000, 10, 0)));
        assert!(!reads_whole_tables(&statement(100_000, 100_000, 10)));
    }
}
