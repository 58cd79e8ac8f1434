//! What sessions do and wait for.

use super::{LISTED, seconds, statement_text};
use crate::{
    probes::{
        database::{Column, Part},
        mysql::report::Report,
    },
    report::text::percent,
};

impl Report {
    pub(super) fn states(&self) -> Part {
        let columns = vec![
            Column::text("Sessions"),
            Column::number("Average"),
            Column::number("Most"),
        ];
        Part::of("Sessions", &self.activity, columns, |activity, part| {
            for row in &activity.states {
                part.row(vec![
                    row.state.clone(),
                    format!("{:.2}", row.average_sessions),
                    row.most_sessions.to_string(),
                ]);
            }
            part.note(format!(
                "{} samples, one every {} s",
                activity.samples, self.interval_seconds
            ));
            if let Some(failure) = &activity.failure {
                part.note(format!(
                    "{} samples failed: {failure}",
                    activity.failed_samples
                ));
            }
            if activity.cut_samples > 0 {
                part.note("There are more sessions than a sample reads");
            }
            if activity.replicas > 0 {
                part.note(format!("{} replicas are connected", activity.replicas));
            }
        })
    }

    pub(super) fn waits(&self) -> Part {
        let columns = vec![
            Column::text("Active sessions are at"),
            Column::number("Average sessions"),
            Column::number("Share"),
        ];
        Part::of("States", &self.activity, columns, |activity, part| {
            for row in activity.waits.iter().take(LISTED) {
                part.row(vec![
                    row.state.clone(),
                    format!("{:.2}", row.average_sessions),
                    percent(row.percent),
                ]);
            }
        })
    }

    pub(super) fn blocking(&self) -> Part {
        let columns = vec![
            Column::text("Session"),
            Column::text("State"),
            Column::text("Waits for"),
            Column::number("Since"),
            Column::text("Statement"),
        ];
        Part::of(
            "Who waits for whom",
            &self.activity,
            columns,
            |activity, part| {
                if let Some(reason) = &activity.blocking_missing {
                    part.note(format!("Not measured: {reason}"));
                }
                let Some(tree) = &activity.blocking else {
                    return;
                };
                for blocker in &tree.blockers {
                    part.row(vec![
                        format!("{} {}", blocker.id, blocker.user.as_deref().unwrap_or("")),
                        blocker.state.clone(),
                        String::new(),
                        seconds(blocker.state_seconds),
                        statement_text(blocker.query.as_deref()),
                    ]);
                    for waiter in &blocker.waiting {
                        part.row(vec![
                            format!("{}{}", "› ".repeat(waiter.depth as usize), waiter.id),
                            "waits".to_owned(),
                            waiter.lock.clone(),
                            seconds(waiter.waited_seconds),
                            statement_text(waiter.query.as_deref()),
                        ]);
                    }
                }
                for id in &tree.blocked_by_unknown {
                    part.row(vec![
                        id.to_string(),
                        "waits".to_owned(),
                        "the definition of a table".to_owned(),
                        String::new(),
                        String::new(),
                    ]);
                }
                part.note(format!(
                    "As it was {:.1} s after the beginning",
                    tree.at_seconds
                ));
            },
        )
    }

    pub(super) fn transactions(&self) -> Part {
        let columns = vec![
            Column::text("Session"),
            Column::text("State"),
            Column::number("Transaction"),
            Column::number("In this state"),
            Column::number("Rows locked"),
            Column::number("Changed"),
            Column::text("Statement"),
        ];
        Part::of(
            "Transactions open for 5 s and more",
            &self.activity,
            columns,
            |activity, part| {
                let number = |number: Option<u64>| {
                    number.map_or_else(|| "–".to_owned(), |number| number.to_string())
                };
                for thread in activity.long_transactions.iter().take(LISTED) {
                    part.row(vec![
                        format!("{} {}", thread.id, thread.user),
                        thread.activity().to_owned(),
                        seconds(thread.transaction_seconds),
                        seconds(thread.state_seconds),
                        number(thread.rows_locked),
                        number(thread.rows_modified),
                        statement_text(thread.query.as_deref()),
                    ]);
                }
            },
        )
    }
}
