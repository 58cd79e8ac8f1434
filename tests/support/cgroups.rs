//! The kernel's own account of CPU time, by container.
use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

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
