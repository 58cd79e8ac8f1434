//! CPython.
//!
//! What a build of it looks like is read from its executable alone, once for
//! all processes that run it: [`recognise`]. The kernel side walks the frames
//! with that and sends addresses of code objects, which [`read_code`] reads.
//!
//! `PyThread_tss_get` is `pthread_getspecific`, so the walker also needs to
//! know where the C library keeps its values: [`find_thread_specific`].

mod code;
mod evaluator;
mod layout;
mod lines;
mod recognise;
mod registers;
mod text;
mod thread_key;
mod thread_specific;
#[cfg(test)]
mod walk;

pub use code::{Code, CodeError, read_code};
pub use layout::{CodeLayout, TextLayout, Version};
pub use lines::{LineTable, LineTableKind};
pub use recognise::{Interpreter, Unsupported, recognise};
pub use thread_specific::find_thread_specific;

#[cfg(test)]
mod tests;
