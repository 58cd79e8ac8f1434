//! What statements took.

use super::{LISTED, milliseconds, statement_text};
use crate::{
    probes::{
        database::{Column, Part},
        postgres::report::Report,
    },
    report::text::{count, percent},
};

impl Report {
    pub(super) fn window_statements(&self) -> Part {
        Part::of(
            "Statements during the window",
            &self.statements,
            statement_columns(),
            |statements, part| {
                for row in statements.window.iter().take(LISTED) {
                    part.row(statement_cells(row));
                }
                part.note(format!(
                    "{} calls, {} in all; of this database",
                    count(statements.window_calls),
                    milliseconds(statements.window_execution_ms)
                ));
            },
        )
    }

    pub(super) fn total_statements(&self) -> Part {
        Part::of(
            "Statements since the reset of pg_stat_statements",
            &self.statements,
            statement_columns(),
            |statements, part| {
                for row in statements.totals.iter().take(LISTED) {
                    part.row(statement_cells(row));
                }
                part.note(format!(
                    "{} calls of {} statements, {} in all",
                    count(statements.totals_calls),
                    count(statements.distinct),
                    milliseconds(statements.totals_execution_ms)
                ));
                if statements.counts_the_probe {
                    part.note(
                        "Sums hold the probe's own statements: only superusers may leave them out",
                    );
                }
                if statements.hidden > 0 {
                    let hidden = count(statements.hidden);
                    part.note(format!("{hidden} statements of other roles are not shown"));
                }
            },
        )
    }
}

fn statement_columns() -> Vec<Column> {
    vec![
        Column::number("Share"),
        Column::number("Time"),
        Column::number("Calls"),
        Column::number("Mean"),
        Column::number("Rows"),
        Column::number("Blocks hit"),
        Column::number("Read"),
        Column::text("Statement"),
    ]
}

fn statement_cells(row: &crate::probes::postgres::statements::Statement) -> Vec<String> {
    vec![
        percent(row.percent),
        milliseconds(row.execution_ms),
        count(row.calls),
        milliseconds(row.mean_ms),
        count(row.rows),
        count(row.cache_hit_blocks),
        count(row.cache_missed_blocks),
        statement_text(Some(&row.query)),
    ]
}
