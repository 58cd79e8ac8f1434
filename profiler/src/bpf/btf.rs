//! A reader of the kernel's own type information, for the few struct offsets
//! and enum values that the programs need. Format: Documentation/bpf/btf.rst.

use std::collections::HashMap;

/// Type information of a kernel.
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type starts in `types`; type 0 is `void`.
    positions: Vec<usize>,
    structs: HashMap<&'a [u8], u32>,
}

/// Kinds, include/uapi/linux/btf.h.
mod kind {
    pub const INT: u32 = 1;
    pub const POINTER: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const DECL_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
    pub const LAST: u32 = ENUM64;
}

const MAGIC: u16 = 0xeb9f;
const TYPE_BYTES: usize = 12;
const MEMBER_BYTES: usize = 12;
/// How deep anonymous structs are followed: a guard against damaged data.
const MAX_DEPTH: u32 = 16;

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[derive(Clone, Copy)]
struct Type {
    name: u32,
    kind: u32,
    count: usize,
    bitfields: bool,
    /// Size or referred type, by kind.
    reference: u32,
    /// Position of what follows.
    tail: usize,
}

impl<'a> Btf<'a> {
    /// `None` if it is not BTF, or damaged.
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        let magic = u16::from_le_bytes(data.get(..2)?.try_into().ok()?);
        if magic != MAGIC {
            return None;
        }
        let header = u32_at(data, 4)? as usize;
        let part = |offset: usize, length: usize| -> Option<&'a [u8]> {
            let start = header.checked_add(u32_at(data, offset)? as usize)?;
            data.get(start..start.checked_add(u32_at(data, length)? as usize)?)
        };
        let mut btf = Self {
            types: part(8, 12)?,
            strings: part(16, 20)?,
            positions: vec![0],
            structs: HashMap::new(),
        };
        let mut position = 0;
        while position < btf.types.len() {
            btf.positions.push(position);
            let kind = btf.read_type(position)?;
            let tail = match kind.kind {
                kind::INT | kind::VAR | kind::DECL_TAG => 4,
                kind::ARRAY => 12,
                kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * kind.count,
                kind::ENUM | kind::FUNC_PROTO => 8 * kind.count,
                1..=kind::LAST => 0,
                _ => return None,
            };
            if kind.kind == kind::STRUCT && kind.name != 0 {
                let id = btf.positions.len() as u32 - 1;
                let name = btf.string(kind.name)?;
                btf.structs.entry(name).or_insert(id);
            }
            position = kind.tail + tail;
        }
        Some(btf)
    }

    fn read_type(&self, position: usize) -> Option<Type> {
        let info = u32_at(self.types, position + 4)?;
        Some(Type {
            name: u32_at(self.types, position)?,
            kind: (info >> 24) & 0x1f,
            count: (info & 0xffff) as usize,
            bitfields: info >> 31 != 0,
            reference: u32_at(self.types, position + 8)?,
            tail: position + TYPE_BYTES,
        })
    }

    fn type_of(&self, id: u32) -> Option<Type> {
        match id {
            0 => None,
            _ => self.read_type(*self.positions.get(id as usize)?),
        }
    }

    fn string(&self, offset: u32) -> Option<&'a [u8]> {
        let rest = self.strings.get(offset as usize..)?;
        rest.split(|&byte| byte == 0).next()
    }

    /// Skips typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<Type> {
        for _ in 0..MAX_DEPTH {
            let found = self.type_of(id)?;
            match found.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = found.reference
                }
                _ => return Some(found),
            }
        }
        None
    }

    /// Byte offset of a member, given as a path (`thread.fsbase`), looking
    /// into anonymous members too.
    pub fn offset(&self, structure: &str, path: &str) -> Option<u32> {
        let id = *self.structs.get(structure.as_bytes())?;
        let mut current = self.type_of(id)?;
        let mut offset = 0;
        for name in path.split('.') {
            let (bits, id) = self.member(current, name.as_bytes(), MAX_DEPTH)?;
            offset += bits / 8;
            // The last member may be of any type, even none we know.
            current = self.resolve(id).unwrap_or(current);
        }
        Some(offset)
    }

    fn member(&self, structure: Type, name: &[u8], depth: u32) -> Option<(u32, u32)> {
        if depth == 0 || !matches!(structure.kind, kind::STRUCT | kind::UNION) {
            return None;
        }
        for index in 0..structure.count {
            let at = structure.tail + index * MEMBER_BYTES;
            let member_name = self.string(u32_at(self.types, at)?)?;
            let id = u32_at(self.types, at + 4)?;
            let position = u32_at(self.types, at + 8)?;
            let bits = if structure.bitfields {
                position & 0x00ff_ffff
            } else {
                position
            };
            if member_name == name {
                return Some((bits, id));
            }
            if member_name.is_empty()
                && let Some(inner) = self.resolve(id)
                && let Some((inner_bits, inner_id)) = self.member(inner, name, depth - 1)
            {
                return Some((bits + inner_bits, inner_id));
            }
        }
        None
    }

    /// How many arguments a tracepoint passes on, without the first that all
    /// have: it is declared as a pointer to a function, `btf_trace_NAME`.
    pub fn tracepoint_arguments(&self, name: &str) -> Option<usize> {
        let name = format!("btf_trace_{name}");
        let found = (1..self.positions.len() as u32)
            .filter_map(|id| self.type_of(id))
            .find(|found| {
                found.kind == kind::TYPEDEF && self.string(found.name) == Some(name.as_bytes())
            })?;
        let pointer = self.resolve(found.reference)?;
        let function = self.resolve(pointer.reference)?;
        (pointer.kind == kind::POINTER && function.kind == kind::FUNC_PROTO)
            .then(|| function.count.checked_sub(1))?
    }

    /// Names and values of an enum.
    pub fn enumerators(&self, name: &str) -> Vec<(&'a str, u32)> {
        let found = (1..self.positions.len() as u32)
            .filter_map(|id| self.type_of(id))
            .find(|found| {
                found.kind == kind::ENUM && self.string(found.name) == Some(name.as_bytes())
            });
        let Some(found) = found else {
            return Vec::new();
        };
        (0..found.count)
            .filter_map(|index| {
                let at = found.tail + index * 8;
                let name = self.string(u32_at(self.types, at)?)?;
                Some((std::str::from_utf8(name).ok()?, u32_at(self.types, at + 4)?))
            })
            .collect()
    }

    /// Value of an enumerator, of whichever enum has it.
    pub fn enumerator(&self, name: &str) -> Option<u32> {
        for id in 1..self.positions.len() as u32 {
            let found = self.type_of(id)?;
            if found.kind != kind::ENUM {
                continue;
            }
            for index in 0..found.count {
                let at = found.tail + index * 8;
                if self.string(u32_at(self.types, at)?)? == name.as_bytes() {
                    return u32_at(self.types, at + 4);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_equal_those_bpftool_prints() {
        let data = std::fs::read("/sys/kernel/btf/vmlinux").expect("this kernel has BTF");
        let btf = Btf::parse(&data).expect("it is valid");
        let dump = std::process::Command::new("bpftool")
            .args(["btf", "dump", "file", "/sys/kernel/btf/vmlinux"])
            .output()
            .expect("bpftool is installed");
        let dump = String::from_utf8_lossy(&dump.stdout);
        for (structure, member) in [
            ("task_struct", "tgid"),
            ("task_struct", "start_boottime"),
            ("css_set", "dfl_cgrp"),
            ("cgroup", "kn"),
        ] {
            let body = dump
                .split(&format!("STRUCT '{structure}' size="))
                .nth(1)
                .expect("bpftool knows the struct");
            let line = body
                .lines()
                .find(|line| line.trim().starts_with(&format!("'{member}' type_id=")))
                .expect("and the member");
            let bits: u32 = line
                .split("bits_offset=")
                .nth(1)
                .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
                .expect("and its offset");
            assert_eq!(btf.offset(structure, member), Some(bits / 8), "{member}");
        }
        assert_eq!(btf.offset("task_struct", "no_such_member"), None);
        assert_eq!(btf.enumerator("BPF_FUNC_map_lookup_elem"), Some(1));
        // include/trace/events/sched.h, include/trace/events/syscalls.h.
        assert_eq!(btf.tracepoint_arguments("sched_wakeup"), Some(1));
        assert_eq!(btf.tracepoint_arguments("sys_enter"), Some(2));
        assert_eq!(btf.tracepoint_arguments("no_such_thing"), None);
        // include/linux/pid.h and include/net/tcp_states.h.
        assert!(btf.enumerators("pid_type").contains(&("PIDTYPE_TGID", 1)));
        assert!(btf.enumerators("no_such_thing").is_empty());
    }

    #[test]
    fn damaged_data_is_refused_or_harmless() {
        let data = std::fs::read("/sys/kernel/btf/vmlinux").expect("this kernel has BTF");
        assert!(Btf::parse(&data[..100]).is_none());
        assert!(Btf::parse(b"").is_none());
        let mut damaged = data[..200_000].to_vec();
        damaged[12..16].copy_from_slice(&150_000u32.to_le_bytes());
        damaged[16..20].copy_from_slice(&150_000u32.to_le_bytes());
        damaged[20..24].copy_from_slice(&40_000u32.to_le_bytes());
        if let Some(btf) = Btf::parse(&damaged) {
            let _ = btf.offset("task_struct", "tgid");
        }
    }
}
