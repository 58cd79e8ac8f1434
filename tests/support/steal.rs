//! Time that the hypervisor gives to others while our CPUs want to run.
use std::{fs, time::Instant};

/// proc_stat(5), USER_HZ of every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// What it had taken so far.
pub struct Steal {
    when: Instant,
    ticks: Vec<f64>,
}

impl Steal {
    pub fn now() -> Self {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        let ticks = text
            .lines()
            .filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "))
            .filter_map(|line| line.split_whitespace().nth(8)?.parse().ok())
            .collect();
        Self {
            when: Instant::now(),
            ticks,
        }
    }

    /// What it took since, in percent of the time: of the CPU that it took the
    /// most from.
    pub fn percent(&self) -> f64 {
        let now = Self::now();
        let wall = (now.when - self.when).as_secs_f64();
        let taken = now
            .ticks
            .iter()
            .zip(&self.ticks)
            .map(|(now, then)| now - then);
        100.0 * taken.fold(0.0, f64::max) / TICKS_PER_SECOND / wall
    }
}
