//! Tables: their sizes, the free space in them, and those without a primary key.

use serde::{Deserialize, Serialize};

use super::session::{Session, SessionError};

/// Most tables that are read, the largest.
const MOST: usize = 2000;
const LISTED: usize = 20;
/// Free space below this is not worth a rebuild, bytes.
const FREE_BYTES: u64 = 64 << 20;

/// Schemas of the server itself.
pub const SYSTEM: &str = "('mysql', 'sys', 'information_schema', 'performance_schema')";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Table {
    pub schema: String,
    pub name: String,
    pub engine: Option<String>,
    /// As the server estimates it, for InnoDB.
    pub estimated_rows: Option<u64>,
    pub data_bytes: Option<u64>,
    pub index_bytes: Option<u64>,
    /// In its file, or, if it has none of its own, in the file that it shares.
    pub free_bytes: Option<u64>,
}

impl Table {
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    pub fn bytes(&self) -> u64 {
        self.data_bytes.unwrap_or_default() + self.index_bytes.unwrap_or_default()
    }

    /// Of what its file takes.
    pub fn free_percent(&self) -> f64 {
        let free = self.free_bytes.unwrap_or_default();
        free as f64 * 100.0 / (self.bytes() + free).max(1) as f64
    }

    /// # Errors
    /// Those of [`Session::rows`].
    pub async fn read(session: &mut Session) -> Result<Vec<Self>, SessionError> {
        session
            .rows(&format!(
                "TABLE_SCHEMA AS `schema`, TABLE_NAME AS name, ENGINE AS engine,
                   TABLE_ROWS AS estimated_rows, DATA_LENGTH AS data_bytes,
                   INDEX_LENGTH AS index_bytes, DATA_FREE AS free_bytes
                 FROM information_schema.TABLES
                 WHERE TABLE_TYPE = 'BASE TABLE' AND TABLE_SCHEMA NOT IN {SYSTEM}
                 ORDER BY DATA_LENGTH + INDEX_LENGTH DESC LIMIT {MOST}"
            ))
            .await
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Tables {
    pub looked_at: u64,
    /// There are more than were looked at.
    pub cut: bool,
    pub largest: Vec<Table>,
    /// With much free space in their files.
    pub fragmented: Vec<Table>,
    pub without_primary_key: Vec<Table>,
}

impl Tables {
    /// Of the tables with a primary key the names are `keyed`, as [`Table::full_name`].
    pub fn new(tables: &[Table], keyed: impl Fn(&str) -> bool) -> Self {
        let listed = |wanted: &dyn Fn(&Table) -> bool| {
            let tables = tables.iter().filter(|table| wanted(table));
            tables.take(LISTED).cloned().collect::<Vec<_>>()
        };
        let mut fragmented = listed(&|table| table.free_bytes >= Some(FREE_BYTES));
        fragmented.sort_by_key(|table| std::cmp::Reverse(table.free_bytes));
        Self {
            looked_at: tables.len() as u64,
            cut: tables.len() >= MOST,
            largest: listed(&|_| true),
            fragmented,
            without_primary_key: listed(&|table| !keyed(&table.full_name())),
        }
    }
}
