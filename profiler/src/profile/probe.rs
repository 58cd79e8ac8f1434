//! What servers said that were asked beside a recording.

use serde::{Deserialize, Serialize};

use super::{ContainerId, Document};

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// A service, with requests.
    Load,
    Postgres,
    Mysql,
    Redis,
    Vectors,
}

impl ProbeKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Redis => "redis",
            Self::Vectors => "vectors",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Load => "API",
            Self::Postgres => "PostgreSQL",
            Self::Mysql => "MySQL",
            Self::Redis => "Redis",
            Self::Vectors => "Vector database",
        }
    }
}

/// A server, and what it answered while the recording ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    pub kind: ProbeKind,
    /// Where it listens: an address in its container's network, without
    /// credentials.
    pub target: String,
    pub container: ContainerId,
    /// 0 when it is not known: one that was named by its URL.
    pub pid: u32,
    pub answer: Answer,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Answer {
    Measured {
        /// For people.
        document: Document,
        /// For programs: `reports/KIND.schema.json` describes it.
        report: serde_json::Value,
        /// What comparing recordings and targets judge.
        metrics: Vec<ProbeMetric>,
    },
    NotMeasured {
        reason: String,
    },
}

/// A number that is better when it is lower, or higher.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeMetric {
    /// `GET /users p99`.
    pub name: String,
    /// `ns`, `/s`, `%`.
    pub unit: String,
    pub lower_is_better: bool,
    /// `None`: it could not be measured.
    pub value: Option<f64>,
    /// How many requests it is made of.
    pub events: u64,
}

impl Probe {
    pub fn metrics(&self) -> &[ProbeMetric] {
        match &self.answer {
            Answer::Measured { metrics, .. } => metrics,
            Answer::NotMeasured { .. } => &[],
        }
    }

    pub fn document(&self) -> Option<&Document> {
        match &self.answer {
            Answer::Measured { document, .. } => Some(document),
            Answer::NotMeasured { .. } => None,
        }
    }
}
