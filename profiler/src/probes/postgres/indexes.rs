//! Indexes that nobody uses, that another does the work of, or that are missing.

use serde::{Deserialize, Serialize};

use super::{
    session::{Session, SessionError},
    tables::LOCKED,
};

const MOST: usize = 5000;
const LISTED: usize = 50;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Index {
    pub table_id: u64,
    pub schema: String,
    pub table: String,
    pub name: String,
    pub scans: u64,
    /// `None` while somebody holds it for himself.
    pub bytes: Option<u64>,
    pub unique: bool,
    /// Of a primary key or another constraint.
    pub constraint: bool,
    pub valid: bool,
    pub method: String,
    /// Names, in order; `None` is an expression.
    pub columns: Vec<Option<String>>,
    /// How many of the columns are keys and not just included.
    pub key_columns: u16,
    /// What makes two indexes on the same columns differ.
    #[serde(skip_serializing)]
    traits: Vec<String>,
    #[serde(skip_serializing)]
    rest: String,
}

impl Index {
    /// # Errors
    /// Those of [`Session::rows`].
    pub async fn read(session: &mut Session) -> Result<Vec<Self>, SessionError> {
        session
            .rows(&format!(
                "SELECT s.relid::int8 AS table_id, s.schemaname AS schema, s.relname AS table,
                   s.indexrelname AS name, s.idx_scan AS scans,
                   CASE WHEN s.indexrelid <> ALL ({LOCKED}) AND s.relid <> ALL ({LOCKED})
                     THEN pg_relation_size(s.indexrelid) END AS bytes,
                   i.indisunique AS unique, i.indisvalid AS valid, a.amname AS method,
                   EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid) AS constraint,
                   i.indnkeyatts AS key_columns,
                   ARRAY(SELECT t.attname FROM unnest(i.indkey) WITH ORDINALITY AS k(number, place)
                     LEFT JOIN pg_attribute t ON t.attrelid = i.indrelid AND t.attnum = k.number
                     ORDER BY place) AS columns,
                   ARRAY(SELECT k.number || ' ' || coalesce(c.value::text, '') || ' '
                       || coalesce(l.value::text, '') || ' ' || coalesce(o.value::text, '')
                     FROM unnest(i.indkey) WITH ORDINALITY AS k(number, place)
                     LEFT JOIN unnest(i.indclass) WITH ORDINALITY AS c(value, place) USING (place)
                     LEFT JOIN unnest(i.indcollation) WITH ORDINALITY AS l(value, place)
                       USING (place)
                     LEFT JOIN unnest(i.indoption) WITH ORDINALITY AS o(value, place) USING (place)
                     ORDER BY place) AS traits,
                   concat_ws(' ', pg_get_expr(i.indpred, i.indrelid), '/',
                     pg_get_expr(i.indexprs, i.indrelid)) AS rest
                 FROM pg_stat_user_indexes s JOIN pg_index i ON i.indexrelid = s.indexrelid
                 JOIN pg_class c ON c.oid = s.indexrelid JOIN pg_am a ON a.oid = c.relam
                 ORDER BY c.relpages DESC LIMIT {MOST}"
            ))
            .await
    }

    /// Whether it is needed for what it forbids, not only for what it finds.
    fn enforces(&self) -> bool {
        self.unique || self.constraint
    }

    /// Whether another finds all that this one finds.
    fn is_covered_by(&self, other: &Self) -> bool {
        let same_kind = self.table_id == other.table_id
            && self.method == other.method
            && self.rest == other.rest
            && other.valid;
        let expressions = self.columns.contains(&None);
        let equal = self.traits == other.traits && self.key_columns == other.key_columns;
        // Only of a B-tree the first columns alone can be searched as well.
        let prefix = self.method == "btree"
            && !expressions
            && self.traits.len() == usize::from(self.key_columns)
            && other.key_columns > self.key_columns
            && other.traits.starts_with(&self.traits);
        same_kind && (equal || prefix)
    }

    pub fn column_list(&self) -> String {
        let names = self
            .columns
            .iter()
            .map(|name| name.as_deref().unwrap_or("(expression)"));
        names.collect::<Vec<_>>().join(", ")
    }

    pub fn full_name(&self) -> String {
        match self.schema.as_str() {
            "public" => self.name.clone(),
            schema => format!("{schema}.{}", self.name),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Duplicate {
    pub index: Index,
    /// The name of the one that does its work.
    pub covered_by: String,
    pub identical: bool,
}

/// Deleting or changing a row on the other side reads this table whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UnindexedForeignKey {
    pub schema: String,
    pub table: String,
    pub name: String,
    pub columns: Vec<String>,
    pub estimated_rows: f64,
}

impl UnindexedForeignKey {
    /// # Errors
    /// Those of [`Session::rows`].
    pub async fn read(session: &mut Session) -> Result<Vec<Self>, SessionError> {
        session
            .rows(&format!(
                "SELECT n.nspname AS schema, c.relname AS table, k.conname AS name,
                   ARRAY(SELECT a.attname FROM unnest(k.conkey) WITH ORDINALITY AS u(number, place)
                     JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number
                     ORDER BY place) AS columns, c.reltuples::float8 AS estimated_rows
                 FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
                 JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE k.contype = 'f' AND NOT EXISTS (SELECT FROM pg_index i
                   WHERE i.indrelid = k.conrelid AND i.indpred IS NULL AND i.indisvalid
                     AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey)
                 ORDER BY c.reltuples DESC LIMIT {LISTED}"
            ))
            .await
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Indexes {
    pub looked_at: u64,
    /// More indexes than are looked at: the smallest were left out.
    pub cut: bool,
    /// Never used since the reset; those that enforce something are left out.
    pub unused: Vec<Index>,
    pub duplicate: Vec<Duplicate>,
    /// Left behind by a failed `CREATE INDEX CONCURRENTLY`.
    pub invalid: Vec<Index>,
    pub unindexed_foreign_keys: Vec<UnindexedForeignKey>,
}

impl Indexes {
    pub fn new(indexes: &[Index], unindexed_foreign_keys: Vec<UnindexedForeignKey>) -> Self {
        let list = |wanted: fn(&Index) -> bool| {
            let found = indexes.iter().filter(|index| wanted(index));
            found.take(LISTED).cloned().collect()
        };
        Self {
            looked_at: indexes.len() as u64,
            cut: indexes.len() >= MOST,
            unused: list(|index| index.scans == 0 && !index.enforces() && index.valid),
            duplicate: duplicates(indexes),
            invalid: list(|index| !index.valid),
            unindexed_foreign_keys,
        }
    }
}

/// Of two that are the same, the one that can go.
fn duplicates(indexes: &[Index]) -> Vec<Duplicate> {
    let mut found: Vec<Duplicate> = Vec::new();
    for (place, index) in indexes.iter().enumerate() {
        if index.enforces() || !index.valid {
            continue;
        }
        let cover = indexes.iter().enumerate().find(|(other_place, other)| {
            let mutual = index.traits == other.traits && !other.enforces();
            // The later name of a pair goes.
            place != *other_place
                && index.is_covered_by(other)
                && (!mutual || index.name > other.name)
        });
        if let Some((_, cover)) = cover {
            found.push(Duplicate {
                index: index.clone(),
                covered_by: cover.name.clone(),
                identical: index.traits == cover.traits,
            });
        }
    }
    found.truncate(LISTED);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(name: &str, columns: &[&str]) -> Index {
        Index {
            table_id: 1,
            schema: "public".to_owned(),
            table: "t".to_owned(),
            name: name.to_owned(),
            scans: 0,
            bytes: None,
            unique: false,
            constraint: false,
            valid: true,
            method: "btree".to_owned(),
            columns: columns.iter().map(|it| Some((*it).to_owned())).collect(),
            key_columns: columns.len() as u16,
            traits: columns.iter().map(|it| (*it).to_owned()).collect(),
            rest: " / ".to_owned(),
        }
    }

    #[test]
    fn duplicates_are_those_that_can_go() {
        let primary = Index {
            unique: true,
            constraint: true,
            ..index("t_pkey", &["id"])
        };
        let partial = Index {
            rest: "(x > 1) / ".to_owned(),
            ..index("partial", &["a"])
        };
        let hash = Index {
            method: "hash".to_owned(),
            ..index("hash", &["a"])
        };
        let indexes = [
            primary,
            index("again", &["id"]),
            index("one", &["a"]),
            index("two", &["a", "b"]),
            index("two_too", &["a", "b"]),
            index("other", &["b"]),
            partial,
            hash,
        ];
        let found: Vec<_> = duplicates(&indexes)
            .iter()
            .map(|it| format!("{} {} {}", it.index.name, it.covered_by, it.identical))
            .collect();
        assert_eq!(
            found,
            ["again t_pkey true", "one two false", "two_too two true"]
        );
    }
}
