//! The use of the network, for programs: part of the JSON report, and what the
//! HTML page makes its section of.

use serde::Serialize;

use super::{
    durations::Durations,
    pools::{PoolsReport, pools},
};
use crate::{
    profile::{Connection, Drop, Flow, Network, Peer, Recording, Role, Traffic, Trouble},
    syscalls::error_name,
    views::{TrafficRow, container_traffic, process_traffic, remote_text},
};

/// How many of each are listed; what the others moved is in the rows of their
/// containers.
const PROCESSES_SHOWN: usize = 200;
const FLOWS_SHOWN: usize = 500;
const CONNECTIONS_SHOWN: usize = 500;

#[derive(Serialize)]
pub struct NetworkReport<'r> {
    sent_bytes: u64,
    sent_messages: u64,
    received_bytes: u64,
    received_messages: u64,
    without_stack_bytes: u64,
    containers: Vec<Row<'r>>,
    processes: Vec<Row<'r>>,
    processes_not_shown: usize,
    flows: Vec<FlowRow<'r>>,
    flows_not_shown: usize,
    connections: Vec<ConnectionRow<'r>>,
    connections_not_shown: u64,
    pools: PoolsReport<'r>,
    /// Host-wide, as what follows.
    dropped_packets: &'r [Drop],
    listen_queues: Vec<Queues<'r>>,
    accepted: u64,
    other_retransmits: u64,
    other_resets_sent: u64,
    other_resets_received: u64,
    connections_refused: u64,
    unaccounted_bytes: u64,
    threads_lost: u64,
    stacks_thinned: u64,
}

/// What went both ways.
#[derive(Serialize)]
struct Both {
    sent_bytes: u64,
    sent_messages: u64,
    received_bytes: u64,
    received_messages: u64,
}

impl Both {
    fn new(sent: Traffic, received: Traffic) -> Self {
        Self {
            sent_bytes: sent.bytes,
            sent_messages: sent.messages,
            received_bytes: received.bytes,
            received_messages: received.messages,
        }
    }
}

#[derive(Serialize)]
struct Row<'r> {
    id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    name: &'r str,
    container: &'r str,
    #[serde(flatten)]
    traffic: Both,
    without_stack_bytes: u64,
    sockets: u64,
    #[serde(flatten)]
    trouble: Trouble,
    connects: Durations,
    failed_connects: u64,
    lifetimes: Durations,
}

#[derive(Serialize)]
pub struct PeerRow<'r> {
    container: &'r str,
    process: Option<&'r str>,
    pid: Option<u32>,
}

#[derive(Serialize)]
struct FlowRow<'r> {
    pid: u32,
    process: &'r str,
    container: &'r str,
    protocol: &'static str,
    role: &'static str,
    local: &'r str,
    remote: &'r str,
    remote_name: Option<&'r str>,
    peer: Option<PeerRow<'r>>,
    sockets: u64,
    #[serde(flatten)]
    traffic: Both,
    #[serde(flatten)]
    trouble: Trouble,
    connects: Durations,
    failed_connects: Vec<Failure>,
    lifetimes: Durations,
    round_trip_ns: Option<u64>,
}

#[derive(Serialize)]
struct Failure {
    error: String,
    count: u64,
}

#[derive(Serialize)]
struct ConnectionRow<'r> {
    pid: u32,
    process: &'r str,
    container: &'r str,
    other_pid: Option<u32>,
    protocol: &'static str,
    role: &'static str,
    local: &'r str,
    remote: &'r str,
    remote_name: Option<&'r str>,
    peer: Option<PeerRow<'r>>,
    inode: u64,
    #[serde(flatten)]
    traffic: Both,
    #[serde(flatten)]
    trouble: Trouble,
    connect_ns: Option<u64>,
    error: Option<String>,
    lifetime_ns: Option<u64>,
    ended: bool,
    round_trip_ns: Option<u64>,
    round_trip_deviation_ns: Option<u64>,
}

#[derive(Serialize)]
struct Queues<'r> {
    namespace: u32,
    container: &'r str,
    overflows: u64,
    drops: u64,
}

/// `None` when it was not recorded.
pub fn network(recording: &Recording) -> Option<NetworkReport<'_>> {
    let network = recording.network.as_ref()?;
    let containers = container_traffic(recording, network);
    let processes = process_traffic(recording, network);
    let (mut sent, mut received, mut without_stack_bytes) =
        (Traffic::default(), Traffic::default(), 0_u64);
    for row in &containers {
        sent.add(row.sent);
        received.add(row.received);
        without_stack_bytes = without_stack_bytes.saturating_add(row.without_stack_bytes);
    }
    let names = Names(recording);
    Some(NetworkReport {
        sent_bytes: sent.bytes,
        sent_messages: sent.messages,
        received_bytes: received.bytes,
        received_messages: received.messages,
        without_stack_bytes,
        containers: containers
            .iter()
            .map(|row| {
                let name = names.container(row.id);
                self::row(row, None, name, name)
            })
            .collect(),
        processes: processes
            .iter()
            .take(PROCESSES_SHOWN)
            .map(|row| {
                let (pid, name, container) = names.process(row.id);
                self::row(row, Some(pid), name, container)
            })
            .collect(),
        processes_not_shown: processes.len().saturating_sub(PROCESSES_SHOWN),
        flows: network
            .flows
            .iter()
            .take(FLOWS_SHOWN)
            .map(|flow| names.flow(flow))
            .collect(),
        flows_not_shown: network.flows.len().saturating_sub(FLOWS_SHOWN),
        connections: network
            .connections
            .iter()
            .take(CONNECTIONS_SHOWN)
            .map(|connection| names.connection(connection))
            .collect(),
        connections_not_shown: not_shown(network),
        pools: pools(&names, network, recording.about.duration_ns),
        dropped_packets: &network.drops,
        listen_queues: network
            .namespaces
            .iter()
            .map(|namespace| Queues {
                namespace: namespace.inode,
                container: names.container(namespace.container),
                overflows: namespace.listen_overflows,
                drops: namespace.listen_drops,
            })
            .collect(),
        accepted: network.accepted,
        other_retransmits: network.other_retransmits,
        other_resets_sent: network.other_resets_sent,
        other_resets_received: network.other_resets_received,
        connections_refused: network.connections_refused,
        unaccounted_bytes: network.bytes_unaccounted,
        threads_lost: network.threads_lost,
        stacks_thinned: network.stacks_thinned,
    })
}

