//! Servers that were asked beside the recording, for programs and for the HTML
//! page.

use serde::Serialize;

use crate::profile::{Answer, Document, Probe, ProbeMetric, Recording};

/// A probe with its own report, as its verb writes it.
#[derive(Serialize)]
pub struct ProbeRow<'r> {
    kind: &'static str,
    target: &'r str,
    container: &'r str,
    /// Of the process that listens; `null` where it was not looked for.
    pid: Option<u32>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'r str>,
    metrics: &'r [ProbeMetric],
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<&'r serde_json::Value>,
}

/// A probe as a page shows it.
#[derive(Serialize)]
pub struct ProbePage<'r> {
    title: &'static str,
    target: &'r str,
    container: &'r str,
    reason: Option<&'r str>,
    document: Option<&'r Document>,
}

pub fn rows(recording: &Recording) -> Vec<ProbeRow<'_>> {
    recording
        .probes
        .iter()
        .map(|probe| {
            let (status, reason, report) = match &probe.answer {
                Answer::Measured { report, .. } => ("measured", None, Some(report)),
                Answer::NotMeasured { reason } => ("not_measured", Some(reason.as_str()), None),
            };
            ProbeRow {
                kind: probe.kind.name(),
                target: &probe.target,
                container: container(recording, probe),
                pid: (probe.pid != 0).then_some(probe.pid),
                status,
                reason,
                metrics: probe.metrics(),
                report,
            }
        })
        .collect()
}

pub fn pages(recording: &Recording) -> Vec<ProbePage<'_>> {
    recording
        .probes
        .iter()
        .map(|probe| ProbePage {
            title: probe.kind.title(),
            target: &probe.target,
            container: container(recording, probe),
            reason: match &probe.answer {
                Answer::Measured { .. } => None,
                Answer::NotMeasured { reason } => Some(reason),
            },
            document: probe.document(),
        })
        .collect()
}

pub fn container<'r>(recording: &'r Recording, probe: &Probe) -> &'r str {
    &recording.containers[probe.container as usize].name
}
