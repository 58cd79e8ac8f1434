//! The use of the network, added up.

use std::collections::BTreeMap;

use crate::profile::{
    ContainerId, Flow, Histogram, Network, ProcessId, Recording, Traffic, Trouble,
};

/// A remote address, behind its host's name where that was looked up.
pub fn remote_text(recording: &Recording, remote: &str) -> String {
    let network = recording.network.as_ref();
    match network.and_then(|network| network.host_name(remote)) {
        Some(name) => format!("{name} ({remote})"),
        None => remote.to_owned(),
    }
}

/// What some processes did with the network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrafficRow<Id> {
    pub id: Id,
    /// Exact, of their threads.
    pub sent: Traffic,
    pub received: Traffic,
    pub without_stack_bytes: u64,
    /// Of their sockets.
    pub sockets: u64,
    pub trouble: Trouble,
    pub connects: Histogram,
    pub failed_connects: u64,
    pub lifetimes: Histogram,
}

impl<Id> TrafficRow<Id> {
    pub fn bytes(&self) -> u64 {
        self.sent.bytes.saturating_add(self.received.bytes)
    }

    fn add_flow(&mut self, flow: &Flow) {
        self.sockets = self.sockets.saturating_add(flow.sockets);
        self.trouble.add(flow.trouble);
        self.connects.merge(&flow.connects);
        self.failed_connects = flow
            .failed_connects
            .iter()
            .fold(self.failed_connects, |sum, &(_, count)| {
                sum.saturating_add(count)
            });
        self.lifetimes.merge(&flow.lifetimes);
    }
}

/// By container, the one with the most bytes first.
pub fn container_traffic(recording: &Recording, network: &Network) -> Vec<TrafficRow<ContainerId>> {
    rows(recording, network, |process| {
        recording.processes[process as usize].container
    })
}

/// By process, as above.
pub fn process_traffic(recording: &Recording, network: &Network) -> Vec<TrafficRow<ProcessId>> {
    rows(recording, network, |process| process)
}

fn rows<Id: Copy + Ord>(
    recording: &Recording,
    network: &Network,
    id: impl Fn(ProcessId) -> Id,
) -> Vec<TrafficRow<Id>> {
    let mut rows: BTreeMap<Id, TrafficRow<Id>> = BTreeMap::new();
    let mut row = |process: ProcessId, add: &dyn Fn(&mut TrafficRow<Id>)| {
        let id = id(process);
        add(rows.entry(id).or_insert_with(|| TrafficRow {
            id,
            sent: Traffic::default(),
            received: Traffic::default(),
            without_stack_bytes: 0,
            sockets: 0,
            trouble: Trouble::default(),
            connects: Histogram::default(),
            failed_connects: 0,
            lifetimes: Histogram::default(),
        }));
    };
    for traffic in &network.threads {
        let process = recording.threads[traffic.thread as usize].process;
        row(process, &|row| {
            row.sent.add(traffic.sent);
            row.received.add(traffic.received);
            row.without_stack_bytes = row
                .without_stack_bytes
                .saturating_add(traffic.without_stack_bytes);
        });
    }
    for flow in &network.flows {
        row(flow.process, &|row| row.add_flow(flow));
    }
    let mut rows: Vec<_> = rows.into_values().collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.bytes(), row.sockets)));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::sample;

    #[test]
    fn traffic_adds_up_by_container_and_process() {
        let recording = sample::plain();
        let network = recording.network.as_ref().expect("the sample has one");
        let bytes: u64 = network
            .threads
            .iter()
            .map(|traffic| traffic.sent.bytes + traffic.received.bytes)
            .sum();
        let sockets: u64 = network.flows.iter().map(|flow| flow.sockets).sum();
        assert!(bytes > 0 && sockets > 0);
        let containers = container_traffic(&recording, network);
        let processes = process_traffic(&recording, network);
        assert_eq!(containers.iter().map(TrafficRow::bytes).sum::<u64>(), bytes);
        assert_eq!(processes.iter().map(TrafficRow::bytes).sum::<u64>(), bytes);
        assert_eq!(
            containers.iter().map(|row| row.sockets).sum::<u64>(),
            sockets
        );
        assert!(processes.is_sorted_by_key(|row| std::cmp::Reverse(row.bytes())));
        let connects: u64 = processes.iter().map(|row| row.connects.count()).sum();
        let of_flows: u64 = network.flows.iter().map(|flow| flow.connects.count()).sum();
        assert_eq!(connects, of_flows);
    }
}
