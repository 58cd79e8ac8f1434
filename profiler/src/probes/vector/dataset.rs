//! Vectors of a benchmark: out of files, or made up. A row is the same
//! whenever it is read, so that none has to be kept.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use super::npy::Npy;

/// Where vectors of a benchmark come from.
#[derive(Clone, Debug)]
pub struct Source {
    pub data: Option<PathBuf>,
    pub queries: Option<PathBuf>,
    /// `None` with `data`: all of it.
    pub vectors: Option<u64>,
    /// Only without `data`.
    pub dimensions: Option<usize>,
    pub query_count: usize,
    pub seed: u64,
}

const DEFAULT_VECTORS: u64 = 10_000;
const DEFAULT_DIMENSIONS: usize = 128;

/// Queries are kept in memory: most values of them, a quarter of a gibibyte.
const MOST_QUERY_VALUES: usize = 64 << 20;

/// As a report says it.
#[derive(Clone, Debug, Serialize)]
pub struct DataSet {
    pub vectors: u64,
    pub dimensions: usize,
    pub source: String,
    pub queries: String,
    pub seed: u64,
}

enum Rows {
    /// Independent numbers of a standard normal distribution.
    Normal,
    File(Rc<Npy>),
}

pub struct Data {
    rows: Rows,
    pub about: DataSet,
    /// One after the other.
    pub queries: Vec<f32>,
    /// Rows before this one are [`Data::updated`].
    pub updated_rows: u64,
}

impl Source {
    /// # Errors
    /// When a file cannot be used.
    pub fn open(&self) -> Result<Data> {
        let mut seed = self.seed;
        let Some(path) = &self.data else {
            let dimensions = match &self.queries {
                Some(path) => open(path)?.dimensions(),
                None => self.dimensions.unwrap_or(DEFAULT_DIMENSIONS),
            };
            ensure!(
                self.dimensions.is_none_or(|given| given == dimensions),
                "the queries have {dimensions} dimensions: see --dimensions"
            );
            let about = DataSet {
                vectors: self.vectors.unwrap_or(DEFAULT_VECTORS),
                dimensions,
                source: "made up: independent numbers of a normal distribution".to_owned(),
                queries: "made up in the same way".to_owned(),
                seed,
            };
            few_enough(self.query_count, dimensions)?;
            // Of another seed than all rows.
            seed = !seed;
            let queries = (0..self.query_count as u64)
                .flat_map(|row| normal(seed, row, dimensions))
                .collect();
            return self.with_queries(Rows::Normal, about, queries);
        };
        let file = Rc::new(open(path)?);
        let held_out = match self.queries {
            Some(_) => 0,
            None => (self.query_count as u64).min(file.rows() / 2),
        };
        let most = file.rows() - held_out;
        let about = DataSet {
            vectors: self.vectors.unwrap_or(most).min(most),
            dimensions: file.dimensions(),
            source: path.display().to_string(),
            queries: format!("the last {held_out} rows of it, which are not inserted"),
            seed,
        };
        ensure!(
            self.dimensions
                .is_none_or(|given| given == about.dimensions),
            "{} has {} dimensions: see --dimensions",
            path.display(),
            about.dimensions
        );
        few_enough(held_out as usize, about.dimensions)?;
        let queries = file
            .read(most, held_out as usize)
            .with_context(|| format!("cannot use {}", path.display()))?;
        self.with_queries(Rows::File(file), about, queries)
    }

    fn with_queries(&self, rows: Rows, mut about: DataSet, mut queries: Vec<f32>) -> Result<Data> {
        if let Some(path) = &self.queries {
            queries = read_queries(path, self.query_count, about.dimensions)?;
            about.queries = path.display().to_string();
        }
        Ok(Data {
            rows,
            about,
            queries,
            updated_rows: 0,
        })
    }
}

