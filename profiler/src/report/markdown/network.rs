//! What was sent and received, and with whom.

use std::fmt::Write;

use super::{NAME_LENGTH, code, more, pools, process_name, prose};
use crate::{
    profile::{Histogram, Network, Recording, Traffic, Trouble},
    report::{
        network::{error_text, peer_text},
        text::{bytes, count, duration, shorten},
    },
    views::{TrafficRow, container_traffic, process_traffic},
};

const CONTAINERS: usize = 10;
const PROCESSES: usize = 10;
const FLOWS: usize = 15;
const DROPS: usize = 8;

/// Whatever the other tables show.
pub fn network(recording: &Recording, out: &mut String) -> std::fmt::Result {
    let Some(network) = &recording.network else {
        return Ok(());
    };
    if network.threads.is_empty() && network.flows.is_empty() {
        return Ok(());
    }
    traffic(
        "Network use of",
        &container_traffic(recording, network),
        CONTAINERS,
        |id| code(&recording.containers[id as usize].name),
        out,
    )?;
    traffic(
        "Process",
        &process_traffic(recording, network),
        PROCESSES,
        |id| process_name(recording, id),
        out,
    )?;
    flows(recording, network, out)?;
    pools::pools(recording, network, out)?;
    host(recording, network, out)
}

fn traffic(
    title: &str,
    rows: &[TrafficRow<u32>],
    shown: usize,
    name: impl Fn(u32) -> String,
    out: &mut String,
) -> std::fmt::Result {
    writeln!(
        out,
        "\n| {title} | Sent | Received | Sockets | Connects | Trouble |"
    )?;
    writeln!(out, "|:--|--:|--:|--:|:--|:--|")?;
    for row in rows.iter().take(shown) {
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            name(row.id),
            moved(row.sent),
            moved(row.received),
            count(row.sockets),
            connects(&row.connects),
            trouble(row.trouble, row.failed_connects),
        )?;
    }
    more(rows.len(), shown, out)
}

fn flows(recording: &Recording, network: &Network, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "\n| Process | With | Protocol | Sent | Received | Sockets | Connects | Round trip | Trouble |"
    )?;
    writeln!(out, "|:--|:--|:--|--:|--:|--:|:--|--:|:--|")?;
    for flow in network.flows.iter().take(FLOWS) {
        let with = peer_text(recording, flow);
        let failed: Vec<String> = flow
            .failed_connects
            .iter()
            .map(|&(error, times)| format!("{} {}", count(times), error_text(error)))
            .collect();
        let mut troubles = trouble(flow.trouble, 0);
        if !failed.is_empty() {
            if !troubles.is_empty() {
                troubles.push_str(", ");
            }
            troubles.push_str(&prose(&failed.join(", ")));
        }
        writeln!(
            out,
            "| {} | {} | {} {} | {} | {} | {} | {} | {} | {troubles} |",
            process_name(recording, flow.process),
            if with.is_empty() {
                String::new()
            } else {
                code(&shorten(&with, NAME_LENGTH))
            },
            flow.protocol.title(),
            flow.role.name(),
            moved(flow.sent),
            moved(flow.received),
            count(flow.sockets),
            connects(&flow.connects),
            flow.round_trip_ns.map(duration).unwrap_or_default(),
        )?;
    }
    more(network.flows.len(), FLOWS, out)
}

fn host(recording: &Recording, network: &Network, out: &mut String) -> std::fmt::Result {
    if !network.drops.is_empty() {
        let drops: Vec<String> = network
            .drops
            .iter()
            .take(DROPS)
            .map(|drop| format!("{} {}", code(&drop.reason), count(drop.packets)))
            .collect();
        writeln!(out, "\nPackets dropped, host-wide: {}.", drops.join(", "))?;
    }
    for namespace in &network.namespaces {
        writeln!(
            out,
            "\nListening sockets of {} dropped {} connections, {} of them because a queue was full.",
            code(&recording.containers[namespace.container as usize].name),
            count(namespace.listen_drops),
            count(namespace.listen_overflows),
        )?;
    }
    Ok(())
}

/// Bytes, and in how many messages.
fn moved(traffic: Traffic) -> String {
    format!("{} ({})", bytes(traffic.bytes), count(traffic.messages))
}

fn connects(connects: &Histogram) -> String {
    match (connects.percentile_ns(0.5), connects.percentile_ns(0.99)) {
        (Some(median), Some(p99)) => format!(
            "{}: p50 {}, p99 {}, longest {}",
            count(connects.count()),
            duration(median),
            duration(p99),
            duration(connects.max_ns)
        ),
        _ => String::new(),
    }
}

fn trouble(trouble: Trouble, failed_connects: u64) -> String {
    let parts: Vec<String> = [
        ("failed connects", failed_connects),
        ("retransmits", trouble.retransmits),
        ("resets sent", trouble.resets_sent),
        ("resets received", trouble.resets_received),
        ("dropped", trouble.drops),
    ]
    .into_iter()
    .filter(|&(_, times)| times > 0)
    .map(|(what, times)| format!("{} {what}", count(times)))
    .collect();
    parts.join(", ")
}
