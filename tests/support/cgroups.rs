//! The kernel's own account of CPU time, by container.
use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

impl Version {
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::V1, Self::V2]
            .into_iter()
            .find(|version| version.name() == name)
    }

    /// Where this machine has the hierarchy that accounts for CPU time. A
    /// machine without version 1 cannot be made to have it; version 2 is on
    /// every supported kernel.
    pub fn mount(self) -> Option<PathBuf> {
        mounts().into_iter().find_map(|(path, kind, options)| {
            let found = match self {
                Self::V1 => kind == "cgroup" && options.split(',').any(|word| word == "cpuacct"),
                Self::V2 => kind == "cgroup2",
            };
            found.then_some(path)
        })
    }
}

/// Path, type and options of every cgroup mount that this process sees.
pub fn mounts() -> Vec<(PathBuf, String, String)> {
    fs::read_to_string("/proc/self/mounts")
        .unwrap_or_default()
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (path, kind, options) = (words.next()?, words.next()?, words.next()?);
            kind.starts_with("cgroup")
                .then(|| (path.into(), kind.into(), options.into()))
        })
        .collect()
}

/// CPU time that a Docker container has used, in nanoseconds.
pub fn cpu(version: Version, id: &str) -> Result<f64> {
    let directory = version
        .mount()
        .context("no such hierarchy")?
        .join("docker")
        .join(id);
    let read = |name: &str| {
        let path = directory.join(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    Ok(match version {
        Version::V1 => read("cpuacct.usage")?.trim().parse()?,
        Version::V2 => {
            let text = read("cpu.stat")?;
            let micros: f64 = text
                .lines()
                .find_map(|line| line.strip_prefix("usage_usec "))
                .context("no usage_usec")?
                .parse()?;
            micros * 1000.0
        }
    })
}

/// Counters that are read all the while: how much they moved between two
/// moments is known only when those are past.
pub struct Log {
    stop: Arc<AtomicBool>,
    reader: JoinHandle<Vec<(f64, Vec<f64>)>>,
}

impl Log {
    /// The CPU time of some containers.
    pub fn start(version: Version, ids: Vec<String>) -> Self {
        Self::of(move || ids.iter().map(|id| cpu(version, id)).collect())
    }

    /// Whatever `read` reads; when it fails, it is read again later.
    pub fn of(read: impl Fn() -> Result<Vec<f64>> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let reader = std::thread::spawn(move || {
            let mut rows = Vec::new();
            while !seen.load(Ordering::Relaxed) {
                let now = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                rows.extend(read().map(|counters| (now.as_secs_f64(), counters)));
                std::thread::sleep(Duration::from_millis(50));
            }
            rows
        });
        Self { stop, reader }
    }

    /// How much each moved while what a report is about was recorded.
    pub fn during(self, report: &Value) -> Result<Vec<f64>> {
        let about = |name: &str| {
            report["about"][name]
                .as_f64()
                .context("about the recording")
        };
        let start = about("start_unix_ms")? / 1e3;
        self.between(start, start + about("duration_ns")? / 1e9)
    }

    /// How much each moved between two moments, in seconds since 1970.
    fn between(self, start: f64, end: f64) -> Result<Vec<f64>> {
        self.stop.store(true, Ordering::Relaxed);
        let rows = self
            .reader
            .join()
            .map_err(|_| anyhow::anyhow!("the reader panicked"))?;
        let at = |moment: f64| -> Result<Vec<f64>> {
            let next = rows.iter().position(|(time, _)| *time >= moment);
            let next = next
                .filter(|next| *next > 0)
                .context("outside of what was read")?;
            let ((t0, from), (t1, to)) = (&rows[next - 1], &rows[next]);
            let part = (moment - t0) / (t1 - t0);
            Ok(from
                .iter()
                .zip(to)
                .map(|(from, to)| from + part * (to - from))
                .collect())
        };
        let (from, to) = (at(start)?, at(end)?);
        Ok(to.iter().zip(from).map(|(to, from)| to - from).collect())
    }
}
