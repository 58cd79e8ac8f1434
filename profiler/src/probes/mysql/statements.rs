//! What the performance schema has counted of statements, since its reset and
//! in the window.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{
    server::Server,
    session::{MARK, Session, SessionError},
};

/// Statements that are listed, by their time.
const LISTED: usize = 20;
/// Most that are read: `performance_schema_digests_size` is 10,000 at most
/// unless it is raised.
const MOST: u32 = 20_000;
/// Longest text, characters.
const LONGEST_TEXT: u32 = 4000;
/// The server counts picoseconds.
const PER_MS: f64 = 1e9;

/// What turns it on.
pub const ENABLE: &str =
    "put performance_schema = ON into [mysqld] of the server's configuration and restart it";

/// Counters of one statement in one schema.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Counters {
    schema: Option<String>,
    /// `None` is what found no place in the table: all of that together.
    digest: Option<String>,
    own: u8,
    calls: u64,
    picoseconds: u64,
    lock_picoseconds: u64,
    rows_examined: u64,
    rows_sent: u64,
    rows_affected: u64,
    no_index_calls: u64,
    temporary_disk_tables: u64,
    errors: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Statement {
    pub schema: Option<String>,
    pub digest: String,
    pub query: String,
    pub calls: u64,
    pub total_ms: f64,
    pub mean_ms: f64,
    /// Of the time of all statements.
    pub percent: f64,
    /// Of the time, waits for locks of tables.
    pub lock_ms: f64,
    pub rows_examined: u64,
    pub rows_sent: u64,
    pub rows_affected: u64,
    /// Calls that used no index.
    pub no_index_calls: u64,
    pub temporary_disk_tables: u64,
    pub errors: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Statements {
    /// During the probe, by time.
    pub window: Vec<Statement>,
    /// Calls and time of all statements during the probe but the probe's own.
    pub window_calls: u64,
    pub window_ms: f64,
    /// Since the reset, by time.
    pub totals: Vec<Statement>,
    pub totals_calls: u64,
    pub totals_ms: f64,
    pub distinct: u64,
    /// Calls since the reset that found no place in the table and are in the sums
    /// only.
    pub not_told_apart_calls: u64,
    /// Statements whose counters went back: left out of the window.
    pub reset_during_window: u64,
}

/// The counters without the texts.
///
/// # Errors
/// That they are not there, with how to get them, or those of [`Session::rows`].
pub async fn read(session: &mut Session, server: &Server) -> Result<Vec<Counters>, SessionError> {
    if !server.performance_schema {
        return Err(SessionError::Off(format!(
            "performance_schema is off: {ENABLE}"
        )));
    }
    session
        .rows(&format!(
            "SCHEMA_NAME AS `schema`, DIGEST AS digest,
               COALESCE(DIGEST_TEXT LIKE '%`{MARK}`%', 0) AS own, COUNT_STAR AS calls,
               SUM_TIMER_WAIT AS picoseconds, SUM_LOCK_TIME AS lock_picoseconds,
               SUM_ROWS_EXAMINED AS rows_examined, SUM_ROWS_SENT AS rows_sent,
               SUM_ROWS_AFFECTED AS rows_affected, SUM_NO_INDEX_USED AS no_index_calls,
               SUM_CREATED_TMP_DISK_TABLES AS temporary_disk_tables, SUM_ERRORS AS errors
             FROM performance_schema.events_statements_summary_by_digest
             ORDER BY SUM_TIMER_WAIT DESC LIMIT {MOST}"
        ))
        .await
}

/// What the statements did between two readings, with their texts.
///
/// # Errors
/// Those of [`Session::rows`].
pub async fn statements(
    session: &mut Session,
    before: &[Counters],
    after: &[Counters],
) -> Result<Statements, SessionError> {
    let (window, reset) = changes(before, after);
    let totals: Vec<Counters> = after.iter().filter(|row| row.own == 0).cloned().collect();
    let sums = |rows: &[Counters]| {
        let calls = rows.iter().map(|row| row.calls).sum();
        let ms: f64 = rows.iter().map(|row| row.picoseconds as f64 / PER_MS).sum();
        (calls, ms)
    };
    let (totals_calls, totals_ms) = sums(&totals);
    let (window_calls, window_ms) = sums(&window);
    let (listed_totals, listed_window) = (costliest(&totals), costliest(&window));
    let listed = [&listed_totals[..], &listed_window].concat();
    let texts = texts(session, &listed).await?;
    let list = |rows: &[&Counters], all_ms: f64| {
        rows.iter()
            .filter_map(|row| statement(row, &texts, all_ms))
            .collect()
    };
    Ok(Statements {
        window: list(&listed_window, window_ms),
        window_calls,
        window_ms,
        totals: list(&listed_totals, totals_ms),
        totals_calls,
        totals_ms,
        distinct: totals.iter().filter(|row| row.digest.is_some()).count() as u64,
        not_told_apart_calls: totals
            .iter()
            .filter(|row| row.digest.is_none())
            .map(|row| row.calls)
            .sum(),
        reset_during_window: reset,
    })
}

fn costliest(rows: &[Counters]) -> Vec<&Counters> {
    let mut rows: Vec<&Counters> = rows.iter().filter(|row| row.digest.is_some()).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.picoseconds));
    rows.truncate(LISTED);
    rows
}

