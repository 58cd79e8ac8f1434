//! The largest costs, for programs and for the HTML page.

use serde::Serialize;

use crate::{profile::Recording, views};

#[derive(Serialize)]
pub struct FindingRow<'r> {
    kind: &'static str,
    container: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    process_id: Option<u32>,
    text: String,
    evidence: String,
}

pub fn findings(recording: &Recording) -> Vec<FindingRow<'_>> {
    views::findings(recording)
        .into_iter()
        .map(|finding| FindingRow {
            kind: finding.kind.name(),
            container: &recording.containers[finding.container as usize].name,
            process_id: finding.process,
            text: finding.text,
            evidence: finding.evidence,
        })
        .collect()
}
