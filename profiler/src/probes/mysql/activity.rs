//! What sessions do and wait for, sampled from the list of processes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    locks::{self, LockTree, METADATA_STATE},
    server::Server,
    session::{Product, Session},
};

/// Most sessions that one sample reads.
const MOST_SESSIONS: usize = 5000;
const LISTED: usize = 20;
/// A transaction is long from here, seconds.
const LONG_SECONDS: f64 = 5.0;

/// A session, as the list of processes and InnoDB have it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Thread {
    pub id: u64,
    pub user: String,
    pub host: String,
    pub database: Option<String>,
    /// What it was told to do: Query, Sleep, Execute.
    pub command: String,
    pub state: Option<String>,
    /// For how long it does that.
    pub state_seconds: Option<f64>,
    pub query: Option<String>,
    /// Of its open transaction, if it has one.
    pub transaction_seconds: Option<f64>,
    pub lock_wait_seconds: Option<f64>,
    pub rows_locked: Option<u64>,
    pub rows_modified: Option<u64>,
}

impl Thread {
    /// The server's own, and replicas, are no clients.
    fn is_client(&self) -> bool {
        !matches!(
            self.command.as_str(),
            "Daemon"
                | "Binlog Dump"
                | "Binlog Dump GTID"
                | "Slave_IO"
                | "Slave_SQL"
                | "Slave_worker"
        ) && self.user != "system user"
            && self.user != "event_scheduler"
    }

    pub fn is_idle(&self) -> bool {
        self.command == "Sleep"
    }

    pub fn is_idle_in_transaction(&self) -> bool {
        self.is_idle() && self.transaction_seconds.is_some()
    }

    pub fn waits_for_metadata(&self) -> bool {
        self.state.as_deref() == Some(METADATA_STATE)
    }

    pub fn activity(&self) -> &'static str {
        match (self.is_idle(), self.transaction_seconds) {
            (true, Some(_)) => "idle in transaction",
            (true, None) => "idle",
            (false, _) => "active",
        }
    }

    /// Where it comes from, without the port.
    pub fn client(&self) -> &str {
        let host = self.host.as_str();
        host.rsplit_once(':').map_or(host, |(host, _)| host)
    }

    /// The stage of the statement; while it waits for a row's lock, that.
    fn waits_for(&self) -> String {
        if self.lock_wait_seconds.is_some() {
            return "row lock".to_owned();
        }
        match self.state.as_deref() {
            None | Some("") => "running".to_owned(),
            Some(state) => state.to_owned(),
        }
    }
}

