//! Strings of a process: `str` objects, each field of which is a claim.
//!
//! Include/cpython/unicodeobject.h, 3.8 to 3.14.

use super::layout::TextLayout;
use crate::runtimes::{Memory, Unreadable};

/// Longest string that is read, bytes; the rest is cut.
const MAX_BYTES: usize = 64 << 10;

const LENGTH: u64 = 16;
const STATE: u64 = 32;
const KIND_SHIFT: u32 = 2;
const KIND_MASK: u32 = 7;
const COMPACT: u32 = 1 << 5;
const ASCII: u32 = 1 << 6;

/// `None` for an object that is no string.
pub(super) fn read(
    memory: &impl Memory,
    layout: &TextLayout,
    address: u64,
) -> Result<Option<String>, Unreadable> {
    let length = memory.u64(address.wrapping_add(LENGTH))?;
    let state = memory.u32(address.wrapping_add(STATE))?;
    let width = (state >> KIND_SHIFT & KIND_MASK) as usize;
    // Kind 0 was `wstr` alone, up to 3.11: a string that is not ready yet, and
    // that no code object holds.
    if !matches!(width, 1 | 2 | 4) || state & ASCII != 0 && width != 1 {
        return Ok(None);
    }
    let characters = match (state & COMPACT != 0, state & ASCII != 0) {
        (true, true) => address.wrapping_add(layout.ascii.into()),
        (true, false) => address.wrapping_add(layout.compact.into()),
        (false, _) => memory.u64(address.wrapping_add(layout.pointer.into()))?,
    };
    let Some(bytes) = usize::try_from(length)
        .ok()
        .and_then(|length| length.checked_mul(width))
    else {
        return Ok(None);
    };
    let bytes = memory.bytes(characters, bytes.min(MAX_BYTES))?;
    Ok(Some(decode(&bytes, width)))
}

/// Characters of `width` bytes each. What is none becomes U+FFFD: the
/// surrogates that file names of other encodings are made of.
fn decode(bytes: &[u8], width: usize) -> String {
    let character = |code: u32| char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    match width {
        1 => bytes.iter().map(|&byte| char::from(byte)).collect(),
        2 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|&bytes| character(u16::from_le_bytes(bytes).into()))
            .collect(),
        _ => bytes
            .as_chunks()
            .0
            .iter()
            .map(|&bytes| character(u32::from_le_bytes(bytes)))
            .collect(),
    }
}
