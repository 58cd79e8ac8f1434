//! What sessions do and wait for, sampled from pg_stat_activity.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    locks::{self, LockTree, WaitedLock},
    session::{Session, SessionError},
};

/// Most sessions that one sample reads.
const MOST_SESSIONS: usize = 5000;
const LISTED: usize = 20;
/// A transaction is long from here, seconds.
const LONG_SECONDS: f64 = 5.0;

/// A row of pg_stat_activity.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Backend {
    pub pid: i32,
    pub database: Option<String>,
    pub user: Option<String>,
    pub application: Option<String>,
    pub backend_type: Option<String>,
    pub state: Option<String>,
    pub wait_type: Option<String>,
    pub wait_event: Option<String>,
    pub query: Option<String>,
    pub transaction_seconds: Option<f64>,
    pub query_seconds: Option<f64>,
    /// For how long it is in this state.
    pub state_seconds: Option<f64>,
    pub blocked_by: Vec<i32>,
}

impl Backend {
    fn is_client(&self) -> bool {
        self.backend_type.as_deref() == Some("client backend")
    }

    pub fn is_idle_in_transaction(&self) -> bool {
        let state = self.state.as_deref();
        state.is_some_and(|state| state.starts_with("idle in transaction"))
    }
}

async fn sample(session: &mut Session) -> Result<Vec<Backend>, SessionError> {
    // Who blocks is asked only of those who wait: it stops the lock manager.
    session
        .rows(&format!(
            "SELECT pid, datname AS database, usename AS user, application_name AS application,
               backend_type, state, wait_event_type AS wait_type, wait_event,
               left(query, 1000) AS query,
               extract(epoch FROM clock_timestamp() - xact_start)::float8 AS transaction_seconds,
               extract(epoch FROM clock_timestamp() - query_start)::float8 AS query_seconds,
               extract(epoch FROM clock_timestamp() - state_change)::float8 AS state_seconds,
               CASE WHEN wait_event_type = 'Lock' THEN pg_blocking_pids(pid) ELSE '{{}}' END
                 AS blocked_by
             FROM pg_stat_activity WHERE pid <> pg_backend_pid()
             ORDER BY xact_start NULLS LAST LIMIT {MOST_SESSIONS}"
        ))
        .await
}

#[derive(Clone, Debug, Serialize)]
pub struct Activity {
    pub samples: u64,
    /// Samples that failed, and why the last of them did.
    pub failed_samples: u64,
    pub failure: Option<String>,
    /// Samples that were cut at the limit of sessions.
    pub cut_samples: u64,
    pub states: Vec<StateRow>,
    pub waits: Vec<WaitRow>,
    pub statements: Vec<ActiveStatement>,
    /// Transactions that were open for 5 s and more, the longest first.
    pub long_transactions: Vec<Backend>,
    /// The most sessions of others in one sample whose state is not shown.
    pub hidden_sessions: u64,
    /// Of the sample with the most sessions that wait for a lock.
    pub blocking: Option<LockTree>,
}

#[derive(Clone, Debug, Serialize)]
pub struct StateRow {
    pub state: String,
    pub average_sessions: f64,
    pub most_sessions: u64,
}

/// What active sessions wait for; `CPU` is no wait.
#[derive(Clone, Debug, Serialize)]
pub struct WaitRow {
    pub wait_type: String,
    pub wait_event: String,
    pub average_sessions: f64,
    /// Of the active sessions.
    pub percent: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct ActiveStatement {
    pub query: String,
    pub average_sessions: f64,
    pub percent: f64,
    /// What it was seen waiting for most, if for anything.
    pub main_wait: Option<String>,
}

/// Adds up samples.
#[derive(Default)]
pub struct Observer {
    samples: u64,
    failed: u64,
    failure: Option<String>,
    cut: u64,
    states: BTreeMap<String, (u64, u64)>,
    waits: BTreeMap<(String, String), u64>,
    statements: BTreeMap<String, BTreeMap<String, u64>>,
    transactions: BTreeMap<i32, Backend>,
    hidden: u64,
    blocking: Option<LockTree>,
}

impl Observer {
    /// Takes a sample `at` seconds after the beginning; a failure is counted,
    /// and the next one may succeed. Tells whether this one did.
    pub async fn observe(
        &mut self,
        session: &mut Session,
        text: fn(&str) -> String,
        at: f64,
    ) -> bool {
        let backends = match sample(session).await {
            Ok(backends) => backends,
            Err(error) => {
                self.failed += 1;
                self.failure = Some(error.to_string());
                return false;
            }
        };
        let waiting = backends
            .iter()
            .filter(|it| !it.blocked_by.is_empty())
            .count();
        let known = self
            .blocking
            .as_ref()
            .map_or(0, |tree| tree.waiting_sessions);
        // Of samples with as many, the last: its times are the longest.
        if waiting > 0 && waiting >= known {
            let (waited, failure) = match WaitedLock::read(session).await {
                Ok(waited) => (waited, None),
                Err(error) => (Vec::new(), Some(error.to_string())),
            };
            self.blocking = Some(locks::tree(&backends, &waited, failure, text, at));
        }
        self.add(backends, text);
        true
    }

