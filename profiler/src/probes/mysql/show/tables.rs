//! Tables and their indexes.

use super::LISTED;
use crate::{
    probes::{
        database::{Column, Part},
        mysql::{
            indexes::Index,
            report::Report,
            tables::{Table, Tables},
        },
    },
    report::text::{bytes, count, percent},
};

fn size(value: Option<u64>) -> String {
    value.map_or_else(|| "–".to_owned(), bytes)
}

impl Report {
    fn table_part(&self, title: &str, list: fn(&Tables) -> &[Table]) -> Part {
        let columns = vec![
            Column::text("Table"),
            Column::text("Engine"),
            Column::number("Rows, about"),
            Column::number("Data"),
            Column::number("Indexes"),
            Column::number("Free"),
            Column::number("Share free"),
        ];
        Part::of(title, &self.tables, columns, |tables, part| {
            for table in list(tables).iter().take(LISTED) {
                part.row(vec![
                    table.full_name(),
                    table.engine.clone().unwrap_or_default(),
                    table.estimated_rows.map_or_else(|| "–".to_owned(), count),
                    size(table.data_bytes),
                    size(table.index_bytes),
                    size(table.free_bytes),
                    percent(table.free_percent()),
                ]);
            }
            part.note("Of those that the account may read");
            if tables.cut {
                part.note(format!(
                    "Only the {} largest tables",
                    count(tables.looked_at)
                ));
            }
        })
    }

    pub(super) fn largest_tables(&self) -> Part {
        self.table_part("Largest tables", |tables| &tables.largest)
    }

    pub(super) fn free_space(&self) -> Part {
        self.table_part("Tables with free space in their files", |tables| {
            &tables.fragmented
        })
    }

    pub(super) fn keyless_tables(&self) -> Part {
        self.table_part("Tables without a primary key", |tables| {
            &tables.without_primary_key
        })
    }

    pub(super) fn redundant_indexes(&self) -> Part {
        let mut columns = index_columns();
        columns.push(Column::text("Covered by"));
        Part::of(
            "Redundant indexes",
            &self.indexes,
            columns,
            |indexes, part| {
                for redundant in indexes.redundant.iter().take(LISTED) {
                    let mut cells = index_cells(&redundant.index);
                    cells.push(redundant.covered_by.clone());
                    part.row(cells);
                }
                if indexes.cut {
                    part.note(format!("Only {} indexes", count(indexes.looked_at)));
                }
            },
        )
    }

    pub(super) fn unused_indexes(&self) -> Part {
        Part::of(
            "Indexes never used since the server's start",
            &self.indexes,
            index_columns(),
            |indexes, part| {
                for index in indexes.unused.iter().flatten().take(LISTED) {
                    part.row(index_cells(index));
                }
                if let Some(reason) = &indexes.unused_missing {
                    part.note(format!("Not measured: {reason}"));
                }
            },
        )
    }
}

fn index_columns() -> Vec<Column> {
    vec![
        Column::text("Index"),
        Column::text("Table"),
        Column::text("Columns"),
    ]
}

fn index_cells(index: &Index) -> Vec<String> {
    vec![
        index.name.clone(),
        index.table_name(),
        index.columns.join(", "),
    ]
}
