//! The largest costs, in plain words, each with its evidence.

mod beyond;
mod event_loop;
mod places;
mod pools;
mod unneeded;
mod waits;

use super::{most_failing_target, process_syscalls, syscalls::SyscallRow};
use crate::profile::{ContainerId, ProcessId, Recording};
use places::Places;

/// Part of its CPU time that one function must have.
const HOT: f64 = 0.2;
/// Less than this part of the recording is no cost, whatever it is a part of.
const LEAST: f64 = 0.03;
/// Failed calls a second, and their part of all, from which on they are told.
const FAILURES: f64 = 100.0;
const FAILING: f64 = 0.5;
/// Errors that are an answer: come back later.
const ANSWERS: &[&str] = &["EAGAIN", "EINPROGRESS", "ETIMEDOUT", "EINTR", "ERESTARTSYS"];
/// Most findings of a kind: waits, which are a sum of many threads', would leave
/// no room for others.
const MOST: usize = 4;

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    Waiting,
    HotFunction,
    WantsCpu,
    Throttled,
    Stolen,
    FailingCalls,
    FailingConnects,
    FullListenQueue,
    FailingRequests,
    OutOfMemory,
    PoolTooSmall,
    BlockedEventLoop,
}

impl FindingKind {
    /// Machine-readable.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::HotFunction => "hot_function",
            Self::WantsCpu => "wants_cpu",
            Self::Throttled => "throttled",
            Self::Stolen => "stolen",
            Self::FailingCalls => "failing_calls",
            Self::FailingConnects => "failing_connects",
            Self::FullListenQueue => "full_listen_queue",
            Self::FailingRequests => "failing_requests",
            Self::OutOfMemory => "out_of_memory",
            Self::PoolTooSmall => "pool_too_small",
            Self::BlockedEventLoop => "blocked_event_loop",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub kind: FindingKind,
    pub container: ContainerId,
    pub process: Option<ProcessId>,
    /// A sentence without its subject, which is the container.
    pub text: String,
    /// What it rests on.
    pub evidence: String,
    /// Nanoseconds of the recording that it is about; what comes first.
    pub cost_ns: u64,
}

/// The largest costs first.
pub fn findings(recording: &Recording) -> Vec<Finding> {
    let mut found = Vec::new();
    let least = (recording.about.duration_ns as f64 * LEAST) as u64;
    let places = Places::new(recording);
    waits::waits(recording, &places, least, &mut found);
    hot_functions(recording, &places, least, &mut found);
    failing_calls(recording, &mut found);
    beyond::failing_connects(recording, &mut found);
    beyond::full_queues(recording, &mut found);
    beyond::failing_requests(recording, &mut found);
    pools::too_small(recording, &mut found);
    event_loop::blocked(recording, least, &mut found);
    kills(recording, &mut found);
    found.sort_by_key(|finding| std::cmp::Reverse(finding.cost_ns));
    let mut kinds = Vec::new();
    found.retain(|finding| {
        kinds.push(finding.kind);
        kinds.iter().filter(|kind| **kind == finding.kind).count() <= MOST
    });
    found
}

fn hot_functions(recording: &Recording, places: &Places<'_>, least: u64, found: &mut Vec<Finding>) {
    for (&container, &total) in &places.on_cpu {
        let Some(hot) = places.hottest(container) else {
            continue;
        };
        let part = |weight: u64| weight as f64 / total.max(1) as f64;
        if part(hot.weight) < HOT || hot.weight < least {
            continue;
        }
        found.push(Finding {
            kind: FindingKind::HotFunction,
            container,
            process: None,
            text: format!(
                "{:.0} % of its CPU time is in {}",
                100.0 * part(hot.weight),
                hot.label
            ),
            evidence: format!(
                "{} of {} of CPU time, {:.2} CPUs; {:.0} % where it is hottest",
                seconds(hot.weight),
                seconds(total),
                total as f64 / recording.about.duration_ns.max(1) as f64,
                100.0 * part(hot.line_weight)
            ),
            cost_ns: hot.weight,
        });
    }
}

fn failing_calls(recording: &Recording, found: &mut Vec<Finding>) {
    let Some(all) = &recording.syscalls else {
        return;
    };
    let length = recording.about.duration_ns as f64 / 1e9;
    for SyscallRow { id, calls } in process_syscalls(recording) {
        for call in &calls {
            let Some((error, failed)) = call
                .by_error
                .iter()
                .find(|(name, _)| !ANSWERS.contains(&name.as_str()))
            else {
                continue;
            };
            let part = *failed as f64 / call.count.max(1) as f64;
            if (*failed as f64) < FAILURES * length || part < FAILING {
                continue;
            }
            let process = &recording.processes[id as usize];
            found.push(Finding {
                kind: FindingKind::FailingCalls,
                container: process.container,
                process: Some(id),
                text: format!(
                    "{:.0} % of the {} of {} [{}] fail with {error}",
                    100.0 * part,
                    all.names[call.call as usize],
                    process.name,
                    process.pid
                ),
                evidence: match most_failing_target(recording, id, call.call) {
                    Some(target) => format!(
                        "{failed} of {} calls; {} of those that failed: {}",
                        call.count,
                        target.errors,
                        target.title()
                    ),
                    None => format!("{failed} of {} calls", call.count),
                },
                cost_ns: call.ns,
            });
        }
    }
}

fn kills(recording: &Recording, found: &mut Vec<Finding>) {
    for kill in recording.memory.iter().flat_map(|all| &all.oom_kills) {
        found.push(Finding {
            kind: FindingKind::OutOfMemory,
            container: kill.container,
            process: None,
            text: format!(
                "{} [{}] was killed, since there was no memory left",
                kill.name, kill.pid
            ),
            evidence: format!(
                "after {}, when {} [{}] asked for some",
                seconds(kill.time_ns),
                kill.caller,
                kill.caller_pid
            ),
            // Nothing costs more than a process that is gone.
            cost_ns: u64::MAX,
        });
    }
}

fn seconds(ns: u64) -> String {
    format!("{:.1} s", ns as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::sample;

    #[test]
    fn the_largest_costs_come_first() {
        let recording = sample::plain();
        let found = findings(&recording);
        let texts: Vec<String> = found
            .iter()
            .map(|finding| format!("{}: {}", finding.kind.name(), finding.text))
            .collect();
        assert_eq!(
            texts,
            [
                "out_of_memory: python3 [4242] was killed, since there was no memory left",
                "full_listen_queue: clients find the queue of a listening socket full",
                "waiting: 50 % of the time in which its threads have work, they wait: network \
                 read; it talks to TCP db.example.test (10.0.0.3:5432)",
                "throttled: 7 % of the time in which its threads have work, they stand still, \
                 since its CPU quota is used up",
            ]
        );
        assert!(found.is_sorted_by_key(|finding| std::cmp::Reverse(finding.cost_ns)));
        assert!(findings(&sample::empty()).is_empty());
    }
}
