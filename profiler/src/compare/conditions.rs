//! Under which conditions rounds were measured, and where those of two sides
//! differ.

use std::collections::BTreeSet;

use super::{input::Round, measure, metrics::Host};
use crate::profile::Recording;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    pub host: Host,
    /// `None` of a file of metrics.
    pub recording: Option<RecordingConditions>,
}

/// CPU time as the scheduler counted it.
pub const COUNTED: &str = "counted";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordingConditions {
    pub profiler: String,
    /// Samples a second and CPU, and their clock.
    pub sampling: String,
    pub scope: String,
    /// Whether CPU time was counted or sampled.
    pub cpu_time: &'static str,
    pub sources: String,
    /// How much of the CPUs' time the hypervisor took.
    pub stolen: String,
}

impl Conditions {
    pub fn of(recording: &Recording) -> Self {
        let about = &recording.about;
        let sources = measure::sources(recording);
        Self {
            host: Host {
                name: about.host.clone(),
                kernel: about.kernel.clone(),
                architecture: about.architecture.clone(),
                cpu_model: about.cpu_model.clone(),
                cpus: about.cpus_online,
            },
            recording: Some(RecordingConditions {
                profiler: about.profiler_version.clone(),
                sampling: format!("{} Hz, {}", about.frequency_hz, about.clock),
                scope: about.scope.clone(),
                cpu_time: if measure::counts_cpu_time(recording) {
                    COUNTED
                } else {
                    "sampled"
                },
                sources: sources
                    .iter()
                    .map(|source| source.name())
                    .collect::<Vec<_>>()
                    .join(" "),
                stolen: stolen(recording),
            }),
        }
    }

    fn of_kind(&self, kind: Kind) -> Option<String> {
        let recording = self.recording.as_ref();
        let text = match kind {
            Kind::Architecture => self.host.architecture.clone(),
            Kind::CpuModel => self.host.cpu_model.clone(),
            Kind::Cpus if self.host.cpus == 0 => String::new(),
            Kind::Cpus => self.host.cpus.to_string(),
            Kind::Kernel => self.host.kernel.clone(),
            Kind::Host => self.host.name.clone(),
            Kind::Profiler => recording?.profiler.clone(),
            Kind::Sampling => recording?.sampling.clone(),
            Kind::Scope => recording?.scope.clone(),
            Kind::CpuTime => recording?.cpu_time.to_owned(),
            Kind::Sources => recording?.sources.clone(),
            Kind::Stolen => recording?.stolen.clone(),
        };
        Some(text)
    }
}

/// In whole percent: less than one is nothing.
fn stolen(recording: &Recording) -> String {
    let about = &recording.about;
    let time = about.duration_ns as f64 * f64::from(about.cpus_online);
    let percent = 100.0 * recording.quality.stolen_ns as f64 / time.max(1.0);
    if percent < 1.0 {
        "below 1 %".to_owned()
    } else {
        format!("{percent:.0} %")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Architecture,
    CpuModel,
    Cpus,
    Kernel,
    Host,
    Profiler,
    Sampling,
    Scope,
    CpuTime,
    Sources,
    Stolen,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Architecture,
        Self::CpuModel,
        Self::Cpus,
        Self::Kernel,
        Self::Host,
        Self::Profiler,
        Self::Sampling,
        Self::Scope,
        Self::CpuTime,
        Self::Sources,
        Self::Stolen,
    ];

    fn title(self) -> &'static str {
        match self {
            Self::Architecture => "architecture",
            Self::CpuModel => "CPU model",
            Self::Cpus => "number of CPUs",
            Self::Kernel => "kernel",
            Self::Host => "host name",
            Self::Profiler => "profiler version",
            Self::Sampling => "sampling",
            Self::Scope => "scope",
            Self::CpuTime => "kind of CPU time",
            Self::Sources => "recorded sources",
            Self::Stolen => "time taken by the hypervisor",
        }
    }

    /// Whether it alone makes times other ones.
    fn forbids(self) -> bool {
        matches!(self, Self::Architecture | Self::CpuModel | Self::Cpus)
    }
}

