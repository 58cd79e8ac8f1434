//! What changed in the plan of a statement since an earlier report.

use std::{collections::BTreeMap, fs::File, io::Read as _, path::Path};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::{
    explain::{Explained, Method, Node, Plan},
    report::SCHEMA_VERSION,
};
use crate::{
    probes::database::{Finding, Section, Severity, literals::without_literals},
    report::text::{count, duration, shorten},
};

/// Largest report that is read.
const MOST_BYTES: u64 = 64 << 20;
/// Plans with more nodes are not compared node by node.
const MOST_NODES: usize = 1000;
/// From here a change made the statement slower, times.
const SLOWER: f64 = 1.5;

#[derive(Clone, Debug, Serialize)]
pub struct PlanDifference {
    /// Nodes that only one of the plans has, in their order.
    pub nodes: Vec<NodeChange>,
    /// Tables that are read in another way.
    pub tables: Vec<TableChange>,
    pub baseline_execution_ms: Option<f64>,
    pub execution_ms: Option<f64>,
    /// Blocks found in the cache and read.
    pub baseline_blocks: Option<u64>,
    pub blocks: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeChange {
    pub change: Change,
    pub node: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The baseline does not have it.
    Added,
    /// Only the baseline has it.
    Removed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableChange {
    pub table: String,
    pub baseline: String,
    pub now: String,
}

/// The plans of an earlier report.
pub struct Baseline {
    plans: BTreeMap<String, EarlierPlan>,
}

#[derive(Deserialize)]
struct EarlierReport {
    schema_version: u32,
    plans: Vec<EarlierPlan>,
}

#[derive(Deserialize)]
struct EarlierPlan {
    query: String,
    method: Method,
    plan: Section<Explained>,
}

impl Baseline {
    /// # Errors
    /// When the file is not a report of this verb in JSON.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let read = || -> anyhow::Result<Self> {
            let mut text = String::new();
            File::open(path)?
                .take(MOST_BYTES)
                .read_to_string(&mut text)?;
            let report: EarlierReport = serde_json::from_str(&text)
                .context("not a report of profiler postgres --format json")?;
            ensure!(
                report.schema_version == SCHEMA_VERSION,
                "its schema is version {}, this is {SCHEMA_VERSION}",
                report.schema_version
            );
            let plans = report.plans.into_iter();
            Ok(Self {
                plans: plans.map(|plan| (key(&plan.query), plan)).collect(),
            })
        };
        read().with_context(|| format!("cannot read the baseline {}", path.display()))
    }

    /// What changed in this plan since.
    pub fn difference(&self, plan: &Plan) -> Section<PlanDifference> {
        let Some(earlier) = self.plans.get(&key(&plan.query)) else {
            return Section::missing("the baseline has no plan of this statement");
        };
        if earlier.method != plan.method {
            return Section::missing("one of the plans was executed, the other was not");
        }
        match (&earlier.plan, &plan.plan) {
            (Section::Measured { data: earlier }, Section::Measured { data: now }) => {
                Section::Measured {
                    data: PlanDifference::of(earlier, now),
                }
            }
            (Section::NotMeasured { reason }, _) => {
                Section::missing(format!("the baseline has no plan: {reason}"))
            }
            (_, Section::NotMeasured { reason }) => Section::missing(reason.as_str()),
        }
    }
}

