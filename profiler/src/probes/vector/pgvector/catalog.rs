//! What PostgreSQL's catalogs say of tables with vectors, and of their indexes.

use serde::Deserialize;

use super::Metric;

/// As the catalogs describe it; names are quoted where they must be.
#[derive(Clone, Deserialize)]
pub struct Table {
    pub oid: u32,
    pub name: String,
    pub column: String,
    /// -1 when the type does not say it.
    pub dimensions: i64,
    /// A primary key of one column.
    pub key: Option<String>,
    /// Where the extension is.
    pub schema: String,
}

#[derive(Deserialize)]
pub struct Index {
    pub method: String,
    pub operators: Option<String>,
    pub columns: Vec<String>,
    pub is_partial: bool,
    pub is_valid: bool,
    pub options: Option<String>,
    pub bytes: u64,
}

impl Index {
    pub fn is_approximate(&self) -> bool {
        matches!(self.method.as_str(), "hnsw" | "ivfflat")
    }

    pub fn metric(&self) -> Option<Metric> {
        match self.operators.as_deref()? {
            "vector_cosine_ops" => Some(Metric::Cosine),
            "vector_ip_ops" => Some(Metric::Dot),
            "vector_l2_ops" => Some(Metric::Euclid),
            "vector_l1_ops" => Some(Metric::Manhattan),
            _ => None,
        }
    }
}

pub const TABLES: &str = "
    SELECT c.oid::int8 AS oid, format('%I.%I', n.nspname, c.relname) AS name,
           quote_ident(a.attname) AS column, a.atttypmod AS dimensions,
           (SELECT quote_ident(k.attname) FROM pg_index i
              JOIN pg_attribute k ON k.attrelid = i.indrelid AND k.attnum = i.indkey[0]
             WHERE i.indrelid = c.oid AND i.indisprimary AND i.indnkeyatts = 1) AS key,
           quote_ident(e.nspname) AS schema
      FROM pg_attribute a
      JOIN pg_class c ON c.oid = a.attrelid
      JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_type t ON t.oid = a.atttypid
      JOIN pg_namespace e ON e.oid = t.typnamespace
     WHERE t.typname = 'vector' AND c.relkind IN ('r', 'm') AND NOT a.attisdropped";

/// The indexes of a table.
pub fn indexes(table: &Table) -> String {
    format!(
        "SELECT m.amname AS method,
                    (SELECT o.opcname FROM pg_opclass o WHERE o.oid = i.indclass[0]) AS operators,
                    ARRAY(SELECT quote_ident(a.attname) FROM pg_attribute a
                           WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)) AS columns,
                    i.indpred IS NOT NULL AS is_partial, i.indisvalid AS is_valid,
                    array_to_string(c.reloptions, ', ') AS options,
                    pg_relation_size(c.oid) AS bytes
               FROM pg_index i
               JOIN pg_class c ON c.oid = i.indexrelid
               JOIN pg_am m ON m.oid = c.relam
              WHERE i.indrelid = {}",
        table.oid
    )
}
