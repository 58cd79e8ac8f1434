//! A heap as V8 lays it out, of objects that the input chooses, and some of it
//! damaged: noise alone would not pass the first check of a type.

use rustc_hash::FxHashMap;

use crate::runtimes::{
    Memory, Unreadable,
    v8::layout::{CodeStart, Layout},
};

const BASE: u64 = 0x10_0000_0000;
/// Whole pages: V8 is read by them.
const SIZE: usize = 1 << 18;
/// Strings that are made of strings.
const DEPTH: u32 = 4;

/// What decides; zeros where it ends.
pub struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        first
    }

    pub fn below(&mut self, limit: u8) -> u8 {
        self.byte() % limit
    }

    pub fn word(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    fn bytes(&mut self) -> Vec<u8> {
        let count = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(count);
        self.0 = rest;
        bytes.to_vec()
    }
}

pub struct Heap<'a> {
    layout: &'a Layout,
    memory: Vec<u8>,
    used: usize,
    maps: FxHashMap<u16, u64>,
    objects: Vec<u64>,
}

impl Memory for Heap<'_> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Unreadable> {
        let length = buffer.len();
        let bytes = address
            .checked_sub(BASE)
            .and_then(|start| self.memory.get(start as usize..)?.get(..length))
            .ok_or(Unreadable { address, length })?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

impl<'a> Heap<'a> {
    pub fn new(layout: &'a Layout) -> Self {
        Self {
            layout,
            memory: vec![0; SIZE],
            used: 0,
            maps: FxHashMap::default(),
            objects: Vec::new(),
        }
    }

    /// Overwrites some words, with others or with pointers to other objects.
    pub fn damage(&mut self, input: &mut Input) {
        for _ in 0..input.below(8) {
            let at = input.word() % (self.used as u64 / 8);
            let word = self.value(input);
            self.set(BASE, at * 8, word);
        }
    }

    fn room(&mut self, bytes: usize) -> u64 {
        let start = self.used;
        if start + bytes > SIZE {
            return BASE;
        }
        self.used = (start + bytes).next_multiple_of(8);
        BASE + start as u64
    }

