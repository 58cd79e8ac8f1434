//! Space in files of tables and indexes that their rows do not need: an estimate
//! from the planner's statistics. Nothing is read of the files themselves.

mod indexes;
mod tables;
mod width;

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
