//! Builds of interpreters that the kernel side knows, by their index there.

use std::{collections::BTreeSet, sync::Arc};

use profiler_ebpf::{CodeRange, Executable, MAX_PYTHONS, MAX_V8S, interpreter};

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

#[derive(Default)]
pub struct Registry {
    pythons: Vec<Arc<Interpreter>>,
    v8s: Vec<Arc<Engine>>,
    unsupported: BTreeSet<String>,
}

impl Registry {
    /// Describes the interpreter to the kernel side and refers to it in what
    /// the kernel side is told of the executable.
    pub fn publish(
        &mut self,
        recognised: &Recognised,
        kernel: &mut Kernel,
        info: &mut Executable,
    ) -> Result<(), KernelError> {
        match recognised {
            Recognised::Python(python) => {
                let Some(index) = self.python_index(python, kernel)? else {
                    self.unsupported.insert(format!(
                        "more than {MAX_PYTHONS} builds of CPython at a time: the rest are \
                         shown as native code"
                    ));
                    return Ok(());
                };
                info.runtime = interpreter::PYTHON;
                info.runtime_index = index;
                info.interpreter = python.evaluator;
            }
            Recognised::V8(engine) => {
                let Some(index) = self.v8_index(engine, kernel)? else {
                    self.unsupported.insert(format!(
                        "more than {MAX_V8S} builds of V8 at a time: the rest are shown as \
                         native code"
                    ));
                    return Ok(());
                };
                info.runtime = interpreter::V8;
                info.runtime_index = index;
                info.interpreter = [engine.builtins, CodeRange::default()];
            }
            Recognised::Unsupported(why) => {
                self.unsupported.insert(why.clone());
            }
        }
        Ok(())
    }

    fn python_index(
        &mut self,
        python: &Arc<Interpreter>,
        kernel: &mut Kernel,
    ) -> Result<Option<u32>, KernelError> {
        let known = self.pythons.iter().position(|known| known == python);
        if let Some(index) = known {
            return Ok(Some(index as u32));
        }
        if self.pythons.len() >= MAX_PYTHONS {
            return Ok(None);
        }
        let index = self.pythons.len() as u32;
        kernel.set_python(index, python.runtime)?;
        self.pythons.push(Arc::clone(python));
        Ok(Some(index))
    }

    fn v8_index(
        &mut self,
        engine: &Arc<Engine>,
        kernel: &mut Kernel,
    ) -> Result<Option<u32>, KernelError> {
        let known = self.v8s.iter().position(|known| known == engine);
        if let Some(index) = known {
            return Ok(Some(index as u32));
        }
        if self.v8s.len() >= MAX_V8S {
            return Ok(None);
        }
        let index = self.v8s.len() as u32;
        kernel.set_v8(index, engine.runtime)?;
        self.v8s.push(Arc::clone(engine));
        Ok(Some(index))
    }

    pub fn v8(&self, index: u32) -> Option<&Arc<Engine>> {
        self.v8s.get(index as usize)
    }

    pub fn python(&self, index: u32) -> Option<&Arc<Interpreter>> {
        self.pythons.get(index as usize)
    }

    /// Why frames of some interpreters are not shown, for the report.
    pub fn unsupported(&self) -> impl Iterator<Item = &str> {
        self.unsupported.iter().map(String::as_str)
    }
}
