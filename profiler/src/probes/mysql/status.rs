//! What the server has counted as a whole, in total and in the window.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::session::{Product, Session, SessionError};

/// Counters by the server's names (MySQL 8.4 Reference Manual, 7.1.10). Not every
/// version has them all.
const COUNTERS: [&str; 47] = [
    "Questions",
    "Com_select",
    "Com_insert",
    "Com_update",
    "Com_delete",
    "Com_commit",
    "Com_rollback",
    "Slow_queries",
    "Bytes_received",
    "Bytes_sent",
    "Handler_read_first",
    "Handler_read_key",
    "Handler_read_last",
    "Handler_read_next",
    "Handler_read_prev",
    "Handler_read_rnd",
    "Handler_read_rnd_next",
    "Handler_write",
    "Handler_update",
    "Handler_delete",
    "Handler_commit",
    "Handler_rollback",
    "Select_scan",
    "Select_full_join",
    "Sort_merge_passes",
    "Sort_rows",
    "Created_tmp_tables",
    "Created_tmp_disk_tables",
    "Created_tmp_files",
    "Innodb_buffer_pool_read_requests",
    "Innodb_buffer_pool_reads",
    "Innodb_buffer_pool_wait_free",
    "Innodb_buffer_pool_pages_flushed",
    "Innodb_row_lock_waits",
    "Innodb_row_lock_time",
    "Innodb_log_waits",
    "Innodb_data_fsyncs",
    "Innodb_deadlocks",
    "Table_locks_waited",
    "Connections",
    "Aborted_clients",
    "Aborted_connects",
    "Connection_errors_max_connections",
    "Threads_created",
    "Opened_tables",
    "Table_open_cache_misses",
    "Table_open_cache_overflows",
];

/// How the names of counters begin that the server keeps for each session, too.
const OF_SESSIONS: [&str; 9] = [
    "questions",
    "com_",
    "slow_queries",
    "bytes_",
    "handler_",
    "select_",
    "sort_",
    "created_tmp_tables",
    "created_tmp_disk_tables",
];

/// What the server and the probe's session had counted at one moment. Two
/// readings differ in the server by as much of the probe's own as they do in the
/// session: between them is, in this order or in the other, each statement once.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    server: Reading,
    own: Reading,
}

impl Readings {
    /// # Errors
    /// Those of [`Session::rows`].
    pub async fn take(session: &mut Session) -> Result<Self, SessionError> {
        let mut server = Reading::take(session, "global").await?;
        let mut own = Reading::take(session, "session").await?;
        own.0
            .retain(|name, _| OF_SESSIONS.iter().any(|start| name.starts_with(start)));
        server.add_metrics(session).await;
        Ok(Self { server, own })
    }
}

/// Numbers by their names in lower case: they differ in that.
#[derive(Clone, Debug, Default)]
struct Reading(BTreeMap<String, u64>);

impl Reading {
    /// Of the view that SHOW GLOBAL or SESSION STATUS shows. The server does not
    /// count what SHOW STATUS itself does as its session's.
    async fn take(session: &mut Session, scope: &str) -> Result<Self, SessionError> {
        #[derive(Deserialize)]
        struct Variable {
            name: String,
            value: Option<String>,
        }
        let schema = match session.product() {
            Product::Mariadb => "information_schema",
            Product::Mysql => "performance_schema",
        };
        let variables: Vec<Variable> = session
            .rows(&format!(
                "VARIABLE_NAME AS name, VARIABLE_VALUE AS value FROM {schema}.{scope}_status"
            ))
            .await?;
        let number = |it: Variable| Some((it.name.to_ascii_lowercase(), it.value?.parse().ok()?));
        Ok(Self(variables.into_iter().filter_map(number).collect()))
    }

