//! Plans of statements: executed only when they cannot write, never committed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    plan_difference::PlanDifference,
    session::{MARK, Session, SessionError},
    statements::Statements,
};
use crate::{
    probes::database::{Finding, Section, Severity},
    report::text::{bytes, count, shorten},
};

/// A table is large from here.
const LARGE_ROWS: f64 = 10_000.0;
/// An estimate is wrong from here, times.
const WRONG_ESTIMATE: f64 = 10.0;
/// Fewer rows than this are wrong without harm.
const WRONG_ROWS: f64 = 1000.0;
/// Deepest plan that is looked at.
const DEEPEST: usize = 200;

#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    pub query: String,
    /// What was done to get it.
    pub method: Method,
    pub plan: Section<Explained>,
    /// To the plan in an earlier report, if one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Section<PlanDifference>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// EXPLAIN (ANALYZE, BUFFERS): executed, its numbers are measured.
    Analyzed,
    /// EXPLAIN of a generic plan, for any parameters: not executed, its numbers
    /// are the planner's estimates.
    Generic,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Explained {
    pub planning_ms: Option<f64>,
    /// `None` for a generic plan.
    pub execution_ms: Option<f64>,
    pub nodes: Vec<Node>,
}

/// A node of a plan, the outermost first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    pub depth: usize,
    pub kind: String,
    pub relation: Option<String>,
    pub index: Option<String>,
    pub condition: Option<String>,
    pub estimated_rows: f64,
    /// In one loop, as the server says it; the rest is of all loops.
    pub rows: Option<f64>,
    pub loops: Option<f64>,
    pub total_ms: Option<f64>,
    pub rows_removed_by_filter: Option<f64>,
    pub cache_hit_blocks: Option<u64>,
    pub cache_missed_blocks: Option<u64>,
    pub temporary_written_blocks: Option<u64>,
    /// A sort or hash that did not fit into work_mem.
    pub spilled_bytes: Option<u64>,
}

/// Explains a statement that somebody wants to see: it is executed, in a
/// transaction that cannot write and is rolled back.
pub async fn given(session: &mut Session, statement: &str, text: fn(&str) -> String) -> Plan {
    let statement = statement.trim().trim_end_matches(';').trim_end();
    let plan = match refuse(statement) {
        Some(reason) => Section::missing(reason),
        None => {
            let explain = format!("EXPLAIN {MARK} (ANALYZE, BUFFERS, FORMAT JSON) {statement}");
            inside(session, None, &explain, text).await.into()
        }
    };
    Plan {
        query: text(statement),
        method: Method::Analyzed,
        plan,
        difference: None,
    }
}

/// Explains the reading statements that took most of the time. Those with
/// parameters are planned for any parameters and not executed.
pub async fn worst(
    session: &mut Session,
    version: u32,
    statements: &Section<Statements>,
    wanted: usize,
    text: fn(&str) -> String,
) -> Vec<Plan> {
    let statements = match statements {
        Section::Measured { data } => data,
        Section::NotMeasured { reason } => {
            return vec![Plan {
                query: "the statements that took the most time".to_owned(),
                method: Method::Generic,
                plan: Section::missing(reason.as_str()),
                difference: None,
            }];
        }
    };
    let mut seen = Vec::new();
    let mut plans = Vec::new();
    for statement in statements.window.iter().chain(&statements.totals) {
        let query = statement.query.trim();
        if plans.len() == wanted || seen.contains(&&statement.query_id) || refuse(query).is_some() {
            continue;
        }
        seen.push(&statement.query_id);
        plans.push(generic(session, version, query, text).await);
    }
    plans
}

/// Plans a statement for any parameters: with EXPLAIN (GENERIC_PLAN) since 16,
/// before as a prepared one.
async fn generic(
    session: &mut Session,
    version: u32,
    query: &str,
    text: fn(&str) -> String,
) -> Plan {
    let plan = if version >= 160_000 {
        let explain = format!("EXPLAIN {MARK} (GENERIC_PLAN, FORMAT JSON) {query}");
        inside(session, None, &explain, text).await
    } else {
        let parameters = match parameters(query) {
            0 => String::new(),
            count => format!("({})", vec!["NULL"; count].join(", ")),
        };
        let prepare = format!("PREPARE {MARK} profiler_plan AS {query}");
        let explain = format!("EXPLAIN {MARK} (FORMAT JSON) EXECUTE profiler_plan{parameters}");
        inside(session, Some(&prepare), &explain, text).await
    };
    Plan {
        query: text(query),
        method: Method::Generic,
        plan: plan.into(),
        difference: None,
    }
}

/// Number of the last `$n`.
fn parameters(query: &str) -> usize {
    let mut most = 0;
    for (_, rest) in query
        .match_indices('$')
        .map(|(at, _)| query.split_at(at + 1))
    {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        most = most.max(rest[..digits].parse().unwrap_or(0));
    }
    // The protocol knows no more.
    most.min(65_535)
}

