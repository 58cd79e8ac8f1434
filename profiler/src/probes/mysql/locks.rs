//! Who waits for whose lock: for rows, as InnoDB knows it, and for the
//! definitions of tables (metadata locks), as the performance schema does.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    activity::Thread,
    session::{Product, Session, SessionError},
};

/// Most waits that are read.
const MOST: u32 = 5000;
/// What the state of a session says that waits for a table's definition.
pub const METADATA_STATE: &str = "Waiting for table metadata lock";

/// That one session waits for another.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Wait {
    pub waiting: u64,
    pub blocking: u64,
    pub mode: Option<String>,
    pub table: Option<String>,
    pub index: Option<String>,
}

impl Wait {
    fn lock_name(&self) -> String {
        let mode = self.mode.as_deref().unwrap_or("lock");
        // Of its own: `shop`.`stock`.
        let table = self.table.as_deref().map(|table| table.replace('`', ""));
        match (table, &self.index) {
            (Some(table), Some(index)) => format!("{mode} on {table}, index {index}"),
            (Some(table), None) => format!("{mode} on {table}"),
            (None, _) => mode.to_owned(),
        }
    }
}

/// MySQL's since version 8; before, and in MariaDB, they are InnoDB's own.
fn row_waits(product: Product, version: &str) -> String {
    let major = version.split('.').next().and_then(|it| it.parse().ok());
    if product == Product::Mysql && major >= Some(8) {
        return format!(
            "r.PROCESSLIST_ID AS waiting, b.PROCESSLIST_ID AS blocking, l.LOCK_MODE AS mode,
               CONCAT(l.OBJECT_SCHEMA, '.', l.OBJECT_NAME) AS `table`, l.INDEX_NAME AS `index`
             FROM performance_schema.data_lock_waits w
             JOIN performance_schema.data_locks l
               ON l.ENGINE_LOCK_ID = w.REQUESTING_ENGINE_LOCK_ID
             JOIN performance_schema.threads r ON r.THREAD_ID = w.REQUESTING_THREAD_ID
             JOIN performance_schema.threads b ON b.THREAD_ID = w.BLOCKING_THREAD_ID
             WHERE r.PROCESSLIST_ID IS NOT NULL AND b.PROCESSLIST_ID IS NOT NULL
             LIMIT {MOST}"
        );
    }
    format!(
        "r.trx_mysql_thread_id AS waiting, b.trx_mysql_thread_id AS blocking,
           l.lock_mode AS mode, l.lock_table AS `table`, l.lock_index AS `index`
         FROM information_schema.INNODB_LOCK_WAITS w
         JOIN information_schema.INNODB_TRX r ON r.trx_id = w.requesting_trx_id
         JOIN information_schema.INNODB_TRX b ON b.trx_id = w.blocking_trx_id
         LEFT JOIN information_schema.INNODB_LOCKS l ON l.lock_id = w.requested_lock_id
         LIMIT {MOST}"
    )
}

/// Needs the instrument `wait/lock/metadata/sql/mdl`, which MySQL has on.
fn metadata_waits() -> String {
    format!(
        "r.PROCESSLIST_ID AS waiting, b.PROCESSLIST_ID AS blocking,
           CONCAT(w.LOCK_TYPE, ' of the definition') AS mode,
           CONCAT(w.OBJECT_SCHEMA, '.', w.OBJECT_NAME) AS `table`, NULL AS `index`
         FROM performance_schema.metadata_locks w
         JOIN performance_schema.metadata_locks h
           ON h.OBJECT_TYPE = w.OBJECT_TYPE AND h.OBJECT_SCHEMA = w.OBJECT_SCHEMA
           AND h.OBJECT_NAME = w.OBJECT_NAME AND h.OWNER_THREAD_ID <> w.OWNER_THREAD_ID
         JOIN performance_schema.threads r ON r.THREAD_ID = w.OWNER_THREAD_ID
         JOIN performance_schema.threads b ON b.THREAD_ID = h.OWNER_THREAD_ID
         WHERE w.LOCK_STATUS = 'PENDING' AND h.LOCK_STATUS = 'GRANTED'
           AND w.OBJECT_TYPE = 'TABLE' AND r.PROCESSLIST_ID IS NOT NULL
           AND b.PROCESSLIST_ID IS NOT NULL
         LIMIT {MOST}"
    )
}

