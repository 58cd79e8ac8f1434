//! What pg_stat_statements has counted, since its reset and during the probe.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::session::{MARK, Session, SessionError};

/// Statements that are listed, by their time.
const LISTED: usize = 20;
/// Most that are read: pg_stat_statements.max is 5,000 unless it is raised.
const MOST: u32 = 20_000;
/// Longest text, characters.
const LONGEST_TEXT: u32 = 4000;

const ENABLE: &str = "put pg_stat_statements into shared_preload_libraries, restart the server, \
                      and run CREATE EXTENSION pg_stat_statements in this database";

/// Where the extension is, and what its version calls things.
#[derive(Clone, Debug)]
pub struct Extension {
    view: String,
    /// Since 1.8, planning is counted apart: `total_exec_time`.
    splits_planning: bool,
}

#[derive(Deserialize)]
struct Installed {
    /// Quoted.
    schema: String,
    version: String,
}

/// Counters of one statement, as one user ran it.
#[derive(Clone, Debug, Deserialize)]
pub struct Counters {
    user_id: u64,
    /// `None` when the role may not see it.
    query_id: Option<i64>,
    calls: u64,
    rows: u64,
    execution_ms: f64,
    cache_hit_blocks: u64,
    cache_missed_blocks: u64,
    temporary_written_blocks: u64,
}

#[derive(Deserialize)]
struct Text {
    query_id: i64,
    user_id: u64,
    user: Option<String>,
    query: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Statement {
    /// As the server numbers it. A string, since it exceeds 2^53.
    pub query_id: String,
    pub user: Option<String>,
    pub query: String,
    pub calls: u64,
    pub rows: u64,
    pub execution_ms: f64,
    pub mean_ms: f64,
    /// Of the time of all statements of this database.
    pub percent: f64,
    pub cache_hit_blocks: u64,
    pub cache_missed_blocks: u64,
    pub temporary_written_blocks: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Statements {
    /// During the probe, by time.
    pub window: Vec<Statement>,
    /// Calls and time of all statements during the probe, listed or not.
    pub window_calls: u64,
    pub window_execution_ms: f64,
    /// Since the reset, by time.
    pub totals: Vec<Statement>,
    pub totals_calls: u64,
    pub totals_execution_ms: f64,
    pub distinct: u64,
    /// Of other roles: counted by the server, not shown to this role.
    pub hidden: u64,
    /// Statements whose counters went back, or appeared at the limit: left out
    /// of the window.
    pub reset_during_window: u64,
    /// The role may not keep the probe's own statements out of the sums.
    pub counts_the_probe: bool,
}

impl Extension {
    /// # Errors
    /// Why it is not there and how to get it, or those of [`Session::rows`].
    pub async fn find(session: &mut Session) -> Result<Self, SessionError> {
        let installed: Vec<Installed> = session
            .rows(
                "SELECT quote_ident(n.nspname) AS schema, e.extversion AS version
                 FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
                 WHERE e.extname = 'pg_stat_statements'",
            )
            .await?;
        let Some(installed) = installed.into_iter().next() else {
            return Err(SessionError::Missing(format!(
                "pg_stat_statements is not installed: {ENABLE}"
            )));
        };
        let mut numbers = installed.version.split('.').map(str::parse::<u32>);
        let version = match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
            _ => {
                let version = installed.version;
                return Err(SessionError::Answer(format!(
                    "pg_stat_statements {version}"
                )));
            }
        };
        Ok(Self {
            view: format!("{}.pg_stat_statements", installed.schema),
            splits_planning: version >= (1, 8),
        })
    }

    /// The counters without the texts, which the server would read from a file.
    ///
    /// # Errors
    /// Those of [`Session::rows`], and that the server does not load it.
    pub async fn read(&self, session: &mut Session) -> Result<Vec<Counters>, SessionError> {
        let time = if self.splits_planning {
            "total_exec_time"
        } else {
            "total_time"
        };
        let rows = session
            .rows(&format!(
                "SELECT userid::int8 AS user_id, queryid AS query_id,
                   sum(calls)::int8 AS calls, sum(rows)::int8 AS rows,
                   sum({time}) AS execution_ms,
                   sum(shared_blks_hit)::int8 AS cache_hit_blocks,
                   sum(shared_blks_read)::int8 AS cache_missed_blocks,
                   sum(temp_blks_written)::int8 AS temporary_written_blocks
                 FROM {view}(false)
                 WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                 GROUP BY 1, 2 ORDER BY execution_ms DESC LIMIT {MOST}",
                view = self.view,
            ))
            .await;
        rows.map_err(|error| match error.code() {
            // object_not_in_prerequisite_state
            Some("55000") => SessionError::Missing(format!(
                "pg_stat_statements is installed but not loaded: {ENABLE}"
            )),
            _ => error,
        })
    }

    /// What the statements did between two readings, with their texts.
    ///
    /// # Errors
    /// Those of [`Session::rows`].
    pub async fn statements(
        &self,
        session: &mut Session,
        before: &[Counters],
        after: &[Counters],
    ) -> Result<Statements, SessionError> {
        let (changes, reset) = changes(before, after);
        let mut totals: Vec<(i64, Counters)> = after.iter().filter_map(known).collect();
        let mut window: Vec<(i64, Counters)> = changes.iter().filter_map(known).collect();
        let sums = |rows: &[Counters]| {
            let calls = rows.iter().map(|row| row.calls).sum();
            let ms: f64 = rows.iter().map(|row| row.execution_ms).sum();
            (calls, ms)
        };
        let (totals_calls, totals_ms) = sums(after);
        let (window_calls, window_ms) = sums(&changes);
        for rows in [&mut totals, &mut window] {
            rows.sort_by(|(_, a), (_, b)| b.execution_ms.total_cmp(&a.execution_ms));
            // Some are our own, where that could not be turned off.
            rows.truncate(LISTED * 2);
        }
        let ids = totals.iter().chain(&window).map(|(id, _)| id.to_string());
        let ids = ids.collect::<Vec<_>>().join(",");
        let texts = self.texts(session, &ids).await?;
        let list = |rows: &[(i64, Counters)], all_ms: f64| {
            rows.iter()
                .filter_map(|(id, row)| {
                    let text = texts.get(&(*id, row.user_id))?;
                    (!text.query.contains(MARK)).then(|| statement(*id, row, text, all_ms))
                })
                .take(LISTED)
                .collect()
        };
        Ok(Statements {
            window: list(&window, window_ms),
            window_calls,
            window_execution_ms: window_ms,
            totals: list(&totals, totals_ms),
            totals_calls,
            totals_execution_ms: totals_ms,
            distinct: after.len() as u64,
            hidden: after.iter().filter(|row| row.query_id.is_none()).count() as u64,
            reset_during_window: reset,
            counts_the_probe: session.counts_itself(),
        })
    }

    async fn texts(
        &self,
        session: &mut Session,
        ids: &str,
    ) -> Result<HashMap<(i64, u64), Text>, SessionError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let rows: Vec<Text> = session
            .rows(&format!(
                "SELECT DISTINCT ON (queryid, userid) queryid AS query_id,
                   userid::int8 AS user_id, rolname AS user,
                   left(query, {LONGEST_TEXT}) AS query
                 FROM {view}(true) LEFT JOIN pg_roles r ON r.oid = userid
                 WHERE queryid IN ({ids}) AND dbid =
                   (SELECT oid FROM pg_database WHERE datname = current_database())",
                view = self.view,
            ))
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| ((row.query_id, row.user_id), row))
            .collect())
    }
}

