//! How far behind copies of the server are.

use serde::{Deserialize, Serialize};

use super::session::{Session, SessionError};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Standby {
    pub application: Option<String>,
    pub client: Option<String>,
    pub state: Option<String>,
    pub sync_state: Option<String>,
    /// What it has not replayed yet.
    pub lag_bytes: Option<f64>,
    pub replay_lag_seconds: Option<f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Slot {
    pub name: String,
    pub kind: String,
    pub active: bool,
    /// Kept in the log for it.
    pub retained_bytes: Option<f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recovery {
    /// Received but not replayed.
    pub lag_bytes: Option<f64>,
    /// Since the last transaction that was replayed; grows too when the primary
    /// has nothing to say.
    pub replayed_seconds_ago: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Replication {
    pub standbys: Vec<Standby>,
    pub slots: Vec<Slot>,
    /// Of this server, when it is a standby itself.
    pub recovery: Option<Recovery>,
}

impl Replication {
    /// # Errors
    /// Those of [`Session::rows`].
    pub async fn read(session: &mut Session, in_recovery: bool) -> Result<Self, SessionError> {
        let here = if in_recovery {
            "pg_last_wal_replay_lsn()"
        } else {
            "pg_current_wal_lsn()"
        };
        let standbys = session
            .rows(&format!(
                "SELECT application_name AS application, host(client_addr) AS client, state,
                   sync_state, pg_wal_lsn_diff({here}, replay_lsn)::float8 AS lag_bytes,
                   extract(epoch FROM replay_lag)::float8 AS replay_lag_seconds
                 FROM pg_stat_replication ORDER BY lag_bytes DESC NULLS LAST LIMIT 100"
            ))
            .await?;
        let slots = session
            .rows(&format!(
                "SELECT slot_name AS name, slot_type AS kind, active,
                   pg_wal_lsn_diff({here}, restart_lsn)::float8 AS retained_bytes
                 FROM pg_replication_slots ORDER BY retained_bytes DESC NULLS LAST LIMIT 100"
            ))
            .await?;
        let recovery = if in_recovery {
            let row = session
                .row(
                    "SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(),
                       pg_last_wal_replay_lsn())::float8 AS lag_bytes,
                     extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8
                       AS replayed_seconds_ago",
                )
                .await?;
            Some(row)
        } else {
            None
        };
        Ok(Self {
            standbys,
            slots,
            recovery,
        })
    }
}
