//! Space in the files of B-trees that their entries do not need.
//!
//! Layout: `IndexTupleData` of src/include/access/itup.h, `BTPageOpaqueData`,
//! `BTREE_DEFAULT_FILLFACTOR`, `BTREE_NONLEAF_FILLFACTOR` and posting lists of
//! src/include/access/nbtree.h; how large those get when an index is built,
//! `_bt_load` of src/backend/access/nbtree/nbtsort.c (13 to 18).

use serde::{Deserialize, Serialize};

use super::{
    super::session::{Session, SessionError},
    Estimates, FEWEST_PAGES, File, MOST, Spare, full_name,
    width::{ColumnStatistics, ITEM, MOST_ALIGNED, PAGE_HEADER, Width},
};

/// `BTPageOpaqueData`, at the end of each page.
const SPECIAL: f64 = 16.0;
const ENTRY_HEADER: u64 = 8;
/// `IndexAttributeBitMapData` has room for all that an index can have.
const BITMAP_COLUMNS: usize = 32;
/// Of a page, how much the posting lists of an index that is built take at most.
const POSTING_SHARE: f64 = 0.1;
/// `ItemPointerData`.
const ROW_POINTER: f64 = 6.0;
const INNER_FILL: f64 = 0.7;

#[derive(Clone, Debug, Serialize)]
pub struct IndexesBloat {
    /// By bytes; those with any.
    pub indexes: Vec<IndexBloat>,
    pub estimated_indexes: u64,
    /// Indexes of which there is no estimate: partial ones, those that are no
    /// B-trees, were never analyzed, or whose statistics this role may not see.
    pub indexes_without_statistics: u64,
    /// Indexes of tables that changed since.
    pub indexes_changed_since: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct IndexBloat {
    pub index: String,
    pub table: String,
    /// What it has beyond what it would have after REINDEX.
    #[serde(flatten)]
    pub spare: Spare,
}

#[derive(Deserialize)]
struct Row {
    schema: String,
    table: String,
    name: String,
    rows: f64,
    #[serde(flatten)]
    file: File,
    fill_percent: f64,
    btree: bool,
    partial: bool,
    /// Equal keys can be kept once, as far as its operators and options go.
    deduplicates: bool,
    columns: Vec<ColumnStatistics>,
    /// By key column, as `pg_stats.n_distinct`: below 0 it is a share of the rows.
    distinct: Vec<Option<f64>>,
}

impl IndexesBloat {
    /// # Errors
    /// Those of [`Session::rows`].
    pub async fn read(session: &mut Session) -> Result<Self, SessionError> {
        // Support function 4 of an operator class, BTEQUALIMAGE_PROC, says that
        // equal keys look the same; it came with deduplication. Statistics of
        // expressions are those of the index's own columns.
        let rows: Vec<Row> = session
            .rows(&format!(
                "SELECT s.schemaname AS schema, s.relname AS table, s.indexrelname AS name,
                   c.reltuples::float8 AS rows, c.relpages::int8 AS pages,
                   current_setting('block_size')::int8 AS block_size,
                   coalesce((SELECT option_value::float8 FROM pg_options_to_table(c.reloptions)
                     WHERE option_name = 'fillfactor'), 90) AS fill_percent,
                   t.n_live_tup AS live_rows, t.n_mod_since_analyze AS changed_rows,
                   m.amname = 'btree' AS btree, i.indpred IS NOT NULL AS partial,
                   NOT i.indisunique AND i.indnatts = i.indnkeyatts
                     AND coalesce((SELECT option_value::bool FROM pg_options_to_table(c.reloptions)
                       WHERE option_name = 'deduplicate_items'), true)
                     AND NOT EXISTS (SELECT FROM unnest(i.indclass) AS k(class)
                       JOIN pg_opclass o ON o.oid = k.class WHERE NOT EXISTS
                         (SELECT FROM pg_amproc p WHERE p.amprocfamily = o.opcfamily
                           AND p.amprocnum = 4 AND p.amproclefttype = o.opcintype))
                     AS deduplicates,
                   d.columns, d.distinct
                 FROM pg_stat_user_indexes s JOIN pg_index i ON i.indexrelid = s.indexrelid
                 JOIN pg_class c ON c.oid = s.indexrelid JOIN pg_am m ON m.oid = c.relam
                 JOIN pg_stat_user_tables t ON t.relid = s.relid
                 CROSS JOIN LATERAL (SELECT
                     coalesce(json_agg(json_build_object('length', a.attlen,
                       'alignment', a.attalign, 'width', p.avg_width, 'nulls', p.null_frac)
                       ORDER BY k.place), '[]') AS columns,
                     array_agg(p.n_distinct::float8 ORDER BY k.place) AS distinct
                   FROM unnest(i.indkey) WITH ORDINALITY AS k(number, place)
                   JOIN pg_attribute a ON a.attrelid = i.indexrelid AND a.attnum = k.place
                   LEFT JOIN pg_attribute b ON b.attrelid = i.indrelid AND b.attnum = k.number
                     AND k.number > 0
                   LEFT JOIN pg_stats p ON p.schemaname = s.schemaname AND NOT p.inherited
                     AND p.tablename = CASE WHEN k.number > 0 THEN s.relname
                       ELSE s.indexrelname END
                     AND p.attname = coalesce(b.attname, a.attname)) AS d
                 WHERE c.relpages >= {FEWEST_PAGES} AND i.indisvalid
                 ORDER BY c.relpages DESC LIMIT {MOST}"
            ))
            .await?;
        Ok(Self::of(&rows))
    }