fn known(row: &Counters) -> Option<(i64, Counters)> {
    Some((row.query_id?, row.clone()))
}

/// What was counted between two readings, and how many statements began anew.
fn changes(before: &[Counters], after: &[Counters]) -> (Vec<Counters>, u64) {
    let earlier: HashMap<_, _> = before
        .iter()
        .filter_map(|row| Some(((row.query_id?, row.user_id), row)))
        .collect();
    let mut reset = 0;
    let changes = after
        .iter()
        .filter_map(|row| {
            let Some(earlier) = earlier.get(&(row.query_id?, row.user_id)) else {
                return Some(row.clone());
            };
            let change = row.calls.checked_sub(earlier.calls).and_then(|calls| {
                Some(Counters {
                    calls,
                    rows: row.rows.checked_sub(earlier.rows)?,
                    execution_ms: row.execution_ms - earlier.execution_ms,
                    cache_hit_blocks: row.cache_hit_blocks.checked_sub(earlier.cache_hit_blocks)?,
                    cache_missed_blocks: row
                        .cache_missed_blocks
                        .checked_sub(earlier.cache_missed_blocks)?,
                    temporary_written_blocks: row
                        .temporary_written_blocks
                        .checked_sub(earlier.temporary_written_blocks)?,
                    ..row.clone()
                })
            });
            reset += u64::from(change.is_none());
            change.filter(|change| change.calls > 0)
        })
        .collect();
    (changes, reset)
}

fn statement(id: i64, row: &Counters, text: &Text, all_ms: f64) -> Statement {
    Statement {
        query_id: id.to_string(),
        user: text.user.clone(),
        query: text.query.clone(),
        calls: row.calls,
        rows: row.rows,
        execution_ms: row.execution_ms,
        mean_ms: row.execution_ms / (row.calls.max(1)) as f64,
        percent: if all_ms > 0.0 {
            (row.execution_ms * 100.0 / all_ms).clamp(0.0, 100.0)
        } else {
            0.0
        },
        cache_hit_blocks: row.cache_hit_blocks,
        cache_missed_blocks: row.cache_missed_blocks,
        temporary_written_blocks: row.temporary_written_blocks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(query_id: i64, calls: u64, execution_ms: f64) -> Counters {
        Counters {
            user_id: 10,
            query_id: Some(query_id),
            calls,
            rows: calls,
            execution_ms,
            cache_hit_blocks: 0,
            cache_missed_blocks: 0,
            temporary_written_blocks: 0,
        }
    }

    #[test]
    fn changes_are_of_the_window() {
        let before = [
            counters(1, 10, 5.0),
            counters(2, 3, 1.0),
            counters(3, 7, 1.0),
        ];
        let after = [
            counters(1, 15, 7.5),
            counters(2, 3, 1.0),
            counters(3, 1, 0.1),
            counters(4, 2, 9.0),
        ];
        let (changes, reset) = changes(&before, &after);
        let seen: Vec<_> = changes
            .iter()
            .map(|row| (row.query_id, row.calls))
            .collect();
        assert_eq!(seen, [(Some(1), 5), (Some(4), 2)]);
        assert_eq!(changes[0].execution_ms, 2.5);
        assert_eq!(reset, 1);
    }
}
