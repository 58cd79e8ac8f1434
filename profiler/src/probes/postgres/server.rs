//! Which server it is, and what it has counted as a whole.

use serde::{Deserialize, Serialize};

use super::session::{Session, SessionError};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Server {
    pub version: String,
    /// As the server numbers it: 150004 is 15.4.
    pub version_number: u32,
    pub database: String,
    pub user: String,
    /// A standby, which replays what a primary writes.
    pub in_recovery: bool,
    pub up_seconds: f64,
    pub database_bytes: Option<u64>,
    /// Whether the role may see the statements of others.
    pub sees_all_statistics: bool,
    pub max_connections: u32,
    pub shared_buffers_bytes: u64,
    pub track_io_timing: bool,
    pub max_wal_size: String,
}

impl Server {
    /// # Errors
    /// Those of [`Session::rows`].
    pub async fn read(session: &mut Session) -> Result<Self, SessionError> {
        session
            .row(
                "SELECT current_setting('server_version') AS version,
                   current_setting('server_version_num')::int AS version_number,
                   current_database() AS database, current_user AS user,
                   pg_is_in_recovery() AS in_recovery,
                   extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8
                     AS up_seconds,
                   CASE WHEN has_database_privilege(current_database(), 'CONNECT')
                     THEN pg_database_size(current_database()) END AS database_bytes,
                   pg_has_role('pg_read_all_stats', 'USAGE') AS sees_all_statistics,
                   current_setting('max_connections')::int AS max_connections,
                   pg_size_bytes(current_setting('shared_buffers')) AS shared_buffers_bytes,
                   current_setting('track_io_timing')::bool AS track_io_timing,
                   current_setting('max_wal_size') AS max_wal_size",
            )
            .await
    }
}

/// `pg_stat_database` of the database that is connected to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatabaseCounters {
    pub committed_transactions: u64,
    pub rolled_back_transactions: u64,
    pub cache_hit_blocks: u64,
    pub cache_missed_blocks: u64,
    pub returned_rows: u64,
    pub fetched_rows: u64,
    pub inserted_rows: u64,
    pub updated_rows: u64,
    pub deleted_rows: u64,
    pub temporary_files: u64,
    pub temporary_bytes: u64,
    pub deadlocks: u64,
    pub conflicts: u64,
    /// Since when it is counted; `None` when it was never reset.
    pub reset_seconds_ago: Option<f64>,
}

impl DatabaseCounters {
    /// # Errors
    /// Those of [`Session::rows`].
    pub async fn read(session: &mut Session) -> Result<Self, SessionError> {
        session
            .row(
                "SELECT xact_commit AS committed_transactions,
                   xact_rollback AS rolled_back_transactions,
                   blks_hit AS cache_hit_blocks, blks_read AS cache_missed_blocks,
                   tup_returned AS returned_rows, tup_fetched AS fetched_rows,
                   tup_inserted AS inserted_rows, tup_updated AS updated_rows,
                   tup_deleted AS deleted_rows, temp_files AS temporary_files,
                   temp_bytes AS temporary_bytes, deadlocks, conflicts,
                   extract(epoch FROM clock_timestamp() - stats_reset)::float8 AS reset_seconds_ago
                 FROM pg_stat_database WHERE datname = current_database()",
            )
            .await
    }

    /// What was counted between two readings. Less than nothing is a reset.
    fn since(&self, before: &Self) -> Option<Self> {
        Some(Self {
            committed_transactions: less(
                self.committed_transactions,
                before.committed_transactions,
            )?,
            rolled_back_transactions: less(
                self.rolled_back_transactions,
                before.rolled_back_transactions,
            )?,
            cache_hit_blocks: less(self.cache_hit_blocks, before.cache_hit_blocks)?,
            cache_missed_blocks: less(self.cache_missed_blocks, before.cache_missed_blocks)?,
            returned_rows: less(self.returned_rows, before.returned_rows)?,
            fetched_rows: less(self.fetched_rows, before.fetched_rows)?,
            inserted_rows: less(self.inserted_rows, before.inserted_rows)?,
            updated_rows: less(self.updated_rows, before.updated_rows)?,
            deleted_rows: less(self.deleted_rows, before.deleted_rows)?,
            temporary_files: less(self.temporary_files, before.temporary_files)?,
            temporary_bytes: less(self.temporary_bytes, before.temporary_bytes)?,
            deadlocks: less(self.deadlocks, before.deadlocks)?,
            conflicts: less(self.conflicts, before.conflicts)?,
            reset_seconds_ago: self.reset_seconds_ago,
        })
    }