    fn add(&mut self, backends: Vec<Backend>, text: fn(&str) -> String) {
        self.samples += 1;
        self.cut += u64::from(backends.len() >= MOST_SESSIONS);
        let mut states: BTreeMap<String, u64> = BTreeMap::new();
        let mut hidden = 0;
        for mut backend in backends.into_iter().filter(Backend::is_client) {
            let Some(state) = backend.state.clone() else {
                hidden += 1;
                continue;
            };
            backend.query = backend.query.map(|query| text(&query));
            if state == "active" {
                let (kind, event) = match (&backend.wait_type, &backend.wait_event) {
                    (Some(kind), Some(event)) => (kind.clone(), event.clone()),
                    _ => ("CPU".to_owned(), "running".to_owned()),
                };
                let wait = format!("{kind}: {event}");
                let query = backend.query.clone().unwrap_or_default();
                *self
                    .statements
                    .entry(query)
                    .or_default()
                    .entry(wait)
                    .or_default() += 1;
                *self.waits.entry((kind, event)).or_default() += 1;
            }
            *states.entry(state).or_default() += 1;
            if backend.transaction_seconds >= Some(LONG_SECONDS) {
                self.transactions.insert(backend.pid, backend);
            }
        }
        self.hidden = self.hidden.max(hidden);
        for (state, count) in states {
            let (sum, most) = self.states.entry(state).or_default();
            *sum += count;
            *most = count.max(*most);
        }
    }

    /// # Errors
    /// Why there is no sample at all.
    pub fn finish(self) -> Result<Activity, String> {
        if self.samples == 0 {
            return Err(self
                .failure
                .unwrap_or_else(|| "no sample was taken".to_owned()));
        }
        let average = |sum: u64| sum as f64 / self.samples as f64;
        let active: u64 = self.waits.values().sum();
        let percent = |count: u64| count as f64 * 100.0 / active.max(1) as f64;
        let mut waits: Vec<_> = self
            .waits
            .into_iter()
            .map(|((wait_type, wait_event), count)| WaitRow {
                wait_type,
                wait_event,
                average_sessions: average(count),
                percent: percent(count),
            })
            .collect();
        waits.sort_by(|a, b| b.average_sessions.total_cmp(&a.average_sessions));
        let mut statements: Vec<_> = self
            .statements
            .into_iter()
            .map(|(query, waits)| {
                let count = waits.values().sum();
                ActiveStatement {
                    query,
                    average_sessions: average(count),
                    percent: percent(count),
                    main_wait: waits
                        .into_iter()
                        .filter(|(wait, _)| wait != "CPU: running")
                        .max_by_key(|(_, count)| *count)
                        .map(|(wait, _)| wait),
                }
            })
            .collect();
        statements.sort_by(|a, b| b.average_sessions.total_cmp(&a.average_sessions));
        statements.truncate(LISTED);
        let mut transactions: Vec<_> = self.transactions.into_values().collect();
        transactions.sort_by(|a, b| {
            let seconds = |it: &Backend| it.transaction_seconds.unwrap_or_default();
            seconds(b).total_cmp(&seconds(a))
        });
        transactions.truncate(LISTED);
        Ok(Activity {
            samples: self.samples,
            failed_samples: self.failed,
            failure: self.failure,
            cut_samples: self.cut,
            states: self
                .states
                .into_iter()
                .map(|(state, (sum, most_sessions))| StateRow {
                    state,
                    average_sessions: average(sum),
                    most_sessions,
                })
                .collect(),
            waits,
            statements,
            long_transactions: transactions,
            hidden_sessions: self.hidden,
            blocking: self.blocking,
        })
    }
}
