//! The report for people.

use super::{
    explain::{Method, Plan},
    report::Report,
};
use crate::{
    probes::database::{Column, Document, Part},
    report::text::{Utc, bytes, count, percent, shorten},
};

/// Longest statement in a table, characters.
const STATEMENT: usize = 100;
const LISTED: usize = 10;

impl Report {
    pub fn document(&self) -> Document {
        let server = &self.server;
        let transport = if self.encrypted {
            "encrypted"
        } else {
            "not encrypted"
        };
        let mut about = vec![
            (
                "server",
                format!(
                    "PostgreSQL {} at {}, {transport}",
                    server.version, self.address
                ),
            ),
            (
                "database",
                format!("{} as {}", server.database, server.user),
            ),
            (
                "window",
                format!(
                    "{:.1} s from {}",
                    self.window_seconds,
                    Utc::new(self.started_unix_ms).text()
                ),
            ),
        ];
        if !server.sees_all_statistics {
            about.push((
                "rights",
                "statements of other roles are not shown to this role: GRANT pg_monitor TO it"
                    .to_owned(),
            ));
        }
        if !self.literals {
            about.push((
                "statements",
                "without their literals (--literals shows them)".to_owned(),
            ));
        }
        let mut parts = vec![
            self.window_statements(),
            self.total_statements(),
            self.states(),
            self.waits(),
            self.blocking(),
            self.transactions(),
            self.database_counters(),
            self.connection_use(),
            self.pool_use(),
            self.sequential_reads(),
            self.dead_rows(),
            self.unused_indexes(),
            self.duplicate_indexes(),
            self.missing(),
            self.checkpoint_counters(),
            self.standbys(),
        ];
        parts.extend(self.plans.iter().map(plan));
        Document {
            title: format!("PostgreSQL: {}", server.database),
            about,
            findings: self.findings.clone(),
            parts,
        }
    }

    fn window_statements(&self) -> Part {
        Part::of(
            "Statements during the window",
            &self.statements,
            statement_columns(),
            |statements, part| {
                for row in statements.window.iter().take(LISTED) {
                    part.row(statement_cells(row));
                }
                part.note(format!(
                    "{} calls, {} in all; of this database",
                    count(statements.window_calls),
                    milliseconds(statements.window_execution_ms)
                ));
            },
        )
    }

    fn total_statements(&self) -> Part {
        Part::of(
            "Statements since the reset of pg_stat_statements",
            &self.statements,
            statement_columns(),
            |statements, part| {
                for row in statements.totals.iter().take(LISTED) {
                    part.row(statement_cells(row));
                }
                part.note(format!(
                    "{} calls of {} statements, {} in all",
                    count(statements.totals_calls),
                    count(statements.distinct),
                    milliseconds(statements.totals_execution_ms)
                ));
                if statements.counts_the_probe {
                    part.note(
                        "Sums hold the probe's own statements: only superusers may leave them out",
                    );
                }
                if statements.hidden > 0 {
                    let hidden = count(statements.hidden);
                    part.note(format!("{hidden} statements of other roles are not shown"));
                }
            },
        )
    }

    fn states(&self) -> Part {
        let columns = vec![
            Column::text("State"),
            Column::number("Average sessions"),
            Column::number("Most"),
        ];
        Part::of("Sessions", &self.activity, columns, |activity, part| {
            for row in &activity.states {
                part.row(vec![
                    row.state.clone(),
                    format!("{:.2}", row.average_sessions),
                    row.most_sessions.to_string(),
                ]);
            }
            part.note(format!(
                "{} samples, one every {} s",
                activity.samples, self.interval_seconds
            ));
            if let Some(failure) = &activity.failure {
                part.note(format!(
                    "{} samples failed: {failure}",
                    activity.failed_samples
                ));
            }
            if activity.cut_samples > 0 {
                part.note("there are more sessions than a sample reads");
            }
            if activity.hidden_sessions > 0 {
                let hidden = activity.hidden_sessions;
                part.note(format!("{hidden} sessions of other roles hide their state"));
            }
        })
    }

    fn waits(&self) -> Part {
        let columns = vec![
            Column::text("Active sessions wait for"),
            Column::number("Average sessions"),
            Column::number("Share"),
        ];
        Part::of("Waits", &self.activity, columns, |activity, part| {
            for row in activity.waits.iter().take(LISTED) {
                part.row(vec![
                    format!("{}: {}", row.wait_type, row.wait_event),
                    format!("{:.2}", row.average_sessions),
                    percent(row.percent),
                ]);
            }
        })
    }