type Key = (Option<String>, Option<String>);

fn key(row: &Counters) -> Key {
    (row.schema.clone(), row.digest.clone())
}

/// What was counted between two readings, and how many statements began anew.
fn changes(before: &[Counters], after: &[Counters]) -> (Vec<Counters>, u64) {
    let earlier: HashMap<Key, &Counters> = before.iter().map(|row| (key(row), row)).collect();
    let none = Counters::default();
    let mut reset = 0;
    let changes = after.iter().filter(|row| row.own == 0).filter_map(|row| {
        let earlier = earlier.get(&key(row)).copied().unwrap_or(&none);
        let change = change(row, earlier);
        reset += u64::from(change.is_none());
        change.filter(|change| change.calls > 0)
    });
    let changes = changes.collect();
    (changes, reset)
}

fn change(row: &Counters, earlier: &Counters) -> Option<Counters> {
    let since = |get: fn(&Counters) -> u64| get(row).checked_sub(get(earlier));
    Some(Counters {
        calls: since(|it| it.calls)?,
        picoseconds: since(|it| it.picoseconds)?,
        lock_picoseconds: since(|it| it.lock_picoseconds)?,
        rows_examined: since(|it| it.rows_examined)?,
        rows_sent: since(|it| it.rows_sent)?,
        rows_affected: since(|it| it.rows_affected)?,
        no_index_calls: since(|it| it.no_index_calls)?,
        temporary_disk_tables: since(|it| it.temporary_disk_tables)?,
        errors: since(|it| it.errors)?,
        ..row.clone()
    })
}

/// Texts by digest.
async fn texts(
    session: &mut Session,
    rows: &[&Counters],
) -> Result<HashMap<String, String>, SessionError> {
    #[derive(Deserialize)]
    struct Text {
        digest: String,
        query: Option<String>,
    }
    // They are hashes in hexadecimal; anything else is not put into a statement.
    let digests: Vec<String> = rows
        .iter()
        .filter_map(|row| row.digest.as_deref())
        .filter(|digest| digest.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .map(|digest| format!("'{digest}'"))
        .collect();
    if digests.is_empty() {
        return Ok(HashMap::new());
    }
    let texts: Vec<Text> = session
        .rows(&format!(
            "DIGEST AS digest, LEFT(DIGEST_TEXT, {LONGEST_TEXT}) AS query
             FROM performance_schema.events_statements_summary_by_digest
             WHERE DIGEST IN ({})",
            digests.join(",")
        ))
        .await?;
    let texts = texts.into_iter();
    Ok(texts
        .map(|text| (text.digest, text.query.unwrap_or_default()))
        .collect())
}

fn statement(row: &Counters, texts: &HashMap<String, String>, all_ms: f64) -> Option<Statement> {
    let digest = row.digest.clone()?;
    let total_ms = row.picoseconds as f64 / PER_MS;
    Some(Statement {
        schema: row.schema.clone(),
        query: texts.get(&digest).cloned().unwrap_or_default(),
        digest,
        calls: row.calls,
        total_ms,
        mean_ms: total_ms / row.calls.max(1) as f64,
        percent: if all_ms > 0.0 {
            (total_ms * 100.0 / all_ms).clamp(0.0, 100.0)
        } else {
            0.0
        },
        lock_ms: row.lock_picoseconds as f64 / PER_MS,
        rows_examined: row.rows_examined,
        rows_sent: row.rows_sent,
        rows_affected: row.rows_affected,
        no_index_calls: row.no_index_calls,
        temporary_disk_tables: row.temporary_disk_tables,
        errors: row.errors,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(digest: &str, calls: u64, own: u8) -> Counters {
        Counters {
            digest: Some(digest.to_owned()),
            own,
            calls,
            picoseconds: calls * 1_000_000_000,
            ..Counters::default()
        }
    }

    #[test]
    fn changes_are_of_the_window_and_of_others() {
        let before = [
            counters("a", 10, 0),
            counters("b", 3, 0),
            counters("c", 7, 0),
        ];
        let after = [
            counters("a", 15, 0),
            counters("b", 3, 0),
            counters("c", 1, 0),
            counters("d", 2, 0),
            counters("e", 9, 1),
        ];
        let (changes, reset) = changes(&before, &after);
        let seen: Vec<_> = changes
            .iter()
            .map(|row| (row.digest.as_deref(), row.calls))
            .collect();
        assert_eq!(seen, [(Some("a"), 5), (Some("d"), 2)]);
        assert_eq!(reset, 1);
        let shown = statement(&changes[0], &HashMap::new(), 10.0).expect("it has a digest");
        assert_eq!((shown.total_ms, shown.percent), (5.0, 50.0));
    }
}
