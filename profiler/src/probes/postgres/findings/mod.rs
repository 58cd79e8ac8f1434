//! What the numbers mean, and what to do about it.

mod locks;
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
    locks::locks(report, &mut found);
    sessions::transactions(report, &mut found);
    tables::reads(report, &mut found);
    statements::statements(report, &mut found);
    server::database(report, &mut found);
    sessions::connections(report, &mut found);
    tables::indexes(report, &mut found);
    tables::upkeep(report, &mut found);
    tables::bloat(report, &mut found);
    tables::index_bloat(report, &mut found);
    server::checkpoints(report, &mut found);
    server::copies(report, &mut found);
    for plan in &report.plans {
        found.extend(plan.findings());
    }
    found.sort_by_key(|finding| finding.severity);
    found
}

fn quote(statement: Option<&str>) -> String {
    match statement {
        Some(text) if !text.trim().is_empty() => {
            let text = text.trim().trim_end_matches(';');
            shorten(text.trim_end(), STATEMENT).into_owned()
        }
        _ => "(no statement is shown)".to_owned(),
    }
}
