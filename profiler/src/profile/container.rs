//! Containers and what their cgroups account for.

use serde::{Deserialize, Serialize};

pub type ContainerId = u32;

#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum ContainerKind {
    /// The root cgroup: what runs in no container.
    #[default]
    Host,
    Docker,
    Podman,
    Containerd,
    Crio,
    /// Another cgroup: a systemd service, scope or user slice.
    Cgroup,
}

/// A container, or another cgroup that processes run in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// What tables and stacks call it; unique in a recording.
    pub name: String,
    pub kind: ContainerKind,
    /// The engine's full id, empty if it is not an engine's.
    pub id: String,
    pub image: String,
    pub labels: Vec<(String, String)>,
    /// Kubernetes, where it applies.
    pub pod: String,
    pub namespace: String,
    /// Path of its cgroup below the hierarchy's mount, `/` for the host.
    pub cgroup: String,
    /// `None` where the cgroup could not be read; the notes say why.
    pub usage: Option<ContainerUsage>,
}

/// What the cgroup files said over the recording: counters as the difference
/// between its end and its start (or the container's own), levels at the end.
/// `None`: this host's cgroups do not account for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerUsage {
    /// Length of the interval the counters cover, nanoseconds.
    pub interval_ns: u64,
    pub cpu_ns: Option<u64>,
    pub cpu_user_ns: Option<u64>,
    pub cpu_system_ns: Option<u64>,
    /// Limit in CPUs (quota / period); `None` for no limit.
    pub cpu_limit: Option<f64>,
    pub cpu_periods: Option<u64>,
    pub cpu_throttled_periods: Option<u64>,
    pub cpu_throttled_ns: Option<u64>,
    /// Usage without inactive file cache, as `kubectl top` shows.
    pub memory_working_set_bytes: Option<u64>,
    pub memory_usage_bytes: Option<u64>,
    pub memory_limit_bytes: Option<u64>,
    pub block_read_bytes: Option<u64>,
    pub block_write_bytes: Option<u64>,
    pub network_receive_bytes: Option<u64>,
    pub network_transmit_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    pub pids_limit: Option<u64>,
    pub oom_kills: Option<u64>,
    pub cpu_pressure: Option<Pressure>,
    pub memory_pressure: Option<Pressure>,
    pub io_pressure: Option<Pressure>,
}

/// Pressure stall information over the interval, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pressure {
    /// At least one task was stalled.
    pub some_ns: u64,
    /// All tasks were.
    pub full_ns: u64,
}
