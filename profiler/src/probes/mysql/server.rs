//! Which server it is, and who uses it.

use serde::{Deserialize, Serialize};

use super::session::{Product, Session, SessionError};

#[derive(Clone, Debug, Serialize)]
pub struct Server {
    pub product: Product,
    pub version: String,
    pub user: String,
    pub read_only: bool,
    /// Whether the account may see the sessions of others (PROCESS).
    pub sees_all_sessions: bool,
    pub performance_schema: bool,
    pub max_connections: u64,
    pub buffer_pool_bytes: u64,
    pub temporary_table_bytes: u64,
    pub table_open_cache: u64,
    pub slow_query_log: bool,
    pub long_query_seconds: f64,
}

impl Server {
    /// # Errors
    /// Those of [`Session::rows`].
    pub async fn read(session: &mut Session) -> Result<Self, SessionError> {
        #[derive(Deserialize)]
        struct Variables {
            account: String,
            read_only: u8,
            performance_schema: u8,
            max_connections: u64,
            buffer_pool_bytes: u64,
            temporary_table_bytes: u64,
            table_open_cache: u64,
            slow_query_log: u8,
            long_query_seconds: f64,
        }
        let read: Variables = session
            .row(
                "CURRENT_USER() AS account, @@GLOBAL.read_only AS read_only,
                   @@GLOBAL.performance_schema AS performance_schema,
                   @@GLOBAL.max_connections AS max_connections,
                   @@GLOBAL.innodb_buffer_pool_size AS buffer_pool_bytes,
                   LEAST(@@GLOBAL.tmp_table_size, @@GLOBAL.max_heap_table_size)
                     AS temporary_table_bytes,
                   @@GLOBAL.table_open_cache AS table_open_cache,
                   @@GLOBAL.slow_query_log AS slow_query_log,
                   @@GLOBAL.long_query_time AS long_query_seconds",
            )
            .await?;
        // The view refuses those who do not have the privilege.
        let transactions = session
            .show("SELECT 1 FROM information_schema.INNODB_TRX LIMIT 1")
            .await;
        let sees_all_sessions = match transactions {
            Ok(_) => true,
            Err(error) if error.wants_privilege() => false,
            Err(error) => return Err(error),
        };
        Ok(Self {
            product: session.product(),
            version: session.version().to_owned(),
            user: read.account,
            read_only: read.read_only != 0,
            sees_all_sessions,
            performance_schema: read.performance_schema != 0,
            max_connections: read.max_connections,
            buffer_pool_bytes: read.buffer_pool_bytes,
            temporary_table_bytes: read.temporary_table_bytes,
            table_open_cache: read.table_open_cache,
            slow_query_log: read.slow_query_log != 0,
            long_query_seconds: read.long_query_seconds,
        })
    }
}

/// Clients of one kind, as the server sees their pool of connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pool {
    pub user: String,
    pub database: Option<String>,
    pub client: String,
    pub connections: u64,
    pub active: u64,
    /// Longest that one of them is idle, seconds.
    pub longest_idle_seconds: Option<u64>,
}

impl Pool {
    /// # Errors
    /// Those of [`Session::rows`].
    pub async fn read(session: &mut Session) -> Result<Vec<Self>, SessionError> {
        session
            .rows(
                "USER AS `user`, DB AS `database`, SUBSTRING_INDEX(HOST, ':', 1) AS client,
                   COUNT(*) AS connections, SUM(COMMAND <> 'Sleep') AS active,
                   MAX(CASE WHEN COMMAND = 'Sleep' THEN TIME END) AS longest_idle_seconds
                 FROM information_schema.PROCESSLIST
                 WHERE ID <> CONNECTION_ID() AND COMMAND <> 'Daemon'
                 GROUP BY USER, DB, SUBSTRING_INDEX(HOST, ':', 1)
                 ORDER BY connections DESC LIMIT 50",
            )
            .await
    }
}
