//! Checkpoints, and how much is written ahead.

use serde::{Deserialize, Serialize};

use super::session::{Session, SessionError};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckpointCounters {
    /// Because it was time.
    pub timed: u64,
    /// Because max_wal_size was reached, or somebody asked for one.
    pub requested: u64,
    pub write_ms: f64,
    pub sync_ms: f64,
    pub written_buffers: u64,
    /// Position in the log, in bytes since its beginning; a standby has its own.
    pub wal_position_bytes: Option<f64>,
    pub reset_seconds_ago: Option<f64>,
}

impl CheckpointCounters {
    /// `version` as the server numbers it.
    ///
    /// # Errors
    /// Those of [`Session::rows`].
    pub async fn read(session: &mut Session, version: u32) -> Result<Self, SessionError> {
        let columns = if version >= 170_000 {
            "num_timed AS timed, num_requested AS requested, write_time AS write_ms,
             sync_time AS sync_ms, buffers_written AS written_buffers"
        } else {
            "checkpoints_timed AS timed, checkpoints_req AS requested,
             checkpoint_write_time AS write_ms, checkpoint_sync_time AS sync_ms,
             buffers_checkpoint AS written_buffers"
        };
        let view = if version >= 170_000 {
            "pg_stat_checkpointer"
        } else {
            "pg_stat_bgwriter"
        };
        session
            .row(&format!(
                "SELECT {columns},
                   CASE WHEN NOT pg_is_in_recovery()
                     THEN pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8 END
                     AS wal_position_bytes,
                   extract(epoch FROM clock_timestamp() - stats_reset)::float8 AS reset_seconds_ago
                 FROM {view}"
            ))
            .await
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Checkpoints {
    pub totals: CheckpointCounters,
    /// During the probe; `None` when the counters were reset.
    pub window_timed: Option<u64>,
    pub window_requested: Option<u64>,
    /// Written ahead during the probe; `None` on a standby.
    pub window_wal_bytes: Option<f64>,
}

impl Checkpoints {
    pub fn new(before: &CheckpointCounters, after: CheckpointCounters) -> Self {
        let wal = after.wal_position_bytes.zip(before.wal_position_bytes);
        Self {
            window_timed: after.timed.checked_sub(before.timed),
            window_requested: after.requested.checked_sub(before.requested),
            window_wal_bytes: wal.map(|(after, before)| after - before),
            totals: after,
        }
    }
}
