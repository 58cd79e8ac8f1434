//! Tables and their indexes.

use super::{LISTED, size, statement_text};
use crate::{
    probes::{
        database::{Column, Part},
        postgres::report::Report,
    },
    report::text::{bytes, count, percent},
};

impl Report {
    pub(super) fn sequential_reads(&self) -> Part {
        let columns = vec![
            Column::text("Table"),
            Column::number("Scans in the window"),
            Column::number("Rows"),
            Column::number("Scans in all"),
            Column::number("Rows in all"),
            Column::number("Index scans in all"),
            Column::number("Size"),
        ];
        Part::of(
            "Tables read whole",
            &self.tables,
            columns,
            |tables, part| {
                for reads in tables.sequential_reads.iter().take(LISTED) {
                    part.row(vec![
                        reads.table.full_name(),
                        count(reads.window_scans),
                        count(reads.window_rows),
                        count(reads.table.sequential_scans),
                        count(reads.table.sequentially_read_rows),
                        count(reads.table.index_scans),
                        size(reads.table.bytes),
                    ]);
                }
                part.note("Each worker of a parallel scan counts as one");
                if tables.cut {
                    part.note(format!(
                        "Only the {} largest tables",
                        count(tables.looked_at)
                    ));
                }
            },
        )
    }

    pub(super) fn dead_rows(&self) -> Part {
        let columns = vec![
            Column::text("Table"),
            Column::number("Dead rows"),
            Column::number("Share"),
            Column::number("Autovacuum from"),
            Column::number("Vacuumed"),
            Column::number("Analyzed"),
            Column::number("HOT updates"),
        ];
        Part::of(
            "Dead rows and vacuum",
            &self.tables,
            columns,
            |tables, part| {
                for table in tables.dead_rows.iter().take(LISTED) {
                    let ago = |seconds: Option<f64>| {
                        seconds.map_or_else(|| "never".to_owned(), |ago| format!("{ago:.0} s ago"))
                    };
                    let hot =
                        table.hot_updated_rows as f64 * 100.0 / table.updated_rows.max(1) as f64;
                    part.row(vec![
                        table.full_name(),
                        count(table.dead_rows),
                        percent(table.dead_percent()),
                        format!("{:.0}", table.vacuum_due_rows),
                        ago(table.vacuumed_seconds_ago),
                        ago(table.analyzed_seconds_ago),
                        if table.updated_rows == 0 {
                            "–".to_owned()
                        } else {
                            percent(hot)
                        },
                    ]);
                }
                part.note("Rows as the server counts them");
            },
        )
    }

    pub(super) fn bloat(&self) -> Part {
        let columns = vec![
            Column::text("Table"),
            Column::number("Not needed (estimate)"),
            Column::number("Share"),
            Column::number("Size"),
        ];
        Part::of(
            "Space that no row needs",
            &self.bloat,
            columns,
            |bloat, part| {
                for table in bloat.tables.iter().take(LISTED) {
                    part.row(vec![
                        table.table.clone(),
                        bytes(table.spare.estimated_bloat_bytes),
                        percent(table.spare.estimated_bloat_percent),
                        bytes(table.spare.bytes),
                    ]);
                }
                part.note(
                    "Estimated from the planner's statistics; dead rows and free space, without \
                     TOAST. The extension pgstattuple measures it",
                );
                not_estimated(
                    part,
                    "tables",
                    bloat.tables_without_statistics,
                    bloat.tables_changed_since,
                );
            },
        )
    }

    pub(super) fn index_bloat(&self) -> Part {
        let columns = vec![
            Column::text("Index"),
            Column::text("Table"),
            Column::number("Not needed (estimate)"),
            Column::number("Share"),
            Column::number("Size"),
        ];
        Part::of(
            "Space in indexes that no entry needs",
            &self.index_bloat,
            columns,
            |bloat, part| {
                for index in bloat.indexes.iter().take(LISTED) {
                    part.row(vec![
                        index.index.clone(),
                        index.table.clone(),
                        bytes(index.spare.estimated_bloat_bytes),
                        percent(index.spare.estimated_bloat_percent),
                        bytes(index.spare.bytes),
                    ]);
                }
                part.note(
                    "Estimated from the planner's statistics: what REINDEX would give back of \
                     B-trees. Those that grew in no order are a quarter to a third larger than \
                     built anew, and become so again",
                );
                not_estimated(
                    part,
                    "indexes",
                    bloat.indexes_without_statistics,
                    bloat.indexes_changed_since,
                );
            },
        )
    }

    pub(super) fn unused_indexes(&self) -> Part {
        let columns = vec![
            Column::text("Index"),
            Column::text("Table"),
            Column::text("Columns"),
            Column::number("Size"),
        ];
        Part::of(
            "Indexes never used",
            &self.indexes,
            columns,
            |indexes, part| {
                for index in indexes.unused.iter().take(LISTED) {
                    part.row(vec![
                        index.full_name(),
                        index.table.clone(),
                        index.column_list(),
                        size(index.bytes),
                    ]);
                }
                if indexes.cut {
                    part.note(format!(
                        "Only the {} largest indexes",
                        count(indexes.looked_at)
                    ));
                }
            },
        )
    }

    pub(super) fn duplicate_indexes(&self) -> Part {
        let columns = vec![
            Column::text("Index"),
            Column::text("Table"),
            Column::text("Columns"),
            Column::text("Covered by"),
            Column::number("Size"),
        ];
        Part::of(
            "Duplicate indexes",
            &self.indexes,
            columns,
            |indexes, part| {
                for duplicate in indexes.duplicate.iter().take(LISTED) {
                    part.row(vec![
                        duplicate.index.full_name(),
                        duplicate.index.table.clone(),
                        duplicate.index.column_list(),
                        duplicate.covered_by.clone(),
                        size(duplicate.index.bytes),
                    ]);
                }
            },
        )
    }

    pub(super) fn missing(&self) -> Part {
        let columns = vec![
            Column::text("Table"),
            Column::text("Column"),
            Column::number("Calls"),
            Column::text("Statement"),
        ];
        Part::of(
            "Missing indexes",
            &self.missing_indexes,
            columns,
            |missing, part| {
                for row in missing.iter().take(LISTED) {
                    part.row(vec![
                        row.table.clone(),
                        row.column.clone(),
                        count(row.calls),
                        statement_text(Some(&row.query)),
                    ]);
                }
                part.note(
                    "Statements that compare a column which no index of a large table that is read \
                 whole begins with: by their texts, not by their plans",
                );
            },
        )
    }
}

fn not_estimated(part: &mut Part, what: &str, without_statistics: u64, changed: u64) {
    for (number, why) in [
        (
            without_statistics,
            "without statistics that this role may see, or of another kind",
        ),
        (changed, "that changed by a tenth since their ANALYZE"),
    ] {
        if number > 0 {
            part.note(format!("Not estimated: {} {what} {why}", count(number)));
        }
    }
}
