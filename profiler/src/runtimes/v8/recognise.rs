//! Is this file a V8, which one, and how are its frames read?

use std::fs::File;

use profiler_ebpf::{CodeRange, V8Runtime};

use super::{
    binary::Binary,
    builtins::builtins,
    bytecode::{BytecodeSizes, bytecode_sizes},
    described::layout,
    layout::{Known, Layout, Unsupported, Version},
    metadata::Metadata,
    symbols::Symbols,
};
use crate::elf::Elf;

/// A build of V8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    pub version: Version,
    /// For the kernel side.
    pub runtime: V8Runtime,
    /// ELF virtual addresses of the embedded builtins. V8 maps the same part
    /// of the file a second time, near its code (`short_builtin_calls`).
    pub builtins: CodeRange,
    pub layout: Layout,
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

/// `None` when the file holds no V8, which is found out by a few reads.
pub fn recognise(file: &File, elf: &Elf) -> Option<Result<Engine, Unsupported>> {
    let symbols = Symbols::read(file, elf)?;
    Some(describe(&Binary {
        file,
        elf,
        symbols: &symbols,
    }))
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
        bound("LastJSFunctionType").unwrap_or(first.saturating_add(15)),
    ))
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
