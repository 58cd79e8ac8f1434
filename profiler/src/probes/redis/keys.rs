//! Large keys, and memory by prefix: SCAN and MEMORY USAGE, at a limited rate.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    client::{Client, ClientError},
    resp::Value,
};

/// Keys that are asked for at once.
const BATCH: &str = "100";
/// Elements of a collection that MEMORY USAGE looks at.
const SAMPLES: &str = "5";
const LARGEST: usize = 20;
const PREFIXES: usize = 30;
/// Prefixes that are told apart.
const MOST_PREFIXES: usize = 10_000;
const OTHERS: &str = "(others)";

#[derive(Clone, Copy, Debug)]
pub struct ScanLimits {
    pub keys: u64,
    pub keys_per_second: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Key {
    pub name: String,
    /// `None` when it was gone, or is not shown to this user.
    pub kind: Option<String>,
    /// As MEMORY USAGE estimates it from 5 elements.
    pub estimated_bytes: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Prefix {
    /// Parts with digits are `*`.
    pub prefix: String,
    pub keys: u64,
    pub estimated_bytes: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Keys {
    pub looked_at: u64,
    /// Whether all keys of the database were looked at.
    pub complete: bool,
    pub keys_in_database: u64,
    pub estimated_bytes: u64,
    pub largest: Vec<Key>,
    pub prefixes: Vec<Prefix>,
    pub seconds: f64,
}

/// # Errors
/// Those of [`Client::call`].
pub async fn scan(client: &mut Client, limits: ScanLimits) -> Result<Keys, ClientError> {
    let size = client.call(&["DBSIZE"]).await?.integer();
    let started = Instant::now();
    let mut found = Found::default();
    let mut cursor = "0".to_owned();
    let mut complete = false;
    while !complete && found.keys < limits.keys {
        let (next, names) = batch(client, &cursor).await?;
        let sizes = sizes(client, &names).await?;
        for (name, size) in names.iter().zip(sizes) {
            if let Some(size) = size {
                found.add(&String::from_utf8_lossy(name), size);
            }
        }
        complete = next == "0";
        cursor = next;
        let due = found.keys as f64 / limits.keys_per_second.max(1) as f64;
        let ahead = Duration::from_secs_f64(due).saturating_sub(started.elapsed());
        tokio::time::sleep(ahead).await;
    }
    for key in &mut found.largest {
        // Of these only: it counts as a hit of the server's.
        let kind = client.call(&["TYPE", &key.name]).await;
        let kind = kind.ok().and_then(|kind| kind.text());
        key.kind = kind.filter(|kind| kind != "none");
    }
    let mut prefixes: Vec<Prefix> = found.prefixes.into_values().collect();
    prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.estimated_bytes));
    prefixes.truncate(PREFIXES);
    Ok(Keys {
        looked_at: found.keys,
        complete,
        keys_in_database: size
            .and_then(|size| size.try_into().ok())
            .unwrap_or_default(),
        estimated_bytes: found.bytes,
        largest: found.largest,
        prefixes,
        seconds: started.elapsed().as_secs_f64(),
    })
}

async fn batch(client: &mut Client, cursor: &str) -> Result<(String, Vec<Vec<u8>>), ClientError> {
    let broken = || ClientError::Answer("SCAN");
    let answer = client.call(&["SCAN", cursor, "COUNT", BATCH]).await?;
    let fields = answer.array().ok_or_else(broken)?;
    let next = fields.first().and_then(Value::text).ok_or_else(broken)?;
    let names = fields.get(1).and_then(Value::array).ok_or_else(broken)?;
    let names = names.iter().map(|name| match name {
        Value::Bulk(Some(name)) => Some(name.clone()),
        _ => None,
    });
    Ok((next, names.collect::<Option<_>>().ok_or_else(broken)?))
}

async fn sizes(client: &mut Client, names: &[Vec<u8>]) -> Result<Vec<Option<u64>>, ClientError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let commands: Vec<Vec<&[u8]>> = names
        .iter()
        .map(|name| {
            vec![
                &b"MEMORY"[..],
                b"USAGE",
                name.as_slice(),
                b"SAMPLES",
                SAMPLES.as_bytes(),
            ]
        })
        .collect();
    let answers = client.calls(&commands).await?;
    if let Some(Value::Error(message)) = answers.first() {
        return Err(ClientError::Refused(message.clone()));
    }
    // A key that is gone in between has no size.
    Ok(answers
        .iter()
        .map(|size| size.integer().and_then(|size| size.try_into().ok()))
        .collect())
}

#[derive(Default)]
struct Found {
    keys: u64,
    bytes: u64,
    /// The largest first.
    largest: Vec<Key>,
    prefixes: HashMap<String, Prefix>,
}

impl Found {
    fn add(&mut self, name: &str, bytes: u64) {
        self.keys += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        // SCAN may name a key twice.
        let known = self.largest.iter().any(|key| key.name == name);
        let place = self
            .largest
            .partition_point(|key| key.estimated_bytes >= bytes);
        if place < LARGEST && !known {
            let key = Key {
                name: name.to_owned(),
                kind: None,
                estimated_bytes: bytes,
            };
            self.largest.insert(place, key);
            self.largest.truncate(LARGEST);
        }
        let mut prefix = prefix(name);
        if self.prefixes.len() >= MOST_PREFIXES && !self.prefixes.contains_key(&prefix) {
            prefix = OTHERS.to_owned();
        }
        let entry = self.prefixes.entry(prefix.clone()).or_insert(Prefix {
            prefix,
            keys: 0,
            estimated_bytes: 0,
        });
        entry.keys += 1;
        entry.estimated_bytes = entry.estimated_bytes.saturating_add(bytes);
    }
}

/// The first parts of a name, `user:17:cart:3` → `user:*:cart:`.
fn prefix(name: &str) -> String {
    const PARTS: usize = 3;
    let parts: Vec<&str> = name.split(':').collect();
    let Some((_, before)) = parts.split_last().filter(|(_, before)| !before.is_empty()) else {
        return "(no prefix)".to_owned();
    };
    let part = |part: &&str| {
        if part.chars().any(|c| c.is_ascii_digit()) || part.len() > 64 {
            "*:".to_owned()
        } else {
            format!("{part}:")
        }
    };
    before.iter().take(PARTS).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        for (name, expected) in [
            ("user:17", "user:"),
            ("user:17:cart:3", "user:*:cart:"),
            ("counter", "(no prefix)"),
            ("a:b:c:d:e", "a:b:c:"),
        ] {
            assert_eq!(prefix(name), expected);
        }
    }

    #[test]
    fn the_largest_are_kept_in_order() {
        let mut found = Found::default();
        for size in 0..1000 {
            found.add(&format!("k:{}", size * 7 % 1000), size * 7 % 1000);
        }
        found.add("k:999", 999);
        let sizes: Vec<u64> = found
            .largest
            .iter()
            .map(|key| key.estimated_bytes)
            .collect();
        assert_eq!(sizes, (980..1000).rev().collect::<Vec<u64>>());
        assert_eq!(found.prefixes["k:"].keys, 1001);
    }
}
