//! Nodes of all supported lines, which `cargo xtask setup test` fetches.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The newest Node of a line.
pub fn binary(major: u32) -> PathBuf {
    let cache = env::var_os("PROFILER_TEST_CACHE")
        .map_or_else(|| PathBuf::from("/var/cache/profiler-tests"), PathBuf::from);
    let binary = cache
        .join("nodes")
        .join(major.to_string())
        .join(Path::new("package/bin/node"));
    assert!(
        binary.exists(),
        "no Node {major}: `cargo xtask setup test` fetches it"
    );
    binary
}
