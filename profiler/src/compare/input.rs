//! Rounds from files: recordings, JSON reports and files of metrics.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use thiserror::Error;

use super::{
    conditions::Conditions,
    differential::Stacks,
    json_report::{self, JsonReport},
    measure::{self, Group, Key, Metrics},
    metrics::{FORMAT, MetricsError, MetricsFile},
};
use crate::profile::{About, Recording, Source, store, store::StoreError};

/// Largest JSON file that is read: one that is larger is no report.
const MAX_BYTES: u64 = 2 << 30;

/// One measurement of one build.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// Where it is from, for messages.
    pub name: String,
    pub start_unix_ms: Option<u64>,
    pub conditions: Conditions,
    pub metrics: Metrics,
    /// Sources that were recorded: of these, a metric that is not there is 0.
    pub sources: Vec<Source>,
    /// `None` of a file of metrics.
    pub stacks: Option<Stacks>,
    /// What a recording as a whole was like, for targets.
    pub about: Option<About>,
    /// What makes its numbers worse than they look.
    pub doubts: Vec<String>,
}

/// Causes are in the text, so none is told as a source too.
#[derive(Debug, Error)]
pub enum InputError {
    #[error("cannot read {}: {cause}", path.display())]
    Read { path: PathBuf, cause: io::Error },
    #[error(transparent)]
    Recording(#[from] StoreError),
    #[error("{} is no JSON: {cause}", path.display())]
    Json {
        path: PathBuf,
        cause: serde_json::Error,
    },
    #[error(
        "{} is neither a recording (.profile), nor a JSON report of this profiler, nor a file of \
         metrics (`\"format\": \"{FORMAT}\"`)",
        path.display()
    )]
    Unknown { path: PathBuf },
    #[error("{} cannot be used: {cause}", path.display())]
    Metrics { path: PathBuf, cause: MetricsError },
    #[error("{} cannot be used: {reason}", path.display())]
    Report { path: PathBuf, reason: String },
}

/// Which kind of JSON it is.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    format: String,
    #[serde(default)]
    generator: String,
}

/// All rounds that a file holds. `stacks` says which of them to keep.
///
/// # Errors
///
/// If it cannot be read, or is nothing that can be compared.
pub fn read(path: &Path, stacks: Source) -> Result<Vec<Round>, InputError> {
    let failed = |cause| InputError::Read {
        path: path.to_owned(),
        cause,
    };
    let mut file = File::open(path).map_err(failed)?;
    let mut magic = [0; 2];
    let read = file.read(&mut magic).map_err(failed)?;
    // gzip: RFC 1952, 2.3.1.
    if magic[..read] == [0x1f, 0x8b] {
        let recording = store::load(path)?;
        return Ok(vec![round(path, &recording, stacks)]);
    }
    let mut text = magic[..read].to_vec();
    file.take(MAX_BYTES)
        .read_to_end(&mut text)
        .map_err(failed)?;
    let json = |cause| InputError::Json {
        path: path.to_owned(),
        cause,
    };
    let head: Head = serde_json::from_slice(&text).map_err(json)?;
    if head.format == FORMAT {
        let file: MetricsFile = serde_json::from_slice(&text).map_err(json)?;
        file.check().map_err(|cause| InputError::Metrics {
            path: path.to_owned(),
            cause,
        })?;
        return Ok(rounds(path, &file));
    }
    if head.generator == json_report::GENERATOR {
        let report: JsonReport = serde_json::from_slice(&text).map_err(json)?;
        let recording = report.recording().map_err(|reason| InputError::Report {
            path: path.to_owned(),
            reason,
        })?;
        return Ok(vec![round(path, &recording, stacks)]);
    }
    Err(InputError::Unknown {
        path: path.to_owned(),
    })
}

/// A recording as one round. Its ids were checked.
pub fn round(path: &Path, recording: &Recording, stacks: Source) -> Round {
    let about = &recording.about;
    Round {
        name: path.display().to_string(),
        start_unix_ms: Some(about.start_unix_ms),
        conditions: Conditions::of(recording),
        metrics: measure::metrics(recording),
        sources: measure::sources(recording),
        stacks: Some(Stacks::new(recording, stacks)),
        about: Some(about.clone()),
        doubts: doubts(recording),
    }
}

fn doubts(recording: &Recording) -> Vec<String> {
    let mut doubts = Vec::new();
    let quality = &recording.quality;
    let all = quality.samples.saturating_add(quality.samples_lost);
    if quality.samples_lost.saturating_mul(100) > all {
        doubts.push(format!(
            "lost {} of {all} samples: its CPU time is too small",
            quality.samples_lost
        ));
    }
    doubts
}

/// The rounds of a file of metrics, which was checked.
pub fn rounds(path: &Path, file: &MetricsFile) -> Vec<Round> {
    let count = file.metrics.iter().map(|it| it.values.len()).max();
    (0..count.unwrap_or_default())
        .map(|index| {
            let mut metrics = Metrics::new();
            for metric in &file.metrics {
                if let Some(measured) = metric.measured(index) {
                    metrics.insert(Key::new(Group::Probe, &metric.name), measured);
                }
            }
            Round {
                name: format!("{}, round {}", path.display(), index + 1),
                start_unix_ms: file.start_unix_ms.get(index).copied(),
                conditions: Conditions {
                    host: file.host.clone(),
                    recording: None,
                },
                metrics,
                ..Round::default()
            }
        })
        .collect()
}
