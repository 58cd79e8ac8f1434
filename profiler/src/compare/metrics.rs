//! Metrics of rounds in a file: what probes write, and any program that wants
//! its numbers judged. `reports/metrics.schema.json` describes it.
//!
//! ```json
//! {"format": "profiler-metrics", "version": 1,
//!  "host": {"name": "ci-1", "kernel": "6.1.0", "architecture": "x86_64",
//!           "cpu_model": "…", "cpus": 8},
//!  "metrics": [{"name": "GET /users p99", "unit": "ns", "better": "lower",
//!               "values": [1810000, 1790000, null], "events": [5000, 5000, 0]}]}
//! ```

use procfs::Current as _;
use serde::{Deserialize, Serialize};

use super::{
    measure::Measured,
    quantity::{Quantity, Unit},
    statistics::Observation,
};
use crate::profile::ProbeMetric;

/// The `format` of such a file.
pub const FORMAT: &str = "profiler-metrics";
/// Raised when a reader of the version before would misread it.
pub const VERSION: u32 = 1;

/// A whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricsFile {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    pub host: Host,
    /// When each round began, milliseconds after the Unix epoch; may be left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub start_unix_ms: Vec<u64>,
    pub metrics: Vec<Metric>,
}

impl MetricsFile {
    pub fn new(host: Host) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            host,
            start_unix_ms: Vec::new(),
            metrics: Vec::new(),
        }
    }
}

/// Where numbers come from: those of unlike hosts are not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    pub name: String,
    pub kernel: String,
    pub architecture: String,
    /// As `/proc/cpuinfo` names it.
    pub cpu_model: String,
    pub cpus: u32,
}

impl Host {
    /// This one.
    pub fn current() -> Self {
        let uname = rustix::system::uname();
        let cpus = procfs::CpuInfo::current().ok();
        Self {
            name: uname.nodename().to_string_lossy().into_owned(),
            kernel: uname.release().to_string_lossy().into_owned(),
            architecture: uname.machine().to_string_lossy().into_owned(),
            cpu_model: cpus
                .as_ref()
                .and_then(|cpus| cpus.model_name(0).map(str::to_owned))
                .unwrap_or_default(),
            cpus: cpus.map_or(0, |cpus| cpus.num_cores() as u32),
        }
    }
}

/// Which change is an improvement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    Lower,
    Higher,
}

/// A metric in all rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// What people call it: `GET /users p99`, `frontend.bundle_size`. A target
    /// finds its metric by this name.
    pub name: String,
    /// `ns`, `us`, `ms`, `s`, `B`, `KB`, `KiB`, …, `%`, `/s`; empty for a number.
    pub unit: String,
    pub better: Better,
    /// One a round, in their order; `null` where it could not be measured.
    pub values: Vec<Option<f64>>,
    /// How many requests, queries, … each value is made of; may be left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<u64>,
}

impl Metric {
    /// Of one round.
    pub fn of_probe(metric: &ProbeMetric) -> Self {
        Self {
            name: metric.name.clone(),
            unit: metric.unit.clone(),
            better: match metric.lower_is_better {
                true => Better::Lower,
                false => Better::Higher,
            },
            values: vec![metric.value],
            events: vec![metric.events],
        }
    }

    /// What a round has of it; `None` where it could not be measured.
    pub fn measured(&self, round: usize) -> Option<Measured> {
        let value = self.values.get(round).copied().flatten()?;
        let Quantity { value, dimension } = self.quantity(value)?;
        Some(Measured {
            observation: Observation {
                value,
                events: self.events.get(round).copied(),
            },
            dimension,
            better: self.better,
        })
    }
}

/// What is wrong with a file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricsError {
    #[error("it is of version {0}; this profiler reads version {VERSION}")]
    Version(u32),
    #[error("it has no metric")]
    Empty,
    #[error("the metric `{0}` is there twice")]
    Twice(String),
    #[error("the metric `{0}` has a value that is negative or no number")]
    Value(String),
    #[error("the metric `{0}` has as many events as values, or none")]
    Events(String),
    #[error("the metric `{name}` has the unit `{unit}`, which is not known")]
    Unit { name: String, unit: String },
}

impl MetricsFile {
    /// Whether it can be used.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    pub fn check(&self) -> Result<(), MetricsError> {
        if self.version != VERSION {
            return Err(MetricsError::Version(self.version));
        }
        if self.metrics.is_empty() {
            return Err(MetricsError::Empty);
        }
        let mut names = std::collections::BTreeSet::new();
        for metric in &self.metrics {
            let name = || metric.name.clone();
            if !names.insert(&metric.name) {
                return Err(MetricsError::Twice(name()));
            }
            let sound = |value: &f64| value.is_finite() && *value >= 0.0;
            if !metric.values.iter().flatten().all(sound) {
                return Err(MetricsError::Value(name()));
            }
            if !metric.events.is_empty() && metric.events.len() != metric.values.len() {
                return Err(MetricsError::Events(name()));
            }
            if Unit::parse(&metric.unit).is_none() {
                return Err(MetricsError::Unit {
                    name: name(),
                    unit: metric.unit.clone(),
                });
            }
        }
        Ok(())
    }
}

impl Metric {
    /// In the base unit of its dimension; `None` if the unit is not known.
    pub fn quantity(&self, value: f64) -> Option<Quantity> {
        Some(Unit::parse(&self.unit)?.of(value))
    }
}
