//! CPUs that come and go while we record.

use std::time::Instant;

use crate::bpf::{Kernel, KernelError};

const ONLINE: &str = "/sys/devices/system/cpu/online";

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
        for &cpu in online {
            if !self.since.iter().any(|&(known, _)| known == cpu) {
                kernel.start_sampling(cpu)?;
                self.since.push((cpu, Instant::now()));
            }
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
        for (cpu, since) in &mut self.since {
            self.past_ticks += ticks(*since, now, kernel.sample_period());
            *since = now;
            kernel.stop_sampling(*cpu);
        }
        kernel.set_sample_period(period);
        for &(cpu, _) in &self.since {
            kernel.start_sampling(cpu)?;
        }
        Ok(())
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
