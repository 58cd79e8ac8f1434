//! What the probes of databases share: how they connect, what bounds them, and
//! how they say what they found.

pub mod address;
pub mod document;
pub mod finding;
pub mod literals;
pub mod section;
pub mod stream;
pub mod tls;

pub use document::{Column, Document, Part};
pub use finding::{Finding, Severity};
pub use section::Section;
