//! V8, as Node holds it: from 10.2 (Node 18) to 14.6 (Node 26).
//!
//! [`recognise`] says which V8 a file is; the kernel side sends, for each
//! frame, what the frame's own words say ([`profiler_ebpf::v8::classify`]);
//! [`Reader::resolve`] makes names and places of it, from the objects in the
//! process's memory.
//!
//! Frames of builtins are not made names of here: native symbols name them.

mod binary;
mod builtins;
mod bytecode;
mod code;
mod described;
mod function;
mod heap;
pub mod layout;
mod metadata;
mod positions;
mod recognise;
mod resolve;
mod script;
mod symbols;
#[cfg(test)]
mod tests;

pub use code::Tier;
pub use heap::ObjectError;
pub use layout::{Unsupported, Version};
pub use recognise::{Engine, recognise};
pub use resolve::{JavaScriptFrame, Reader};