    /// What MySQL keeps elsewhere than MariaDB; without PROCESS it is not known.
    async fn add_metrics(&mut self, session: &mut Session) {
        #[derive(Deserialize)]
        struct Metric {
            name: String,
            value: u64,
        }
        if session.product() == Product::Mariadb {
            return;
        }
        let metrics = session
            .rows::<Metric>(
                "NAME AS name, `COUNT` AS value FROM information_schema.INNODB_METRICS
                 WHERE NAME IN ('trx_rseg_history_len', 'lock_deadlocks') AND STATUS = 'enabled'",
            )
            .await;
        match metrics {
            Ok(metrics) => {
                for metric in metrics {
                    let name = match metric.name.as_str() {
                        "lock_deadlocks" => "innodb_deadlocks",
                        _ => "innodb_history_list_length",
                    };
                    self.0.insert(name.to_owned(), metric.value);
                }
            }
            Err(error) => log::debug!("INNODB_METRICS: {error}"),
        }
    }

    fn get(&self, name: &str) -> Option<u64> {
        self.0.get(&name.to_ascii_lowercase()).copied()
    }

    fn without(&self, own: &Self) -> Self {
        let left = |(name, &value): (&String, &u64)| {
            let own = own.get(name).unwrap_or_default();
            (name.clone(), value.saturating_sub(own))
        };
        Self(self.0.iter().map(left).collect())
    }

    /// What was counted since an earlier reading; what went back is left out.
    fn since(&self, before: &Self) -> Self {
        let change = |(name, &value): (&String, &u64)| {
            let change = value.checked_sub(before.get(name)?)?;
            Some((name.clone(), change))
        };
        Self(self.0.iter().filter_map(change).collect())
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub counters: Vec<Counter>,
    /// Of what was counted in the window but the probe's own.
    pub window: Ratios,
    pub totals: Ratios,
    pub now: Now,
}

/// A counter by the server's name for it.
#[derive(Clone, Debug, Serialize)]
pub struct Counter {
    pub name: &'static str,
    /// Since the server's start, or since FLUSH STATUS.
    pub total: u64,
    /// Without the probe's own; `None` when it was reset during the probe.
    pub window: Option<u64>,
    pub per_second: Option<f64>,
    /// The probe's own in the window, where the server counts that.
    pub own: u64,
}

/// Shares of what was counted, each `None` when there was nothing to have a
/// share of.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Ratios {
    /// Of the pages that were asked for, those that were in the buffer pool.
    pub buffer_pool_hit_percent: Option<f64>,
    /// Of the rows that were read, those of scans: read one after the other,
    /// whatever was looked for.
    pub scanned_rows_percent: Option<f64>,
    /// Of the temporary tables, those on disk.
    pub temporary_tables_on_disk_percent: Option<f64>,
    /// A wait for a row's lock, on average.
    pub row_lock_wait_ms: Option<f64>,
}

impl Ratios {
    fn new(counted: &Reading) -> Self {
        let share = |part: Option<u64>, of: Option<u64>| {
            let (part, of) = (part?, of?);
            (of > 0).then(|| part as f64 * 100.0 / of as f64)
        };
        let get = |name| counted.get(name);
        let requests = get("Innodb_buffer_pool_read_requests");
        let hits = requests
            .zip(get("Innodb_buffer_pool_reads"))
            .map(|(requests, reads)| requests.saturating_sub(reads));
        Self {
            buffer_pool_hit_percent: share(hits, requests),
            scanned_rows_percent: share(get("Handler_read_rnd_next"), rows_read(counted)),
            temporary_tables_on_disk_percent: share(
                get("Created_tmp_disk_tables"),
                get("Created_tmp_tables"),
            ),
            row_lock_wait_ms: share(get("Innodb_row_lock_time"), get("Innodb_row_lock_waits"))
                .map(|percent| percent / 100.0),
        }
    }
}

/// Rows that statements took from tables and indexes.
fn rows_read(counted: &Reading) -> Option<u64> {
    ["first", "key", "last", "next", "prev", "rnd", "rnd_next"]
        .into_iter()
        .map(|kind| counted.get(&format!("Handler_read_{kind}")))
        .sum()
}

