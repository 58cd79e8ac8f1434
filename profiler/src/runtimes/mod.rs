//! Interpreters. Each is a triple: what recognises its executables, data per
//! executable, and a reader of its objects in a process.
//!
//! The kernel side walks their frames with what the data say and sends
//! addresses of objects; the readers turn those into names and lines while
//! the process is alive. Nothing a process says is believed: every address,
//! length and string is checked and bounded.

pub mod memory;
mod others;
pub mod python;
mod registry;
pub mod v8;

use std::{fs::File, path::Path, sync::Arc};

pub use memory::{Memory, ProcessMemory, Unreadable};
pub use registry::{Recognised, Registry};

use crate::elf::Elf;

/// What interpreter an executable holds, if any. Costs a few small reads of a
/// file that holds none.
pub fn recognise(file: &File, elf: &Elf<'_>, path: &Path) -> Option<Recognised> {
    let native = |why: String| {
        Recognised::Unsupported(format!("{why}: its functions are shown as native code"))
    };
    if let Some(python) = python::recognise(file, elf) {
        return Some(match python {
            Ok(python) => Recognised::Python(Arc::new(python)),
            Err(unsupported) => native(unsupported.to_string()),
        });
    }
    if let Some(engine) = v8::recognise(file, elf) {
        return Some(match engine {
            Ok(engine) => Recognised::V8(Arc::new(engine)),
            Err(unsupported) => native(unsupported.to_string()),
        });
    }
    others::recognise(path).map(Recognised::Unsupported)
}
