//! What the probes of databases share: how they connect, what bounds them, and
//! how they say what they found.

pub mod address;
pub mod literals;
pub mod section;
pub mod stream;

pub use section::{Section, both};

pub use crate::profile::document::{Column, Document, Finding, Part, Severity};
