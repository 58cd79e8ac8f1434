//! What a build says of its layouts, `v8dbg_` symbols: offsets of fields, types
//! and constants.

use profiler_ebpf::V8Runtime;

use super::{
    binary::Binary,
    layout::{Unsupported, Version},
};

/// The metadata of a version, which is known.
pub struct Metadata<'a> {
    pub binary: &'a Binary<'a>,
    pub version: Version,
}

impl Metadata<'_> {
    /// Names of fields end in their types, which differ between versions.
    pub fn field(&self, class: &str, name: &str) -> Option<u64> {
        let prefix = format!("class_{class}__{name}__");
        let mut values = self
            .binary
            .symbols
            .iter()
            .filter(|(symbol, _)| symbol.starts_with(&prefix))
            .filter_map(|(symbol, _)| self.binary.constant(symbol));
        let value = values.next()?;
        // Two fields that only begin alike: neither is meant.
        if values.any(|other| other != value) {
            return None;
        }
        u64::try_from(value).ok().filter(|&value| value < 512)
    }

    pub fn needed(&self, class: &str, name: &'static str) -> Result<u64, Unsupported> {
        self.field(class, name).ok_or(Unsupported::NotDescribed {
            version: self.version,
            name,
        })
    }

    pub fn kind(&self, class: &str) -> Option<u16> {
        let prefix = format!("type_{class}__");
        let (name, _) = self
            .binary
            .symbols
            .iter()
            .find(|(symbol, _)| symbol.starts_with(&prefix))?;
        u16::try_from(self.binary.constant(name)?).ok()
    }

    pub fn needed_kind(&self, class: &'static str) -> Result<u16, Unsupported> {
        self.kind(class).ok_or(Unsupported::NotDescribed {
            version: self.version,
            name: class,
        })
    }

    pub fn kinds(&self, classes: &[&str]) -> Vec<u16> {
        classes
            .iter()
            .filter_map(|class| self.kind(class))
            .collect()
    }

    pub fn constant(&self, name: &'static str) -> Result<i64, Unsupported> {
        self.binary.constant(name).ok_or(Unsupported::NotDescribed {
            version: self.version,
            name,
        })
    }

    /// Everything we read is built on these.
    pub fn expect(&self, name: &'static str, expected: i64) -> Result<(), Unsupported> {
        let value = self.constant(name)?;
        if value == expected {
            return Ok(());
        }
        Err(Unsupported::Representation {
            version: self.version,
            name,
            value,
        })
    }

    /// Index in the area below the frame pointer of a slot.
    pub fn slot(&self, name: &'static str, offset: i64) -> Result<u32, Unsupported> {
        let index = V8Runtime::FRAME_WORDS as i64 + offset / 8;
        u32::try_from(index)
            .ok()
            .filter(|&index| offset % 8 == 0 && index < V8Runtime::FRAME_WORDS as u32)
            .ok_or(Unsupported::Representation {
                version: self.version,
                name,
                value: offset,
            })
    }
}
