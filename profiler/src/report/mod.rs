//! Reports: a recording, as people and programs read it.

pub mod html;
