//! How tables are read, and whether vacuum keeps up with them.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::session::{Session, SessionError};

/// Most tables that are looked at, the largest first.
const MOST: usize = 2000;
const LISTED: usize = 20;
/// A table is large from here: reading it whole costs milliseconds.
pub const LARGE_ROWS: u64 = 10_000;

/// Relations that somebody holds for himself: to ask for their size would wait.
pub const LOCKED: &str = "ARRAY(SELECT relation FROM pg_locks
     WHERE mode = 'AccessExclusiveLock' AND relation IS NOT NULL)";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Table {
    pub id: u64,
    pub schema: String,
    pub name: String,
    /// As of its last vacuum or analyze; -1 before the first.
    pub estimated_rows: f64,
    /// With its TOAST; `None` while somebody holds it for himself.
    pub bytes: Option<u64>,
    pub sequential_scans: u64,
    pub sequentially_read_rows: u64,
    pub index_scans: u64,
    pub live_rows: u64,
    pub dead_rows: u64,
    pub rows_modified_since_analyze: u64,
    pub updated_rows: u64,
    pub hot_updated_rows: u64,
    /// Dead rows from which autovacuum is due.
    pub vacuum_due_rows: f64,
    pub vacuumed_seconds_ago: Option<f64>,
    pub analyzed_seconds_ago: Option<f64>,
    pub frozen_transaction_age: Option<i64>,
}

impl Table {
    pub fn full_name(&self) -> String {
        match self.schema.as_str() {
            "public" => self.name.clone(),
            schema => format!("{schema}.{}", self.name),
        }
    }

    pub fn dead_percent(&self) -> f64 {
        let all = self.live_rows + self.dead_rows;
        self.dead_rows as f64 * 100.0 / all.max(1) as f64
    }

    /// # Errors
    /// Those of [`Session::rows`].
    pub async fn read(session: &mut Session) -> Result<Vec<Self>, SessionError> {
        let option = |name: &str| {
            format!(
                "coalesce((SELECT option_value::float8 FROM pg_options_to_table(c.reloptions)
                   WHERE option_name = '{name}'), current_setting('{name}')::float8)"
            )
        };
        let threshold = option("autovacuum_vacuum_threshold");
        let factor = option("autovacuum_vacuum_scale_factor");
        session
            .rows(&format!(
                "SELECT s.relid::int8 AS id, s.schemaname AS schema, s.relname AS name,
                   c.reltuples::float8 AS estimated_rows,
                   CASE WHEN s.relid <> ALL ({LOCKED}) THEN pg_table_size(s.relid) END AS bytes,
                   s.seq_scan AS sequential_scans, s.seq_tup_read AS sequentially_read_rows,
                   coalesce(s.idx_scan, 0) AS index_scans,
                   s.n_live_tup AS live_rows, s.n_dead_tup AS dead_rows,
                   s.n_mod_since_analyze AS rows_modified_since_analyze,
                   s.n_tup_upd AS updated_rows, s.n_tup_hot_upd AS hot_updated_rows,
                   {threshold} + {factor} * greatest(c.reltuples, 0)::float8 AS vacuum_due_rows,
                   extract(epoch FROM clock_timestamp()
                     - greatest(s.last_vacuum, s.last_autovacuum))::float8 AS vacuumed_seconds_ago,
                   extract(epoch FROM clock_timestamp()
                     - greatest(s.last_analyze, s.last_autoanalyze))::float8 AS analyzed_seconds_ago,
                   CASE WHEN c.relfrozenxid <> '0'::xid THEN age(c.relfrozenxid) END
                     AS frozen_transaction_age
                 FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
                 ORDER BY c.relpages DESC LIMIT {MOST}"
            ))
            .await
    }
}

/// Reads of a table from its beginning to its end.
#[derive(Clone, Debug, Serialize)]
pub struct SequentialReads {
    pub table: Table,
    pub window_scans: u64,
    pub window_rows: u64,
}

impl SequentialReads {
    /// Whether all rows of a large table were read at least once.
    pub fn of_large_table(&self) -> bool {
        let rows = self.window_rows.max(self.table.sequentially_read_rows);
        self.table.live_rows >= LARGE_ROWS && rows >= self.table.live_rows
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Tables {
    pub looked_at: u64,
    /// More tables than are looked at: the smallest were left out.
    pub cut: bool,
    /// Those read whole during the probe, else since the reset; by rows read.
    pub sequential_reads: Vec<SequentialReads>,
    /// By dead rows.
    pub dead_rows: Vec<Table>,
}

impl Tables {
    pub fn new(before: &[Table], after: &[Table]) -> Self {
        let earlier: HashMap<u64, &Table> = before.iter().map(|table| (table.id, table)).collect();
        let mut reads: Vec<SequentialReads> = after
            .iter()
            .filter(|table| table.sequential_scans > 0)
            .map(|table| {
                let earlier = earlier.get(&table.id);
                let since = |count: fn(&Table) -> u64| {
                    let before = earlier.map_or(0, |table| count(table));
                    count(table).saturating_sub(before)
                };
                SequentialReads {
                    window_scans: since(|table| table.sequential_scans),
                    window_rows: since(|table| table.sequentially_read_rows),
                    table: table.clone(),
                }
            })
            .collect();
        reads
            .sort_by_key(|it| std::cmp::Reverse((it.window_rows, it.table.sequentially_read_rows)));
        reads.truncate(LISTED);
        let mut dead: Vec<Table> = after
            .iter()
            .filter(|table| table.dead_rows > 0)
            .cloned()
            .collect();
        dead.sort_by_key(|table| std::cmp::Reverse(table.dead_rows));
        dead.truncate(LISTED);
        Self {
            looked_at: after.len() as u64,
            cut: after.len() >= MOST,
            sequential_reads: reads,
            dead_rows: dead,
        }
    }
}
