//! The use of connections, for programs: part of the network's report.

use serde::Serialize;

use super::network::{Names, PeerRow};
use crate::profile::{Network, Pool, Recording};

const POOLS_SHOWN: usize = 500;

#[derive(Serialize)]
pub struct PoolsReport<'r> {
    /// How often all connections were looked at.
    samples: u64,
    rows: Vec<PoolRow<'r>>,
    not_shown: u64,
}

#[derive(Serialize)]
struct PoolRow<'r> {
    pid: u32,
    process: &'r str,
    container: &'r str,
    protocol: &'static str,
    role: &'static str,
    service: &'r str,
    peer: Option<PeerRow<'r>>,
    connections: u64,
    opened: Option<u64>,
    closed: Option<u64>,
    unused: Option<u64>,
    one_way: u64,
    requests: u64,
    request_messages: u64,
    mean_ns: Option<u64>,
    longest_ns: u64,
    in_use_ns: u64,
    open_ns: u64,
    in_use_percent: Option<f64>,
    mean_in_use: f64,
    sampled: Sampled,
}

#[derive(Serialize)]
struct Sampled {
    samples: u64,
    mean_connections: Option<f64>,
    most_connections: u64,
    mean_in_use: Option<f64>,
    most_in_use: u64,
    all_in_use_percent: Option<f64>,
    requests_in_progress_then: Option<f64>,
}

pub fn pools<'r>(names: &Names<'r>, network: &'r Network, duration_ns: u64) -> PoolsReport<'r> {
    let hidden = network.pools.len().saturating_sub(POOLS_SHOWN) as u64;
    PoolsReport {
        samples: network.pool_samples,
        rows: network
            .pools
            .iter()
            .take(POOLS_SHOWN)
            .map(|pool| row(names, pool, duration_ns))
            .collect(),
        not_shown: network.pools_not_shown.saturating_add(hidden),
    }
}

fn row<'r>(names: &Names<'r>, pool: &'r Pool, duration_ns: u64) -> PoolRow<'r> {
    let (pid, process, container) = names.process(pool.process);
    let samples = &pool.samples;
    PoolRow {
        pid,
        process,
        container,
        protocol: pool.protocol.name(),
        role: pool.role.name(),
        service: &pool.service,
        peer: names.peer(pool.peer),
        connections: pool.connections,
        opened: pool.opened,
        closed: pool.closed,
        unused: pool.unused,
        one_way: pool.one_way,
        requests: pool.requests,
        request_messages: pool.request_messages,
        mean_ns: pool.mean_ns(),
        longest_ns: pool.longest_ns,
        in_use_ns: pool.in_use_ns,
        open_ns: pool.open_ns,
        in_use_percent: pool.in_use().map(percent),
        mean_in_use: hundredths(pool.in_use_ns as f64 / duration_ns.max(1) as f64),
        sampled: Sampled {
            samples: samples.count,
            mean_connections: pool.mean_connections().map(hundredths),
            most_connections: samples.most_connections,
            mean_in_use: pool.mean_sampled_in_use().map(hundredths),
            most_in_use: samples.most_in_use,
            all_in_use_percent: pool.saturated().map(percent),
            requests_in_progress_then: pool.requests_when_saturated().map(hundredths),
        },
    }
}

fn percent(part: f64) -> f64 {
    hundredths(part.min(1.0) * 100.0)
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// The service that a pool's connections lead to: who offers it, where that is
/// known, and its address.
pub fn peer_text(recording: &Recording, pool: &Pool) -> String {
    let Some(peer) = pool.peer else {
        return pool.service.clone();
    };
    let container = &recording.containers[peer.container as usize];
    match peer.process {
        Some(process) => format!(
            "{} of {}, {}",
            recording.processes[process as usize].name, container.name, pool.service
        ),
        None => format!("{}, {}", container.name, pool.service),
    }
}
