//! Indexes that others make needless, and indexes that nobody used.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    server::Server,
    session::{Session, SessionError},
    tables::SYSTEM,
};

/// Most columns of indexes that are read.
const MOST: usize = 20_000;
const LISTED: usize = 20;
const PRIMARY: &str = "PRIMARY";

/// A column of an index.
#[derive(Clone, Debug, Deserialize)]
struct Part {
    schema: String,
    table: String,
    name: String,
    kind: String,
    not_unique: u8,
    column: Option<String>,
    /// Only so many characters of it.
    length: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Index {
    pub schema: String,
    pub table: String,
    pub name: String,
    pub unique: bool,
    pub kind: String,
    /// In order; of one that is cut, as `name(10)`.
    pub columns: Vec<String>,
}

impl Index {
    /// Of the schemas of users, in no order.
    ///
    /// # Errors
    /// Those of [`Session::rows`].
    pub async fn read(session: &mut Session) -> Result<(Vec<Self>, bool), SessionError> {
        let parts: Vec<Part> = session
            .rows(&format!(
                "TABLE_SCHEMA AS `schema`, TABLE_NAME AS `table`, INDEX_NAME AS name,
                   INDEX_TYPE AS kind, NON_UNIQUE AS not_unique, COLUMN_NAME AS `column`,
                   SUB_PART AS length
                 FROM information_schema.STATISTICS WHERE TABLE_SCHEMA NOT IN {SYSTEM}
                 ORDER BY TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX LIMIT {MOST}"
            ))
            .await?;
        let cut = parts.len() >= MOST;
        Ok((Self::of_parts(parts), cut))
    }

    fn of_parts(parts: Vec<Part>) -> Vec<Self> {
        let mut indexes: Vec<Self> = Vec::new();
        for part in parts {
            // An expression has no name, and is like no other.
            let column = part
                .column
                .unwrap_or_else(|| format!("(expression of {})", part.name));
            let column = match part.length {
                Some(length) => format!("{column}({length})"),
                None => column,
            };
            match indexes.last_mut() {
                Some(last)
                    if (&last.schema, &last.table, &last.name)
                        == (&part.schema, &part.table, &part.name) =>
                {
                    last.columns.push(column);
                }
                _ => indexes.push(Self {
                    schema: part.schema,
                    table: part.table,
                    name: part.name,
                    unique: part.not_unique == 0,
                    kind: part.kind,
                    columns: vec![column],
                }),
            }
        }
        indexes
    }

    pub fn table_name(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }

    pub fn is_primary(&self) -> bool {
        self.name == PRIMARY
    }

    /// Whether all that this one serves the other does, too: it begins with the
    /// same columns, and what this one keeps unique is kept so.
    fn is_covered_by(&self, other: &Self) -> bool {
        let same_columns = self.columns == other.columns;
        self.name != other.name
            && self.table_name() == other.table_name()
            && self.kind == "BTREE"
            && other.kind == "BTREE"
            && !self.is_primary()
            && other.columns.starts_with(&self.columns)
            && (!self.unique || (same_columns && other.unique))
            // Of two that are the same the first stays.
            && !(same_columns
                && self.unique == other.unique
                && !other.is_primary()
                && self.name < other.name)
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Redundant {
    #[serde(flatten)]
    pub index: Index,
    pub covered_by: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Indexes {
    pub looked_at: u64,
    /// There are more than were looked at.
    pub cut: bool,
    pub redundant: Vec<Redundant>,
    /// Since the server's start; of those that are not unique.
    pub unused: Option<Vec<Index>>,
    /// Why it is not known which were used.
    pub unused_missing: Option<String>,
}

impl Indexes {
    /// # Errors
    /// Those of [`Session::rows`].
    pub async fn new(session: &mut Session, server: &Server, indexes: &[Index], cut: bool) -> Self {
        let (unused, unused_missing) = match unused(session, server, indexes).await {
            Ok(unused) => (Some(unused), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Self {
            looked_at: indexes.len() as u64,
            cut,
            redundant: redundant(indexes),
            unused,
            unused_missing,
        }
    }
}

fn redundant(indexes: &[Index]) -> Vec<Redundant> {
    let mut by_table = BTreeMap::<String, Vec<&Index>>::new();
    for index in indexes {
        by_table.entry(index.table_name()).or_default().push(index);
    }
    let mut found = Vec::new();
    for indexes in by_table.values() {
        for index in indexes {
            if let Some(other) = indexes.iter().find(|other| index.is_covered_by(other)) {
                found.push(Redundant {
                    index: (*index).clone(),
                    covered_by: other.name.clone(),
                });
            }
        }
    }
    found.truncate(LISTED);
    found
}

/// Those that the performance schema has not seen used. Unique ones are there for
/// what they forbid.
async fn unused(
    session: &mut Session,
    server: &Server,
    indexes: &[Index],
) -> Result<Vec<Index>, SessionError> {
    #[derive(Deserialize)]
    struct Use {
        schema: String,
        table: String,
        name: String,
    }
    if !server.performance_schema {
        return Err(SessionError::Off("performance_schema is off".to_owned()));
    }
    let unused: Vec<Use> = session
        .rows(&format!(
            "OBJECT_SCHEMA AS `schema`, OBJECT_NAME AS `table`, INDEX_NAME AS name
             FROM performance_schema.table_io_waits_summary_by_index_usage
             WHERE INDEX_NAME IS NOT NULL AND COUNT_STAR = 0 AND OBJECT_SCHEMA NOT IN {SYSTEM}
             LIMIT {MOST}"
        ))
        .await?;
    let is_unused = |index: &&Index| {
        unused
            .iter()
            .any(|it| it.name == index.name && it.table == index.table && it.schema == index.schema)
    };
    let not_unique = indexes.iter().filter(|index| !index.unique);
    Ok(not_unique.filter(is_unused).take(LISTED).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(name: &str, columns: &[&str], unique: bool) -> Index {
        Index {
            schema: "shop".to_owned(),
            table: "orders".to_owned(),
            name: name.to_owned(),
            unique,
            kind: "BTREE".to_owned(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
        }
    }

    #[test]
    fn an_index_is_covered_by_one_that_begins_alike() {
        let indexes = [
            index(PRIMARY, &["id"], true),
            index("a", &["customer"], false),
            index("a_b", &["customer", "day"], false),
            index("a_b_again", &["customer", "day"], false),
            index("b", &["day"], false),
            index("id_again", &["id"], true),
            index("prefix", &["customer(10)"], false),
            index("u", &["customer"], true),
        ];
        let found: Vec<(String, String)> = redundant(&indexes)
            .into_iter()
            .map(|it| (it.index.name, it.covered_by))
            .collect();
        let expected = [("a", "a_b"), ("a_b_again", "a_b"), ("id_again", PRIMARY)];
        let expected = expected.map(|(name, by)| (name.to_owned(), by.to_owned()));
        assert_eq!(found, expected);
    }

    #[test]
    fn columns_are_put_together() {
        let part = |name: &str, column: &str, length| Part {
            schema: "shop".to_owned(),
            table: "orders".to_owned(),
            name: name.to_owned(),
            kind: "BTREE".to_owned(),
            not_unique: 1,
            column: Some(column.to_owned()),
            length,
        };
        let parts = vec![
            part("a", "customer", None),
            part("a", "note", Some(10)),
            part("b", "day", None),
        ];
        let indexes = Index::of_parts(parts);
        assert_eq!(indexes[0].columns, ["customer", "note(10)"]);
        assert_eq!(indexes.len(), 2);
    }
}
