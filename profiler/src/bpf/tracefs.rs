//! The file system that names tracepoints. Most hosts have it mounted; where
//! it is not, it is mounted for a moment and for one thread alone, so that the
//! host does not change.

use std::{ffi::CStr, io, path::Path, thread};

const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
const PLACE: &CStr = c"/sys/kernel/tracing";

/// Does `work` where tracefs can be read. If it cannot be mounted, `work`
/// fails as it does without.
pub fn with<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let is_there = |place: &str| Path::new(place).join("events").is_dir();
    if PLACES.iter().any(|place| is_there(place)) {
        return work();
    }
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if let Err(error) = mount() {
                log::debug!("tracefs cannot be mounted: {error}");
            }
            work()
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// For the calling thread; the mount goes when it ends.
fn mount() -> io::Result<()> {
    let checked = |result: libc::c_int| match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    let none = c"none";
    // SAFETY: of this thread alone; it has no references to what unshare
    // copies. The strings are constants that end with a zero.
    unsafe {
        checked(libc::unshare(libc::CLONE_FS | libc::CLONE_NEWNS))?;
        // Else the mount would be propagated to the host.
        checked(libc::mount(
            none.as_ptr(),
            c"/".as_ptr(),
            std::ptr::null(),
            libc::MS_REC | libc::MS_PRIVATE,
            std::ptr::null(),
        ))?;
        checked(libc::mount(
            none.as_ptr(),
            PLACE.as_ptr(),
            c"tracefs".as_ptr(),
            0,
            std::ptr::null(),
        ))
    }
}
