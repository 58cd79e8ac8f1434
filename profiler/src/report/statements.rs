//! Phases of PostgreSQL's statements, for programs: part of the JSON report, and
//! what the HTML page makes its section of.

use serde::Serialize;

use crate::profile::{PhaseUse, Recording, StatementUse};

/// Statements that are listed of a server, and of all together.
const STATEMENTS_SHOWN: usize = 500;
const ALL_SHOWN: usize = 5_000;

#[derive(Serialize)]
pub struct StatementsReport<'r> {
    servers: Vec<Server<'r>>,
    lost: u64,
    backends_lost: u64,
}

#[derive(Serialize)]
struct Server<'r> {
    pid: u32,
    container: &'r str,
    /// Of all statements, shown or not.
    total: Use,
    statements: Vec<Statement<'r>>,
    statements_not_shown: usize,
}

#[derive(Serialize)]
struct Statement<'r> {
    statement: &'r str,
    cut: bool,
    #[serde(flatten)]
    usage: Use,
}

#[derive(Serialize)]
struct Use {
    executions: u64,
    /// Sum of the phases.
    total_ns: u64,
    parse: Phase,
    rewrite: Phase,
    plan: Phase,
    execute: Phase,
    lock_waits: u64,
    lock_ns: u64,
    longest_lock_ns: u64,
    failed: u64,
    failed_ns: u64,
    in_progress: u64,
    in_progress_ns: u64,
    elapsed_ns: u64,
}

#[derive(Serialize)]
struct Phase {
    count: u64,
    total_ns: u64,
    mean_ns: Option<u64>,
    longest_ns: u64,
    nested: u64,
    nested_ns: u64,
}

impl Phase {
    fn new(of: &PhaseUse) -> Self {
        Self {
            count: of.count,
            total_ns: of.ns,
            mean_ns: of.mean_ns(),
            longest_ns: of.longest_ns,
            nested: of.nested,
            nested_ns: of.nested_ns,
        }
    }
}

impl Use {
    fn new(of: &StatementUse) -> Self {
        Self {
            executions: of.execute.count,
            total_ns: of.ns(),
            parse: Phase::new(&of.parse),
            rewrite: Phase::new(&of.rewrite),
            plan: Phase::new(&of.plan),
            execute: Phase::new(&of.execute),
            lock_waits: of.lock_waits,
            lock_ns: of.lock_ns,
            longest_lock_ns: of.longest_lock_ns,
            failed: of.failed,
            failed_ns: of.failed_ns,
            in_progress: of.in_progress,
            in_progress_ns: of.in_progress_ns,
            elapsed_ns: of.elapsed_ns,
        }
    }
}

/// The statements of each server, and their sum. Those that took most come first.
pub fn by_server(recording: &Recording) -> Vec<(u32, &str, Vec<&StatementUse>, StatementUse)> {
    let Some(all) = &recording.statements else {
        return Vec::new();
    };
    let server = |(id, server): (usize, &crate::profile::StatementServer)| {
        let uses = all.uses.iter().filter(|told| told.server as usize == id);
        let mut uses: Vec<&StatementUse> = uses.collect();
        uses.sort_by_key(|told| std::cmp::Reverse(told.weight()));
        let mut total = StatementUse::default();
        for told in &uses {
            total.add(told);
        }
        let container = recording.containers[server.container as usize]
            .name
            .as_str();
        (server.pid, container, uses, total)
    };
    let mut servers: Vec<_> = all.servers.iter().enumerate().map(server).collect();
    servers.sort_by_key(|(.., total)| std::cmp::Reverse(total.weight()));
    servers
}

/// `None` when no server was followed.
pub fn statements(recording: &Recording) -> Option<StatementsReport<'_>> {
    let all = recording.statements.as_ref()?;
    let mut room = ALL_SHOWN;
    let servers = by_server(recording)
        .into_iter()
        .map(|(pid, container, uses, total)| {
            let shown = uses.len().min(STATEMENTS_SHOWN).min(room);
            room -= shown;
            Server {
                pid,
                container,
                total: Use::new(&total),
                statements_not_shown: uses.len() - shown,
                statements: uses[..shown]
                    .iter()
                    .map(|told| Statement {
                        statement: &told.text,
                        cut: told.cut,
                        usage: Use::new(told),
                    })
                    .collect(),
            }
        })
        .collect();
    Some(StatementsReport {
        servers,
        lost: all.lost,
        backends_lost: all.backends_lost,
    })
}