/// Why a statement is not explained. The read-only transaction is what keeps
/// it from writing; this is for a clear word before.
fn refuse(statement: &str) -> Option<String> {
    let first: String = statement
        .chars()
        .skip_while(|character| *character == '(')
        .take_while(|character| character.is_alphabetic())
        .collect();
    let reads = ["select", "with", "values", "table"].contains(&first.to_lowercase().as_str());
    (!reads).then(|| "only SELECT, WITH, VALUES and TABLE are explained".to_owned())
}

/// Explains in a transaction that cannot write and that is rolled back.
async fn inside(
    session: &mut Session,
    prepare: Option<&str>,
    explain: &str,
    text: fn(&str) -> String,
) -> Result<Explained, SessionError> {
    session.begin().await?;
    let explained = async {
        // Planned as the application's would be.
        session
            .run("SET LOCAL search_path TO DEFAULT; SET LOCAL jit TO DEFAULT")
            .await?;
        let Some(prepare) = prepare else {
            return session.texts(explain).await;
        };
        session
            .run("SET LOCAL plan_cache_mode = force_generic_plan")
            .await?;
        session.texts(prepare).await?;
        let texts = session.texts(explain).await?;
        // It is not undone with its transaction.
        session.run("DEALLOCATE profiler_plan").await?;
        Ok(texts)
    };
    let explained = explained.await;
    if explained.is_err() {
        session.end();
    } else {
        session.run("ROLLBACK").await?;
    }
    let texts = explained?;
    let unknown = |what: &str| SessionError::Answer(format!("EXPLAIN {what}"));
    let json: Value = texts
        .first()
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(|| unknown("did not answer in JSON"))?;
    let root = &json[0];
    let mut nodes = Vec::new();
    flatten(&root["Plan"], 0, text, &mut nodes);
    if nodes.is_empty() {
        return Err(unknown("shows no plan"));
    }
    Ok(Explained {
        planning_ms: root["Planning Time"].as_f64(),
        execution_ms: root["Execution Time"].as_f64(),
        nodes,
    })
}

fn flatten(plan: &Value, depth: usize, text: fn(&str) -> String, nodes: &mut Vec<Node>) {
    let Some(kind) = plan["Node Type"].as_str() else {
        return;
    };
    let word = |name: &str| plan[name].as_str().map(str::to_owned);
    let number = |name: &str| plan[name].as_f64();
    let blocks = |name: &str| plan[name].as_u64();
    let conditions = [
        "Index Cond",
        "Recheck Cond",
        "Hash Cond",
        "Merge Cond",
        "Join Filter",
        "Filter",
    ];
    let conditions = conditions
        .into_iter()
        .filter_map(|name| plan[name].as_str());
    let condition = conditions.map(text).collect::<Vec<_>>().join(" AND ");
    let loops = number("Actual Loops");
    let spilled_kb = match plan["Sort Space Type"].as_str() {
        Some("Disk") => blocks("Sort Space Used"),
        _ => None,
    };
    let batches = blocks("Hash Batches").filter(|&batches| batches > 1);
    let disk_kb = blocks("Disk Usage").filter(|&kb| kb > 0);
    let hash_kb = batches.and_then(|batches| Some(blocks("Peak Memory Usage")? * batches));
    nodes.push(Node {
        depth,
        kind: kind.to_owned(),
        relation: word("Relation Name"),
        index: word("Index Name"),
        condition: Some(condition).filter(|condition| !condition.is_empty()),
        estimated_rows: number("Plan Rows").unwrap_or_default(),
        rows: number("Actual Rows"),
        loops,
        total_ms: number("Actual Total Time")
            .zip(loops)
            .map(|(ms, loops)| ms * loops),
        rows_removed_by_filter: number("Rows Removed by Filter")
            .zip(loops)
            .map(|(rows, loops)| rows * loops),
        cache_hit_blocks: blocks("Shared Hit Blocks"),
        cache_missed_blocks: blocks("Shared Read Blocks"),
        temporary_written_blocks: blocks("Temp Written Blocks"),
        spilled_bytes: spilled_kb.or(disk_kb).or(hash_kb).map(|kb| kb * 1024),
    });
    if depth < DEEPEST {
        for inner in plan["Plans"].as_array().into_iter().flatten() {
            flatten(inner, depth + 1, text, nodes);
        }
    }
}

impl Plan {
    pub fn findings(&self) -> Vec<Finding> {
        let nodes = self.plan.data().map_or(&[][..], |plan| &plan.nodes);
        let of = shorten(&self.query, 120).into_owned();
        let difference = self.difference.as_ref().and_then(Section::data);
        difference
            .into_iter()
            .flat_map(|difference| difference.findings(&self.query))
            .chain(nodes.iter().filter_map(|node| node.finding(&of)))
            .collect()
    }
}

