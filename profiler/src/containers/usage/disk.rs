//! Block devices, told apart so that no byte is counted twice.

use std::path::Path;

/// A device made of others (LVM, dm-crypt, RAID): its bytes are accounted
/// again to the devices below it.
pub fn is_stacked(device: &str) -> bool {
    // `MAJOR:MINOR`; anything else is no device.
    if !device
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b':')
    {
        return true;
    }
    has_slaves(&Path::new("/sys/dev/block").join(device))
}

fn has_slaves(device: &Path) -> bool {
    std::fs::read_dir(device.join("slaves")).is_ok_and(|mut slaves| slaves.next().is_some())
}

/// Bytes read and written by all disks since boot, from the kernel's
/// Documentation/admin-guide/iostats.rst. A sector is 512 bytes there,
/// whatever the disk's.
pub fn host_bytes() -> Option<(u64, u64)> {
    let (mut read, mut write) = (0u64, 0u64);
    for entry in std::fs::read_dir("/sys/block").ok()?.flatten() {
        // Loop devices, RAM disks, zram and stacked devices are not disks.
        let device = entry.path();
        if !device.join("device").exists() || has_slaves(&device) {
            continue;
        }
        let text = super::super::files::read(device.join("stat"))?;
        let fields: Vec<u64> = text
            .split_whitespace()
            .filter_map(|field| field.parse().ok())
            .collect();
        let (sectors_read, sectors_written) = (fields.get(2)?, fields.get(6)?);
        read = read.saturating_add(sectors_read.saturating_mul(512));
        write = write.saturating_add(sectors_written.saturating_mul(512));
    }
    Some((read, write))
}