    /// Of the blocks that were asked for, those that were in shared buffers;
    /// `None` when none was asked for.
    pub fn cache_hit_percent(&self) -> Option<f64> {
        let asked = self.cache_hit_blocks + self.cache_missed_blocks;
        (asked > 0).then(|| self.cache_hit_blocks as f64 * 100.0 / asked as f64)
    }
}

fn less(after: u64, before: u64) -> Option<u64> {
    after.checked_sub(before)
}

#[derive(Clone, Debug, Serialize)]
pub struct Database {
    pub totals: DatabaseCounters,
    pub totals_cache_hit_percent: Option<f64>,
    /// `None` when the counters were reset during the probe.
    pub window: Option<DatabaseCounters>,
    pub window_cache_hit_percent: Option<f64>,
    /// Transactions of the window that are the probe's own.
    pub own_transactions: u64,
}

impl Database {
    pub fn new(before: &DatabaseCounters, after: DatabaseCounters, own_transactions: u64) -> Self {
        let window = after.since(before);
        Self {
            totals_cache_hit_percent: after.cache_hit_percent(),
            window_cache_hit_percent: window
                .as_ref()
                .and_then(DatabaseCounters::cache_hit_percent),
            window,
            own_transactions,
            totals: after,
        }
    }
}

/// Sessions by what they do, and how many there may be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Connections {
    pub used: u32,
    pub active: u32,
    pub idle: u32,
    pub idle_in_transaction: u32,
    pub waiting_for_locks: u32,
    /// Of other roles: their state is not shown.
    pub hidden: u32,
    pub max: u32,
    /// Kept for superusers, of `max`.
    pub reserved: u32,
}

impl Connections {
    /// # Errors
    /// Those of [`Session::rows`].
    pub async fn read(session: &mut Session) -> Result<Self, SessionError> {
        session
            .row(
                "SELECT count(*) AS used,
                   count(*) FILTER (WHERE state = 'active' AND pid <> pg_backend_pid()) AS active,
                   count(*) FILTER (WHERE state = 'idle') AS idle,
                   count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS idle_in_transaction,
                   count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting_for_locks,
                   count(*) FILTER (WHERE state IS NULL) AS hidden,
                   current_setting('max_connections')::int AS max,
                   current_setting('superuser_reserved_connections')::int AS reserved
                 FROM pg_stat_activity WHERE backend_type = 'client backend'",
            )
            .await
    }
}

/// Clients of one kind, as the server sees their pool of connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pool {
    pub application: String,
    pub user: Option<String>,
    pub database: Option<String>,
    pub client: String,
    pub connections: u32,
    pub active: u32,
    pub idle: u32,
    pub idle_in_transaction: u32,
    pub waiting_for_locks: u32,
    /// Longest that one of them is idle, seconds.
    pub longest_idle_seconds: Option<f64>,
}

impl Pool {
    /// # Errors
    /// Those of [`Session::rows`].
    pub async fn read(session: &mut Session) -> Result<Vec<Self>, SessionError> {
        session
            .rows(
                "SELECT coalesce(application_name, '') AS application, usename AS user,
                   datname AS database, coalesce(host(client_addr), 'local') AS client,
                   count(*) AS connections,
                   count(*) FILTER (WHERE state = 'active') AS active,
                   count(*) FILTER (WHERE state = 'idle') AS idle,
                   count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS idle_in_transaction,
                   count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting_for_locks,
                   max(extract(epoch FROM clock_timestamp() - state_change)::float8)
                     FILTER (WHERE state = 'idle') AS longest_idle_seconds
                 FROM pg_stat_activity
                 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
                 GROUP BY 1, 2, 3, 4 ORDER BY connections DESC LIMIT 50",
            )
            .await
    }
}
