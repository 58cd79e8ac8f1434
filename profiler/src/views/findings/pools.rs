//! Pools of connections that are too small for what is asked of their process.

use super::{Finding, FindingKind, beyond::named_end, seconds};
use crate::profile::{Pool, Recording, Role};

/// Part of the samples in which all connections must be in use, …
const IN_USE: f64 = 0.9;
/// … and how many requests a process must have in progress then for each of them:
/// one that serves as many as it has connections waits for none.
const REQUESTS_EACH: f64 = 2.0;
/// One connection may carry many requests at the same time, as HTTP/2 does; that is
/// no pool.
const CONNECTIONS: f64 = 1.5;
/// Fewer samples say nothing.
const SAMPLES: u64 = 20;
/// Part of all samples in which there must be connections.
const THERE: f64 = 0.5;
/// More messages than that make no single request: it does not wait for the answer
/// before the next one, so that a connection in use is not taken.
const MESSAGES_EACH: f64 = 3.0;

pub fn too_small(recording: &Recording, found: &mut Vec<Finding>) {
    let Some(network) = &recording.network else {
        return;
    };
    for pool in &network.pools {
        let there = pool.samples.count as f64 / network.pool_samples.max(1) as f64;
        if pool.role != Role::Client
            || pool.samples.count < SAMPLES
            || there < THERE
            || pool.request_messages as f64 > MESSAGES_EACH * pool.requests.max(1) as f64
        {
            continue;
        }
        let (Some(saturated), Some(connections), Some(requests)) = (
            pool.saturated(),
            pool.mean_connections(),
            pool.requests_when_saturated(),
        ) else {
            continue;
        };
        // On a single one several requests may go at the same time.
        if connections >= CONNECTIONS
            && saturated >= IN_USE
            && requests >= REQUESTS_EACH * connections
        {
            found.push(finding(recording, pool, saturated, connections, requests));
        }
    }
}

fn finding(
    recording: &Recording,
    pool: &Pool,
    saturated: f64,
    connections: f64,
    requests: f64,
) -> Finding {
    let process = &recording.processes[pool.process as usize];
    let end = named_end(recording, pool.protocol, &pool.service, pool.peer);
    let each = pool.mean_ns().map_or_else(String::new, |ns| {
        format!(", of {:.1} ms on average", ns as f64 / 1e6)
    });
    Finding {
        kind: FindingKind::PoolTooSmall,
        container: process.container,
        process: Some(pool.process),
        text: format!(
            "all {connections:.0} connections of {} [{}] to {end} are in use {:.0} % of the time, while it has {requests:.0} \
             requests in progress: the pool is too small, or what it asks for takes too long",
            process.name,
            process.pid,
            100.0 * saturated,
        ),
        evidence: format!(
            "{} of {} samples; {} requests to it{each}, {} of use in {} of connections",
            pool.samples.saturated,
            pool.samples.count,
            pool.requests,
            seconds(pool.in_use_ns),
            seconds(pool.open_ns),
        ),
        cost_ns: (recording.about.duration_ns as f64 * saturated) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        profile::{PoolSamples, Protocol},
        views::sample,
    };

    /// 600 samples of a pool of two, all of which is in use in `saturated` of them,
    /// with so many requests in progress.
    fn with(saturated: u64, requests: u64, change: impl FnOnce(&mut Pool)) -> Recording {
        let mut recording = sample::plain();
        let network = recording.network.as_mut().expect("the sample has one");
        let mut pool = Pool {
            process: 0,
            protocol: Protocol::Tcp,
            role: Role::Client,
            service: "10.0.0.3:5432".into(),
            peer: None,
            connections: 2,
            opened: Some(0),
            closed: Some(0),
            unused: Some(0),
            requests: 1000,
            answered_ns: 110_000_000_000,
            longest_ns: 1_000_000_000,
            in_use_ns: 116_000_000_000,
            open_ns: 120_000_000_000,
            request_messages: 1000,
            one_way: 0,
            samples: PoolSamples {
                count: 600,
                connections: 1200,
                most_connections: 2,
                in_use: 1160,
                most_in_use: 2,
                saturated,
                requests_when_saturated: saturated * requests,
            },
        };
        change(&mut pool);
        network.pools = vec![pool];
        network.pool_samples = 600;
        recording
    }

    fn texts(recording: &Recording) -> Vec<String> {
        let mut found = Vec::new();
        too_small(recording, &mut found);
        found.into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn more_requests_than_connections() {
        assert_eq!(
            texts(&with(582, 14, |_| {})),
            [
                "all 2 connections of python3 [4242] to TCP db.example.test (10.0.0.3:5432) are in use \
                 97 % of the time, while it has 14 requests in progress: the pool is too small, or what it \
                 asks for takes too long"
            ]
        );
    }

    #[test]
    fn what_needs_no_larger_pool() {
        // As many requests as connections: each worker has its own.
        assert!(texts(&with(600, 2, |_| {})).is_empty());
        assert!(texts(&with(400, 14, |_| {})).is_empty());
        // One is free all the time.
        assert!(texts(&with(600, 14, |pool| pool.unused = Some(1))).is_empty());
        // Requests follow one another without waiting for answers.
        assert!(texts(&with(600, 14, |pool| pool.request_messages = 7000)).is_empty());
        assert!(texts(&with(600, 14, |pool| pool.role = Role::Server)).is_empty());
        assert!(texts(&with(600, 14, |pool| pool.samples.count = 10)).is_empty());
    }
}
