//! The largest costs, in plain words, each with its evidence.

mod beyond;
mod places;

use super::{container_accounts, process_syscalls, syscalls::SyscallRow};
use crate::profile::{Activity, ActivityClass, ContainerId, ProcessId, Recording};
use places::Places;

/// Parts of the time of a container's threads, without waiting for work, from
/// which on something is worth a sentence.
const WAITING: f64 = 0.2;
const WANTING_A_CPU: f64 = 0.1;
const THROTTLED: f64 = 0.05;
/// Part of its CPU time that one function must have.
const HOT: f64 = 0.2;
/// Less than this part of the recording is no cost, whatever it is a part of.
const LEAST: f64 = 0.03;
/// Failed calls a second, and their part of all, from which on they are told.
const FAILURES: f64 = 100.0;
const FAILING: f64 = 0.5;
/// Errors that are an answer: come back later.
const ANSWERS: &[&str] = &["EAGAIN", "EINPROGRESS", "ETIMEDOUT", "EINTR", "ERESTARTSYS"];
/// Most findings.
const MOST: usize = 8;
/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    Waiting,
    HotFunction,
    WantsCpu,
    Throttled,
    FailingCalls,
    FailingConnects,
    FullListenQueue,
    OutOfMemory,
}

impl FindingKind {
    /// Machine-readable.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::HotFunction => "hot_function",
            Self::WantsCpu => "wants_cpu",
            Self::Throttled => "throttled",
            Self::FailingCalls => "failing_calls",
            Self::FailingConnects => "failing_connects",
            Self::FullListenQueue => "full_listen_queue",
            Self::OutOfMemory => "out_of_memory",
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
    waits(recording, &places, least, &mut found);
    hot_functions(recording, &places, least, &mut found);
    failing_calls(recording, &mut found);
    beyond::failing_connects(recording, &mut found);
    beyond::full_queues(recording, &mut found);
    kills(recording, &mut found);
    found.sort_by_key(|finding| std::cmp::Reverse(finding.cost_ns));
    found.truncate(MOST);
    found
}

fn waits(recording: &Recording, places: &Places<'_>, least: u64, found: &mut Vec<Finding>) {
    for row in container_accounts(recording) {
        let busy = row.busy_ns();
        let part = |ns: u64| ns as f64 / busy.max(1) as f64;
        for spent in &row.spent {
            let (kind, threshold) = match (spent.activity, spent.activity.class()) {
                (Activity::Throttled, _) => (FindingKind::Throttled, THROTTLED),
                (_, ActivityClass::RunQueue) => (FindingKind::WantsCpu, WANTING_A_CPU),
                // Nobody says that a sleep is too long.
                (Activity::Sleep | Activity::Stopped | Activity::Child, _) => continue,
                (_, ActivityClass::Blocked) => (FindingKind::Waiting, WAITING),
                _ => continue,
            };
            if part(spent.ns) < threshold || spent.ns < least {
                continue;
            }
            let percent = 100.0 * part(spent.ns);
            let what = match kind {
                FindingKind::Throttled => "stand still, since its CPU quota is used up".to_owned(),
                FindingKind::WantsCpu => "wait for a CPU while others run".to_owned(),
                _ => format!("wait: {}", spent.activity.title()),
            };
            let place = places.of_wait(row.id, spent.activity);
            found.push(Finding {
                kind,
                container: row.id,
                process: None,
                text: format!(
                    "{percent:.0} % of the time in which its threads have work, they {what}{}{}",
                    place.map_or_else(String::new, |place| format!(", most in {place}")),
                    beyond::of_wait(recording, row.id, spent.activity)
                        .map_or_else(String::new, |what| format!("; {what}"))
                ),
                evidence: format!(
                    "{} in {}, of {} in which {} threads had work",
                    seconds(spent.ns),
                    match spent.intervals {
                        0 => "waits that were not over at the end".to_owned(),
                        1 => "1 wait".to_owned(),
                        many => format!("{many} waits"),
                    },
                    seconds(busy),
                    row.threads
                ),
                cost_ns: spent.ns,
            });
        }
    }
}

fn hot_functions(recording: &Recording, places: &Places<'_>, least: u64, found: &mut Vec<Finding>) {
    for (&container, &total) in &places.on_cpu {
        let Some((place, weight)) = places.hottest(container) else {
            continue;
        };
        let part = weight as f64 / total.max(1) as f64;
        if part < HOT || weight < least {
            continue;
        }
        found.push(Finding {
            kind: FindingKind::HotFunction,
            container,
            process: None,
            text: format!("{:.0} % of its CPU time is in {place}", 100.0 * part),
            evidence: format!(
                "{} of {} of CPU time, {:.2} CPUs",
                seconds(weight),
                seconds(total),
                total as f64 / recording.about.duration_ns.max(1) as f64
            ),
            cost_ns: weight,
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
                evidence: format!("{failed} of {} calls", call.count),
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
                 read; it talks most to TCP 10.0.0.3:5432",
                "throttled: 7 % of the time in which its threads have work, they stand still, \
                 since its CPU quota is used up",
            ]
        );
        assert!(found.is_sorted_by_key(|finding| std::cmp::Reverse(finding.cost_ns)));
        assert!(findings(&sample::empty()).is_empty());
    }
}
