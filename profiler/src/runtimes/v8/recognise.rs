//! Is this file a V8, which one, and how are its frames read?

use std::{fs::File, os::unix::fs::FileExt};

use profiler_ebpf::{CodeRange, V8Runtime};

use super::{
    layout::{Known, Layout, Unsupported, Version},
    symbols::{Symbol, Symbols},
};
use crate::elf::{Elf, Segment};

/// What an embedded blob of builtins is at least; Node's are 1.5 to 2 MB.
const SMALLEST_BLOB: u64 = 512 << 10;
const LARGEST_BLOB: u64 = 64 << 20;

/// A build of V8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    pub version: Version,
    /// For the kernel side.
    pub runtime: V8Runtime,
    /// ELF virtual addresses of the embedded builtins. V8 maps the same part
    /// of the file a second time, near its code (`short_builtin_calls`).
    pub builtins: CodeRange,
    pub(super) layout: Layout,
    pub(super) bytecode_sizes: Option<BytecodeSizes>,
    frame_types: Vec<(u32, String)>,
}

impl Engine {
    /// What a frame without function is for, `StackFrame::Type`.
    pub fn frame_type(&self, kind: u32) -> Option<&str> {
        self.frame_types
            .iter()
            .find(|(known, _)| *known == kind)
            .map(|(_, name)| name.as_str())
    }
}

/// Lengths of instructions of the bytecode, `Bytecodes::kBytecodeSizes`: for
/// single, double and quadruple operands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BytecodeSizes {
    sizes: Vec<u8>,
    count: usize,
}

impl BytecodeSizes {
    fn new(sizes: Vec<u8>) -> Option<Self> {
        let count = sizes.len() / 3;
        let valid = sizes.len().is_multiple_of(3)
            && (100..=256).contains(&count)
            && sizes.iter().all(|size| (1..=32).contains(size));
        valid.then_some(Self { sizes, count })
    }

    /// Length of the instruction at the start of `bytecode`, with the prefix
    /// that widens its operands (src/interpreter/bytecodes.h: `Wide`,
    /// `ExtraWide` and their `DebugBreak`s are 0 to 3).
    pub fn length(&self, bytecode: &[u8]) -> Option<usize> {
        let (&first, rest) = bytecode.split_first()?;
        let (prefix, scale, operation) = match first {
            0 | 2 => (1, 1, *rest.first()?),
            1 | 3 => (1, 2, *rest.first()?),
            other => (0, 0, other),
        };
        if usize::from(operation) >= self.count {
            return None;
        }
        let size = self
            .sizes
            .get(scale * self.count + usize::from(operation))?;
        Some(prefix + usize::from(*size))
    }
}

/// `None` when the file holds no V8, which is found out by a few reads.
pub fn recognise(file: &File, elf: &Elf) -> Option<Result<Engine, Unsupported>> {
    let symbols = Symbols::read(file, elf)?;
    Some(describe(&Binary {
        file,
        elf,
        symbols: &symbols,
    }))
}

/// A file that holds a V8.
struct Binary<'a> {
    file: &'a File,
    elf: &'a Elf<'a>,
    symbols: &'a Symbols,
}

impl Binary<'_> {
    /// Bytes at an ELF virtual address; those that the file does not hold are
    /// zero, as in memory.
    fn bytes(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        let within = |segment: &&Segment| {
            address
                .checked_sub(segment.address)
                .is_some_and(|inside| inside < segment.memory_size)
        };
        let segment = self.elf.segments().iter().find(within)?;
        let inside = address - segment.address;
        let mut bytes = vec![0; length];
        let stored = segment.file_size.saturating_sub(inside).min(length as u64);
        if stored > 0 {
            let offset = segment.offset.checked_add(inside)?;
            self.file
                .read_exact_at(&mut bytes[..stored as usize], offset)
                .ok()?;
        }
        Some(bytes)
    }

    fn word(&self, address: u64) -> Option<u32> {
        let bytes = self.bytes(address, 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    /// The value of a constant of the metadata.
    fn constant(&self, name: &str) -> Option<i64> {
        let symbol = self.symbols.get(name)?;
        Some(i64::from(self.word(symbol.address)? as i32))
    }

    fn version(&self) -> Option<Version> {
        let part = |name: &str| {
            self.word(
                self.symbols
                    .get(&format!("_ZN2v88internal7Version6{name}_E"))?
                    .address,
            )
        };
        Some(Version {
            major: part("major")?,
            minor: part("minor")?,
            build: part("build")?,
        })
    }
}

/// The metadata of a version, which is known.
struct Metadata<'a> {
    binary: &'a Binary<'a>,
    version: Version,
}