    fn of(rows: &[Row]) -> Self {
        let files = rows.iter().map(|row| (row.file, row.needed_pages(), row));
        let estimates = Estimates::of(files, |row, spare| IndexBloat {
            index: full_name(&row.schema, &row.name),
            table: full_name(&row.schema, &row.table),
            spare,
        });
        Self {
            indexes: estimates.found,
            estimated_indexes: estimates.estimated,
            indexes_without_statistics: estimates.without_statistics,
            indexes_changed_since: estimates.changed_since,
        }
    }
}

impl Row {
    /// Pages that it would have if it were built anew.
    fn needed_pages(&self) -> Option<f64> {
        if self.rows < 0.0 || self.columns.is_empty() || !self.btree || self.partial {
            return None;
        }
        let values = Width::of(&self.columns)?;
        let header = values.header(ENTRY_HEADER, BITMAP_COLUMNS);
        let entry = ITEM + header + values.aligned();
        let page = self.file.block_size as f64 - PAGE_HEADER - SPECIAL;
        let leaf = if self.deduplicates {
            self.posting_lists(entry)?
        } else {
            Entries {
                count: self.rows,
                bytes: entry,
            }
        };
        // Of a page that is full the last entry goes to the next one, and its key
        // stays as the upper bound.
        let room = page * self.fill_percent / 100.0 - leaf.bytes / 2.0 - entry;
        let leaves = f64::ceil(leaf.count * leaf.bytes / room.max(leaf.bytes));
        // Above the leaves, one entry for each page below, down to a single root.
        let per_inner_page = (page * INNER_FILL / entry).max(2.0);
        let (mut pages, mut level) = (leaves, leaves);
        while level > 1.0 {
            level = f64::ceil(level / per_inner_page);
            pages += level;
        }
        // The first page is about the index itself.
        Some(pages + 1.0)
    }

    /// The leaves' entries when equal keys are kept once, with a list of rows.
    fn posting_lists(&self, entry: f64) -> Option<Entries> {
        let mut keys = 1.0;
        for distinct in &self.distinct {
            let distinct = (*distinct)?;
            keys *= if distinct < 0.0 {
                -distinct * self.rows
            } else {
                distinct
            }
            .max(1.0);
        }
        // How columns go together is not known: apart, there are most keys, and
        // so the estimate is rather too low than too high.
        let keys = keys.min(self.rows).max(1.0);
        let rows_per_key = self.rows / keys;
        if rows_per_key < 2.0 {
            return Some(Entries {
                count: self.rows,
                bytes: entry,
            });
        }
        let aligned = MOST_ALIGNED as f64;
        let largest =
            f64::floor(self.file.block_size as f64 * POSTING_SHARE / aligned) * aligned - ITEM;
        let per_list = f64::floor((largest - (entry - ITEM)) / ROW_POINTER).max(1.0);
        let lists = f64::ceil(rows_per_key / per_list);
        Some(Entries {
            count: keys * lists,
            bytes: entry + rows_per_key / lists * ROW_POINTER + (aligned - 1.0) / 2.0,
        })
    }
}

/// Entries of the leaves.
struct Entries {
    count: f64,
    /// Of each, with its item.
    bytes: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(distinct: f64) -> Row {
        Row {
            schema: "public".to_owned(),
            table: "t".to_owned(),
            name: "t_id".to_owned(),
            rows: 1_000_000.0,
            file: File {
                pages: 6000,
                block_size: 8192,
                live_rows: 1_000_000,
                changed_rows: 0,
            },
            fill_percent: 90.0,
            btree: true,
            partial: false,
            deduplicates: true,
            columns: vec![ColumnStatistics {
                length: 4,
                alignment: "i".to_owned(),
                width: Some(4.0),
                nulls: Some(0.0),
            }],
            distinct: vec![Some(distinct)],
        }
    }

    /// A million integers: `pg_relation_size` of PostgreSQL 15 is 2745 pages, all
    /// different, and 896 with a thousand of each.
    #[test]
    fn pages_of_a_million_integers() {
        for (distinct, pages) in [(-1.0, 2745.0), (1000.0, 896.0)] {
            let needed = row(distinct).needed_pages().unwrap_or_default();
            assert!(
                (needed / pages - 1.0).abs() < 0.02,
                "{needed} instead of {pages}"
            );
        }
    }

    #[test]
    fn what_is_not_known_is_not_estimated() {
        let partial = Row {
            partial: true,
            ..row(-1.0)
        };
        let unknown = Row {
            distinct: vec![None],
            ..row(-1.0)
        };
        let mut changed = row(-1.0);
        changed.file.changed_rows = 500_000;
        let found = IndexesBloat::of(&[partial, unknown, changed, row(-1.0)]);
        assert_eq!(found.indexes_without_statistics, 2);
        assert_eq!(found.indexes_changed_since, 1);
        assert_eq!(found.estimated_indexes, 1);
        assert_eq!(found.indexes.len(), 1);
    }
}