/// # Errors
/// Those of [`Session::rows`].
pub async fn read(session: &mut Session, metadata: bool) -> Result<Vec<Wait>, SessionError> {
    let query = row_waits(session.product(), session.version());
    let mut waits = session.rows(&query).await?;
    if metadata {
        waits.extend(session.rows(&metadata_waits()).await?);
    }
    Ok(waits)
}

/// Sessions that wait for locks, below those that hold them.
#[derive(Clone, Debug, Serialize)]
pub struct LockTree {
    /// After the probe's beginning.
    pub at_seconds: f64,
    pub waiting_sessions: usize,
    /// Those who block others and wait for nobody.
    pub blockers: Vec<Blocker>,
    /// Sessions that wait for a lock of a table's definition, by whom is not known.
    pub blocked_by_unknown: Vec<u64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Blocker {
    pub id: u64,
    pub user: Option<String>,
    pub client: Option<String>,
    pub state: String,
    /// For how long it is in this state, or runs its statement.
    pub state_seconds: Option<f64>,
    pub transaction_seconds: Option<f64>,
    /// What it runs; a session that is idle does not tell what it ran.
    pub query: Option<String>,
    /// Directly and indirectly.
    pub waiting: Vec<Waiter>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Waiter {
    pub id: u64,
    pub blocked_by: Vec<u64>,
    /// 1: waits for the blocker itself.
    pub depth: u32,
    pub user: Option<String>,
    pub client: Option<String>,
    pub waited_seconds: Option<f64>,
    pub lock: String,
    pub table: Option<String>,
    pub query: Option<String>,
}

/// Those who wait, each with those it waits for.
fn edges(waits: &[Wait]) -> BTreeMap<u64, BTreeSet<u64>> {
    let mut edges = BTreeMap::<u64, BTreeSet<u64>>::new();
    for wait in waits {
        edges.entry(wait.waiting).or_default().insert(wait.blocking);
    }
    edges
}

pub fn tree(
    threads: &[Thread],
    waits: &[Wait],
    text: fn(&str) -> String,
    at_seconds: f64,
) -> LockTree {
    let by_id: BTreeMap<u64, &Thread> = threads.iter().map(|it| (it.id, it)).collect();
    let edges = edges(waits);
    let query = |thread: Option<&&Thread>| thread.and_then(|it| it.query.as_deref().map(text));
    let waiter = |id: u64, depth: u32| {
        let thread = by_id.get(&id);
        let wait = waits.iter().find(|wait| wait.waiting == id);
        Waiter {
            id,
            blocked_by: edges[&id].iter().copied().collect(),
            depth,
            user: thread.map(|it| it.user.clone()),
            client: thread.map(|it| it.client().to_owned()),
            waited_seconds: thread.and_then(|it| it.lock_wait_seconds.or(it.state_seconds)),
            lock: wait.map(Wait::lock_name).unwrap_or_default(),
            table: wait
                .and_then(|wait| wait.table.as_deref())
                .map(|table| table.replace('`', "")),
            query: query(thread),
        }
    };
    let mut blockers: Vec<Blocker> = roots(&edges)
        .into_iter()
        .map(|id| {
            let thread = by_id.get(&id);
            Blocker {
                id,
                user: thread.map(|it| it.user.clone()),
                client: thread.map(|it| it.client().to_owned()),
                state: thread.map_or("gone", |it| it.activity()).to_owned(),
                state_seconds: thread.and_then(|it| it.state_seconds),
                transaction_seconds: thread.and_then(|it| it.transaction_seconds),
                query: query(thread),
                waiting: below(id, &edges)
                    .into_iter()
                    .map(|(id, depth)| waiter(id, depth))
                    .collect(),
            }
        })
        .collect();
    blockers.sort_by_key(|blocker| std::cmp::Reverse(blocker.waiting.len()));
    let unknown: Vec<u64> = threads
        .iter()
        .filter(|it| it.waits_for_metadata() && !edges.contains_key(&it.id))
        .map(|it| it.id)
        .collect();
    LockTree {
        at_seconds,
        waiting_sessions: edges.len() + unknown.len(),
        blockers,
        blocked_by_unknown: unknown,
    }
}

/// Those who block and do not wait. In a circle, a deadlock until the server sees
/// it, everyone waits: then it is one of them.
fn roots(edges: &BTreeMap<u64, BTreeSet<u64>>) -> BTreeSet<u64> {
    let blocking = edges.values().flatten().copied();
    let mut roots: BTreeSet<u64> = blocking.filter(|id| !edges.contains_key(id)).collect();
    if roots.is_empty() {
        roots.extend(edges.keys().next());
    }
    roots
}

/// Those who wait for a session, and who wait for these, each once.
fn below(id: u64, edges: &BTreeMap<u64, BTreeSet<u64>>) -> Vec<(u64, u32)> {
    let mut found: Vec<(u64, u32)> = Vec::new();
    let mut seen = BTreeSet::from([id]);
    let mut level = BTreeSet::from([id]);
    let mut depth = 0;
    while !level.is_empty() {
        depth += 1;
        level = edges
            .iter()
            .filter(|(waiting, blocking)| !seen.contains(waiting) && !blocking.is_disjoint(&level))
            .map(|(waiting, _)| *waiting)
            .collect();
        seen.extend(&level);
        found.extend(level.iter().map(|&id| (id, depth)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(pairs: &[(u64, u64)]) -> Vec<Wait> {
        let wait = |&(waiting, blocking): &(u64, u64)| Wait {
            waiting,
            blocking,
            mode: Some("X".to_owned()),
            table: Some("`shop`.`stock`".to_owned()),
            index: Some("PRIMARY".to_owned()),
        };
        pairs.iter().map(wait).collect()
    }

    fn ids(pairs: &[(u64, u64)]) -> Vec<(u64, Vec<(u64, u32)>)> {
        let tree = tree(&[], &waits(pairs), str::to_owned, 0.0);
        let waiter = |waiter: &Waiter| (waiter.id, waiter.depth);
        tree.blockers
            .iter()
            .map(|it| (it.id, it.waiting.iter().map(waiter).collect()))
            .collect()
    }

    #[test]
    fn chains_hang_below_who_waits_for_nobody() {
        let pairs = [(2, 1), (3, 2), (3, 1), (4, 3)];
        assert_eq!(ids(&pairs), [(1, vec![(2, 1), (3, 1), (4, 2)])]);
        let lock = waits(&pairs)[0].lock_name();
        assert_eq!(lock, "X on shop.stock, index PRIMARY");
    }

    #[test]
    fn circles_end() {
        assert_eq!(ids(&[(1, 2), (2, 1)]), [(1, vec![(2, 1)])]);
        assert!(ids(&[]).is_empty());
    }

    #[test]
    fn each_version_is_asked_where_it_keeps_its_locks() {
        let view = |product, version| row_waits(product, version);
        assert!(view(Product::Mysql, "8.4.2").contains("data_lock_waits"));
        assert!(view(Product::Mysql, "9.1.0").contains("data_lock_waits"));
        assert!(view(Product::Mysql, "5.7.44-log").contains("INNODB_LOCK_WAITS"));
        assert!(view(Product::Mariadb, "10.11.18-MariaDB").contains("INNODB_LOCK_WAITS"));
    }
}
