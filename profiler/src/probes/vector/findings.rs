//! What the numbers mean, and what to do about it.

use super::{
    report::{Report, names},
    workload::Operation,
};
use crate::{
    probes::database::{Finding, Severity},
    report::text::{count, duration, percent},
};

const LOW_RECALL: f64 = 0.9;
const VERY_LOW_RECALL: f64 = 0.7;
/// Fewer queries say little of a mean.
const JUDGED: u64 = 10;
/// A share of the vectors that has no index though it could have.
const UNINDEXED: f64 = 0.1;
const TAIL: u64 = 10;
/// What an index brings little over, nanoseconds.
const SLOW_NS: u64 = 1_000_000;

/// The worst first.
pub fn findings(report: &Report) -> Vec<Finding> {
    let mut found = Vec::new();
    failures(report, &mut found);
    collection(report, &mut found);
    recall(report, &mut found);
    latency(report, &mut found);
    found.sort_by_key(|finding| finding.severity);
    found
}

fn operations(report: &Report) -> impl Iterator<Item = &Operation> {
    report.operations.iter().filter_map(|it| it.section.data())
}

fn title(name: &str) -> String {
    name.replace('_', " ")
}

fn failures(report: &Report, found: &mut Vec<Finding>) {
    for operation in operations(report).filter(|it| it.failed > 0) {
        let kinds = operation.failures.iter();
        let kinds = kinds.map(|it| format!("{} × {}: {}", count(it.count), it.kind, it.message));
        let all = operation.completed + operation.failed;
        found.push(
            Finding::new(
                Severity::Problem,
                "failed_operations",
                format!(
                    "{} of {} {} requests failed",
                    count(operation.failed),
                    count(all),
                    title(operation.name)
                ),
            )
            .evidence(kinds.collect::<Vec<_>>().join("; ")),
        );
    }
    if let Some(why) = report
        .benchmark
        .as_ref()
        .and_then(|it| it.cleanup_failure.as_ref())
    {
        found.push(
            Finding::new(
                Severity::Problem,
                "left_behind",
                format!("{} may be left on the server", report.collection_name),
            )
            .evidence(why.clone())
            .advice("delete it"),
        );
    }
}

fn collection(report: &Report, found: &mut Vec<Finding>) {
    let Some(it) = report.collection.data() else {
        return;
    };
    let name = &report.collection_name;
    match it.state.as_deref() {
        Some("red") => found.push(
            Finding::new(
                Severity::Problem,
                "collection_red",
                format!("{name} is red: an operation failed and was not made good"),
            )
            .evidence(it.problem.clone().unwrap_or_default())
            .advice("see the server's log"),
        ),
        Some(state @ ("yellow" | "grey")) => found.push(
            Finding::new(
                Severity::Warning,
                "collection_not_ready",
                format!("{name} is {state}: segments wait to be indexed or merged"),
            )
            .evidence("the server's state of it, before the searches")
            .advice("measure again when it is green; a grey one begins with the next update"),
        ),
        _ => {}
    }
    if let Some(problem) = it
        .problem
        .as_ref()
        .filter(|_| it.state.as_deref() != Some("red"))
    {
        found.push(
            Finding::new(
                Severity::Problem,
                "optimizer_error",
                format!("the optimizer of {name} failed"),
            )
            .evidence(problem.clone())
            .advice("see the server's log; nothing more is indexed until it runs"),
        );
    }
    if let (Some(vectors), Some(indexed)) = (it.vectors, it.indexed_vectors) {
        let without = vectors.saturating_sub(indexed);
        let bytes = without.saturating_mul((it.dimensions.unwrap_or(0) as u64).saturating_mul(4));
        // In each of its segments the server looks at all of so little.
        let segments = it.segments.unwrap_or(1).max(1);
        let threshold = it
            .indexing_threshold_bytes
            .map(|each| each.saturating_mul(segments));
        let evidence = format!(
            "{} of {} vectors have no index",
            count(without),
            count(vectors)
        );
        if without as f64 > vectors as f64 * UNINDEXED {
            found.push(if threshold.is_some_and(|threshold| bytes <= threshold) {
                Finding::new(
                    Severity::Hint,
                    "not_indexed",
                    "vectors are searched one by one, as there are few",
                )
                .evidence(format!(
                    "{evidence}; the server indexes segments above its indexing_threshold"
                ))
            } else {
                Finding::new(
                    Severity::Problem,
                    "not_indexed",
                    format!("most searches of {name} look at vectors one by one"),
                )
                .evidence(evidence)
                .advice(match report.provider {
                    super::Provider::Pgvector => "CREATE INDEX … USING hnsw on the column",
                    _ => "wait for the optimizer, or see indexing_threshold and its state",
                })
            });
        }
    }
    filters(report, found);
}

