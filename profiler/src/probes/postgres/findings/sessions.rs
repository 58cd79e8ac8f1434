//! Sessions that hold up others, or hold too much.

use super::quote;
use crate::probes::{
    database::{Finding, Severity},
    postgres::report::Report,
};

const CONNECTIONS_PERCENT: f64 = 80.0;
const IDLE_IN_TRANSACTION_SECONDS: f64 = 10.0;
const LONG_TRANSACTION_SECONDS: f64 = 60.0;

pub fn transactions(report: &Report, found: &mut Vec<Finding>) {
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

pub fn connections(report: &Report, found: &mut Vec<Finding>) {
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