impl Node {
    /// As `Seq Scan on orders`.
    pub fn name(&self) -> String {
        let mut name = self.kind.clone();
        if let Some(index) = &self.index {
            name += &format!(" using {index}");
        }
        if let Some(relation) = &self.relation {
            name += &format!(" on {relation}");
        }
        name
    }

    fn finding(&self, query: &str) -> Option<Finding> {
        let name = self.name();
        if let Some(spilled) = self.spilled_bytes {
            return Some(
                Finding::new(
                    Severity::Warning,
                    "plan_spill",
                    format!("{name} went to disk in {query}"),
                )
                .evidence(format!("{} did not fit into work_mem", bytes(spilled)))
                .advice("raise work_mem for this statement, or let it sort fewer rows"),
            );
        }
        let read = self.rows.unwrap_or(self.estimated_rows) * self.loops.unwrap_or(1.0)
            + self.rows_removed_by_filter.unwrap_or_default();
        let measured = self.rows.is_some();
        let selective = match self.rows_removed_by_filter {
            Some(removed) => removed > 0.9 * read,
            None => !measured && self.condition.is_some(),
        };
        if self.kind == "Seq Scan" && selective && (!measured || read >= LARGE_ROWS) {
            let condition = self.condition.as_deref().unwrap_or_default();
            let evidence = match self.rows_removed_by_filter {
                Some(removed) => format!(
                    "{} rows were read and thrown away for {condition}",
                    count(removed as u64)
                ),
                None => format!("the generic plan, by the planner's estimates, for {condition}"),
            };
            return Some(
                Finding::new(
                    Severity::Warning,
                    "plan_sequential_scan",
                    format!("{name} in {query}"),
                )
                .evidence(evidence)
                .advice(format!(
                    "an index on what {condition} compares would find the rows"
                )),
            );
        }
        let rows = self.rows?;
        let (low, high) = if rows < self.estimated_rows {
            (rows, self.estimated_rows)
        } else {
            (self.estimated_rows, rows)
        };
        let times = high / low.max(1.0);
        (times >= WRONG_ESTIMATE && high >= WRONG_ROWS).then(|| {
            Finding::new(
                Severity::Warning,
                "plan_estimate",
                format!("the planner is wrong {times:.0} times about {name} in {query}"),
            )
            .evidence(format!(
                "{:.0} rows expected, {rows:.0} found",
                self.estimated_rows
            ))
            .advice(
                "ANALYZE the table; when columns depend on each other, CREATE STATISTICS on them",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_counted() {
        assert_eq!(parameters("SELECT $1, $12, '$', $x"), 12);
        assert_eq!(parameters("SELECT 1"), 0);
        assert_eq!(parameters("SELECT $99999999999999999999999"), 0);
    }

    #[test]
    fn only_what_reads_is_explained() {
        for statement in ["SELECT 1", "(select 1)", "WITH a AS (SELECT 1) TABLE a"] {
            assert_eq!(refuse(statement), None);
        }
        for statement in ["DELETE FROM t", "", "COMMIT", "explain select 1"] {
            assert!(refuse(statement).is_some());
        }
    }

    #[test]
    fn findings_of_a_plan() {
        let plan = serde_json::json!({
            "Node Type": "Sort", "Plan Rows": 10, "Actual Rows": 5000, "Actual Loops": 1,
            "Sort Space Type": "Disk", "Sort Space Used": 2048,
            "Plans": [{
                "Node Type": "Seq Scan", "Relation Name": "t", "Filter": "(a = 42)",
                "Plan Rows": 10, "Actual Rows": 5, "Actual Loops": 2,
                "Rows Removed by Filter": 50_000,
            }, {
                "Node Type": "Index Scan", "Relation Name": "u", "Index Name": "u_a",
                "Plan Rows": 1, "Actual Rows": 4000, "Actual Loops": 1,
            }],
        });
        let mut nodes = Vec::new();
        flatten(
            &plan,
            0,
            crate::probes::database::literals::without_literals,
            &mut nodes,
        );
        let plan = Plan {
            query: "q".to_owned(),
            method: Method::Analyzed,
            plan: Section::Measured {
                data: Explained {
                    planning_ms: None,
                    execution_ms: None,
                    nodes,
                },
            },
            difference: None,
        };
        let found = plan.findings();
        let kinds: Vec<_> = found.iter().map(|finding| &*finding.kind).collect();
        assert_eq!(
            kinds,
            ["plan_spill", "plan_sequential_scan", "plan_estimate"]
        );
        assert_eq!(
            found[1].evidence,
            "100,000 rows were read and thrown away for (a = ?)"
        );
    }
}