/// Filters on fields without an index.
fn filters(report: &Report, found: &mut Vec<Finding>) {
    let (Some(it), super::Provider::Qdrant) = (report.collection.data(), report.provider) else {
        return;
    };
    let mut lacking: Vec<&str> = report.filter_fields.iter().map(String::as_str).collect();
    lacking.retain(|field| !it.filter_indexes.iter().any(|indexed| indexed == field));
    if !lacking.is_empty() {
        found.push(
            Finding::new(
                Severity::Warning,
                "filter_without_index",
                format!(
                    "the filter uses fields without an index: {}",
                    lacking.join(", ")
                ),
            )
            .evidence("the collection's payload_schema")
            .advice("PUT /collections/NAME/index with the field's name and type"),
        );
    }
}

fn recall(report: &Report, found: &mut Vec<Finding>) {
    for section in &report.recalls {
        let Some(recall) = section.section.data() else {
            continue;
        };
        if recall.mean >= LOW_RECALL || recall.queries < JUDGED {
            continue;
        }
        let severity = match recall.mean < VERY_LOW_RECALL {
            true => Severity::Problem,
            false => Severity::Warning,
        };
        let share = percent(100.0 * recall.mean);
        let (what, top) = (title(section.of), report.top);
        found.push(
            Finding::new(
                severity,
                "low_recall",
                format!("{what} finds {share} of the {top} nearest vectors"),
            )
            .evidence(format!(
                "recall@{top} {:.3}, worst {:.2}, of {} queries against {}",
                recall.mean,
                recall.worst,
                count(recall.queries),
                section.against.title()
            ))
            .advice(
                "search more candidates (--search-ef tries it: hnsw_ef, hnsw.ef_search), build the \
                 index with larger m and ef_construct, or rescore if vectors are quantized",
            ),
        );
    }
}

fn latency(report: &Report, found: &mut Vec<Finding>) {
    for operation in operations(report) {
        let Some(latency) = &operation.latency else {
            continue;
        };
        if let (Some(p50), Some(p99)) = (latency.p50_ns, latency.p99_ns)
            && p99 > p50.saturating_mul(TAIL)
        {
            found.push(
                Finding::new(
                    Severity::Warning,
                    "slow_tail",
                    format!(
                        "one {} of a hundred is {} times as slow as half of them",
                        title(operation.name),
                        p99 / p50.max(1)
                    ),
                )
                .evidence(format!(
                    "p50 {}, p99 {}, of {}",
                    duration(p50),
                    duration(p99),
                    count(operation.completed)
                ))
                .advice("see what else the server does: indexing, merging, reading from disk"),
            );
        }
    }
    let median = |name| report.operation(name)?.latency.as_ref()?.p50_ns;
    if let (Some(filtered), Some(plain)) = (median(names::FILTERED_SEARCH), median(names::SEARCH))
        && filtered > plain.saturating_mul(TAIL)
        && filtered > SLOW_NS
    {
        found.push(
            Finding::new(
                Severity::Warning,
                "slow_filter",
                format!(
                    "the filter makes searches {} times as slow",
                    filtered / plain.max(1)
                ),
            )
            .evidence(format!(
                "p50 {} instead of {}",
                duration(filtered),
                duration(plain)
            ))
            .advice("index the fields that are filtered by"),
        );
    }
}
