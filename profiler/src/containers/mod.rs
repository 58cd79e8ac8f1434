//! Containers: from the cgroup of a sample to a name, and what the cgroups
//! themselves account for.

mod files;
pub mod mounts;
pub mod paths;
pub mod engines;
pub mod usage;