    fn write(&mut self, address: u64, bytes: &[u8]) {
        let start = (address - BASE) as usize;
        if let Some(place) = self.memory.get_mut(start..start + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn set(&mut self, address: u64, offset: u64, word: u64) {
        self.write(address + offset, &word.to_le_bytes());
    }

    fn set_u32(&mut self, address: u64, offset: u64, value: u32) {
        self.write(address + offset, &value.to_le_bytes());
    }

    fn map(&mut self, kind: u16) -> u64 {
        if let Some(&map) = self.maps.get(&kind) {
            return map;
        }
        let map = self.room(80);
        self.write(map + self.layout.instance_type, &kind.to_le_bytes());
        self.maps.insert(kind, map);
        map
    }

    fn object(&mut self, kind: u16, bytes: usize) -> u64 {
        let map = self.map(kind);
        let address = self.room(bytes);
        self.set(address, 0, tagged(map));
        self.objects.push(tagged(address));
        address
    }

    /// An object in front of instructions, which are aligned.
    fn aligned(&mut self, kind: u16, header: u64, size: u32) -> u64 {
        self.map(kind);
        let next = BASE + self.used as u64;
        let start = (next + header).next_multiple_of(self.layout.code_alignment);
        self.room((start - header - next) as usize);
        self.object(kind, header as usize + size as usize)
    }

    fn value(&mut self, input: &mut Input) -> u64 {
        match input.below(6) {
            0 => small(input.byte().cast_signed().into()),
            1 => self.string(input, DEPTH),
            2 => self.bytes(input),
            3 => small(input.word() as i32),
            4 => self.any(input),
            _ => input.word(),
        }
    }

    fn any(&mut self, input: &mut Input) -> u64 {
        let index = input.word() as usize;
        match self.objects.len() {
            0 => small(0),
            count => self.objects[index % count],
        }
    }

    /// src/objects/string.tq.
    fn string(&mut self, input: &mut Input, depth: u32) -> u64 {
        let kind = input.below(32);
        let characters = input.bytes();
        let wide = kind & 8 == 0;
        let units = characters.len() as u32 / if wide { 2 } else { 1 };
        let address = self.object(kind.into(), 40 + characters.len());
        self.set_u32(address, 12, units);
        if kind & 7 == 0 || depth == 0 {
            self.write(address + 16, &characters);
            return tagged(address);
        }
        let first = self.string(input, depth - 1);
        self.set(address, 16, first);
        let second = match kind & 7 {
            1 => self.string(input, depth - 1),
            2 => {
                let data = self.room(characters.len());
                self.write(data, &characters);
                data
            }
            _ => small(input.byte().into()),
        };
        self.set(address, 24, second);
        tagged(address)
    }

    fn array(&mut self, kinds: &[u16], count: usize, bytes: &[u8], input: &mut Input) -> u64 {
        let kind = kinds[usize::from(input.byte()) % kinds.len()];
        let address = self.object(kind, 16 + bytes.len());
        self.set(address, 8, small(count as i32));
        self.write(address + 16, bytes);
        tagged(address)
    }

    fn bytes(&mut self, input: &mut Input) -> u64 {
        let bytes = input.bytes();
        self.array(&self.layout.byte_arrays, bytes.len(), &bytes, input)
    }

    fn words(&mut self, words: &[u64], input: &mut Input) -> u64 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.array(&self.layout.object_arrays, words.len(), &bytes, input)
    }

    fn script(&mut self, input: &mut Input) -> u64 {
        let layout = self.layout;
        let address = self.object(layout.script_type, 160);
        let ends: Vec<u64> = (0..input.below(8))
            .scan(0, |end, _| {
                *end += i32::from(input.byte());
                Some(small(*end))
            })
            .collect();
        let ends = self.words(&ends, input);
        let fields = [
            (layout.script_source, self.string(input, DEPTH)),
            (layout.script_name, self.string(input, DEPTH)),
            (layout.script_line_offset, small(input.byte().into())),
            (layout.script_column_offset, small(input.byte().into())),
            (layout.script_line_ends, ends),
        ];
        self.fill(address, &fields)
    }

    fn fill(&mut self, address: u64, fields: &[(u64, u64)]) -> u64 {
        for &(offset, word) in fields {
            self.set(address, offset, word);
        }
        tagged(address)
    }

    /// src/objects/scope-info.tq: flags, then slots that they decide on.
    fn scope(&mut self, input: &mut Input) -> u64 {
        let address = self.object(self.layout.scope_type, 256);
        for slot in 4..16 {
            let word = self.value(input);
            self.set(address, 8 * slot, word);
        }
        let flags = u64::from(input.word() as u32 & 0x7fff);
        self.set(address, 8, flags << self.layout.scope_flags_shift);
        self.set(address, 24, small(input.below(6).into()));
        tagged(address)
    }

    fn bytecode(&mut self, input: &mut Input) -> u64 {
        let layout = self.layout;
        let instructions = input.bytes();
        let size = layout.bytecode_data as usize + instructions.len();
        let address = self.object(layout.bytecode_type, size.max(64));
        self.set(address, 8, small(instructions.len() as i32));
        let positions = self.bytes(input);
        self.set(address, layout.bytecode_positions, positions);
        self.write(address + layout.bytecode_data, &instructions);
        tagged(address)
    }

    /// What a function runs, or what it is compiled from.
    fn function_data(&mut self, input: &mut Input) -> u64 {
        let layout = self.layout;
        match input.below(5) {
            0..=2 => self.bytecode(input),
            3 if !layout.uncompiled_types.is_empty() => {
                let kinds = &layout.uncompiled_types;
                let kind = kinds[usize::from(input.byte()) % kinds.len()];
                let address = self.object(kind, 48);
                let name = self.string(input, DEPTH);
                self.set(address, layout.uncompiled_inferred_name, name);
                self.set_u32(address, layout.uncompiled_start, input.byte().into());
                tagged(address)
            }
            _ => match layout.interpreter_data_type {
                Some(kind) => {
                    let address = self.object(kind, 32);
                    let bytecode = self.bytecode(input);
                    self.set(address, layout.interpreter_data_bytecode, bytecode);
                    tagged(address)
                }
                None => self.value(input),
            },
        }
    }

    /// A SharedFunctionInfo: its address.
    pub fn function(&mut self, input: &mut Input) -> u64 {
        let layout = self.layout;
        let address = self.object(layout.shared_type, 96);
        let name = match input.below(4) {
            0 => self.string(input, DEPTH),
            _ => self.scope(input),
        };
        let data = self.function_data(input);
        let script = self.script(input);
        if let Some(other) = layout.shared_untrusted_data {
            let data = self.function_data(input);
            self.set(address, other, data);
        }
        let fields = [
            (layout.shared_name, name),
            (layout.shared_function_data, data),
            (layout.shared_script, script),
        ];
        self.fill(address, &fields);
        self.set_u32(address, layout.shared_check, input.word() as u32);
        address
    }

    /// Code of a function: the address of its instructions.
    pub fn code(&mut self, function: u64, input: &mut Input) -> u64 {
        let layout = self.layout;
        let kind = layout.code_kind_baseline + u32::from(input.below(3));
        let size = 1 + u32::from(input.byte());
        let (deoptimization, positions) = if kind == layout.code_kind_baseline {
            let own = self.u64(function + layout.shared_function_data);
            let bytecode = match (input.below(4), own) {
                (0, _) | (_, Err(_)) => self.function_data(input),
                (_, Ok(own)) => own,
            };
            (bytecode, self.bytes(input))
        } else {
            let positions = self.bytes(input);
            (self.deoptimization(function, input), positions)
        };
        let header = match layout.code_start {
            CodeStart::Inline(header) | CodeStart::Stream { header, .. } => header,
        };
        let (stream, object) = match layout.code_start {
            CodeStart::Inline(_) => {
                let code = self.aligned(layout.code_type, header, size);
                (code, code)
            }
            CodeStart::Stream { field, .. } => {
                let code = self.object(layout.code_type, 96);
                let stream = self.aligned(layout.stream_type, header, size);
                self.set(stream, 8, tagged(code));
                self.set(code, field, stream + header);
                (stream, code)
            }
        };
        let fields = [
            (layout.code_deoptimization, deoptimization),
            (layout.code_positions, positions),
        ];
        self.fill(object, &fields);
        self.set_u32(object, layout.code_flags, kind);
        self.set_u32(object, layout.code_size, size);
        stream + header + u64::from(input.byte()) % u64::from(size)
    }

    /// src/objects/deoptimization-data.h.
    fn deoptimization(&mut self, function: u64, input: &mut Input) -> u64 {
        let layout = self.layout;
        let count = input.below(4);
        let literals: Vec<u64> = (0..count)
            .map(|_| match input.below(4) {
                0 => self.any(input),
                _ => tagged(function),
            })
            .collect();
        let literals = self.words(&literals, input);
        // Position and index of the function, 16 bytes each.
        let inlining: Vec<u8> = (0..input.below(5))
            .flat_map(|index| {
                let position = u64::from(input.byte()) << 1 | u64::from(index) << 31;
                let function = i64::from(input.below(5)) - 1;
                [position.to_le_bytes(), function.to_le_bytes()].concat()
            })
            .collect();
        let inlining = self.array(&layout.byte_arrays, inlining.len(), &inlining, input);
        let shared = match layout.wrapper_type {
            Some(kind) => {
                let wrapper = self.object(kind, 24);
                self.set(wrapper, layout.wrapper_shared, tagged(function));
                wrapper
            }
            None => function,
        };
        let mut words = vec![small(0); 12];
        for (index, word) in [
            (layout.deoptimization_inlined_count, small(count.into())),
            (layout.deoptimization_literals, literals),
            (layout.deoptimization_shared, tagged(shared)),
            (layout.deoptimization_inlining, inlining),
        ] {
            words[index as usize & 15] = word;
        }
        self.words(&words, input)
    }
}

fn tagged(address: u64) -> u64 {
    address | 1
}

fn small(value: i32) -> u64 {
    u64::from(value.cast_unsigned()) << 32
}
