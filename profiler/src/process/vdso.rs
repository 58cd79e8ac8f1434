//! The vDSO: the one executable that is no file. The kernel maps the same
//! image into every 64-bit process, so our own serves for all.

use std::{fs::File, os::unix::fs::FileExt};

use super::maps::read_maps;

/// The image, or `None` on a kernel without one.
pub fn read() -> Option<Vec<u8>> {
    let entry = read_maps(std::process::id())
        .ok()?
        .into_iter()
        .find(super::maps::MapsEntry::is_vdso)?;
    let mut image = vec![0; (entry.end - entry.start) as usize];
    File::open("/proc/self/mem")
        .ok()?
        .read_exact_at(&mut image, entry.start)
        .ok()?;
    Some(image)
}
