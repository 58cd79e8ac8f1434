//! INFO: what the server counts, now and between two readings.

use std::collections::BTreeMap;

use serde::Serialize;

use super::client::{Client, ClientError};

/// Largest part of INFO that is kept, fields.
const MOST_FIELDS: usize = 10_000;

/// The fields of INFO.
#[derive(Clone, Debug, Default)]
pub struct Info {
    fields: BTreeMap<String, String>,
}

impl Info {
    /// # Errors
    /// Those of [`Client::call`].
    pub async fn read(client: &mut Client) -> Result<Self, ClientError> {
        let answer = client.call(&["INFO", "all"]).await?;
        let text = answer
            .text()
            .ok_or(ClientError::Answer("INFO is not text"))?;
        let info = Self::parse(&text);
        if info.get("redis_version").is_none() && info.get("valkey_version").is_none() {
            return Err(ClientError::Answer("INFO names no version"));
        }
        Ok(info)
    }

    pub fn parse(text: &str) -> Self {
        let fields = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once(':'))
            .take(MOST_FIELDS)
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self { fields }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    pub fn float(&self, name: &str) -> Option<f64> {
        self.get(name)?
            .parse()
            .ok()
            .filter(|value: &f64| value.is_finite())
    }

    /// Fields whose names begin so: the rest of the name, and the values within
    /// the field, `a=1,b=2`.
    pub fn groups<'i>(
        &'i self,
        start: &'i str,
    ) -> impl Iterator<Item = (&'i str, BTreeMap<&'i str, f64>)> {
        self.fields.iter().filter_map(move |(name, value)| {
            let rest = name.strip_prefix(start)?;
            let values = value.split(',').filter_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                Some((name, value.parse().ok()?))
            });
            Some((rest, values.collect()))
        })
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Server {
    pub version: String,
    pub mode: Option<String>,
    pub role: Option<String>,
    pub up_seconds: Option<u64>,
}

impl Server {
    pub fn new(info: &Info) -> Self {
        let text = |name| info.get(name).map(str::to_owned);
        Self {
            version: text("valkey_version")
                .or_else(|| text("redis_version"))
                .unwrap_or_default(),
            mode: text("redis_mode"),
            role: text("role"),
            up_seconds: info.number("uptime_in_seconds"),
        }
    }
}

/// Counters, by INFO's names.
const COUNTERS: [&str; 13] = [
    "total_commands_processed",
    "total_connections_received",
    "rejected_connections",
    "keyspace_hits",
    "keyspace_misses",
    "expired_keys",
    "evicted_keys",
    "total_error_replies",
    "total_net_input_bytes",
    "total_net_output_bytes",
    "total_reads_processed",
    "total_writes_processed",
    "total_forks",
];

#[derive(Clone, Debug, Serialize)]
pub struct Counter {
    /// INFO's.
    pub name: &'static str,
    pub total: u64,
    /// `None` when it was reset during the probe.
    pub window: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Counters {
    /// Those that this version of the server has.
    pub counters: Vec<Counter>,
    /// Of lookups, those that found their key; `None` without lookups.
    pub total_hit_percent: Option<f64>,
    pub window_hit_percent: Option<f64>,
    /// Commands of the window that are the probe's own.
    pub own_commands: u64,
}

impl Counters {
    pub fn new(before: &Info, after: &Info, own_commands: u64) -> Self {
        let counters: Vec<Counter> = COUNTERS
            .into_iter()
            .filter_map(|name| {
                let total = after.number(name)?;
                let window = before
                    .number(name)
                    .and_then(|before| total.checked_sub(before));
                Some(Counter {
                    name,
                    total,
                    window,
                })
            })
            .collect();
        let hit = |get: fn(&Counter) -> Option<u64>| {
            let of = |name: &str| counters.iter().find(|it| it.name == name).and_then(get);
            let (hits, misses) = of("keyspace_hits").zip(of("keyspace_misses"))?;
            let lookups = hits + misses;
            (lookups > 0).then(|| hits as f64 * 100.0 / lookups as f64)
        };
        Self {
            total_hit_percent: hit(|counter| Some(counter.total)),
            window_hit_percent: hit(|counter| counter.window),
            counters,
            own_commands,
        }
    }

    pub fn window(&self, name: &str) -> u64 {
        let counter = self.counters.iter().find(|counter| counter.name == name);
        counter
            .and_then(|counter| counter.window)
            .unwrap_or_default()
    }

