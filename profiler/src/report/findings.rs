//! What is wrong or costs most, for all formats: what the recording shows, and
//! what servers said that were asked meanwhile.

use serde::Serialize;

use crate::{
    profile::{Recording, document::Severity},
    views,
};

#[derive(Serialize)]
pub struct FindingRow<'r> {
    pub kind: String,
    pub container: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    process_id: Option<u32>,
    /// Whether it hurts now, as far as a probe can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<&'static str>,
    /// The probe that says so, and where it asked; else the recording does.
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<&'r str>,
    pub text: String,
    pub evidence: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub advice: &'r str,
}

/// Problems first, then the largest costs, then what may become a problem.
/// Hints are in the sections of the probes alone.
pub fn findings(recording: &Recording) -> Vec<FindingRow<'_>> {
    let mut rows = of_probes(recording, Severity::Problem);
    rows.extend(
        views::findings(recording)
            .into_iter()
            .map(|finding| FindingRow {
                kind: finding.kind.name().to_owned(),
                container: name(recording, finding.container),
                process_id: finding.process,
                severity: None,
                probe: None,
                target: None,
                text: finding.text,
                evidence: finding.evidence,
                advice: "",
            }),
    );
    rows.extend(of_probes(recording, Severity::Warning));
    rows
}

fn of_probes(recording: &Recording, severity: Severity) -> Vec<FindingRow<'_>> {
    recording
        .probes
        .iter()
        .filter_map(|probe| Some((probe, probe.document()?)))
        .flat_map(|(probe, document)| document.findings.iter().map(move |found| (probe, found)))
        .filter(|(_, finding)| finding.severity == severity)
        .map(|(probe, finding)| FindingRow {
            kind: finding.kind.to_string(),
            container: name(recording, probe.container),
            process_id: None,
            severity: Some(finding.severity.name()),
            probe: Some(probe.kind.name()),
            target: Some(&probe.target),
            text: finding.text.clone(),
            evidence: finding.evidence.clone(),
            advice: &finding.advice,
        })
        .collect()
}

fn name(recording: &Recording, container: u32) -> &str {
    &recording.containers[container as usize].name
}
