//! Builds of interpreters that the kernel side knows, by their index there.

use std::sync::Arc;

use profiler_ebpf::{Executable, MAX_PYTHONS, interpreter};
use thiserror::Error;

use super::python::Interpreter;
use crate::bpf::{Kernel, KernelError};

/// What an executable was recognised as.
#[derive(Clone, Debug)]
pub enum Recognised {
    Python(Arc<Interpreter>),
    /// An interpreter whose frames cannot be shown, and why.
    Unsupported(String),
}

/// Why the frames of an interpreter are not shown.
#[derive(Debug, Error)]
pub enum NotShown {
    #[error("{0}")]
    Unsupported(String),
    #[error("more than {MAX_PYTHONS} builds of CPython at a time: its frames are not shown")]
    Full,
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

#[derive(Default)]
pub struct Registry {
    pythons: Vec<Arc<Interpreter>>,
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
                info.runtime_index = self.python_index(python, kernel)?;
                info.runtime = interpreter::PYTHON;
                info.interpreter = python.evaluator;
                Ok(())
            }
            Recognised::Unsupported(why) => Err(NotShown::Unsupported(why.clone())),
        }
    }

    fn python_index(
        &mut self,
        python: &Arc<Interpreter>,
        kernel: &mut Kernel,
    ) -> Result<u32, NotShown> {
        let known = self.pythons.iter().position(|known| known == python);
        if let Some(index) = known {
            return Ok(index as u32);
        }
        if self.pythons.len() >= MAX_PYTHONS {
            return Err(NotShown::Full);
        }
        let index = self.pythons.len() as u32;
        kernel.set_python(index, python.runtime)?;
        self.pythons.push(Arc::clone(python));
        Ok(index)
    }

    pub fn python(&self, index: u32) -> Option<&Arc<Interpreter>> {
        self.pythons.get(index as usize)
    }
}
