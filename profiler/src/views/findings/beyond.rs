//! What lies beyond a process: the services that it talks to, and its files.

use std::collections::BTreeMap;

use super::{Finding, FindingKind};
use crate::{
    profile::{
        Activity, ContainerId, DiskOperation, Flow, Peer, ProcessId, Protocol, Recording, Role,
    },
    syscalls::error_name,
    views::remote_text,
};

/// Failed connects a second from which on they are told.
const FAILED_CONNECTS: f64 = 1.0;

/// What a container that waits so has most to do with.
pub fn of_wait(
    recording: &Recording,
    container: ContainerId,
    activity: Activity,
) -> Option<String> {
    match activity {
        Activity::NetworkRead | Activity::NetworkWrite | Activity::Connect => {
            service(recording, container)
        }
        Activity::DiskRead => file(recording, container, DiskOperation::Read),
        Activity::DiskWrite | Activity::Sync => file(recording, container, DiskOperation::Write),
        _ => None,
    }
}

/// Whether a container has connections, and opened none of them itself.
pub fn only_serves(recording: &Recording, container: ContainerId) -> bool {
    let flows = recording.network.iter().flat_map(|network| &network.flows);
    let roles = || {
        let own = flows.clone();
        own.filter(|flow| container_of(recording, flow) == container)
            .map(|flow| flow.role)
    };
    roles().any(|role| role == Role::Server) && roles().all(|role| role != Role::Client)
}

/// The service that it is a client of. Of several nobody knows here which one was
/// waited for.
fn service(recording: &Recording, container: ContainerId) -> Option<String> {
    let network = recording.network.as_ref()?;
    let mut flows = network
        .flows
        .iter()
        .filter(|flow| flow.role == Role::Client && container_of(recording, flow) == container);
    let flow = flows.next()?;
    flows
        .all(|other| other.remote == flow.remote && other.protocol == flow.protocol)
        .then(|| format!("it talks to {}", other_end(recording, flow)))
}

/// The file whose requests took longest.
fn file(recording: &Recording, container: ContainerId, operation: DiskOperation) -> Option<String> {
    let mut times: BTreeMap<&str, u64> = BTreeMap::new();
    for file in &recording.disk.files {
        let owner = recording.processes[file.process as usize].container;
        if owner == container && file.operation == operation && !file.path.is_empty() {
            let sum = times.entry(&file.path).or_default();
            *sum = sum.saturating_add(file.ns);
        }
    }
    let (path, _) = times.into_iter().max_by_key(|&(_, time)| time)?;
    Some(format!("its slowest file is {path}"))
}

pub fn failing_connects(recording: &Recording, found: &mut Vec<Finding>) {
    let length = recording.about.duration_ns as f64 / 1e9;
    let flows = recording.network.iter().flat_map(|network| &network.flows);
    for flow in flows {
        let failed = flow
            .failed_connects
            .iter()
            .fold(0, |sum: u64, &(_, count)| sum.saturating_add(count));
        if (failed as f64) < (FAILED_CONNECTS * length).max(1.0) {
            continue;
        }
        let worst = flow.failed_connects.iter().max_by_key(|(_, count)| *count);
        let process = &recording.processes[flow.process as usize];
        found.push(Finding {
            kind: FindingKind::FailingConnects,
            container: process.container,
            process: Some(flow.process),
            text: format!(
                "{} [{}] cannot connect to {}{}",
                process.name,
                process.pid,
                other_end(recording, flow),
                worst.map_or_else(String::new, |&(error, _)| format!(
                    ": {}",
                    error_name(error)
                ))
            ),
            evidence: format!(
                "{failed} connects failed, {} did not",
                flow.connects.count()
            ),
            // What fails at once costs no time, and may be why nothing works.
            cost_ns: recording.about.duration_ns,
        });
    }
}

pub fn full_queues(recording: &Recording, found: &mut Vec<Finding>) {
    let namespaces = recording
        .network
        .iter()
        .flat_map(|network| &network.namespaces);
    for namespace in namespaces.filter(|namespace| namespace.listen_overflows > 0) {
        found.push(Finding {
            kind: FindingKind::FullListenQueue,
            container: namespace.container,
            process: None,
            text: "clients find the queue of a listening socket full".to_owned(),
            evidence: format!(
                "{} connections, by the counter of its network namespace",
                namespace.listen_overflows
            ),
            cost_ns: recording.about.duration_ns,
        });
    }
}

/// A device that answers with errors, and whose requests those are.
pub fn failing_requests(recording: &Recording, found: &mut Vec<Finding>) {
    let mut devices: BTreeMap<u32, BTreeMap<ProcessId, u64>> = BTreeMap::new();
    for usage in recording.disk.uses.iter().filter(|usage| usage.errors > 0) {
        let errors = devices.entry(usage.device).or_default();
        let sum = errors.entry(usage.process).or_default();
        *sum = sum.saturating_add(usage.errors);
    }
    for (device, errors) in devices {
        let Some((&most, _)) = errors.iter().max_by_key(|&(_, count)| *count) else {
            continue;
        };
        let sum = |counts: &mut dyn Iterator<Item = u64>| counts.fold(0, u64::saturating_add);
        let failed = sum(&mut errors.into_values());
        let uses = recording.disk.uses.iter();
        let of_device = uses.filter(|usage| usage.device == device);
        let all = sum(&mut of_device.map(|usage| usage.requests));
        let name = &recording.disk.devices[device as usize];
        let process = &recording.processes[most as usize];
        found.push(Finding {
            kind: FindingKind::FailingRequests,
            container: process.container,
            process: Some(most),
            text: format!(
                "disk {name} fails requests, most of them of {} [{}]",
                process.name, process.pid
            ),
            evidence: format!("{failed} of {all} requests; dmesg says more"),
            // What cannot be read or written may be lost.
            cost_ns: u64::MAX,
        });
    }
}

fn container_of(recording: &Recording, flow: &Flow) -> ContainerId {
    recording.processes[flow.process as usize].container
}

fn other_end(recording: &Recording, flow: &Flow) -> String {
    named_end(recording, flow.protocol, &flow.remote, flow.peer)
}

/// The other end: its container and process, where they are known, and address.
pub fn named_end(
    recording: &Recording,
    protocol: Protocol,
    remote: &str,
    peer: Option<Peer>,
) -> String {
    let address = if remote.is_empty() {
        protocol.title().to_owned()
    } else {
        format!("{} {}", protocol.title(), remote_text(recording, remote))
    };
    let Some(peer) = peer else {
        return address;
    };
    let container = &recording.containers[peer.container as usize].name;
    match peer.process {
        Some(process) => format!(
            "{} of {container} ({address})",
            recording.processes[process as usize].name
        ),
        None => format!("{container} ({address})"),
    }
}
