//! The server as a whole: its counters, its clients and its copies.

use super::LISTED;
use crate::{
    probes::{
        database::{Column, Part},
        mysql::report::Report,
    },
    report::text::{bytes, count, percent},
};

fn number(value: Option<u64>) -> String {
    value.map_or_else(|| "–".to_owned(), count)
}

fn share(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), percent)
}

impl Report {
    pub(super) fn counters(&self) -> Part {
        let columns = vec![
            Column::text("Counter"),
            Column::number("Window"),
            Column::number("Per second"),
            Column::number("The probe's own"),
            Column::number("Since the start"),
        ];
        Part::of("Status", &self.status, columns, |status, part| {
            for counter in status.counters.iter().filter(|it| it.total > 0) {
                let window = counter.window.map(count);
                part.row(vec![
                    counter.name.to_owned(),
                    window.unwrap_or_else(|| "reset".to_owned()),
                    counter
                        .per_second
                        .map_or_else(|| "–".to_owned(), |rate| format!("{rate:.1}")),
                    count(counter.own),
                    count(counter.total),
                ]);
            }
            part.note("The window is without the probe's own; counters that are 0 are left out");
        })
    }

    pub(super) fn shares(&self) -> Part {
        let columns = vec![
            Column::text("Of the whole"),
            Column::number("Window"),
            Column::number("Since the start"),
        ];
        Part::of("Ratios", &self.status, columns, |status, part| {
            let (window, totals, now) = (&status.window, &status.totals, &status.now);
            let lock =
                |ms: Option<f64>| ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.1} ms"));
            for (name, window, totals) in [
                (
                    "buffer pool hit",
                    share(window.buffer_pool_hit_percent),
                    share(totals.buffer_pool_hit_percent),
                ),
                (
                    "rows read by scans",
                    share(window.scanned_rows_percent),
                    share(totals.scanned_rows_percent),
                ),
                (
                    "temporary tables on disk",
                    share(window.temporary_tables_on_disk_percent),
                    share(totals.temporary_tables_on_disk_percent),
                ),
                (
                    "wait for a row's lock",
                    lock(window.row_lock_wait_ms),
                    lock(totals.row_lock_wait_ms),
                ),
            ] {
                part.row(vec![name.to_owned(), window, totals]);
            }
            for note in [
                format!(
                    "{} of {} connections are used, the most ever {}; {} sessions run",
                    number(now.threads_connected),
                    count(self.server.max_connections),
                    number(now.max_used_connections),
                    number(now.threads_running)
                ),
                format!(
                    "Buffer pool {}: {} dirty, {} free",
                    bytes(self.server.buffer_pool_bytes),
                    share(now.dirty_pages_percent),
                    share(now.free_pages_percent)
                ),
                format!(
                    "History list {}; {} row locks are waited for; {} of {} tables in the cache \
                     are open",
                    number(now.history_list_length),
                    number(now.row_locks_waited_for),
                    number(now.open_tables),
                    count(self.server.table_open_cache)
                ),
            ] {
                part.note(note);
            }
        })
    }

    pub(super) fn pool_use(&self) -> Part {
        let columns = vec![
            Column::text("User"),
            Column::text("Database"),
            Column::text("Client"),
            Column::number("Connections"),
            Column::number("Active"),
            Column::number("Longest idle"),
        ];
        Part::of(
            "Connections by account",
            &self.pools,
            columns,
            |pools, part| {
                for pool in pools.iter().take(LISTED) {
                    part.row(vec![
                        pool.user.clone(),
                        pool.database.clone().unwrap_or_default(),
                        pool.client.clone(),
                        pool.connections.to_string(),
                        pool.active.to_string(),
                        pool.longest_idle_seconds
                            .map_or_else(|| "–".to_owned(), |seconds| format!("{seconds} s")),
                    ]);
                }
            },
        )
    }

    pub(super) fn channels(&self) -> Part {
        let columns = vec![
            Column::text("Channel"),
            Column::text("From"),
            Column::text("Fetching"),
            Column::text("Replaying"),
            Column::number("Behind"),
            Column::number("Errors"),
        ];
        Part::of(
            "Replication",
            &self.replication,
            columns,
            |channels, part| {
                for channel in channels {
                    part.row(vec![
                        channel.name.clone(),
                        channel.source.clone(),
                        channel.fetching.clone(),
                        channel.replaying.clone(),
                        channel
                            .behind_seconds
                            .map_or_else(|| "–".to_owned(), |seconds| format!("{seconds} s")),
                        format!("{}, {}", channel.fetch_error, channel.replay_error),
                    ]);
                }
                if channels.is_empty() {
                    part.note("It is nobody's replica");
                }
            },
        )
    }
}