fn not_shown(network: &Network) -> u64 {
    let hidden = network.connections.len().saturating_sub(CONNECTIONS_SHOWN);
    network.connections_not_shown.saturating_add(hidden as u64)
}

fn row<'r>(row: &TrafficRow<u32>, pid: Option<u32>, name: &'r str, container: &'r str) -> Row<'r> {
    Row {
        id: row.id,
        pid,
        name,
        container,
        traffic: Both::new(row.sent, row.received),
        without_stack_bytes: row.without_stack_bytes,
        sockets: row.sockets,
        trouble: row.trouble,
        connects: Durations::of(&row.connects),
        failed_connects: row.failed_connects,
        lifetimes: Durations::of(&row.lifetimes),
    }
}

/// Names of what ids refer to.
pub struct Names<'r>(&'r Recording);

impl<'r> Names<'r> {
    fn container(&self, id: u32) -> &'r str {
        &self.0.containers[id as usize].name
    }

    /// Its pid, its name and that of its container.
    pub fn process(&self, id: u32) -> (u32, &'r str, &'r str) {
        let process = &self.0.processes[id as usize];
        (
            process.pid,
            &process.name,
            self.container(process.container),
        )
    }

    pub fn peer(&self, peer: Option<Peer>) -> Option<PeerRow<'r>> {
        let peer = peer?;
        let process = peer.process.map(|id| self.process(id));
        Some(PeerRow {
            container: self.container(peer.container),
            process: process.map(|(_, name, _)| name),
            pid: process.map(|(pid, ..)| pid),
        })
    }

    fn host_name(&self, remote: &str) -> Option<&'r str> {
        self.0.network.as_ref()?.host_name(remote)
    }

    fn flow(&self, flow: &'r Flow) -> FlowRow<'r> {
        let (pid, process, container) = self.process(flow.process);
        FlowRow {
            pid,
            process,
            container,
            protocol: flow.protocol.name(),
            role: flow.role.name(),
            local: &flow.local,
            remote: &flow.remote,
            remote_name: self.host_name(&flow.remote),
            peer: self.peer(flow.peer),
            sockets: flow.sockets,
            traffic: Both::new(flow.sent, flow.received),
            trouble: flow.trouble,
            connects: Durations::of(&flow.connects),
            failed_connects: flow
                .failed_connects
                .iter()
                .map(|&(error, count)| Failure {
                    error: error_text(error),
                    count,
                })
                .collect(),
            lifetimes: Durations::of(&flow.lifetimes),
            round_trip_ns: flow.round_trip_ns,
        }
    }

    fn connection(&self, connection: &'r Connection) -> ConnectionRow<'r> {
        let (pid, process, container) = self.process(connection.process);
        ConnectionRow {
            pid,
            process,
            container,
            other_pid: connection.other_pid,
            protocol: connection.protocol.name(),
            role: connection.role.name(),
            local: &connection.local,
            remote: &connection.remote,
            remote_name: self.host_name(&connection.remote),
            peer: self.peer(connection.peer),
            inode: connection.inode,
            traffic: Both::new(connection.sent, connection.received),
            trouble: connection.trouble,
            connect_ns: connection.connect_ns,
            error: connection.error.map(error_text),
            lifetime_ns: connection.lifetime_ns,
            ended: connection.ended,
            round_trip_ns: connection.round_trip_ns,
            round_trip_deviation_ns: connection.round_trip_deviation_ns,
        }
    }
}

/// Why a connection failed; one that was given up by closing it has no error.
pub fn error_text(error: u32) -> String {
    match error {
        0 => "closed".to_owned(),
        _ => error_name(error),
    }
}

/// A flow's other end in words: the local peer's name, else its address.
pub fn peer_text(recording: &Recording, flow: &Flow) -> String {
    let named = flow.peer.map(|peer| {
        let container = &recording.containers[peer.container as usize].name;
        match peer.process {
            Some(process) => {
                let process = &recording.processes[process as usize];
                format!("{container} {} {}", process.name, process.pid)
            }
            None => container.clone(),
        }
    });
    let remote = remote_text(recording, &flow.remote);
    let at = match flow.role {
        Role::Server => format!("at {}", flow.local),
        _ if flow.remote.is_empty() => flow.local.clone(),
        _ => remote.clone(),
    };
    match named {
        Some(named) if at.is_empty() => named,
        Some(named) => format!("{named}, {at}"),
        None if flow.role == Role::Server && !flow.remote.is_empty() => {
            format!("{remote}, {at}")
        }
        None => at,
    }
}