/// # Errors
/// When the file cannot be used, or has vectors of another length.
pub fn read_queries(path: &Path, count: usize, dimensions: usize) -> Result<Vec<f32>> {
    let file = open(path)?;
    ensure!(
        file.dimensions() == dimensions,
        "{} has {} dimensions, and the vectors have {dimensions}",
        path.display(),
        file.dimensions()
    );
    let count = file.rows().min(count as u64) as usize;
    few_enough(count, dimensions)?;
    file.read(0, count)
        .with_context(|| format!("cannot use {}", path.display()))
}

fn few_enough(queries: usize, dimensions: usize) -> Result<()> {
    ensure!(
        queries.saturating_mul(dimensions) <= MOST_QUERY_VALUES,
        "{queries} queries of {dimensions} dimensions take too much memory: lower --queries"
    );
    Ok(())
}

fn open(path: &Path) -> Result<Npy> {
    Npy::open(path).with_context(|| format!("cannot use {}", path.display()))
}

impl Data {
    /// As they are now: updated ones as they were updated.
    ///
    /// # Errors
    /// When the file cannot be read any more.
    pub fn read(&self, first: u64, count: usize) -> Result<Vec<f32>> {
        let dimensions = self.about.dimensions;
        let mut values = match &self.rows {
            Rows::Normal => (first..first + count as u64)
                .flat_map(|row| normal(self.about.seed, row, dimensions))
                .collect(),
            Rows::File(file) => file
                .read(first, count)
                .context("cannot read the data set")?,
        };
        let updated = self.updated_rows.saturating_sub(first).min(count as u64) as usize;
        change(&mut values[..updated * dimensions]);
        Ok(values)
    }

    /// What an update makes of a row.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn updated(&self, row: u64) -> Result<Vec<f32>> {
        let mut values = self.read(row, 1)?;
        if row >= self.updated_rows {
            change(&mut values);
        }
        Ok(values)
    }
}

/// To the opposite: as likely as before, and far from where it was.
fn change(values: &mut [f32]) {
    for value in values {
        *value = -*value;
    }
}

fn normal(seed: u64, row: u64, dimensions: usize) -> impl Iterator<Item = f32> {
    let mut state = mix(seed ^ mix(row));
    let mut uniform = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        // In (0, 1): 53 bits, and never zero.
        ((mix(state) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    };
    // Box and Muller, "A Note on the Generation of Random Normal Deviates", 1958.
    (0..dimensions).map(move |_| {
        let radius = (-2.0 * uniform().ln()).sqrt();
        (radius * (std::f64::consts::TAU * uniform()).cos()) as f32
    })
}

/// The finaliser of SplitMix64: Steele, Lea and Flood, "Fast Splittable
/// Pseudorandom Number Generators", 2014.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Source = Source {
        data: None,
        queries: None,
        vectors: Some(1000),
        dimensions: Some(16),
        query_count: 10,
        seed: 7,
    };

    #[test]
    fn rows_are_normal_and_the_same_every_time() {
        let data = SOURCE.open().expect("data");
        let all = data.read(0, 1000).expect("rows");
        assert_eq!(data.read(500, 2).expect("rows"), all[500 * 16..502 * 16]);
        let count = all.len() as f64;
        let mean = all.iter().map(|&it| f64::from(it)).sum::<f64>() / count;
        let variance = all.iter().map(|&it| f64::from(it).powi(2)).sum::<f64>() / count;
        assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.05);
        assert_eq!(data.queries.len(), 160);
        assert!(!all.chunks(16).any(|row| row == &data.queries[..16]));
    }

    #[test]
    fn updated_rows_are_read_as_they_are() {
        let mut data = SOURCE.open().expect("data");
        let before = data.read(0, 4).expect("rows");
        let updated = data.updated(1).expect("a row");
        data.updated_rows = 2;
        let after = data.read(0, 4).expect("rows");
        assert_eq!(after[16..32], updated);
        assert_eq!(after[32..], before[32..]);
        assert_ne!(after[..16], before[..16]);
        assert_eq!(data.updated(1).expect("a row"), updated);
    }
}
