//! What lies beyond a process: the services that it talks to, and its files.

use std::collections::BTreeMap;

use super::{Finding, FindingKind};
use crate::{
    profile::{Activity, ContainerId, DiskOperation, Flow, Recording, Role},
    syscalls::error_name,
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

/// The service that it is a client of with most messages.
fn service(recording: &Recording, container: ContainerId) -> Option<String> {
    let network = recording.network.as_ref()?;
    let flow = network
        .flows
        .iter()
        .filter(|flow| flow.role == Role::Client && container_of(recording, flow) == container)
        .max_by_key(|flow| flow.received.messages)?;
    Some(format!("it talks most to {}", other_end(recording, flow)))
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

fn container_of(recording: &Recording, flow: &Flow) -> ContainerId {
    recording.processes[flow.process as usize].container
}

/// The other end: its container and process, where they are known, and address.
fn other_end(recording: &Recording, flow: &Flow) -> String {
    let address = if flow.remote.is_empty() {
        flow.protocol.title().to_owned()
    } else {
        format!("{} {}", flow.protocol.title(), flow.remote)
    };
    let Some(peer) = flow.peer else {
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
