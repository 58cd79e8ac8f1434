//! Who waits for whom.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    activity::Backend,
    session::{Session, SessionError},
};

/// A lock that a session does not get yet.
#[derive(Clone, Debug, Deserialize)]
pub struct WaitedLock {
    pid: i32,
    mode: String,
    kind: String,
    relation: Option<String>,
    waited_seconds: Option<f64>,
}

impl WaitedLock {
    /// # Errors
    /// Those of [`Session::rows`].
    pub async fn read(session: &mut Session) -> Result<Vec<Self>, SessionError> {
        // `waitstart` came with version 14; as JSON it may be missing.
        session
            .rows(
                "SELECT l.pid, l.mode, l.locktype AS kind,
                   CASE WHEN d.oid IS NOT NULL THEN l.relation::regclass::text END AS relation,
                   extract(epoch FROM clock_timestamp() -
                     (to_json(l)->>'waitstart')::timestamptz)::float8 AS waited_seconds
                 FROM pg_locks l LEFT JOIN pg_database d
                   ON d.oid = l.database AND d.datname = current_database()
                 WHERE NOT l.granted LIMIT 5000",
            )
            .await
    }
}

/// Sessions that wait for locks, below those that hold them.
#[derive(Clone, Debug, Serialize)]
pub struct LockTree {
    /// After the probe's beginning.
    pub at_seconds: f64,
    pub waiting_sessions: usize,
    /// Those who block others and wait for nobody.
    pub blockers: Vec<Blocker>,
    /// Why the locks waited for are not named.
    pub locks_missing: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Blocker {
    /// 0 is a prepared transaction, which has no session.
    pub pid: i32,
    pub user: Option<String>,
    pub application: Option<String>,
    pub state: Option<String>,
    pub state_seconds: Option<f64>,
    pub transaction_seconds: Option<f64>,
    pub query: Option<String>,
    /// Directly and indirectly.
    pub waiting: Vec<Waiter>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Waiter {
    pub pid: i32,
    pub blocked_by: Vec<i32>,
    /// 1: waits for the blocker itself.
    pub depth: u32,
    pub user: Option<String>,
    pub application: Option<String>,
    /// For the lock; known since version 14.
    pub waited_seconds: Option<f64>,
    /// Since its statement began.
    pub query_seconds: Option<f64>,
    pub lock: Option<String>,
    pub query: Option<String>,
}

pub fn tree(
    backends: &[Backend],
    locks: &[WaitedLock],
    locks_missing: Option<String>,
    text: fn(&str) -> String,
    at_seconds: f64,
) -> LockTree {
    let by_pid: BTreeMap<i32, &Backend> = backends.iter().map(|it| (it.pid, it)).collect();
    let waiting: Vec<&Backend> = backends
        .iter()
        .filter(|backend| !backend.blocked_by.is_empty())
        .collect();
    let is_waiting = |pid: &i32| waiting.iter().any(|backend| backend.pid == *pid);
    let mut roots: BTreeSet<i32> = waiting
        .iter()
        .flat_map(|backend| &backend.blocked_by)
        .filter(|pid| !is_waiting(pid))
        .copied()
        .collect();
    // Everyone waits for someone who waits: a deadlock, until the server sees it.
    if roots.is_empty() {
        roots.extend(waiting.first().map(|backend| backend.pid));
    }
    let text_of = |backend: &Backend| backend.query.as_deref().map(text);
    let mut blockers: Vec<Blocker> = roots
        .into_iter()
        .map(|pid| {
            let backend = by_pid.get(&pid);
            Blocker {
                pid,
                user: backend.and_then(|it| it.user.clone()),
                application: backend.and_then(|it| it.application.clone()),
                state: backend.and_then(|it| it.state.clone()),
                state_seconds: backend.and_then(|it| it.state_seconds),
                transaction_seconds: backend.and_then(|it| it.transaction_seconds),
                query: backend.and_then(|it| text_of(it)),
                waiting: below(pid, &waiting)
                    .into_iter()
                    .map(|(backend, depth)| {
                        let lock = locks.iter().find(|lock| lock.pid == backend.pid);
                        Waiter {
                            pid: backend.pid,
                            blocked_by: backend.blocked_by.clone(),
                            depth,
                            user: backend.user.clone(),
                            application: backend.application.clone(),
                            waited_seconds: lock.and_then(|lock| lock.waited_seconds),
                            query_seconds: backend.query_seconds,
                            lock: lock.map(lock_name),
                            query: text_of(backend),
                        }
                    })
                    .collect(),
            }
        })
        .collect();
    blockers.sort_by_key(|blocker| std::cmp::Reverse(blocker.waiting.len()));
    LockTree {
        at_seconds,
        waiting_sessions: waiting.len(),
        blockers,
        locks_missing,
    }
}

fn lock_name(lock: &WaitedLock) -> String {
    match &lock.relation {
        Some(relation) => format!("{} on {relation}", lock.mode),
        None => format!("{} on {}", lock.mode, lock.kind),
    }
}

/// Those who wait for a session, and who wait for these, each once.
fn below<'b>(pid: i32, waiting: &[&'b Backend]) -> Vec<(&'b Backend, u32)> {
    let mut found: Vec<(&Backend, u32)> = Vec::new();
    let mut seen = BTreeSet::from([pid]);
    let mut level = BTreeSet::from([pid]);
    let mut depth = 0;
    while !level.is_empty() {
        depth += 1;
        let next: Vec<&Backend> = waiting
            .iter()
            .copied()
            .filter(|it| !seen.contains(&it.pid))
            .filter(|it| it.blocked_by.iter().any(|pid| level.contains(pid)))
            .collect();
        level = next.iter().map(|it| it.pid).collect();
        seen.extend(&level);
        found.extend(next.into_iter().map(|it| (it, depth)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(pid: i32, blocked_by: &[i32]) -> Backend {
        Backend {
            pid,
            database: None,
            user: None,
            application: None,
            backend_type: None,
            state: None,
            wait_type: None,
            wait_event: None,
            query: None,
            transaction_seconds: None,
            query_seconds: None,
            state_seconds: None,
            blocked_by: blocked_by.to_vec(),
        }
    }

    fn pids(backends: &[Backend]) -> Vec<(i32, Vec<(i32, u32)>)> {
        let tree = tree(backends, &[], None, str::to_owned, 0.0);
        let waiter = |waiter: &Waiter| (waiter.pid, waiter.depth);
        tree.blockers
            .iter()
            .map(|it| (it.pid, it.waiting.iter().map(waiter).collect()))
            .collect()
    }

    #[test]
    fn chains_hang_below_who_waits_for_nobody() {
        let backends = [
            backend(1, &[]),
            backend(2, &[1]),
            backend(3, &[2, 1]),
            backend(4, &[3]),
            backend(5, &[]),
        ];
        assert_eq!(pids(&backends), [(1, vec![(2, 1), (3, 1), (4, 2)])]);
    }

    #[test]
    fn circles_and_prepared_transactions_end() {
        let circle = [backend(1, &[2]), backend(2, &[1])];
        assert_eq!(pids(&circle), [(1, vec![(2, 1)])]);
        assert_eq!(pids(&[backend(1, &[0])]), [(0, vec![(1, 1)])]);
    }
}
