//! The layout of a build: from its metadata, and for what they lack from the
//! table of versions.

use super::{
    layout::{Known, Layout, Unsupported},
    metadata::Metadata,
};

pub fn layout(metadata: &Metadata, known: &Known) -> Result<Layout, Unsupported> {
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
