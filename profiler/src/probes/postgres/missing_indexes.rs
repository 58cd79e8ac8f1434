//! Which index a table lacks, by what its statements compare.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    indexes::{Index, Indexes},
    session::{Session, SessionError},
    statements::Statements,
    tables::{SequentialReads, Tables},
    words::{compares, names, words},
};
use crate::probes::database::Section;

/// A table that is read whole by a statement that looks for some of its rows.
#[derive(Clone, Debug, Serialize)]
pub struct MissingIndex {
    pub table: String,
    pub column: String,
    pub query: String,
    pub query_id: String,
    /// Calls of the statement in the window, or since the reset when it did not
    /// run in the window.
    pub calls: u64,
    pub in_window: bool,
}

#[derive(Deserialize)]
struct ColumnName {
    table_id: u64,
    name: String,
}

/// Statements on large tables that are read whole, which compare a column that
/// no index begins with. It is read from texts and the catalog, not from plans.
///
/// # Errors
/// Why one of its sources is missing.
pub async fn missing_indexes(
    session: &mut Session,
    tables: &Result<Tables, String>,
    indexes: &Result<(Indexes, Vec<Index>), SessionError>,
    statements: &Section<Statements>,
) -> Result<Vec<MissingIndex>, String> {
    let tables = tables.as_ref().map_err(Clone::clone)?;
    let (_, indexes) = indexes.as_ref().map_err(ToString::to_string)?;
    let Section::Measured { data: statements } = statements else {
        return Err(statements.reason().unwrap_or_default().to_owned());
    };
    let large: Vec<&SequentialReads> = tables
        .sequential_reads
        .iter()
        .filter(|reads| reads.of_large_table())
        .collect();
    if large.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = large
        .iter()
        .map(|reads| reads.table.id.to_string())
        .collect();
    let columns: Vec<ColumnName> = session
        .rows(&format!(
            "SELECT attrelid::int8 AS table_id, attname AS name FROM pg_attribute
             WHERE attrelid IN ({}) AND attnum > 0 AND NOT attisdropped",
            ids.join(",")
        ))
        .await
        .map_err(|error| error.to_string())?;
    let mut found: BTreeMap<(String, String), MissingIndex> = BTreeMap::new();
    let both = [(&statements.window, true), (&statements.totals, false)];
    for (statement, in_window) in both
        .into_iter()
        .flat_map(|(list, window)| list.iter().map(move |statement| (statement, window)))
    {
        let words = words(&statement.query);
        for reads in &large {
            let table = &reads.table;
            if !names(&words, &table.name) {
                continue;
            }
            for column in columns.iter().filter(|column| column.table_id == table.id) {
                let leads = indexes.iter().any(|index| {
                    index.table_id == table.id
                        && index.columns.first() == Some(&Some(column.name.clone()))
                });
                if leads || !compares(&words, &column.name) {
                    continue;
                }
                let key = (table.full_name(), column.name.clone());
                found.entry(key).or_insert_with(|| MissingIndex {
                    table: table.full_name(),
                    column: column.name.clone(),
                    query: statement.query.clone(),
                    query_id: statement.query_id.clone(),
                    calls: statement.calls,
                    in_window,
                });
            }
        }
    }
    Ok(found.into_values().collect())
}
