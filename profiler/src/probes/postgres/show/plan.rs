//! Plans of statements.

use super::{STATEMENT, milliseconds};
use crate::{
    probes::{
        database::{Column, Part, Section},
        postgres::{
            explain::{Method, Plan},
            plan_difference::Change,
        },
    },
    report::text::{count, shorten},
};

pub(super) fn plan(plan: &Plan) -> Part {
    let columns = vec![
        Column::text("Node"),
        Column::number("Expected rows"),
        Column::number("Rows"),
        Column::number("Loops"),
        Column::number("Time"),
        Column::number("Blocks hit"),
        Column::number("Read"),
        Column::text("Condition"),
    ];
    let title = format!("Plan of {}", shorten(&plan.query, STATEMENT));
    Part::of(&title, &plan.plan, columns, |explained, part| {
        let number =
            |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |it| format!("{it:.0}"));
        let blocks = |value: Option<u64>| value.map_or_else(|| "–".to_owned(), count);
        for node in &explained.nodes {
            part.row(vec![
                format!("{}{}", "› ".repeat(node.depth), node.name()),
                format!("{:.0}", node.estimated_rows),
                number(node.rows),
                number(node.loops),
                node.total_ms.map_or_else(|| "–".to_owned(), milliseconds),
                blocks(node.cache_hit_blocks),
                blocks(node.cache_missed_blocks),
                node.condition.clone().unwrap_or_default(),
            ]);
        }
        match &plan.difference {
            Some(Section::Measured { data }) if data.is_same() => {
                part.note(format!(
                    "The same nodes as in the baseline; {}",
                    data.numbers()
                ));
            }
            Some(Section::Measured { data }) => {
                for change in &data.nodes {
                    let sign = match change.change {
                        Change::Added => '+',
                        Change::Removed => '-',
                    };
                    part.note(format!("Since the baseline: {sign} {}", change.node));
                }
                part.note(format!("Since the baseline: {}", data.numbers()));
            }
            Some(Section::NotMeasured { reason }) => part.note(format!("Not compared: {reason}")),
            None => {}
        }
        match (plan.method, explained.execution_ms) {
            (Method::Analyzed, Some(ms)) => part.note(format!(
                "EXPLAIN (ANALYZE, BUFFERS): executed in {} in a read-only transaction that was \
                 rolled back",
                milliseconds(ms)
            )),
            (Method::Analyzed, None) => part.note("executed"),
            (Method::Generic, _) => part.note(
                "The generic plan, for any parameters: not executed; rows are the planner's \
                 estimates",
            ),
        }
    })
}
