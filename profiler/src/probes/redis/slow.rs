//! The slow log, the latency monitor, and how long a PING takes.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{
    client::{Client, ClientError},
    resp::Value,
};
use crate::{
    probes::window::Window,
    report::text::{clean_or_empty, shorten},
};

/// Entries of the slow log that are read.
const ENTRIES: &str = "128";
const LONGEST_ARGUMENT: usize = 60;
/// Arguments of a command that are shown.
const ARGUMENTS: usize = 8;
/// Fewer pings have no 99th percentile.
const PINGS_FOR_P99: usize = 100;

#[derive(Clone, Debug, Serialize)]
pub struct SlowCommand {
    pub id: i64,
    pub started_unix_seconds: i64,
    pub duration_us: u64,
    /// The command, and its arguments unless they are hidden as `?`.
    pub command: String,
    pub client: Option<String>,
    /// Whether it was logged during the probe.
    pub in_window: bool,
}

/// The number of the newest entry.
///
/// # Errors
/// Those of [`Client::call`].
pub async fn newest(client: &mut Client) -> Result<Option<i64>, ClientError> {
    let answer = client.call(&["SLOWLOG", "GET", "1"]).await?;
    let entries = answer.array().ok_or(ClientError::Answer("SLOWLOG"))?;
    Ok(entries
        .first()
        .and_then(|entry| entry.array()?.first()?.integer()))
}

/// The entries, the slowest first.
///
/// # Errors
/// Those of [`Client::call`].
pub async fn entries(
    client: &mut Client,
    newest_before: Option<i64>,
    literals: bool,
) -> Result<Vec<SlowCommand>, ClientError> {
    let answer = client.call(&["SLOWLOG", "GET", ENTRIES]).await?;
    let entries = answer.array().ok_or(ClientError::Answer("SLOWLOG"))?;
    let mut entries: Vec<SlowCommand> = entries
        .iter()
        .map(|entry| read(entry, newest_before, literals))
        .collect::<Option<_>>()
        .ok_or(ClientError::Answer("SLOWLOG"))?;
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.duration_us));
    Ok(entries)
}

/// redis.io/docs/latest/commands/slowlog-get: id, Unix time, microseconds,
/// words, and since 4.0 the client's address and name.
fn read(entry: &Value, newest_before: Option<i64>, literals: bool) -> Option<SlowCommand> {
    let fields = entry.array()?;
    let id = fields.first()?.integer()?;
    let words = fields.get(3)?.array()?;
    let address = fields.get(4).and_then(Value::text);
    Some(SlowCommand {
        id,
        started_unix_seconds: fields.get(1)?.integer()?,
        duration_us: fields.get(2)?.integer()?.try_into().ok()?,
        command: command(words, literals),
        client: address.filter(|address| !address.is_empty()),
        in_window: Some(id) > newest_before,
    })
}

fn command(words: &[Value], literals: bool) -> String {
    let text = |word: &Value| {
        let text = word.text().unwrap_or_default();
        shorten(&clean_or_empty(&text), LONGEST_ARGUMENT).into_owned()
    };
    let mut shown: Vec<String> = words.iter().take(1).map(text).collect();
    for word in words.iter().skip(1).take(ARGUMENTS) {
        shown.push(if literals { text(word) } else { "?".to_owned() });
    }
    if words.len() > ARGUMENTS + 1 {
        shown.push("…".to_owned());
    }
    shown.join(" ")
}

/// An event of the latency monitor, which is off unless
/// latency-monitor-threshold is set.
#[derive(Clone, Debug, Serialize)]
pub struct LatencyEvent {
    pub event: String,
    pub latest_unix_seconds: i64,
    pub latest_ms: i64,
    pub max_ms: i64,
}

/// # Errors
/// Those of [`Client::call`].
pub async fn latency_events(client: &mut Client) -> Result<Vec<LatencyEvent>, ClientError> {
    let answer = client.call(&["LATENCY", "LATEST"]).await?;
    let events = answer.array().ok_or(ClientError::Answer("LATENCY"))?;
    let events = events.iter().map(|event| {
        let fields = event.array()?;
        Some(LatencyEvent {
            event: fields.first()?.text()?,
            latest_unix_seconds: fields.get(1)?.integer()?,
            latest_ms: fields.get(2)?.integer()?,
            max_ms: fields.get(3)?.integer()?,
        })
    });
    events
        .collect::<Option<_>>()
        .ok_or(ClientError::Answer("LATENCY"))
}

/// From sending a PING to its answer, as this host sees it.
#[derive(Clone, Debug, Serialize)]
pub struct Pings {
    pub pings: u64,
    pub failed: u64,
    pub failure: Option<String>,
    pub p50_us: f64,
    /// `None` for fewer than 100 pings.
    pub p99_us: Option<f64>,
    pub max_us: f64,
}

#[derive(Default)]
pub struct Pinger {
    us: Vec<f64>,
    failed: u64,
    failure: Option<String>,
}

impl Pinger {
    /// Tells whether there was an answer.
    pub async fn ping(&mut self, client: &mut Client) -> bool {
        let started = Instant::now();
        match client.call(&["PING"]).await {
            Ok(_) => {
                self.us.push(started.elapsed().as_secs_f64() * 1e6);
                true
            }
            Err(error) => {
                self.failed += 1;
                self.failure = Some(error.to_string());
                false
            }
        }
    }

    /// # Errors
    /// Why none was answered.
    pub fn finish(mut self) -> Result<Pings, String> {
        self.us.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (share * self.us.len() as f64).ceil() as usize;
            self.us.get(rank.saturating_sub(1)).copied()
        };
        let Some((p50_us, max_us)) = at(0.5).zip(at(1.0)) else {
            return Err(self.failure.unwrap_or_else(|| "none was sent".to_owned()));
        };
        Ok(Pings {
            pings: self.us.len() as u64,
            failed: self.failed,
            failure: self.failure.clone(),
            p50_us,
            p99_us: at(0.99).filter(|_| self.us.len() >= PINGS_FOR_P99),
            max_us,
        })
    }
}

/// Pings until the window is over; ends when the server is gone.
pub async fn watch(client: &mut Client, mut window: Window, interval: Duration) -> Pinger {
    const FAILURES: u32 = 3;
    let mut pinger = Pinger::default();
    let started = Instant::now();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut failures = 0;
    while started.elapsed() < window.duration && failures < FAILURES {
        let left = window.duration.saturating_sub(started.elapsed());
        tokio::select! {
            _ = ticks.tick() => {}
            () = tokio::time::sleep(left) => break,
            () = window.stopped() => break,
        }
        failures = if pinger.ping(client).await {
            0
        } else {
            failures + 1
        };
    }
    pinger
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_hidden() {
        let words = |count: usize| -> Vec<Value> {
            let word = |at| Value::Bulk(Some(format!("word{at}").into_bytes()));
            (0..count).map(word).collect()
        };
        assert_eq!(command(&words(3), false), "word0 ? ?");
        assert_eq!(command(&words(2), true), "word0 word1");
        assert!(command(&words(12), false).ends_with("? …"));
    }
}
