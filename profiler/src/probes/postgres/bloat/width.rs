//! How many bytes rows take, from the planner's statistics of their columns.
//!
//! Layout: `PageHeaderData` and `ItemIdData` of src/include/storage/bufpage.h and
//! itemid.h; `heap_compute_data_size` of src/backend/access/common/heaptuple.c
//! (12 to 18), which lays out rows of tables and of indexes.

use serde::Deserialize;

pub const PAGE_HEADER: f64 = 24.0;
pub const ITEM: f64 = 4.0;
/// `MAXIMUM_ALIGNOF` of 64-bit servers.
pub const MOST_ALIGNED: u64 = 8;
/// Longest value with a header of one byte, which is not aligned.
const SHORT_VALUE: f64 = 126.0;

#[derive(Deserialize)]
pub struct ColumnStatistics {
    /// `pg_attribute.attlen`: below 0 for values of varying length.
    pub length: i64,
    /// `pg_attribute.attalign`.
    pub alignment: String,
    pub width: Option<f64>,
    pub nulls: Option<f64>,
}

/// What the values of a row take, on average.
pub struct Width {
    bytes: f64,
    /// Rows differ in length.
    pub varies: bool,
    /// Share of the rows with a value that is null, if columns have theirs apart.
    nulls: f64,
}

impl Width {
    /// `None` where there are no statistics of a column.
    pub fn of(columns: &[ColumnStatistics]) -> Option<Self> {
        let mut row = Self {
            bytes: 0.0,
            varies: false,
            nulls: 0.0,
        };
        for column in columns {
            let share = 1.0 - column.nulls?;
            let value = column.width?;
            row.nulls = 1.0 - (1.0 - row.nulls) * share;
            row.varies |= column.length < 0 || share < 1.0;
            if column.length >= 0 || value > SHORT_VALUE {
                let alignment = match column.alignment.as_str() {
                    "d" => 8.0,
                    "i" => 4.0,
                    "s" => 2.0,
                    _ => 1.0,
                };
                row.bytes = f64::ceil(row.bytes / alignment) * alignment;
            }
            row.bytes += share * value;
        }
        Some(row)
    }

    /// With what rows are rounded up by: where their lengths differ, half of the
    /// most in the middle.
    pub fn aligned(&self) -> f64 {
        let aligned = MOST_ALIGNED as f64;
        if self.varies {
            self.bytes + (aligned - 1.0) / 2.0
        } else {
            f64::ceil(self.bytes / aligned) * aligned
        }
    }

    /// A header of `bytes`, and in rows with a null the bitmap that says which
    /// values are, of so many columns.
    pub fn header(&self, bytes: u64, columns: usize) -> f64 {
        let aligned = |bytes: u64| bytes.next_multiple_of(MOST_ALIGNED) as f64;
        let bitmap = (columns as u64).div_ceil(8);
        aligned(bytes) + self.nulls * (aligned(bytes + bitmap) - aligned(bytes))
    }
}
