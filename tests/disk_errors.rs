//! A disk that fails: the errors of its requests, as the program got them.
use std::{
    alloc::{Layout, alloc_zeroed},
    fs::{self, OpenOptions},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tests::{process, recording::Recording};

/// One request each.
const LENGTH: usize = 64 << 10;
const WRITES: u64 = 64;
/// What holds the disk has room for this many of them, or a little less.
const ROOM: u64 = 32;

/// A loop device on a file that cannot grow to its size.
struct Disk {
    mount: PathBuf,
    device: PathBuf,
    _directory: tempfile::TempDir,
}

impl Disk {
    fn make() -> Result<Self> {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let mount = directory.path().join("small");
        fs::create_dir(&mount)?;
        let size = format!("size={}", ROOM * LENGTH as u64);
        process::output(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &size, "none"])
                .arg(&mount),
        )?;
        let image = mount.join("image");
        fs::File::create(&image)?.set_len(WRITES * LENGTH as u64)?;
        let device = process::output(
            Command::new("losetup")
                .args(["--find", "--show"])
                .arg(&image),
        )?;
        Ok(Self {
            mount,
            device: device.trim().into(),
            _directory: directory,
        })
    }

    fn name(&self) -> String {
        let name = self.device.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = process::output(Command::new("losetup").arg("--detach").arg(&self.device));
        process::until(Duration::from_secs(5), || {
            let unmounted = Command::new("umount").arg(&self.mount).status();
            unmounted.is_ok_and(|status| status.success())
        });
    }
}

/// Writes past the page cache; returns how many writes failed.
fn write(device: &Path) -> Result<u64> {
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(device)?;
    let layout = Layout::from_size_align(LENGTH, 4096)?;
    // SAFETY: the layout has a size, and what it gets is never freed.
    let buffer = unsafe { std::slice::from_raw_parts(alloc_zeroed(layout), LENGTH) };
    let mut failed = 0;
    for place in 0..WRITES {
        match file.write_at(buffer, place * LENGTH as u64) {
            Ok(written) => ensure!(written == LENGTH, "only {written} bytes were written"),
            Err(error) => {
                // As the loop device passes on what the file said, or not.
                let expected = [Some(libc::ENOSPC), Some(libc::EIO)];
                ensure!(expected.contains(&error.raw_os_error()), "{error}");
                failed += 1;
            }
        }
    }
    Ok(failed)
}

#[test]
fn requests_that_fail() -> Result<()> {
    let disk = Disk::make()?;
    let pid = std::process::id();
    let recording = Recording::start(&["--sources", "disk"])?;
    let failed = write(&disk.device)?;
    ensure!(failed > 0 && failed < WRITES, "{failed} of {WRITES} failed");
    let (report, _) = recording.end()?;
    let row = report["disk"]["processes"]
        .as_array()
        .and_then(|rows| rows.iter().find(|row| row["pid"] == pid))
        .with_context(|| format!("no requests of ours: {:#}", report["disk"]["processes"]))?;
    ensure!(
        row["errors"] == failed,
        "{} of {failed} errors: {row:#}",
        row["errors"]
    );
    let text = format!("disk {} fails requests", disk.name());
    let found = report["findings"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|finding| finding["kind"] == "failing_requests")
        .with_context(|| format!("no finding: {:#}", report["findings"]))?;
    println!("{found}");
    ensure!(
        found["text"]
            .as_str()
            .is_some_and(|it| it.starts_with(&text))
            && found["evidence"]
                .as_str()
                .is_some_and(|it| it.starts_with(&format!("{failed} of {WRITES} requests"))),
        "{found:#}"
    );
    Ok(())
}
