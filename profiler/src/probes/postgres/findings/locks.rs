//! Who waits for whose lock.

use std::collections::BTreeSet;

use super::quote;
use crate::probes::{
    database::{Finding, Severity},
    postgres::{
        activity::Activity,
        locks::{Blocker, LockTree},
        report::Report,
        words::{target, words},
    },
};

/// Sessions that wait behind one make a pile, if only for a moment; fewer, in few
/// samples and not for long, are how locks work.
const PILE: usize = 3;
const AVERAGE_SESSIONS: f64 = 0.2;
const WAITED_SECONDS: f64 = 1.0;
/// Whoever is idle in a transaction for longer may have forgotten it, seconds.
const FORGOTTEN_SECONDS: f64 = 10.0;
/// Most names of locks.
const LOCKS: usize = 3;

pub fn locks(report: &Report, found: &mut Vec<Finding>) {
    let Some(activity) = report.activity.data() else {
        return;
    };
    let Some(tree) = &activity.blocking else {
        return;
    };
    let average = average_waiting(activity);
    for blocker in &tree.blockers {
        let long = |seconds: Option<f64>| seconds >= Some(WAITED_SECONDS);
        if blocker.waiting.len() >= PILE
            || average >= AVERAGE_SESSIONS
            || blocker.waiting.iter().any(|it| long(it.waited_seconds))
        {
            found.push(pile_up(blocker, tree, activity, average));
        }
    }
}

fn pile_up(blocker: &Blocker, tree: &LockTree, activity: &Activity, average: f64) -> Finding {
    let waiting = blocker.waiting.len();
    let sessions = if waiting == 1 {
        "session waits"
    } else {
        "sessions wait"
    };
    let table = table(blocker);
    let on = table.map_or_else(String::new, |table| format!(" on {table}"));
    let who = blocker.application.as_deref();
    let who = who
        .filter(|name| !name.is_empty())
        .map_or_else(String::new, |name| format!(" ({name})"));
    let what = match (blocker.pid, blocker.state.as_deref(), blocker.state_seconds) {
        (0, ..) => "a prepared transaction".to_owned(),
        (pid, Some(state), Some(seconds)) => {
            format!("pid {pid}{who}, {state} for {seconds:.1} s")
        }
        (pid, ..) => format!("pid {pid}{who}"),
    };
    let locks: BTreeSet<&str> = blocker
        .waiting
        .iter()
        .filter_map(|waiter| waiter.lock.as_deref())
        .collect();
    let locks: Vec<&str> = locks.into_iter().take(LOCKS).collect();
    Finding::new(
        Severity::Problem,
        "lock_pile_up",
        format!("lock pile-up{on}: {waiting} {sessions} behind {what}"),
    )
    .evidence(format!(
        "{:.1} s after the beginning; its last statement: {}; waited for: {}; over {} samples {:.1} \
         sessions waited for locks on average",
        tree.at_seconds,
        quote(blocker.query.as_deref()),
        if locks.is_empty() {
            "not known".to_owned()
        } else {
            locks.join(", ")
        },
        activity.samples,
        average
    ))
    .advice(advice(blocker))
}

fn advice(blocker: &Blocker) -> String {
    let sooner = "end its transaction sooner in the application, and do what is slow outside of it";
    match blocker.pid {
        0 => "finish it: COMMIT PREPARED or ROLLBACK PREPARED (see pg_prepared_xacts)".to_owned(),
        // Of a short one, the next has its turn before a hand is at it.
        pid if blocker.state_seconds >= Some(FORGOTTEN_SECONDS) => {
            format!("{sooner}; SELECT pg_terminate_backend({pid}) ends the session now")
        }
        _ => sooner.to_owned(),
    }
}

/// The table by a lock that is waited for, else by the statements: those who
/// wait for a row wait for a transaction's end, which has no table.
fn table(blocker: &Blocker) -> Option<String> {
    let relation = blocker.waiting.iter().find_map(|waiter| {
        let (_, name) = waiter.lock.as_deref()?.split_once(" on ")?;
        name.contains('.')
            .then(|| name.trim_start_matches("public.").to_owned())
    });
    relation.or_else(|| {
        let mut statements = blocker.waiting.iter().map(|waiter| waiter.query.as_deref());
        statements.find_map(|query| target(&words(query?)))
    })
}

fn average_waiting(activity: &Activity) -> f64 {
    activity
        .waits
        .iter()
        .filter(|wait| wait.wait_type == "Lock")
        .map(|wait| wait.average_sessions)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::postgres::locks::Waiter;

    fn waiter(lock: &str) -> Waiter {
        Waiter {
            pid: 2,
            blocked_by: vec![1],
            depth: 1,
            user: None,
            application: None,
            waited_seconds: None,
            query_seconds: None,
            lock: Some(lock.to_owned()),
            query: Some("UPDATE stock SET available = ? WHERE product_id = $1".to_owned()),
        }
    }

    #[test]
    fn a_pile_up_has_a_table() {
        let mut blocker = Blocker {
            pid: 1,
            user: None,
            application: Some("shop".to_owned()),
            state: Some("idle in transaction".to_owned()),
            state_seconds: Some(0.1),
            transaction_seconds: Some(0.2),
            query: None,
            waiting: vec![waiter("ShareLock on transactionid")],
        };
        assert_eq!(table(&blocker).as_deref(), Some("stock"));
        blocker
            .waiting
            .push(waiter("ExclusiveLock on warehouse.stock"));
        assert_eq!(table(&blocker).as_deref(), Some("warehouse.stock"));
        assert!(!advice(&blocker).contains("pg_terminate_backend"));
        blocker.state_seconds = Some(60.0);
        assert!(advice(&blocker).contains("pg_terminate_backend(1)"));
    }
}