/// What is not counted up, as it was at the end of the window.
#[derive(Clone, Debug, Serialize)]
pub struct Now {
    pub up_seconds: Option<u64>,
    pub threads_connected: Option<u64>,
    pub threads_running: Option<u64>,
    pub max_used_connections: Option<u64>,
    pub buffer_pool_pages: Option<u64>,
    pub dirty_pages_percent: Option<f64>,
    pub free_pages_percent: Option<f64>,
    pub row_locks_waited_for: Option<u64>,
    /// Old versions of rows that are not purged yet, as undo logs.
    pub history_list_length: Option<u64>,
    pub open_tables: Option<u64>,
    pub prepared_statements: Option<u64>,
}

impl Now {
    fn new(reading: &Reading) -> Self {
        let get = |name| reading.get(name);
        let pages = get("Innodb_buffer_pool_pages_total").filter(|&pages| pages > 0);
        let share = |name| Some(get(name)? as f64 * 100.0 / pages? as f64);
        Self {
            up_seconds: get("Uptime"),
            threads_connected: get("Threads_connected"),
            threads_running: get("Threads_running"),
            max_used_connections: get("Max_used_connections"),
            buffer_pool_pages: pages,
            dirty_pages_percent: share("Innodb_buffer_pool_pages_dirty"),
            free_pages_percent: share("Innodb_buffer_pool_pages_free"),
            row_locks_waited_for: get("Innodb_row_lock_current_waits"),
            history_list_length: get("Innodb_history_list_length"),
            open_tables: get("Open_tables"),
            prepared_statements: get("Prepared_stmt_count"),
        }
    }
}

impl Status {
    pub fn new(before: &Readings, after: &Readings, seconds: f64) -> Self {
        let own = after.own.since(&before.own);
        let window = after.server.since(&before.server).without(&own);
        let after = &after.server;
        let counters = COUNTERS.into_iter().filter_map(|name| {
            let counted = window.get(name);
            Some(Counter {
                name,
                total: after.get(name)?,
                window: counted,
                per_second: counted.map(|counted| counted as f64 / seconds.max(f64::MIN_POSITIVE)),
                own: own.get(name).unwrap_or_default(),
            })
        });
        Self {
            counters: counters.collect(),
            totals: Ratios::new(after),
            window: Ratios::new(&window),
            now: Now::new(after),
        }
    }

    pub fn counter(&self, name: &str) -> Option<&Counter> {
        self.counters.iter().find(|counter| counter.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(server: &[(&str, u64)], own: &[(&str, u64)]) -> Readings {
        let reading = |values: &[(&str, u64)]| {
            let values = values.iter();
            let values = values.map(|&(name, value)| (name.to_ascii_lowercase(), value));
            Reading(values.collect())
        };
        Readings {
            server: reading(server),
            own: reading(own),
        }
    }

    #[test]
    fn shares_are_of_what_was_counted() {
        let before = readings(
            &[
                ("Innodb_buffer_pool_read_requests", 1000),
                ("Innodb_buffer_pool_reads", 1000),
                ("Created_tmp_tables", 5),
                ("Created_tmp_disk_tables", 5),
                ("Questions", 7),
                ("Slow_queries", 9),
            ],
            &[("Questions", 2), ("Created_tmp_tables", 1)],
        );
        let after = readings(
            &[
                ("Innodb_buffer_pool_read_requests", 2000),
                ("Innodb_buffer_pool_reads", 1100),
                ("Created_tmp_tables", 8),
                ("Created_tmp_disk_tables", 5),
                ("Questions", 27),
                ("Slow_queries", 0),
            ],
            &[("Questions", 6), ("Created_tmp_tables", 4)],
        );
        let status = Status::new(&before, &after, 2.0);
        assert_eq!(status.window.buffer_pool_hit_percent, Some(90.0));
        assert_eq!(status.totals.buffer_pool_hit_percent, Some(45.0));
        // All of the window's are the probe's own.
        assert_eq!(status.window.temporary_tables_on_disk_percent, None);
        assert_eq!(status.totals.temporary_tables_on_disk_percent, Some(62.5));
        let counter = |name: &str| {
            let counter = status.counter(name).expect("it is known");
            (counter.total, counter.window, counter.per_second)
        };
        assert_eq!(counter("Questions"), (27, Some(16), Some(8.0)));
        assert_eq!(counter("Slow_queries"), (0, None, None));
        assert!(status.counter("Com_select").is_none());
    }
}