    fn blocking(&self) -> Part {
        let columns = vec![
            Column::text("Session"),
            Column::text("State"),
            Column::text("Waits for"),
            Column::number("Since"),
            Column::text("Statement"),
        ];
        Part::of(
            "Who waits for whom",
            &self.activity,
            columns,
            |activity, part| {
                let Some(tree) = &activity.blocking else {
                    return;
                };
                for blocker in &tree.blockers {
                    part.row(vec![
                        format!("pid {}", blocker.pid),
                        blocker.state.clone().unwrap_or_default(),
                        String::new(),
                        seconds(blocker.state_seconds),
                        statement_text(blocker.query.as_deref()),
                    ]);
                    for waiter in &blocker.waiting {
                        part.row(vec![
                            format!("{}pid {}", "› ".repeat(waiter.depth as usize), waiter.pid),
                            "waits".to_owned(),
                            waiter.lock.clone().unwrap_or_default(),
                            seconds(waiter.waited_seconds.or(waiter.query_seconds)),
                            statement_text(waiter.query.as_deref()),
                        ]);
                    }
                }
                part.note(format!(
                    "As it was {:.1} s after the beginning",
                    tree.at_seconds
                ));
                if let Some(reason) = &tree.locks_missing {
                    part.note(format!("Locks are not named: {reason}"));
                }
            },
        )
    }

    fn transactions(&self) -> Part {
        let columns = vec![
            Column::text("Session"),
            Column::text("State"),
            Column::number("Transaction"),
            Column::number("In this state"),
            Column::text("Last statement"),
        ];
        Part::of(
            "Transactions open for 5 s and more",
            &self.activity,
            columns,
            |activity, part| {
                for session in activity.long_transactions.iter().take(LISTED) {
                    let who = session.application.as_deref().unwrap_or_default();
                    part.row(vec![
                        format!("pid {} {who}", session.pid),
                        session.state.clone().unwrap_or_default(),
                        seconds(session.transaction_seconds),
                        seconds(session.state_seconds),
                        statement_text(session.query.as_deref()),
                    ]);
                }
            },
        )
    }

