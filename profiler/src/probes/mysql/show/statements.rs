//! What statements took.

use super::{LISTED, milliseconds, statement_text};
use crate::{
    probes::{
        database::{Column, Part},
        mysql::{report::Report, statements::Statement},
    },
    report::text::{count, percent},
};

impl Report {
    pub(super) fn window_statements(&self) -> Part {
        Part::of(
            "Statements during the window",
            &self.statements,
            columns(),
            |statements, part| {
                for row in statements.window.iter().take(LISTED) {
                    part.row(cells(row));
                }
                part.note(format!(
                    "{} calls, {} in all; without the probe's own",
                    count(statements.window_calls),
                    milliseconds(statements.window_ms)
                ));
            },
        )
    }

    pub(super) fn total_statements(&self) -> Part {
        Part::of(
            "Statements since the reset of the performance schema",
            &self.statements,
            columns(),
            |statements, part| {
                for row in statements.totals.iter().take(LISTED) {
                    part.row(cells(row));
                }
                part.note(format!(
                    "{} calls of {} statements, {} in all",
                    count(statements.totals_calls),
                    count(statements.distinct),
                    milliseconds(statements.totals_ms)
                ));
                if statements.not_told_apart_calls > 0 {
                    part.note(format!(
                        "{} calls are not told apart: performance_schema_digests_size is too small",
                        count(statements.not_told_apart_calls)
                    ));
                }
            },
        )
    }

    pub(super) fn sampled_statements(&self) -> Part {
        let columns = vec![
            Column::number("Share"),
            Column::number("Average sessions"),
            Column::text("Mostly"),
            Column::text("Statement"),
        ];
        Part::of(
            "Statements by samples of the sessions",
            &self.activity,
            columns,
            |activity, part| {
                for row in activity.statements.iter().take(LISTED) {
                    part.row(vec![
                        percent(row.percent),
                        format!("{:.2}", row.average_sessions),
                        row.main_state.clone().unwrap_or_default(),
                        statement_text(Some(&row.query)),
                    ]);
                }
                part.note("Of the sessions that were active in a sample");
            },
        )
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::number("Share"),
        Column::number("Time"),
        Column::number("Calls"),
        Column::number("Mean"),
        Column::number("Rows examined"),
        Column::number("Sent"),
        Column::number("No index"),
        Column::number("Disk tables"),
        Column::number("Errors"),
        Column::text("Statement"),
    ]
}

fn cells(row: &Statement) -> Vec<String> {
    vec![
        percent(row.percent),
        milliseconds(row.total_ms),
        count(row.calls),
        milliseconds(row.mean_ms),
        count(row.rows_examined),
        count(row.rows_sent),
        count(row.no_index_calls),
        count(row.temporary_disk_tables),
        count(row.errors),
        statement_text(Some(&row.query)),
    ]
}