/// Without the privilege for InnoDB's transactions the account sees its own
/// sessions only.
fn sample(product: Product, sees_all: bool) -> String {
    // MySQL counts whole seconds.
    let seconds = match product {
        Product::Mariadb => "p.TIME_MS / 1000",
        Product::Mysql => "p.TIME",
    };
    let since = |start: &str| {
        // The starts have no fractions, so that a new one may seem to be to come.
        format!("GREATEST(TIMESTAMPDIFF(MICROSECOND, t.{start}, SYSDATE(6)) / 1e6, 0)")
    };
    let (transactions, join) = if sees_all {
        (
            format!(
                "{} AS transaction_seconds, {} AS lock_wait_seconds,
                 t.trx_rows_locked AS rows_locked, t.trx_rows_modified AS rows_modified",
                since("trx_started"),
                since("trx_wait_started")
            ),
            "LEFT JOIN information_schema.INNODB_TRX t ON t.trx_mysql_thread_id = p.ID",
        )
    } else {
        (
            "NULL AS transaction_seconds, NULL AS lock_wait_seconds, NULL AS rows_locked, \
             NULL AS rows_modified"
                .to_owned(),
            "",
        )
    };
    format!(
        "p.ID AS id, p.USER AS `user`, p.HOST AS host, p.DB AS `database`, p.COMMAND AS command,
           p.STATE AS state, {seconds} AS state_seconds, LEFT(p.INFO, 1000) AS query,
           {transactions}
         FROM information_schema.PROCESSLIST p {join}
         WHERE p.ID <> CONNECTION_ID() LIMIT {MOST_SESSIONS}"
    )
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
    pub long_transactions: Vec<Thread>,
    /// Of the sample with the most sessions that wait for a lock.
    pub blocking: Option<LockTree>,
    /// Why it is not known who waits for whom.
    pub blocking_missing: Option<String>,
    /// The most connections of replicas in one sample.
    pub replicas: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct StateRow {
    pub state: String,
    pub average_sessions: f64,
    pub most_sessions: u64,
}

/// What active sessions do or wait for, by the server's names.
#[derive(Clone, Debug, Serialize)]
pub struct WaitRow {
    pub state: String,
    pub average_sessions: f64,
    /// Of the active sessions.
    pub percent: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct ActiveStatement {
    pub query: String,
    pub average_sessions: f64,
    pub percent: f64,
    /// The state that it was seen in most.
    pub main_state: Option<String>,
}

/// Adds up samples.
pub struct Observer {
    query: String,
    /// Metadata locks can be looked at.
    metadata: bool,
    sees_all: bool,
    samples: u64,
    failed: u64,
    failure: Option<String>,
    cut: u64,
    states: BTreeMap<&'static str, (u64, u64)>,
    waits: BTreeMap<String, u64>,
    statements: BTreeMap<String, BTreeMap<String, u64>>,
    transactions: BTreeMap<u64, Thread>,
    blocking: Option<LockTree>,
    blocking_missing: Option<String>,
    replicas: u64,
}

impl Observer {
    pub fn new(server: &Server) -> Self {
        Self {
            query: sample(server.product, server.sees_all_sessions),
            metadata: server.performance_schema,
            sees_all: server.sees_all_sessions,
            samples: 0,
            failed: 0,
            failure: None,
            cut: 0,
            states: BTreeMap::new(),
            waits: BTreeMap::new(),
            statements: BTreeMap::new(),
            transactions: BTreeMap::new(),
            blocking: None,
            blocking_missing: None,
            replicas: 0,
        }
    }

    /// Takes a sample `at` seconds after the beginning; a failure is counted,
    /// and the next one may succeed. Tells whether this one did.
    pub async fn observe(
        &mut self,
        session: &mut Session,
        text: fn(&str) -> String,
        at: f64,
    ) -> bool {
        let threads: Vec<Thread> = match session.rows(&self.query).await {
            Ok(threads) => threads,
            Err(error) => {
                self.failed += 1;
                self.failure = Some(error.to_string());
                return false;
            }
        };
        self.look_at_locks(session, &threads, text, at).await;
        self.add(threads, text);
        true
    }

    async fn look_at_locks(
        &mut self,
        session: &mut Session,
        threads: &[Thread],
        text: fn(&str) -> String,
        at: f64,
    ) {
        let metadata = threads.iter().any(Thread::waits_for_metadata);
        let is_waiting = |it: &&Thread| it.lock_wait_seconds.is_some() || it.waits_for_metadata();
        let waiting = threads.iter().filter(is_waiting).count();
        let known = self
            .blocking
            .as_ref()
            .map_or(0, |tree| tree.waiting_sessions);
        // Of samples with as many, the last: its times are the longest.
        if waiting == 0 || waiting < known {
            return;
        }
        match locks::read(session, metadata && self.metadata).await {
            Ok(waits) => {
                let tree = locks::tree(threads, &waits, text, at);
                // The locks may be free by now.
                if tree.waiting_sessions > 0 {
                    self.blocking = Some(tree);
                }
            }
            Err(error) => self.blocking_missing = Some(error.to_string()),
        }
    }

    fn add(&mut self, threads: Vec<Thread>, text: fn(&str) -> String) {
        self.samples += 1;
        self.cut += u64::from(threads.len() >= MOST_SESSIONS);
        let replicas = threads
            .iter()
            .filter(|it| it.command.starts_with("Binlog Dump"));
        self.replicas = self.replicas.max(replicas.count() as u64);
        let mut states: BTreeMap<&'static str, u64> = BTreeMap::new();
        for mut thread in threads.into_iter().filter(Thread::is_client) {
            thread.query = thread.query.map(|query| text(&query));
            if !thread.is_idle() {
                let state = thread.waits_for();
                let query = thread.query.clone().unwrap_or_default();
                let states = self.statements.entry(query).or_default();
                *states.entry(state.clone()).or_default() += 1;
                *self.waits.entry(state).or_default() += 1;
            }
            *states.entry(thread.activity()).or_default() += 1;
            if thread.transaction_seconds >= Some(LONG_SECONDS) {
                self.transactions.insert(thread.id, thread);
            }
        }
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
        let mut waits: Vec<WaitRow> = self
            .waits
            .into_iter()
            .map(|(state, count)| WaitRow {
                state,
                average_sessions: average(count),
                percent: percent(count),
            })
            .collect();
        waits.sort_by(|a, b| b.average_sessions.total_cmp(&a.average_sessions));
        let mut statements: Vec<ActiveStatement> = self
            .statements
            .into_iter()
            .map(|(query, states)| {
                let count = states.values().sum();
                ActiveStatement {
                    query,
                    average_sessions: average(count),
                    percent: percent(count),
                    main_state: states
                        .into_iter()
                        .max_by_key(|(_, count)| *count)
                        .map(|(state, _)| state),
                }
            })
            .collect();
        statements.sort_by(|a, b| b.average_sessions.total_cmp(&a.average_sessions));
        statements.truncate(LISTED);
        let mut transactions: Vec<Thread> = self.transactions.into_values().collect();
        transactions.sort_by(|a, b| {
            let seconds = |it: &Thread| it.transaction_seconds.unwrap_or_default();
            seconds(b).total_cmp(&seconds(a))
        });
        transactions.truncate(LISTED);
        let blocking_missing = self.blocking_missing.or_else(|| {
            (!self.sees_all).then(|| "this account sees its own sessions only".to_owned())
        });
        Ok(Activity {
            samples: self.samples,
            failed_samples: self.failed,
            failure: self.failure,
            cut_samples: self.cut,
            states: self
                .states
                .into_iter()
                .map(|(state, (sum, most_sessions))| StateRow {
                    state: state.to_owned(),
                    average_sessions: average(sum),
                    most_sessions,
                })
                .collect(),
            waits,
            statements,
            long_transactions: transactions,
            blocking: self.blocking,
            blocking_missing,
            replicas: self.replicas,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_told_apart() {
        let thread = |command: &str, transaction: Option<f64>| Thread {
            command: command.to_owned(),
            transaction_seconds: transaction,
            host: "10.0.0.7:51234".to_owned(),
            ..Thread::default()
        };
        assert_eq!(thread("Sleep", None).activity(), "idle");
        assert_eq!(thread("Sleep", Some(0.1)).activity(), "idle in transaction");
        assert_eq!(thread("Query", Some(0.1)).activity(), "active");
        assert_eq!(thread("Query", None).client(), "10.0.0.7");
        assert!(!thread("Binlog Dump", None).is_client());
        assert!(sample(Product::Mysql, true).contains("p.TIME AS"));
        assert!(!sample(Product::Mariadb, false).contains("INNODB_TRX"));
    }
}
