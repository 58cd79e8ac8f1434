//! Processes, their mappings, and the executables behind them: what the
//! walker must be told, and what its frames mean afterwards.
//!
//! Everything is found lazily: a process is scanned when its first sample
//! asks for it, a table is built when a stack needs it. The kernel side
//! follows forks, execs and exits by itself; userspace learns of them through
//! events and frees what nobody maps any more.

mod executables;
mod image;
mod mapped;
mod maps;
mod ranges;
mod slots;
mod table;
mod tables;
mod vdso;
mod workers;

use profiler_ebpf::ProcessKey;

pub use executables::{Executable, ExecutableId, Executables, TableState};
pub use image::{Image, ImageError, Parts};
pub use maps::{MapsEntry, read_maps};
pub use table::{ProcessTable, TableCounts, Translated};

/// Start of a process in clock ticks after boot, field 22 of
/// `/proc/PID/stat`, or `None` if it is gone.
pub fn start_ticks(tgid: u32) -> Option<u64> {
    stat_field(&stat_of(&format!("/proc/{tgid}"))?, 22)?
        .parse()
        .ok()
}

/// Whether a process is there still, and not another with its id.
pub fn lives(key: ProcessKey) -> bool {
    start_ticks(key.tgid) == Some(ticks_of(key.start_boottime))
}

/// What `stat` says behind the name, in the directory in `/proc` of a process or
/// thread; `None` if that is gone.
pub fn stat_of(directory: &str) -> Option<String> {
    let stat = std::fs::read(format!("{directory}/stat")).ok()?;
    // The name, field 2, may hold anything; the last parenthesis ends it.
    let after = stat.iter().rposition(|&byte| byte == b')')? + 2;
    String::from_utf8(stat.get(after..)?.to_vec()).ok()
}

/// A field of [`stat_of`], 3 or more, by its number in proc_pid_stat(5).
pub fn stat_field(stat: &str, number: usize) -> Option<&str> {
    stat.split(' ').nth(number.checked_sub(3)?)
}

/// What `/proc/PID/stat` shows for a start given in nanoseconds.
pub fn ticks_of(start_boottime: u64) -> u64 {
    start_boottime / profiler_ebpf::TICK_NS
}
