//! Space in the files of tables that their rows do not need: what rows of such
//! values take is known from the planner's statistics.
//!
//! Layout: `HeapTupleHeaderData` of src/include/access/htup_details.h (12 to 18).

use serde::{Deserialize, Serialize};

use super::{
    super::session::{Session, SessionError},
    Estimates, FEWEST_PAGES, File, MOST, Spare, full_name,
    width::{ColumnStatistics, ITEM, PAGE_HEADER, Width},
};

const ROW_HEADER: u64 = 23;

#[derive(Clone, Debug, Serialize)]
pub struct TablesBloat {
    /// By bytes; those with any.
    pub tables: Vec<TableBloat>,
    pub estimated_tables: u64,
    /// Tables of which there is no estimate: never or not lately analyzed, or
    /// their statistics are not shown to this role.
    pub tables_without_statistics: u64,
    pub tables_changed_since: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct TableBloat {
    pub table: String,
    /// Of the table's own file, without TOAST and indexes.
    #[serde(flatten)]
    pub spare: Spare,
}

#[derive(Deserialize)]
struct Row {
    schema: String,
    name: String,
    rows: f64,
    #[serde(flatten)]
    file: File,
    fill_percent: f64,
    columns: Vec<ColumnStatistics>,
}

impl TablesBloat {
    /// # Errors
    /// Those of [`Session::rows`].
    pub async fn read(session: &mut Session) -> Result<Self, SessionError> {
        let rows: Vec<Row> = session
            .rows(&format!(
                "SELECT s.schemaname AS schema, s.relname AS name, c.reltuples::float8 AS rows,
                   c.relpages::int8 AS pages, current_setting('block_size')::int8 AS block_size,
                   coalesce((SELECT option_value::float8 FROM pg_options_to_table(c.reloptions)
                     WHERE option_name = 'fillfactor'), 100) AS fill_percent,
                   s.n_live_tup AS live_rows, s.n_mod_since_analyze AS changed_rows,
                   coalesce((SELECT json_agg(json_build_object('length', a.attlen,
                       'alignment', a.attalign, 'width', p.avg_width, 'nulls', p.null_frac)
                       ORDER BY a.attnum)
                     FROM pg_attribute a LEFT JOIN pg_stats p ON p.schemaname = s.schemaname
                       AND p.tablename = s.relname AND p.attname = a.attname AND NOT p.inherited
                     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]')
                     AS columns
                 FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
                 WHERE c.relpages >= {FEWEST_PAGES} ORDER BY c.relpages DESC LIMIT {MOST}"
            ))
            .await?;
        Ok(Self::of(&rows))
    }

    fn of(rows: &[Row]) -> Self {
        let files = rows.iter().map(|row| (row.file, row.needed_pages(), row));
        let estimates = Estimates::of(files, |row, spare| TableBloat {
            table: full_name(&row.schema, &row.name),
            spare,
        });
        Self {
            tables: estimates.found,
            estimated_tables: estimates.estimated,
            tables_without_statistics: estimates.without_statistics,
            tables_changed_since: estimates.changed_since,
        }
    }
}

impl Row {
    /// Pages that the rows fill, with the space that they are to leave.
    fn needed_pages(&self) -> Option<f64> {
        if self.rows < 0.0 || self.columns.is_empty() {
            return None;
        }
        let row = Width::of(&self.columns)?;
        let header = row.header(ROW_HEADER, self.columns.len());
        let usable = (self.file.block_size as f64 - PAGE_HEADER) * self.fill_percent / 100.0;
        let per_page = (usable / (ITEM + header + row.aligned())).max(1.0);
        let per_page = if row.varies {
            per_page
        } else {
            per_page.floor()
        };
        Some(f64::ceil(self.rows / per_page))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: &[(i64, &str, f64, f64)]) -> Row {
        Row {
            schema: "public".to_owned(),
            name: "t".to_owned(),
            rows: 100_000.0,
            file: File {
                pages: 1000,
                block_size: 8192,
                live_rows: 100_000,
                changed_rows: 0,
            },
            fill_percent: 100.0,
            columns: columns
                .iter()
                .map(|&(length, alignment, width, nulls)| ColumnStatistics {
                    length,
                    alignment: alignment.to_owned(),
                    width: Some(width),
                    nulls: Some(nulls),
                })
                .collect(),
        }
    }

    /// By the layout: 226 rows of one int, 185 of an int and a bigint a page.
    #[test]
    fn rows_of_fixed_length() {
        let pages = row(&[(4, "i", 4.0, 0.0)]).needed_pages();
        assert_eq!(pages, Some(f64::ceil(100_000.0 / 226.0)));
        let pages = row(&[(4, "i", 4.0, 0.0), (8, "d", 8.0, 0.0)]).needed_pages();
        assert_eq!(pages, Some(f64::ceil(100_000.0 / 185.0)));
    }

    #[test]
    fn what_is_not_known_is_not_estimated() {
        let mut unknown = row(&[(4, "i", 4.0, 0.0)]);
        unknown.columns[0].width = None;
        let mut changed = row(&[(4, "i", 4.0, 0.0)]);
        changed.file.changed_rows = 50_000;
        let found = TablesBloat::of(&[unknown, changed, row(&[(4, "i", 4.0, 0.0)])]);
        assert_eq!(found.estimated_tables, 1);
        assert_eq!(found.tables_without_statistics, 1);
        assert_eq!(found.tables_changed_since, 1);
        assert_eq!(
            found.tables[0].spare.estimated_bloat_bytes,
            (1000 - 443) * 8192
        );
    }
}
