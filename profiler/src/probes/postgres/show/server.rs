//! The server as a whole: its counters, its connections, its log and standbys.

use super::{LISTED, seconds, size};
use crate::{
    probes::{
        database::{Column, Part},
        postgres::report::Report,
    },
    report::text::{count, percent},
};

impl Report {
    pub(super) fn database_counters(&self) -> Part {
        let columns = vec![
            Column::text("Counter"),
            Column::number("Window"),
            Column::number("Since the reset"),
        ];
        Part::of("Database", &self.database, columns, |database, part| {
            type Get = fn(&crate::probes::postgres::server::DatabaseCounters) -> u64;
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

    pub(super) fn connection_use(&self) -> Part {
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

    pub(super) fn pool_use(&self) -> Part {
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

    pub(super) fn checkpoint_counters(&self) -> Part {
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

    pub(super) fn standbys(&self) -> Part {
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
