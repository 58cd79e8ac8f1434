//! Statements that run more often than they need to.

use super::quote;
use crate::{
    probes::{
        database::{Finding, Severity},
        postgres::{report::Report, statements::Statement},
    },
    report::text::count,
};

/// A statement that runs so much more often than transactions is in a loop.
const CALLS_PER_TRANSACTION: f64 = 10.0;
const LOOP_CALLS: u64 = 200;
/// A loop over the rows of another statement goes around so often.
const ROWS_PER_CALL: f64 = 5.0;
/// By how much the rows of the one and the calls of the other may differ, for
/// loops that the window begins or ends within.
const DIFFERENCE: f64 = 0.02;
const UNFINISHED_LOOPS: f64 = 3.0;
const MOST_DIFFERENCE: f64 = 0.1;

pub fn statements(report: &Report, found: &mut Vec<Finding>) {
    let Some(statements) = report.statements.data() else {
        return;
    };
    for statement in &statements.window {
        if !reads(statement) || statement.calls < LOOP_CALLS {
            continue;
        }
        let evidence = match parent(statement, &statements.window) {
            Some(parent) => Some(format!(
                "{} rows came from {} calls of: {}; and it ran {} times",
                count(parent.rows),
                count(parent.calls),
                quote(Some(&parent.query)),
                count(statement.calls)
            )),
            None => by_transactions(statement, report),
        };
        let Some(evidence) = evidence else {
            continue;
        };
        found.push(
            Finding::new(
                Severity::Warning,
                "n_plus_one",
                format!("N+1: in a loop runs {}", quote(Some(&statement.query))),
            )
            .evidence(format!("{evidence} in {:.1} s", report.window_seconds))
            .advice("ask for all rows at once: a join, or WHERE … = ANY($1)"),
        );
    }
}

/// Of clients that loop within a transaction.
fn by_transactions(statement: &Statement, report: &Report) -> Option<String> {
    let database = report.database.data()?;
    let window = database.window.as_ref()?;
    let transactions = (window.committed_transactions + window.rolled_back_transactions)
        .saturating_sub(database.own_transactions);
    let ratio = statement.calls as f64 / transactions.max(1) as f64;
    (ratio >= CALLS_PER_TRANSACTION).then(|| {
        format!(
            "{} calls and {} transactions of this database: {ratio:.0} times as many,",
            count(statement.calls),
            count(transactions)
        )
    })
}

/// The statement over whose rows this one loops: it returned as many rows as
/// this one has calls. So it is also where each call is a transaction of its
/// own, as with most drivers.
fn parent<'s>(looped: &Statement, all: &'s [Statement]) -> Option<&'s Statement> {
    let difference = |parent: &Statement| (parent.rows as f64 - looped.calls as f64).abs();
    all.iter()
        .filter(|parent| {
            let rows_per_call = parent.rows as f64 / parent.calls.max(1) as f64;
            let calls = looped.calls as f64;
            let allowed = (rows_per_call * UNFINISHED_LOOPS)
                .clamp(calls * DIFFERENCE, calls * MOST_DIFFERENCE);
            reads(parent)
                && parent.query_id != looped.query_id
                && parent.user == looped.user
                && rows_per_call >= ROWS_PER_CALL
                && difference(parent) <= allowed
        })
        .min_by(|a, b| difference(a).total_cmp(&difference(b)))
}

fn reads(statement: &Statement) -> bool {
    let first = statement.query.trim_start().get(..6);
    first.is_some_and(|word| word.eq_ignore_ascii_case("select"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(query: &str, calls: u64, rows: u64) -> Statement {
        Statement {
            query_id: query.to_owned(),
            user: Some("shop".to_owned()),
            query: query.to_owned(),
            calls,
            rows,
            execution_ms: 0.0,
            mean_ms: 0.0,
            percent: 0.0,
            cache_hit_blocks: 0,
            cache_missed_blocks: 0,
            temporary_written_blocks: 0,
        }
    }

    #[test]
    fn a_loop_has_as_many_calls_as_another_has_rows() {
        let orders = statement("SELECT id FROM orders WHERE customer_id = $1", 80, 1600);
        let lines = statement("SELECT * FROM order_lines WHERE order_id = $1", 1590, 3180);
        // As many calls, but no rows to loop over; and rows in another number.
        let session = statement("SELECT * FROM sessions WHERE id = $1", 1590, 1590);
        let report = statement("SELECT * FROM sales WHERE day = $1", 10, 3000);
        let all = [lines.clone(), orders.clone(), session, report];
        let found = parent(&lines, &all).map(|parent| parent.query.as_str());
        assert_eq!(found, Some(orders.query.as_str()));
        let rare = statement("SELECT * FROM customers WHERE id = $1", 700, 700);
        assert!(parent(&rare, &all).is_none());
    }
}