impl Metadata<'_> {
    /// Names of fields end in their types, which differ between versions.
    fn field(&self, class: &str, name: &str) -> Option<u64> {
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

    fn needed(&self, class: &str, name: &'static str) -> Result<u64, Unsupported> {
        self.field(class, name).ok_or(Unsupported::NotDescribed {
            version: self.version,
            name,
        })
    }

    fn kind(&self, class: &str) -> Option<u16> {
        let prefix = format!("type_{class}__");
        let (name, _) = self
            .binary
            .symbols
            .iter()
            .find(|(symbol, _)| symbol.starts_with(&prefix))?;
        u16::try_from(self.binary.constant(name)?).ok()
    }

    fn needed_kind(&self, class: &'static str) -> Result<u16, Unsupported> {
        self.kind(class).ok_or(Unsupported::NotDescribed {
            version: self.version,
            name: class,
        })
    }

    fn kinds(&self, classes: &[&str]) -> Vec<u16> {
        classes
            .iter()
            .filter_map(|class| self.kind(class))
            .collect()
    }

    fn constant(&self, name: &'static str) -> Result<i64, Unsupported> {
        self.binary.constant(name).ok_or(Unsupported::NotDescribed {
            version: self.version,
            name,
        })
    }

    /// Everything we read is built on these.
    fn expect(&self, name: &'static str, expected: i64) -> Result<(), Unsupported> {
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
    fn slot(&self, name: &'static str, offset: i64) -> Result<u32, Unsupported> {
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

fn describe(binary: &Binary) -> Result<Engine, Unsupported> {
    let version = binary
        .version()
        .ok_or_else(|| Unsupported::Unreadable("its version is not in the file".to_owned()))?;
    let known = Known::of(version).ok_or(Unsupported::TooOld(version))?;
    let metadata = Metadata { binary, version };
    // Small integers in the upper half of 64-bit words, pointers tagged by
    // one: include/v8-internal.h without pointer compression.
    metadata.expect("SmiTag", 0)?;
    metadata.expect("SmiTagMask", 1)?;
    metadata.expect("SmiShiftSize", 31)?;
    metadata.expect("HeapObjectTag", 1)?;
    metadata.expect("HeapObjectTagMask", 3)?;
    metadata.expect("StringRepresentationMask", 7)?;
    metadata.expect("StringEncodingMask", 8)?;
    metadata.expect("OneByteStringTag", 8)?;
    metadata.expect("class_FixedArrayBase__length__SMI", 8)?;
    metadata.expect("class_String__length__int32_t", 12)?;
    let builtins = builtins(binary).ok_or(Unsupported::NotDescribed {
        version,
        name: "embedded builtins",
    })?;
    let layout = layout(&metadata, &known)?;
    let bytecode_array = metadata
        .binary
        .constant("off_fp_bytecode_array")
        .unwrap_or(-32);
    let bytecode_offset = metadata
        .binary
        .constant("off_fp_bytecode_offset")
        .unwrap_or(bytecode_array - 8);
    let functions = functions(&metadata)?;
    let runtime = V8Runtime {
        frame_context: metadata.slot("off_fp_context", metadata.constant("off_fp_context")?)?,
        frame_function: metadata.slot("off_fp_function", metadata.constant("off_fp_function")?)?,
        frame_bytecode_array: metadata.slot("off_fp_bytecode_array", bytecode_array)?,
        frame_bytecode_offset: metadata.slot("off_fp_bytecode_offset", bytecode_offset)?,
        map_instance_type: layout.instance_type as u32,
        function_shared: metadata.needed("JSFunction", "shared")? as u32,
        shared_check: layout.shared_check as u32,
        first_function_type: functions.0,
        last_function_type: functions.1,
        shared_type: layout.shared_type,
        bytecode_array_type: layout.bytecode_type,
    };
    Ok(Engine {
        version,
        runtime,
        builtins,
        layout,
        bytecode_sizes: bytecode_sizes(binary),
        frame_types: frame_types(binary),
    })
}

/// Instance types of JSFunction and its subclasses. Before 12 the metadata
/// has the first only: 15 more follow it in 10.2 and 11.3, the constructors of
/// the 11 typed arrays, then `JS_ARRAY_CONSTRUCTOR_TYPE`, those of promises and
/// regular expressions, and last `JS_CLASS_CONSTRUCTOR_TYPE`
/// (src/objects/js-function.tq).
fn functions(metadata: &Metadata) -> Result<(u16, u16), Unsupported> {
    let first = metadata.needed_kind("JSFunction")?;
    let bound = |name| {
        metadata
            .binary
            .constant(name)
            .and_then(|value| u16::try_from(value).ok())
    };
    Ok((
        bound("FirstJSFunctionType").unwrap_or(first),
        bound("LastJSFunctionType").unwrap_or(first + 15),
    ))
}

fn layout(metadata: &Metadata, known: &Known) -> Result<Layout, Unsupported> {
    let first_names = u64::try_from(metadata.constant("scopeinfo_idx_first_vars")?)
        .ok()
        .filter(|&index| index < 16)
        .ok_or(Unsupported::NotDescribed {
            version: metadata.version,
            name: "scopeinfo_idx_first_vars",
        })?;
    let line_ends = metadata.needed("Script", "line_ends")?;
    let script_name = metadata.needed("Script", "name")?;
    let script = metadata
        .field("SharedFunctionInfo", "script")
        .or_else(|| metadata.field("SharedFunctionInfo", "script_or_debug_info"));
    let code_type = metadata.needed_kind("Code")?;
    let baseline = metadata.constant("CodeKindBaseline")? as u32;
    Ok(Layout {
        instance_type: metadata.needed("Map", "instance_type")?,
        shared_type: metadata.needed_kind("SharedFunctionInfo")?,
        // The number of parameters and the offset of the name: 16 bits each.
        shared_check: metadata.needed("SharedFunctionInfo", "internal_formal_parameter_count")?,
        shared_function_data: metadata
            .field("SharedFunctionInfo", "function_data")
            .unwrap_or(8),
        shared_untrusted_data: known.untrusted_data,
        shared_name: metadata.needed("SharedFunctionInfo", "name_or_scope_info")?,
        shared_script: script.ok_or(Unsupported::NotDescribed {
            version: metadata.version,
            name: "script",
        })?,
        wrapper_type: metadata.kind("SharedFunctionInfoWrapper"),
        wrapper_shared: metadata
            .field("SharedFunctionInfoWrapper", "shared_info")
            .unwrap_or(8),
        scope_type: metadata.needed_kind("ScopeInfo")?,
        scope_first_names: first_names,
        scope_flags_shift: known.scope_flags_shift,
        scope_module_count_first: known.scope_module_count_first,
        scope_positions_fixed: first_names == 5,
        scope_types: known.scope_types,
        uncompiled_types: metadata.kinds(&[
            "UncompiledDataWithPreparseDataAndJob",
            "UncompiledDataWithPreparseData",
            "UncompiledDataWithoutPreparseDataWithJob",
            "UncompiledDataWithoutPreparseData",
        ]),
        uncompiled_inferred_name: metadata
            .field("UncompiledData", "inferred_name")
            .unwrap_or(8),
        uncompiled_start: metadata
            .field("UncompiledData", "start_position")
            .unwrap_or(16),
        script_type: metadata.needed_kind("Script")?,
        script_source: metadata.needed("Script", "source")?,
        script_name,
        // src/objects/script.tq: behind the name, in all versions.
        script_line_offset: script_name + 8,
        script_column_offset: script_name + 16,
        script_line_ends: line_ends,
        code_type,
        stream_type: metadata.kind("InstructionStream").unwrap_or(code_type),
        code_start: known.code_start,
        code_alignment: known.code_alignment,
        code_deoptimization: known.code_deoptimization,
        code_positions: known.code_positions,
        code_flags: metadata.field("Code", "flags").unwrap_or(known.code_flags),
        code_size: metadata
            .field("Code", "instruction_size")
            .unwrap_or(known.code_size),
        code_kind_mask: metadata.constant("CodeKindFieldMask")? as u32,
        code_kind_baseline: baseline,
        code_kind_regexp: known.code_kind_regexp,
        deoptimization_inlined_count: index(
            metadata,
            "DeoptimizationDataInlinedFunctionCountIndex",
            known.deoptimization_inlined_count,
        ),
        deoptimization_literals: index(
            metadata,
            "DeoptimizationDataLiteralArrayIndex",
            known.deoptimization_literals,
        ),
        deoptimization_shared: known.deoptimization_shared,
        deoptimization_inlining: index(
            metadata,
            "DeoptimizationDataInliningPositionsIndex",
            known.deoptimization_inlining,
        ),
        bytecode_type: metadata.needed_kind("BytecodeArray")?,
        bytecode_positions: known.bytecode_positions,
        bytecode_data: metadata
            .field("BytecodeArray", "data")
            .unwrap_or(known.bytecode_data),
        interpreter_data_type: metadata.kind("InterpreterData"),
        interpreter_data_bytecode: 8,
        position_encoding: known.position_encoding,
        byte_arrays: metadata.kinds(&["ByteArray", "TrustedByteArray"]),
        object_arrays: metadata.kinds(&[
            "FixedArray",
            "WeakFixedArray",
            "TrustedFixedArray",
            "TrustedWeakFixedArray",
            "ProtectedFixedArray",
            "ProtectedWeakFixedArray",
        ]),
        first_nonstring: metadata.constant("FirstNonstringType")? as u16,
    })
}

/// An index in DeoptimizationData.
fn index(metadata: &Metadata, name: &str, otherwise: u64) -> u64 {
    metadata
        .binary
        .constant(name)
        .and_then(|value| u64::try_from(value).ok())
        .filter(|&value| value < 16)
        .unwrap_or(otherwise)
}

fn bytecode_sizes(binary: &Binary) -> Option<BytecodeSizes> {
    let Symbol { address, size } = binary
        .symbols
        .get("_ZN2v88internal11interpreter9Bytecodes14kBytecodeSizesE")?;
    let size = usize::try_from(size).ok().filter(|&size| size <= 768)?;
    BytecodeSizes::new(binary.bytes(address, size)?)
}

fn frame_types(binary: &Binary) -> Vec<(u32, String)> {
    binary
        .symbols
        .iter()
        .filter_map(|(name, _)| {
            let kind = name.strip_prefix("frametype_")?;
            let number = u32::try_from(binary.constant(name)?).ok()?;
            Some((number, kind.trim_end_matches("Frame").to_owned()))
        })
        .collect()
}

/// The embedded blob: by its symbols, or, in a stripped file, as the large
/// part of the code that no unwind information covers (src/snapshot/embedded/
/// embedded-file-writer.cc writes none on Linux).
fn builtins(binary: &Binary) -> Option<CodeRange> {
    let executable = |range: &CodeRange| {
        (SMALLEST_BLOB..LARGEST_BLOB).contains(&range.end.wrapping_sub(range.start))
            && binary.elf.segments().iter().any(|segment| {
                segment.flags & crate::elf::EXECUTE != 0
                    && segment.address <= range.start
                    && range.end - segment.address <= segment.memory_size
            })
    };
    // Up to 10 `v8_Default_embedded_blob_code_` is a pointer to `..._data_`.
    let by_symbols = || {
        let start = binary
            .symbols
            .get("v8_Default_embedded_blob_code_data_")
            .or_else(|| binary.symbols.get("v8_Default_embedded_blob_code_"))?
            .address;
        let size = binary.symbols.get("v8_Default_embedded_blob_code_size_")?;
        let end = start.checked_add(u64::from(binary.word(size.address)?))?;
        Some(CodeRange { start, end })
    };
    by_symbols()
        .filter(executable)
        .or_else(|| gap(binary).filter(executable))
}

/// Largest gap between functions of the table of `.eh_frame_hdr` (LSB 5.0
/// core, section 10.6.2), in the encodings that all linkers write: a table of
/// pairs of 4 bytes, relative to the section.
fn gap(binary: &Binary) -> Option<CodeRange> {
    let header = binary.elf.section(".eh_frame_hdr")?;
    let size = header.data.len().min(64 << 20);
    let mut bytes = vec![0; size];
    binary.file.read_exact_at(&mut bytes, header.offset).ok()?;
    if bytes.get(..4)? != [1, 0x1b, 0x03, 0x3b] {
        return None;
    }
    let relative = |entry: &[u8]| {
        let value = i32::from_le_bytes(*entry.first_chunk()?);
        Some(header.address.wrapping_add_signed(i64::from(value)))
    };
    let mut best: Option<CodeRange> = None;
    let mut previous: Option<(u64, u64)> = None;
    for entry in bytes.get(12..)?.chunks_exact(8) {
        let (start, description) = (relative(&entry[..4])?, relative(&entry[4..])?);
        if let Some((last, description)) = previous
            && let Some(distance) = start.checked_sub(last)
            && distance >= SMALLEST_BLOB
        {
            // The length of a function is behind its start in the frame
            // description: length, CIE, start, length, 4 bytes each.
            let end = last.checked_add(u64::from(binary.word(description + 12)?))?;
            let range = CodeRange {
                start: end,
                end: start,
            };
            let size = |range: CodeRange| range.end.saturating_sub(range.start);
            if end < start && best.is_none_or(|best| size(best) < size(range)) {
                best = Some(range);
            }
        }
        previous = Some((start, description));
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytecode_with_and_without_prefix() {
        let mut sizes = vec![2; 3 * 200];
        sizes[200..400].fill(3);
        sizes[400..].fill(5);
        let sizes = BytecodeSizes::new(sizes).expect("sizes");
        assert_eq!(sizes.length(&[17]), Some(2));
        assert_eq!(sizes.length(&[0, 17]), Some(4));
        assert_eq!(sizes.length(&[1, 17]), Some(6));
        assert_eq!(sizes.length(&[1]), None);
        assert_eq!(sizes.length(&[250]), None);
        assert!(BytecodeSizes::new(vec![2; 7]).is_none());
        assert!(BytecodeSizes::new(vec![0; 600]).is_none());
    }
}