    fn database_counters(&self) -> Part {
        let columns = vec![
            Column::text("Counter"),
            Column::number("Window"),
            Column::number("Since the reset"),
        ];
        Part::of("Database", &self.database, columns, |database, part| {
            type Get = fn(&super::server::DatabaseCounters) -> u64;
            let counters: [(&str, Get); 13] = [
                ("transactions committed", |it| it.committed_transactions),
                ("transactions rolled back", |it| it.rolled_back_transactions),
                ("blocks found in shared buffers", |it| it.cache_hit_blocks),
                ("blocks read", |it| it.cache_missed_blocks),
                ("rows scanned", |it| it.returned_rows),
                ("rows fetched by index", |it| it.fetched_rows),
                ("rows inserted", |it| it.inserted_rows),
                ("rows updated", |it| it.updated_rows),
                ("rows deleted", |it| it.deleted_rows),
                ("temporary files", |it| it.temporary_files),
                ("temporary bytes", |it| it.temporary_bytes),
                ("deadlocks", |it| it.deadlocks),
                ("conflicts with recovery", |it| it.conflicts),
            ];
            for (name, get) in counters {
                let window = database.window.as_ref().map(|window| count(get(window)));
                part.row(vec![
                    name.to_owned(),
                    window.unwrap_or_else(|| "reset".to_owned()),
                    count(get(&database.totals)),
                ]);
            }
            part.note(format!(
                "{} transactions of the window are the probe's own",
                count(database.own_transactions)
            ));
            let hit = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), percent);
            part.row(vec![
                "cache hit".to_owned(),
                hit(database.window_cache_hit_percent),
                hit(database.totals_cache_hit_percent),
            ]);
        })
    }

    fn connection_use(&self) -> Part {
        let columns = vec![Column::text("Connections"), Column::number("Number")];
        Part::of(
            "Connections",
            &self.connections,
            columns,
            |connections, part| {
                for (name, number) in [
                    ("used", connections.used),
                    ("active", connections.active),
                    ("idle", connections.idle),
                    ("idle in transaction", connections.idle_in_transaction),
                    ("waiting for locks", connections.waiting_for_locks),
                    ("hidden from this role", connections.hidden),
                    ("possible", connections.max),
                    ("reserved for superusers", connections.reserved),
                ] {
                    part.row(vec![name.to_owned(), number.to_string()]);
                }
            },
        )
    }

    fn pool_use(&self) -> Part {
        let columns = vec![
            Column::text("Application"),
            Column::text("User"),
            Column::text("Database"),
            Column::text("Client"),
            Column::number("Connections"),
            Column::number("Active"),
            Column::number("Idle"),
            Column::number("Idle in transaction"),
            Column::number("Waiting for locks"),
            Column::number("Longest idle"),
        ];
        Part::of(
            "Connections by application",
            &self.pools,
            columns,
            |pools, part| {
                for pool in pools.iter().take(LISTED) {
                    part.row(vec![
                        pool.application.clone(),
                        pool.user.clone().unwrap_or_default(),
                        pool.database.clone().unwrap_or_default(),
                        pool.client.clone(),
                        pool.connections.to_string(),
                        pool.active.to_string(),
                        pool.idle.to_string(),
                        pool.idle_in_transaction.to_string(),
                        pool.waiting_for_locks.to_string(),
                        seconds(pool.longest_idle_seconds),
                    ]);
                }
            },
        )
    }

    fn sequential_reads(&self) -> Part {
        let columns = vec![
            Column::text("Table"),
            Column::number("Scans in the window"),
            Column::number("Rows"),
            Column::number("Scans in all"),
            Column::number("Rows in all"),
            Column::number("Index scans in all"),
            Column::number("Size"),
        ];
        Part::of(
            "Tables read whole",
            &self.tables,
            columns,
            |tables, part| {
                for reads in tables.sequential_reads.iter().take(LISTED) {
                    part.row(vec![
                        reads.table.full_name(),
                        count(reads.window_scans),
                        count(reads.window_rows),
                        count(reads.table.sequential_scans),
                        count(reads.table.sequentially_read_rows),
                        count(reads.table.index_scans),
                        size(reads.table.bytes),
                    ]);
                }
                part.note("Each worker of a parallel scan counts as one");
                if tables.cut {
                    part.note(format!(
                        "Only the {} largest tables",
                        count(tables.looked_at)
                    ));
                }
            },
        )
    }

    fn dead_rows(&self) -> Part {
        let columns = vec![
            Column::text("Table"),
            Column::number("Dead rows"),
            Column::number("Share"),
            Column::number("Autovacuum from"),
            Column::number("Vacuumed"),
            Column::number("Analyzed"),
            Column::number("HOT updates"),
        ];
        Part::of(
            "Dead rows and vacuum",
            &self.tables,
            columns,
            |tables, part| {
                for table in tables.dead_rows.iter().take(LISTED) {
                    let ago = |seconds: Option<f64>| {
                        seconds.map_or_else(|| "never".to_owned(), |ago| format!("{ago:.0} s ago"))
                    };
                    let hot =
                        table.hot_updated_rows as f64 * 100.0 / table.updated_rows.max(1) as f64;
                    part.row(vec![
                        table.full_name(),
                        count(table.dead_rows),
                        percent(table.dead_percent()),
                        format!("{:.0}", table.vacuum_due_rows),
                        ago(table.vacuumed_seconds_ago),
                        ago(table.analyzed_seconds_ago),
                        if table.updated_rows == 0 {
                            "–".to_owned()
                        } else {
                            percent(hot)
                        },
                    ]);
                }
                part.note("Rows as the server counts them; free space in files is not measured");
            },
        )
    }

    fn unused_indexes(&self) -> Part {
        let columns = vec![
            Column::text("Index"),
            Column::text("Table"),
            Column::text("Columns"),
            Column::number("Size"),
        ];
        Part::of(
            "Indexes never used",
            &self.indexes,
            columns,
            |indexes, part| {
                for index in indexes.unused.iter().take(LISTED) {
                    part.row(vec![
                        index.full_name(),
                        index.table.clone(),
                        index.column_list(),
                        size(index.bytes),
                    ]);
                }
                if indexes.cut {
                    part.note(format!(
                        "Only the {} largest indexes",
                        count(indexes.looked_at)
                    ));
                }
            },
        )
    }

    fn duplicate_indexes(&self) -> Part {
        let columns = vec![
            Column::text("Index"),
            Column::text("Table"),
            Column::text("Columns"),
            Column::text("Covered by"),
            Column::number("Size"),
        ];
        Part::of(
            "Duplicate indexes",
            &self.indexes,
            columns,
            |indexes, part| {
                for duplicate in indexes.duplicate.iter().take(LISTED) {
                    part.row(vec![
                        duplicate.index.full_name(),
                        duplicate.index.table.clone(),
                        duplicate.index.column_list(),
                        duplicate.covered_by.clone(),
                        size(duplicate.index.bytes),
                    ]);
                }
            },
        )
    }

    fn missing(&self) -> Part {
        let columns = vec![
            Column::text("Table"),
            Column::text("Column"),
            Column::number("Calls"),
            Column::text("Statement"),
        ];
        Part::of(
            "Missing indexes",
            &self.missing_indexes,
            columns,
            |missing, part| {
                for row in missing.iter().take(LISTED) {
                    part.row(vec![
                        row.table.clone(),
                        row.column.clone(),
                        count(row.calls),
                        statement_text(Some(&row.query)),
                    ]);
                }
                part.note(
                    "Statements that compare a column which no index of a large table that is read \
                 whole begins with: by their texts, not by their plans",
                );
            },
        )
    }

    fn checkpoint_counters(&self) -> Part {
        let columns = vec![
            Column::text("Counter"),
            Column::number("Window"),
            Column::number("Since the reset"),
        ];
        Part::of(
            "Checkpoints and write-ahead log",
            &self.checkpoints,
            columns,
            |it, part| {
                let number = |value: Option<u64>| value.map_or_else(|| "reset".to_owned(), count);
                part.row(vec![
                    "checkpoints by time".to_owned(),
                    number(it.window_timed),
                    count(it.totals.timed),
                ]);
                part.row(vec![
                    "checkpoints requested".to_owned(),
                    number(it.window_requested),
                    count(it.totals.requested),
                ]);
                part.row(vec![
                    "write-ahead log".to_owned(),
                    size(it.window_wal_bytes.map(|bytes| bytes as u64)),
                    "–".to_owned(),
                ]);
            },
        )
    }

    fn standbys(&self) -> Part {
        let columns = vec![
            Column::text("Copy"),
            Column::text("State"),
            Column::number("Behind"),
            Column::number("Replay lag"),
        ];
        Part::of(
            "Replication",
            &self.replication,
            columns,
            |replication, part| {
                let position = |bytes: Option<f64>| size(bytes.map(|bytes| bytes.max(0.0) as u64));
                for standby in &replication.standbys {
                    part.row(vec![
                        standby.application.clone().unwrap_or_default(),
                        standby.state.clone().unwrap_or_default(),
                        position(standby.lag_bytes),
                        seconds(standby.replay_lag_seconds),
                    ]);
                }
                for slot in &replication.slots {
                    part.row(vec![
                        format!("slot {}", slot.name),
                        if slot.active { "active" } else { "inactive" }.to_owned(),
                        position(slot.retained_bytes),
                        String::new(),
                    ]);
                }
                if let Some(recovery) = &replication.recovery {
                    part.row(vec![
                        "this server".to_owned(),
                        "standby".to_owned(),
                        position(recovery.lag_bytes),
                        seconds(recovery.replayed_seconds_ago),
                    ]);
                }
            },
        )
    }
}

fn plan(plan: &Plan) -> Part {
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

fn statement_columns() -> Vec<Column> {
    vec![
        Column::number("Share"),
        Column::number("Time"),
        Column::number("Calls"),
        Column::number("Mean"),
        Column::number("Rows"),
        Column::number("Blocks hit"),
        Column::number("Read"),
        Column::text("Statement"),
    ]
}

fn statement_cells(row: &super::statements::Statement) -> Vec<String> {
    vec![
        percent(row.percent),
        milliseconds(row.execution_ms),
        count(row.calls),
        milliseconds(row.mean_ms),
        count(row.rows),
        count(row.cache_hit_blocks),
        count(row.cache_missed_blocks),
        statement_text(Some(&row.query)),
    ]
}

fn statement_text(query: Option<&str>) -> String {
    let words: Vec<&str> = query.unwrap_or_default().split_whitespace().collect();
    shorten(&words.join(" "), STATEMENT).into_owned()
}

fn milliseconds(ms: f64) -> String {
    crate::report::text::duration((ms.max(0.0) * 1e6) as u64)
}

fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.1} s"))
}

fn size(value: Option<u64>) -> String {
    value.map_or_else(|| "–".to_owned(), bytes)
}