/// Statements are the same whatever their literals and their layout.
fn key(query: &str) -> String {
    let words = without_literals(query);
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl PlanDifference {
    fn of(earlier: &Explained, now: &Explained) -> Self {
        let blocks = |plan: &Explained| {
            let first = plan.nodes.first()?;
            Some(first.cache_hit_blocks? + first.cache_missed_blocks?)
        };
        Self {
            nodes: nodes(&names(&earlier.nodes), &names(&now.nodes)),
            tables: tables(&earlier.nodes, &now.nodes),
            baseline_execution_ms: earlier.execution_ms,
            execution_ms: now.execution_ms,
            baseline_blocks: blocks(earlier),
            blocks: blocks(now),
        }
    }

    pub fn is_same(&self) -> bool {
        self.nodes.is_empty() && self.tables.is_empty()
    }

    /// Time and blocks, then and now.
    pub fn numbers(&self) -> String {
        let ms = |ms: f64| duration((ms.max(0.0) * 1e6) as u64);
        let mut numbers = Vec::new();
        if let (Some(before), Some(now)) = (self.baseline_execution_ms, self.execution_ms) {
            numbers.push(format!("executed in {}, before in {}", ms(now), ms(before)));
        }
        if let (Some(before), Some(now)) = (self.baseline_blocks, self.blocks) {
            numbers.push(format!("{} blocks, before {}", count(now), count(before)));
        }
        if numbers.is_empty() {
            "by plans that were not executed".to_owned()
        } else {
            numbers.join("; ")
        }
    }

    pub fn findings(&self, query: &str) -> Vec<Finding> {
        let query = shorten(query, 120);
        let slower = match (self.baseline_execution_ms, self.execution_ms) {
            (Some(before), Some(now)) => now > SLOWER * before,
            _ => false,
        };
        let finding = |worse: bool, text| {
            let severity = if worse {
                Severity::Problem
            } else {
                Severity::Hint
            };
            Finding::new(severity, "plan_changed", text).evidence(self.numbers())
        };
        if self.tables.is_empty() && !self.nodes.is_empty() {
            let of = |wanted| {
                let nodes = self.nodes.iter().filter(|node| node.change == wanted);
                nodes.map(|node| &*node.node).collect::<Vec<_>>().join(", ")
            };
            return vec![
                finding(
                    slower,
                    format!(
                        "the plan of {query} has changed: now {}; before {}",
                        or_nothing(of(Change::Added)),
                        or_nothing(of(Change::Removed))
                    ),
                )
                .advice("rows expected and found (the plan below) say which estimate decided it"),
            ];
        }
        self.tables
            .iter()
            .map(|table| {
                let whole = table.now.contains("Seq Scan") && !table.baseline.contains("Seq Scan");
                finding(
                    slower || whole,
                    format!(
                        "{} is read by {} instead of {} in {query}",
                        table.table, table.now, table.baseline
                    ),
                )
                .advice(if whole {
                    "see whether the index is still there and valid, and ANALYZE the table"
                } else {
                    "ANALYZE the table, and compare the rows expected with those found"
                })
            })
            .collect()
    }
}

fn or_nothing(nodes: String) -> String {
    if nodes.is_empty() {
        "nothing in its place".to_owned()
    } else {
        nodes
    }
}

fn names(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(Node::name).collect()
}

/// What only one of two sequences has, by their longest common subsequence.
fn nodes(earlier: &[String], now: &[String]) -> Vec<NodeChange> {
    if earlier.len().max(now.len()) > MOST_NODES {
        return Vec::new();
    }
    // lengths[i][j]: of the common subsequence of earlier[i..] and now[j..].
    let mut lengths = vec![vec![0_u32; now.len() + 1]; earlier.len() + 1];
    for i in (0..earlier.len()).rev() {
        for j in (0..now.len()).rev() {
            lengths[i][j] = if earlier[i] == now[j] {
                lengths[i + 1][j + 1] + 1
            } else {
                lengths[i + 1][j].max(lengths[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut changes = Vec::new();
    while i < earlier.len() || j < now.len() {
        let removed =
            j == now.len() || (i < earlier.len() && lengths[i + 1][j] >= lengths[i][j + 1]);
        if i < earlier.len() && j < now.len() && earlier[i] == now[j] {
            (i, j) = (i + 1, j + 1);
        } else if removed {
            changes.push(NodeChange {
                change: Change::Removed,
                node: earlier[i].clone(),
            });
            i += 1;
        } else {
            changes.push(NodeChange {
                change: Change::Added,
                node: now[j].clone(),
            });
            j += 1;
        }
    }
    changes
}

/// Tables of both plans that are read in another way.
fn tables(earlier: &[Node], now: &[Node]) -> Vec<TableChange> {
    let mut now = accesses(now);
    accesses(earlier)
        .into_iter()
        .filter_map(|(table, baseline)| {
            let now = now.remove(&table).filter(|now| *now != baseline)?;
            Some(TableChange {
                table,
                baseline: baseline.join(", "),
                now: now.join(", "),
            })
        })
        .collect()
}

/// How each table is read.
fn accesses(nodes: &[Node]) -> BTreeMap<String, Vec<String>> {
    let mut accesses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (place, node) in nodes.iter().enumerate() {
        let Some(relation) = &node.relation else {
            continue;
        };
        // The index of a bitmap is in a node of its own.
        let below = nodes[place + 1..]
            .iter()
            .take_while(|inner| inner.depth > node.depth)
            .filter(|inner| inner.kind.starts_with("Bitmap"));
        let indexes: Vec<&str> = node
            .index
            .iter()
            .chain(below.filter_map(|inner| inner.index.as_ref()))
            .map(String::as_str)
            .collect();
        let mut access = node.kind.clone();
        if !indexes.is_empty() {
            access += &format!(" using {}", indexes.join(", "));
        }
        accesses.entry(relation.clone()).or_default().push(access);
    }
    for accesses in accesses.values_mut() {
        accesses.sort_unstable();
        accesses.dedup();
    }
    accesses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn only_what_differs() {
        let changes = |earlier, now| -> Vec<String> {
            nodes(&sequence(earlier), &sequence(now))
                .into_iter()
                .map(|change| match change.change {
                    Change::Added => format!("+{}", change.node),
                    Change::Removed => format!("-{}", change.node),
                })
                .collect()
        };
        assert!(changes("a b c", "a b c").is_empty());
        assert_eq!(changes("a b c", "g a b c"), ["+g"]);
        assert_eq!(changes("a b c", "a x c"), ["-b", "+x"]);
        assert_eq!(changes("a b b", "b"), ["-a", "-b"]);
    }

    #[test]
    fn layout_and_literals_make_no_other_statement() {
        assert_eq!(
            key("SELECT *  FROM t\n WHERE a = 1"),
            key("SELECT * FROM t WHERE a = 42")
        );
        assert_ne!(key("SELECT a FROM t"), key("SELECT b FROM t"));
    }
}
