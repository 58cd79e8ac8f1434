//! Space in files of tables and indexes that their rows do not need: an estimate
//! from the planner's statistics. Nothing is read of the files themselves.

mod indexes;
mod tables;
mod width;

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

pub use indexes::IndexesBloat;
pub use tables::TablesBloat;

/// What is smaller is not worth a word, pages.
const FEWEST_PAGES: u64 = 128;
/// Most tables and indexes that are looked at, the largest first.
const MOST: usize = 500;
const LISTED: usize = 20;
/// Rows changed since the statistics were made, from which they tell nothing.
const CHANGED_SHARE: f64 = 0.1;

fn full_name(schema: &str, name: &str) -> String {
    match schema {
        "public" => name.to_owned(),
        schema => format!("{schema}.{name}"),
    }
}

/// The file of a table or index, and what the server counted of the table's rows.
#[derive(Clone, Copy, Deserialize)]
struct File {
    pages: u64,
    block_size: u64,
    live_rows: u64,
    changed_rows: u64,
}

/// Of one file.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spare {
    pub bytes: u64,
    pub estimated_bloat_bytes: u64,
    pub estimated_bloat_percent: f64,
}

/// Of all files of a kind.
struct Estimates<T> {
    /// Those with space to spare, by bytes.
    found: Vec<T>,
    estimated: u64,
    without_statistics: u64,
    changed_since: u64,
}

impl<T> Estimates<T> {
    /// `files` are of each row its file, the pages that it needs, where that is
    /// known, and the row.
    fn of<R>(
        files: impl Iterator<Item = (File, Option<f64>, R)>,
        told: impl Fn(R, Spare) -> T,
    ) -> Self {
        let mut estimates = Self {
            found: Vec::new(),
            estimated: 0,
            without_statistics: 0,
            changed_since: 0,
        };
        let mut found = Vec::new();
        for (file, needed, row) in files {
            let Some(needed) = needed else {
                estimates.without_statistics += 1;
                continue;
            };
            if file.changed_rows as f64 > CHANGED_SHARE * file.live_rows as f64 {
                estimates.changed_since += 1;
                continue;
            }
            estimates.estimated += 1;
            let spare = (file.pages as f64 - needed).max(0.0);
            if spare >= 1.0 {
                let spare = Spare {
                    bytes: file.pages * file.block_size,
                    estimated_bloat_bytes: spare as u64 * file.block_size,
                    estimated_bloat_percent: 100.0 * spare / file.pages as f64,
                };
                found.push((spare, row));
            }
        }
        found.sort_by_key(|(spare, _)| Reverse(spare.estimated_bloat_bytes));
        let listed = found.into_iter().take(LISTED);
        estimates.found = listed.map(|(spare, row)| told(row, spare)).collect();
        estimates
    }
}
