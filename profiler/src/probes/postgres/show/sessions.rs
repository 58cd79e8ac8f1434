//! What sessions do and wait for.

use super::{LISTED, seconds, statement_text};
use crate::{
    probes::{
        database::{Column, Part},
        postgres::report::Report,
    },
    report::text::percent,
};

impl Report {
    pub(super) fn states(&self) -> Part {
        let columns = vec![
            Column::text("State"),
            Column::number("Average sessions"),
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
                part.note("there are more sessions than a sample reads");
            }
            if activity.hidden_sessions > 0 {
                let hidden = activity.hidden_sessions;
                part.note(format!("{hidden} sessions of other roles hide their state"));
            }
        })
    }

    pub(super) fn waits(&self) -> Part {
        let columns = vec![
            Column::text("Active sessions wait for"),
            Column::number("Average sessions"),
            Column::number("Share"),
        ];
        Part::of("Waits", &self.activity, columns, |activity, part| {
            for row in activity.waits.iter().take(LISTED) {
                part.row(vec![
                    format!("{}: {}", row.wait_type, row.wait_event),
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
                let Some(tree) = &activity.blocking else {
                    return;
                };
                for blocker in &tree.blockers {
                    part.row(vec![
                        format!("pid {}", blocker.pid),
                        blocker.state.clone().unwrap_or_default(),
                        String::new(),
                        seconds(blocker.state_seconds),
                        statement_text(blocker.query.as_deref()),
                    ]);
                    for waiter in &blocker.waiting {
                        part.row(vec![
                            format!("{}pid {}", "› ".repeat(waiter.depth as usize), waiter.pid),
                            "waits".to_owned(),
                            waiter.lock.clone().unwrap_or_default(),
                            seconds(waiter.waited_seconds.or(waiter.query_seconds)),
                            statement_text(waiter.query.as_deref()),
                        ]);
                    }
                }
                part.note(format!(
                    "As it was {:.1} s after the beginning",
                    tree.at_seconds
                ));
                if let Some(reason) = &tree.locks_missing {
                    part.note(format!("Locks are not named: {reason}"));
                }
            },
        )
    }

    pub(super) fn transactions(&self) -> Part {
        let columns = vec![
            Column::text("Session"),
            Column::text("State"),
            Column::number("Transaction"),
            Column::number("In this state"),
            Column::text("Last statement"),
        ];
        Part::of(
            "Transactions open for 5 s and more",
            &self.activity,
            columns,
            |activity, part| {
                for session in activity.long_transactions.iter().take(LISTED) {
                    let who = session.application.as_deref().unwrap_or_default();
                    part.row(vec![
                        format!("pid {} {who}", session.pid),
                        session.state.clone().unwrap_or_default(),
                        seconds(session.transaction_seconds),
                        seconds(session.state_seconds),
                        statement_text(session.query.as_deref()),
                    ]);
                }
            },
        )
    }
}