    pub fn total(&self, name: &str) -> u64 {
        let counter = self.counters.iter().find(|counter| counter.name == name);
        counter.map_or(0, |counter| counter.total)
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    pub used_bytes: Option<u64>,
    pub peak_bytes: Option<u64>,
    pub resident_bytes: Option<u64>,
    /// 0 is no limit.
    pub max_bytes: Option<u64>,
    pub max_policy: Option<String>,
    pub fragmentation_ratio: Option<f64>,
}

impl Memory {
    pub fn new(info: &Info) -> Self {
        Self {
            used_bytes: info.number("used_memory"),
            peak_bytes: info.number("used_memory_peak"),
            // 0 where the server cannot read its /proc.
            resident_bytes: info.number("used_memory_rss").filter(|&bytes| bytes > 0),
            max_bytes: info.number("maxmemory"),
            max_policy: info.get("maxmemory_policy").map(str::to_owned),
            fragmentation_ratio: info.float("mem_fragmentation_ratio"),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Clients {
    pub connected: Option<u64>,
    pub blocked: Option<u64>,
    pub max: Option<u64>,
}

impl Clients {
    pub fn new(info: &Info) -> Self {
        Self {
            connected: info.number("connected_clients"),
            blocked: info.number("blocked_clients"),
            max: info.number("maxclients"),
        }
    }
}

/// What a server does to keep its data.
#[derive(Clone, Debug, Serialize)]
pub struct Persistence {
    pub last_save_ok: Option<bool>,
    pub last_append_ok: Option<bool>,
    pub last_fork_us: Option<u64>,
    pub replica_link_up: Option<bool>,
    pub connected_replicas: Option<u64>,
}

impl Persistence {
    pub fn new(info: &Info) -> Self {
        let ok = |name, good| info.get(name).map(|value| value == good);
        Self {
            last_save_ok: ok("rdb_last_bgsave_status", "ok"),
            last_append_ok: ok("aof_last_write_status", "ok"),
            last_fork_us: info.number("latest_fork_usec"),
            replica_link_up: ok("master_link_status", "up"),
            connected_replicas: info.number("connected_slaves"),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Database {
    pub number: String,
    pub keys: u64,
    pub expiring_keys: u64,
}

pub fn databases(info: &Info) -> Vec<Database> {
    info.groups("db")
        .filter(|(number, _)| number.bytes().all(|digit| digit.is_ascii_digit()))
        .map(|(number, values)| Database {
            number: number.to_owned(),
            keys: values.get("keys").map_or(0, |&keys| keys as u64),
            expiring_keys: values.get("expires").map_or(0, |&keys| keys as u64),
        })
        .collect()
}

/// A command, as the server counts it.
#[derive(Clone, Debug, Serialize)]
pub struct Command {
    pub name: String,
    pub total_calls: u64,
    pub total_us: u64,
    /// `None` when it was reset during the probe.
    pub window_calls: Option<u64>,
    pub window_us: Option<u64>,
    pub failed_calls: Option<u64>,
    /// Since the reset, as latencystats estimates them (since 7.0).
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub p999_us: Option<f64>,
}

impl Command {
    pub fn window_mean_us(&self) -> Option<f64> {
        let (calls, us) = self.window_calls.zip(self.window_us)?;
        (calls > 0).then(|| us as f64 / calls as f64)
    }
}

/// By the time in the window, then in all.
pub fn commands(before: &Info, after: &Info) -> Vec<Command> {
    let earlier: BTreeMap<_, _> = before.groups("cmdstat_").collect();
    let latencies: BTreeMap<_, _> = after.groups("latency_percentiles_usec_").collect();
    let mut commands: Vec<Command> = after
        .groups("cmdstat_")
        .map(|(name, values)| {
            let get = |name| values.get(name).map(|&value| value as u64);
            let before = |field| {
                let earlier = earlier.get(name).and_then(|values| values.get(field));
                earlier.map_or(0, |&value| value as u64)
            };
            let latency = |share| latencies.get(name).and_then(|it| it.get(share)).copied();
            let calls = get("calls").unwrap_or_default();
            let us = get("usec").unwrap_or_default();
            Command {
                name: name.to_owned(),
                total_calls: calls,
                total_us: us,
                window_calls: calls.checked_sub(before("calls")),
                window_us: us.checked_sub(before("usec")),
                failed_calls: get("failed_calls"),
                p50_us: latency("p50"),
                p99_us: latency("p99"),
                p999_us: latency("p99.9"),
            }
        })
        .collect();
    commands.sort_by_key(|command| std::cmp::Reverse((command.window_us, command.total_us)));
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "# Server\r\nredis_version:7.0.15\r\nkeyspace_hits:10\r\n\
        keyspace_misses:0\r\ncmdstat_get:calls=10,usec=20,usec_per_call=2.00\r\n";
    const AFTER: &str = "redis_version:7.0.15\r\nkeyspace_hits:13\r\nkeyspace_misses:9\r\n\
        cmdstat_get:calls=22,usec=80,usec_per_call=3.64,failed_calls=1\r\n\
        cmdstat_client|setname:calls=1,usec=4\r\n\
        latency_percentiles_usec_get:p50=1.003,p99=3.007,p99.9=9.023\r\n\
        db0:keys=5,expires=2,avg_ttl=0\r\ndb_broken:keys=x\r\n";

    #[test]
    fn windows_are_differences() {
        let (before, after) = (Info::parse(BEFORE), Info::parse(AFTER));
        let counters = Counters::new(&before, &after, 2);
        assert_eq!(counters.window("keyspace_hits"), 3);
        assert_eq!(counters.window_hit_percent, Some(25.0));
        let commands = commands(&before, &after);
        assert_eq!(commands[0].name, "get");
        assert_eq!(commands[0].window_mean_us(), Some(5.0));
        assert_eq!(commands[0].p999_us, Some(9.023));
        assert_eq!(commands[1].window_calls, Some(1));
        let databases = databases(&after);
        assert_eq!((databases.len(), databases[0].keys), (1, 5));
        // After a reset there is no window.
        assert_eq!(Counters::new(&after, &before, 0).window_hit_percent, None);
    }
}
