//! CPUs that come and go while we record.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::bpf::{Kernel, KernelError};

const ONLINE: &str = "/sys/devices/system/cpu/online";

/// Over how much time the clocks of all CPUs are started at most: it delays the first
/// sample.
const SPREAD: Duration = Duration::from_millis(20);

/// The CPUs that are online, ascending.
pub fn online() -> std::io::Result<Vec<u32>> {
    let text = std::fs::read_to_string(ONLINE)?;
    parse(text.trim()).ok_or_else(|| std::io::Error::other(format!("{ONLINE}: {text:?}")))
}

/// Time that a hypervisor gave to others while our CPUs wanted to run, all CPUs:
/// `steal` of proc_stat(5). 0 where that is not known.
pub fn stolen_ns() -> u64 {
    use procfs::CurrentSI as _;
    let ticks = procfs::KernelStats::current()
        .ok()
        .and_then(|stat| stat.total.steal);
    ticks.unwrap_or_default() * (1_000_000_000 / procfs::ticks_per_second().max(1))
}

/// A list as the kernel writes it: `0-3,5`.
fn parse(list: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in list.split(',').filter(|part| !part.is_empty()) {
        match part.split_once('-') {
            Some((first, last)) => {
                cpus.extend(first.parse::<u32>().ok()?..=last.parse().ok()?);
            }
            None => cpus.push(part.parse().ok()?),
        }
    }
    Some(cpus)
}

/// Keeps one sampler on each online CPU, and adds up how long they ran.
#[derive(Default)]
pub struct Cpus {
    since: Vec<(u32, Instant)>,
    /// Ticks that were due on CPUs that went offline, or at another rate.
    past_ticks: u64,
}

impl Cpus {
    /// Attaches to CPUs that came, lets go of those that went.
    pub fn follow(&mut self, online: &[u32], kernel: &mut Kernel) -> Result<(), KernelError> {
        let now = Instant::now();
        self.since.retain(|&(cpu, since)| {
            let stays = online.contains(&cpu);
            if !stays {
                kernel.stop_sampling(cpu);
                self.past_ticks += ticks(since, now, kernel.sample_period());
            }
            stays
        });
        let new: Vec<u32> = online
            .iter()
            .copied()
            .filter(|cpu| self.since.iter().all(|(known, _)| known != cpu))
            .collect();
        self.start(&new, kernel)
    }

    /// Starts the clocks of CPUs so that their ticks are spread over the period.
    ///
    /// A tick holds up what runs on its CPU for some microseconds. Where the others
    /// tick just then, they are looked at when what it feeds has run dry: a Redis on
    /// one CPU, with its client on another, was found with a third of its time.
    fn start(&mut self, cpus: &[u32], kernel: &mut Kernel) -> Result<(), KernelError> {
        let period = Duration::from_nanos(kernel.sample_period());
        let begin = Instant::now();
        for (index, &cpu) in cpus.iter().enumerate() {
            let due = begin + period.min(SPREAD) * index as u32 / cpus.len() as u32;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            kernel.start_sampling(cpu)?;
            self.since.push((cpu, Instant::now()));
        }
        Ok(())
    }

    /// Counts from now on.
    pub fn restart(&mut self) {
        let now = Instant::now();
        self.past_ticks = 0;
        for (_, since) in &mut self.since {
            *since = now;
        }
    }

    /// Samples with another period from now on, nanoseconds.
    pub fn change_period(&mut self, kernel: &mut Kernel, period: u64) -> Result<(), KernelError> {
        let now = Instant::now();
        let stopped: Vec<u32> = self
            .since
            .drain(..)
            .map(|(cpu, since)| {
                self.past_ticks += ticks(since, now, kernel.sample_period());
                kernel.stop_sampling(cpu);
                cpu
            })
            .collect();
        kernel.set_sample_period(period);
        self.start(&stopped, kernel)
    }

    /// Ticks of the sampling clock that were due, all CPUs together.
    pub fn ticks_due(&self, kernel: &Kernel) -> u64 {
        let now = Instant::now();
        self.since
            .iter()
            .map(|&(_, since)| ticks(since, now, kernel.sample_period()))
            .sum::<u64>()
            + self.past_ticks
    }

    pub fn count(&self) -> usize {
        self.since.len()
    }
}

fn ticks(since: Instant, now: Instant, period: u64) -> u64 {
    now.duration_since(since).as_nanos() as u64 / period
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        assert_eq!(parse("0-3,5"), Some(vec![0, 1, 2, 3, 5]));
        assert_eq!(parse("7"), Some(vec![7]));
        assert_eq!(parse(""), Some(vec![]));
        assert_eq!(parse("0-x"), None);
        assert!(!online().expect("readable").is_empty());
    }
}