/// A condition that is not the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    pub what: &'static str,
    pub baseline: String,
    pub candidate: String,
    /// Numbers of the two do not compare; otherwise they may.
    pub forbids: bool,
}

/// Where the conditions of two sides differ. What one side does not tell is no
/// difference, but is said.
pub fn mismatches(baseline: &[Round], candidate: &[Round]) -> Vec<Mismatch> {
    let told = |rounds: &[Round], kind| -> BTreeSet<String> {
        let of = |round: &Round| round.conditions.of_kind(kind);
        rounds.iter().filter_map(of).collect()
    };
    Kind::ALL
        .into_iter()
        .filter_map(|kind| {
            let (before, after) = (told(baseline, kind), told(candidate, kind));
            if before == after || before.is_empty() || after.is_empty() {
                return None;
            }
            let unknown = before.contains("") || after.contains("");
            let shown = |values: &BTreeSet<String>| {
                let named = values.iter().map(|value| match value.as_str() {
                    "" => "not told",
                    value => value,
                });
                named.collect::<Vec<_>>().join(", ")
            };
            Some(Mismatch {
                what: kind.title(),
                baseline: shown(&before),
                candidate: shown(&after),
                forbids: kind.forbids() && !unknown,
            })
        })
        .collect()
}

/// Whether rounds of the two sides took turns, as far as their times tell: then
/// what slowly changes on the host meets both alike. `None`: they do not tell.
pub fn interleaved(baseline: &[Round], candidate: &[Round]) -> Option<bool> {
    let times = |rounds: &[Round], side: bool| {
        rounds
            .iter()
            .map(|round| Some((round.start_unix_ms?, side)))
            .collect::<Option<Vec<_>>>()
    };
    let mut all = times(baseline, false)?;
    all.extend(times(candidate, true)?);
    all.sort_unstable();
    let changes = all.windows(2).filter(|pair| pair[0].1 != pair[1].1).count();
    // Turns that begin with either side in turn (ABBA) change half as often.
    Some(changes > 1 && 2 * changes + 1 >= all.len().min(2 * baseline.len().min(candidate.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(host: Host, start: u64) -> Round {
        Round {
            start_unix_ms: Some(start),
            conditions: Conditions {
                host,
                recording: None,
            },
            ..Round::default()
        }
    }

    #[test]
    fn other_cpus_forbid_and_other_kernels_warn() {
        let host = Host {
            cpu_model: "A".into(),
            kernel: "6.1".into(),
            ..Host::default()
        };
        let same = [round(host.clone(), 0), round(host.clone(), 1)];
        assert!(mismatches(&same, &same).is_empty());
        let of = |changed: Host| mismatches(&same, &[round(host.clone(), 2), round(changed, 3)]);
        let kernel = of(Host {
            kernel: "6.2".into(),
            ..host.clone()
        });
        assert_eq!(kernel.len(), 1);
        assert!(!kernel[0].forbids && kernel[0].candidate == "6.1, 6.2");
        let cpu = of(Host {
            cpu_model: "B".into(),
            ..host.clone()
        });
        assert!(cpu[0].forbids);
        let silent = of(Host {
            cpu_model: String::new(),
            ..host.clone()
        });
        assert!(!silent[0].forbids);
    }

    #[test]
    fn turns_are_told_from_sessions() {
        let at = |times: &[u64]| -> Vec<Round> {
            times
                .iter()
                .map(|&time| round(Host::default(), time))
                .collect()
        };
        assert_eq!(interleaved(&at(&[1, 3, 5]), &at(&[2, 4, 6])), Some(true));
        assert_eq!(
            interleaved(&at(&[1, 4, 5, 8]), &at(&[2, 3, 6, 7])),
            Some(true)
        );
        assert_eq!(interleaved(&at(&[1, 2, 3]), &at(&[4, 5, 6])), Some(false));
        let untold = Round::default();
        assert_eq!(interleaved(&at(&[1]), &[untold]), None);
    }
}
