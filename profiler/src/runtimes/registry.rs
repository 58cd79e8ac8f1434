//! Builds of interpreters that the kernel side knows, by their index there.

use std::sync::Arc;

use profiler_ebpf::{CodeRange, Executable, MAX_PYTHONS, MAX_V8S, interpreter};
use thiserror::Error;

use super::{python::Interpreter, v8::Engine};
use crate::bpf::{Kernel, KernelError};

/// What an executable was recognised as.
#[derive(Clone, Debug)]
pub enum Recognised {
    Python(Arc<Interpreter>),
    V8(Arc<Engine>),
    /// An interpreter whose frames cannot be shown, and why.
    Unsupported(String),
}

/// Why the frames of an interpreter are not shown.
#[derive(Debug, Error)]
pub enum NotShown {
    #[error("{0}")]
    Unsupported(String),
    #[error("more than {0} builds of its interpreter at a time: its frames are not shown")]
    Full(usize),
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

#[derive(Default)]
pub struct Registry {
    pythons: Vec<Arc<Interpreter>>,
    v8s: Vec<Arc<Engine>>,
}

impl Registry {
    /// Describes the interpreter to the kernel side and refers to it in what
    /// the kernel side is told of the executable.
    pub fn publish(
        &mut self,
        recognised: &Recognised,
        kernel: &mut Kernel,
        info: &mut Executable,
    ) -> Result<(), NotShown> {
        match recognised {
            Recognised::Python(python) => {
                info.runtime_index = index_of(&mut self.pythons, python, MAX_PYTHONS, |index| {
                    kernel.set_python(index, python.runtime)
                })?;
                info.runtime = interpreter::PYTHON as u8;
                info.interpreter = python.evaluator;
            }
            Recognised::V8(engine) => {
                info.runtime_index = index_of(&mut self.v8s, engine, MAX_V8S, |index| {
                    kernel.set_v8(index, engine.runtime)
                })?;
                info.runtime = interpreter::V8 as u8;
                info.interpreter = [engine.builtins, CodeRange::default()];
            }
            Recognised::Unsupported(why) => return Err(NotShown::Unsupported(why.clone())),
        }
        Ok(())
    }

    pub fn python(&self, index: u32) -> Option<&Arc<Interpreter>> {
        self.pythons.get(index as usize)
    }

    pub fn v8(&self, index: u32) -> Option<&Arc<Engine>> {
        self.v8s.get(index as usize)
    }
}

/// The index of a build, which is described first if it is new.
fn index_of<Build: PartialEq>(
    known: &mut Vec<Arc<Build>>,
    build: &Arc<Build>,
    room: usize,
    describe: impl FnOnce(u32) -> Result<(), KernelError>,
) -> Result<u16, NotShown> {
    if let Some(index) = known.iter().position(|other| other == build) {
        return Ok(index as u16);
    }
    if known.len() >= room {
        return Err(NotShown::Full(room));
    }
    let index = known.len() as u16;
    describe(u32::from(index))?;
    known.push(Arc::clone(build));
    Ok(index)
}
