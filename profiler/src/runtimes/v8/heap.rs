//! Objects of V8's heap, each checked for its type before it is read.

use thiserror::Error;

use super::layout::Layout;
use crate::runtimes::{Memory, Unreadable};

/// Why an object could not be read. All but the first are what a collector
/// that moves objects, or a process that means ill, leaves us with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ObjectError {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("{word:#x} is no pointer to {expected}")]
    NotAPointer { expected: &'static str, word: u64 },
    #[error("the object at {address:#x} has type {found}: it is no {expected}")]
    NotA {
        expected: &'static str,
        address: u64,
        found: u16,
    },
    #[error("{0} is too long")]
    TooLong(&'static str),
    #[error("{0} is damaged")]
    Damaged(&'static str),
    #[error("{0:#x} lies in no code")]
    NoCode(u64),
    #[error("the function is another one by now")]
    Replaced,
}

const STRING: &str = "a string";

/// Longest array that is read, in bytes.
const MAX_ARRAY: usize = 16 << 20;
/// Strings that one is put together from.
const MAX_PARTS: usize = 4096;

const TAG_BITS: u64 = 3;
const ADDRESS_BITS: u32 = 47;

/// src/objects/fixed-array.tq: the map, the length, then the elements.
const ARRAY_LENGTH: u64 = 8;
const ARRAY_DATA: u64 = 16;

/// src/objects/string.tq and instance-type.h, 10.2 to 14.6.
mod string {
    pub const LENGTH: u64 = 12;
    pub const CHARACTERS: u64 = 16;
    pub const FIRST: u64 = 16;
    pub const SECOND: u64 = 24;
    pub const PARENT: u64 = 16;
    pub const OFFSET: u64 = 24;
    pub const ACTUAL: u64 = 16;
    pub const RESOURCE_DATA: u64 = 24;

    pub const REPRESENTATION: u16 = 7;
    pub const SEQUENTIAL: u16 = 0;
    pub const CONS: u16 = 1;
    pub const EXTERNAL: u16 = 2;
    pub const SLICED: u16 = 3;
    pub const THIN: u16 = 5;
    pub const ONE_BYTE: u16 = 8;
    /// `kUncachedExternalStringMask`: it has no pointer to its characters.
    pub const UNCACHED: u16 = 16;
}

/// The heap of a process.
pub struct Heap<'a, M> {
    pub memory: &'a M,
    pub layout: &'a Layout,
}

impl<M> Clone for Heap<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Heap<'_, M> {}

impl<M: Memory> Heap<'_, M> {
    /// The word at `offset` in an object.
    pub fn word(&self, address: u64, offset: u64) -> Result<u64, ObjectError> {
        Ok(self.memory.u64(address.wrapping_add(offset))?)
    }

    pub fn u32(&self, address: u64, offset: u64) -> Result<u32, ObjectError> {
        Ok(self.memory.u32(address.wrapping_add(offset))?)
    }

    pub fn type_of(&self, address: u64) -> Result<u16, ObjectError> {
        let map = pointer(self.memory.u64(address)?, "a map")?;
        Ok(self.memory.u16(map + self.layout.instance_type)?)
    }

    /// What a tagged pointer points to, if it is of one of `kinds`.
    pub fn object(
        &self,
        word: u64,
        kinds: &[u16],
        expected: &'static str,
    ) -> Result<u64, ObjectError> {
        let address = pointer(word, expected)?;
        self.check(address, kinds, expected)?;
        Ok(address)
    }

    pub fn check(
        &self,
        address: u64,
        kinds: &[u16],
        expected: &'static str,
    ) -> Result<(), ObjectError> {
        let found = self.type_of(address)?;
        if kinds.contains(&found) {
            return Ok(());
        }
        Err(ObjectError::NotA {
            expected,
            address,
            found,
        })
    }

    /// An array of bytes, as a tagged word points to it.
    pub fn bytes(&self, word: u64) -> Result<Vec<u8>, ObjectError> {
        let address = self.object(word, &self.layout.byte_arrays, "an array of bytes")?;
        let length = self.length(address, 1)?;
        Ok(self.memory.bytes(address + ARRAY_DATA, length)?)
    }

    /// An array of tagged words.
    pub fn words(&self, word: u64) -> Result<Vec<u64>, ObjectError> {
        let address = self.object(word, &self.layout.object_arrays, "an array")?;
        let length = self.length(address, 8)?;
        let bytes = self.memory.bytes(address + ARRAY_DATA, length * 8)?;
        Ok(bytes
            .as_chunks()
            .0
            .iter()
            .map(|word| u64::from_le_bytes(*word))
            .collect())
    }

    /// The length of an array whose elements have `size` bytes.
    fn length(&self, address: u64, size: usize) -> Result<usize, ObjectError> {
        let length = small(self.word(address, ARRAY_LENGTH)?)
            .and_then(|length| usize::try_from(length).ok())
            .ok_or(ObjectError::Damaged("the length of an array"))?;
        if length > MAX_ARRAY / size {
            return Err(ObjectError::TooLong("an array"));
        }
        Ok(length)
    }

    pub fn is_string(&self, address: u64) -> bool {
        self.type_of(address)
            .is_ok_and(|kind| kind < self.layout.first_nonstring)
    }

    /// The code units of a string, at most `limit` of them.
    ///
    /// # Errors
    /// [`ObjectError::TooLong`] when it has more.
    pub fn code_units(&self, word: u64, limit: usize) -> Result<Vec<u16>, ObjectError> {
        let address = pointer(word, STRING)?;
        let length = self.u32(address, string::LENGTH)? as usize;
        if length > limit {
            return Err(ObjectError::TooLong(STRING));
        }
        self.part_of_string(address, 0, length)
    }

    /// `count` code units of the string at `address`, starting with `from`.
    pub fn part_of_string(
        &self,
        address: u64,
        from: usize,
        count: usize,
    ) -> Result<Vec<u16>, ObjectError> {
        let limit = count;
        let mut units = Vec::with_capacity(count.min(1 << 16));
        // Parts that are still to be read, the next one last: a string and
        // the units of it that are wanted.
        let mut parts = vec![(address, from, count)];
        for _ in 0..MAX_PARTS {
            let Some((address, from, count)) = parts.pop() else {
                return Ok(units);
            };
            let found = self.type_of(address)?;
            if found >= self.layout.first_nonstring {
                return Err(ObjectError::NotA {
                    expected: STRING,
                    address,
                    found,
                });
            }
            let length = self.u32(address, string::LENGTH)? as usize;
            if count == 0 {
                continue;
            }
            if from + count > length || units.len() + count > limit {
                return Err(ObjectError::Damaged(STRING));
            }
            let part = |offset| pointer(self.word(address, offset)?, STRING);
            match found & string::REPRESENTATION {
                string::SEQUENTIAL => {
                    self.characters(address + string::CHARACTERS, found, from, count, &mut units)?;
                }
                string::EXTERNAL if found & string::UNCACHED == 0 => {
                    let data = self.word(address, string::RESOURCE_DATA)?;
                    self.characters(data, found, from, count, &mut units)?;
                }
                string::CONS => {
                    let (first, second) = (part(string::FIRST)?, part(string::SECOND)?);
                    let length = self.u32(first, string::LENGTH)? as usize;
                    let in_first = length.saturating_sub(from).min(count);
                    parts.push((
                        second,
                        (from + in_first).saturating_sub(length),
                        count - in_first,
                    ));
                    parts.push((first, from.min(length), in_first));
                }
                string::SLICED => {
                    let offset = small(self.word(address, string::OFFSET)?)
                        .and_then(|offset| usize::try_from(offset).ok())
                        .ok_or(ObjectError::Damaged(STRING))?;
                    parts.push((part(string::PARENT)?, from + offset, count));
                }
                string::THIN => parts.push((part(string::ACTUAL)?, from, count)),
                _ => return Err(ObjectError::Damaged(STRING)),
            }
        }
        Err(ObjectError::TooLong(STRING))
    }

    fn characters(
        &self,
        start: u64,
        kind: u16,
        from: usize,
        count: usize,
        units: &mut Vec<u16>,
    ) -> Result<(), ObjectError> {
        if kind & string::ONE_BYTE != 0 {
            let bytes = self.memory.bytes(start.wrapping_add(from as u64), count)?;
            units.extend(bytes.iter().map(|&byte| u16::from(byte)));
        } else {
            let start = start.wrapping_add(from as u64 * 2);
            let bytes = self.memory.bytes(start, count * 2)?;
            units.extend(
                bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|unit| u16::from_le_bytes(*unit)),
            );
        }
        Ok(())
    }

    /// A short string: a name. Halves of surrogate pairs are replaced.
    pub fn name(&self, word: u64) -> Result<String, ObjectError> {
        const MAX_NAME: usize = 4096;
        Ok(String::from_utf16_lossy(&self.code_units(word, MAX_NAME)?))
    }
}

/// Where a tagged pointer, strong or weak, points.
pub fn pointer(word: u64, expected: &'static str) -> Result<u64, ObjectError> {
    if word & 1 == 1 && word >> ADDRESS_BITS == 0 {
        Ok(word & !TAG_BITS)
    } else {
        Err(ObjectError::NotAPointer { expected, word })
    }
}

/// A small integer.
pub fn small(word: u64) -> Option<i32> {
    (word as u32 == 0).then_some((word >> 32) as u32 as i32)
}

pub fn is_small(word: u64) -> bool {
    small(word).is_some()
}
