//! What the numbers mean, and what to do about it.

mod server;
mod sessions;
mod statements;
mod tables;

use super::report::Report;
use crate::{probes::database::Finding, report::text::shorten};

/// Longest statement in a finding, characters.
const STATEMENT: usize = 160;

/// The findings of a report, the worst first.
pub fn findings(report: &Report) -> Vec<Finding> {
    let mut found = Vec::new();
    sessions::locks(report, &mut found);
    sessions::transactions(report, &mut found);
    server::replication(report, &mut found);
    statements::unindexed(report, &mut found);
    server::status(report, &mut found);
    sessions::connections(report, &mut found);
    tables::indexes(report, &mut found);
    tables::upkeep(report, &mut found);
    statements::not_counted(report, &mut found);
    found.sort_by_key(|finding| finding.severity);
    found
}

fn quote(statement: Option<&str>) -> String {
    match statement {
        Some(text) if !text.trim().is_empty() => {
            let words: Vec<&str> = text.split_whitespace().collect();
            shorten(words.join(" ").trim_end_matches(';'), STATEMENT).into_owned()
        }
        _ => "(no statement is shown)".to_owned(),
    }
}
