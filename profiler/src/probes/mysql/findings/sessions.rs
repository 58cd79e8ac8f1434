//! Sessions that hold up others, or hold too much.

use super::quote;
use crate::probes::{
    database::{Finding, Severity},
    mysql::{
        locks::{Blocker, LockTree},
        report::Report,
    },
};

/// Sessions that wait behind one make a pile, if only for a moment; fewer, and
/// not for long, are how locks work.
const PILE: usize = 3;
const WAITED_SECONDS: f64 = 1.0;
/// Whoever is idle in a transaction for longer may have forgotten it, seconds.
const FORGOTTEN_SECONDS: f64 = 10.0;
const LONG_TRANSACTION_SECONDS: f64 = 60.0;
const CONNECTIONS_PERCENT: f64 = 80.0;
/// Most locks that are named.
const LOCKS: usize = 3;

pub fn locks(report: &Report, found: &mut Vec<Finding>) {
    let Some(tree) = report.activity.data().and_then(|it| it.blocking.as_ref()) else {
        return;
    };
    for blocker in &tree.blockers {
        let long = |seconds: Option<f64>| seconds >= Some(WAITED_SECONDS);
        if blocker.waiting.len() >= PILE || blocker.waiting.iter().any(|it| long(it.waited_seconds))
        {
            found.push(pile_up(blocker, tree));
        }
    }
    let unknown = tree.blocked_by_unknown.len();
    if unknown > 0 {
        found.push(
            Finding::new(
                Severity::Problem,
                "metadata_lock",
                format!("{} for the definition of a table", sessions_wait(unknown)),
            )
            .evidence(format!(
                "in the state \"{}\" {:.1} s after the beginning",
                crate::probes::mysql::locks::METADATA_STATE,
                tree.at_seconds
            ))
            .advice(
                "look for long transactions that used the table, and for ALTER TABLE behind them; \
                 with performance_schema and its instrument wait/lock/metadata/sql/mdl the \
                 blocker is named here",
            ),
        );
    }
}

fn pile_up(blocker: &Blocker, tree: &LockTree) -> Finding {
    let waiting = blocker.waiting.len();
    let table = blocker.waiting.iter().find_map(|it| it.table.as_deref());
    let on = table.map_or_else(String::new, |table| format!(" on {table}"));
    let who = blocker.user.as_deref().unwrap_or_default();
    let client = blocker.client.as_deref().unwrap_or_default();
    let mut locks: Vec<&str> = blocker.waiting.iter().map(|it| it.lock.as_str()).collect();
    locks.sort_unstable();
    locks.dedup();
    locks.truncate(LOCKS);
    let longest = blocker.waiting.iter().filter_map(|it| it.waited_seconds);
    Finding::new(
        Severity::Problem,
        "lock_pile_up",
        format!(
            "lock pile-up{on}: {} behind session {} ({who}@{client}), {} for {:.1} s",
            sessions_wait(waiting),
            blocker.id,
            blocker.state,
            blocker.state_seconds.unwrap_or_default()
        ),
    )
    .evidence(format!(
        "{:.1} s after the beginning; waited for: {}; the longest wait: {:.1} s; its statement: \
         {}; theirs: {}",
        tree.at_seconds,
        locks.join(", "),
        longest.fold(0.0, f64::max),
        quote(blocker.query.as_deref()),
        quote(blocker.waiting.first().and_then(|it| it.query.as_deref()))
    ))
    .advice(advice(blocker))
}

fn sessions_wait(number: usize) -> String {
    if number == 1 {
        "1 session waits".to_owned()
    } else {
        format!("{number} sessions wait")
    }
}

fn advice(blocker: &Blocker) -> String {
    let sooner = "end its transaction sooner in the application, and do what is slow outside of it";
    // Of a short one, the next has its turn before a hand is at it.
    if blocker.transaction_seconds >= Some(FORGOTTEN_SECONDS) {
        format!("{sooner}; KILL {} ends the session now", blocker.id)
    } else {
        sooner.to_owned()
    }
}

pub fn transactions(report: &Report, found: &mut Vec<Finding>) {
    let Some(activity) = report.activity.data() else {
        return;
    };
    for thread in &activity.long_transactions {
        let seconds = thread.transaction_seconds.unwrap_or_default();
        let idle = thread.is_idle_in_transaction();
        let who = format!(
            "session {} ({}@{})",
            thread.id,
            thread.user,
            thread.client()
        );
        let locked = thread.rows_locked.unwrap_or_default();
        let finding = if idle && seconds >= FORGOTTEN_SECONDS {
            Finding::new(
                Severity::Problem,
                "idle_in_transaction",
                format!(
                    "idle in transaction: {who} does nothing for {:.0} s inside a transaction{}",
                    thread.state_seconds.unwrap_or_default(),
                    if locked > 0 { " and holds locks" } else { "" }
                ),
            )
            .advice(
                "it keeps its locks, and old versions of rows that cannot be purged: commit before \
                 waiting for something else",
            )
        } else if !idle && seconds >= LONG_TRANSACTION_SECONDS {
            Finding::new(
                Severity::Warning,
                "long_transaction",
                format!("{who} is in a transaction for {seconds:.0} s"),
            )
            .advice("old versions of rows cannot be purged meanwhile: make transactions shorter")
        } else {
            continue;
        };
        found.push(finding.evidence(format!(
            "transaction {seconds:.1} s; about {locked} rows locked, {} changed",
            thread.rows_modified.unwrap_or_default()
        )));
    }
}

pub fn connections(report: &Report, found: &mut Vec<Finding>) {
    let Some(status) = report.status.data() else {
        return;
    };
    let max = report.server.max_connections;
    let refused = status
        .counter("Connection_errors_max_connections")
        .and_then(|counter| counter.window)
        .filter(|&refused| refused > 0);
    if let Some(refused) = refused {
        found.push(
            Finding::new(
                Severity::Problem,
                "connections_refused",
                format!("{refused} clients were refused for want of connections"),
            )
            .evidence(format!(
                "in {:.1} s; max_connections {max}",
                report.window_seconds
            ))
            .advice("let applications keep fewer connections, or raise max_connections"),
        );
    }
    let Some(used) = status.now.threads_connected else {
        return;
    };
    let share = used as f64 * 100.0 / max.max(1) as f64;
    if share >= CONNECTIONS_PERCENT {
        found.push(
            Finding::new(
                Severity::Problem,
                "connections",
                format!("{used} of {max} connections are used"),
            )
            .evidence(format!(
                "{share:.0} % at the end of the window; the most ever: {}",
                status.now.max_used_connections.unwrap_or_default()
            ))
            .advice("let applications keep fewer connections, or raise max_connections"),
        );
    }
}
