//! Where V8 keeps what we read, version by version.
//!
//! Most offsets are metadata in the file. What it lacks is in the table below,
//! from V8's sources at the versions that Node 18, 20, 22, 24 and 26 hold:
//! 10.2, 11.3, 12.4, 13.6 and 14.6. Whatever is read by them is checked for
//! its type, so that a wrong offset yields nothing, not nonsense.

use std::fmt;

use thiserror::Error;

/// `v8::internal::Version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub build: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.build)
    }
}

/// Why frames of a V8 cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unsupported {
    #[error("V8 {0} is older than 10.2, that of Node 18")]
    TooOld(Version),
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    #[error("V8 {version} says nothing of {name}")]
    NotDescribed {
        version: Version,
        name: &'static str,
    },
    /// Compressed pointers: Chromium and Electron.
    #[error("V8 {version} keeps {name} as {value}, which is not supported")]
    Representation {
        version: Version,
        name: &'static str,
        value: i64,
    },
}

/// Where code begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeStart {
    /// The Code object is in front of its instructions, which begin so many
    /// bytes behind its start.
    Inline(u64),
    /// An InstructionStream is in front of them, `header` bytes long; its
    /// second word is the Code object, where a field at `field` holds the
    /// address of the instructions.
    Stream { header: u64, field: u64 },
}

/// How an entry of a source position table holds the code offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PositionEncoding {
    /// Zigzag; negative (less one) for expressions.
    Signed,
    /// Unsigned, above two flags.
    Flags,
}

/// Offsets in bytes from the start of the object, and instance types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub instance_type: u64,

    pub shared_type: u16,
    pub shared_check: u64,
    pub shared_function_data: u64,
    /// Its second half, where there are two.
    pub shared_untrusted_data: Option<u64>,
    pub shared_name: u64,
    pub shared_script: u64,
    /// Of what wraps a SharedFunctionInfo in deoptimisation data.
    pub wrapper_type: Option<u16>,
    pub wrapper_shared: u64,

    pub scope_type: u16,
    /// Slots before the names.
    pub scope_first_names: u64,
    pub scope_flags_shift: u32,
    pub scope_module_count_first: bool,
    /// The start and end are the first two slots before the names.
    pub scope_positions_fixed: bool,
    pub scope_types: ScopeTypes,

    pub uncompiled_types: Vec<u16>,
    pub uncompiled_inferred_name: u64,
    pub uncompiled_start: u64,

    pub script_type: u16,
    pub script_source: u64,
    pub script_name: u64,
    pub script_line_offset: u64,
    pub script_column_offset: u64,
    pub script_line_ends: u64,

    pub code_type: u16,
    pub stream_type: u16,
    pub code_start: CodeStart,
    pub code_alignment: u64,
    pub code_deoptimization: u64,
    pub code_positions: u64,
    pub code_flags: u64,
    pub code_size: u64,
    pub code_kind_mask: u32,
    pub code_kind_baseline: u32,
    pub code_kind_regexp: u32,

    pub deoptimization_inlined_count: u64,
    pub deoptimization_literals: u64,
    pub deoptimization_shared: u64,
    pub deoptimization_inlining: u64,

    pub bytecode_type: u16,
    pub bytecode_positions: u64,
    pub bytecode_data: u64,
    pub interpreter_data_type: Option<u16>,
    pub interpreter_data_bytecode: u64,
    pub position_encoding: PositionEncoding,

    /// Kinds of arrays of bytes and of objects: alike, but for their space.
    pub byte_arrays: Vec<u16>,
    pub object_arrays: Vec<u16>,

    pub first_nonstring: u16,
}

/// `ScopeType` of src/objects/scope-info.tq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScopeTypes {
    pub module: u32,
    /// A bit for each whose ScopeInfo holds positions behind the names.
    pub with_positions: u32,
}

impl ScopeTypes {
    /// 10.2 to 12.4: CLASS, EVAL, FUNCTION, MODULE, SCRIPT, ..., and from 11
    /// on SHADOW_REALM as the ninth.
    pub const OLD: Self = Self {
        module: 3,
        with_positions: 0b1_0001_1111,
    };
    /// 13.6 and 14.6: SCRIPT, REPL_MODE, CLASS, EVAL, FUNCTION, MODULE.
    pub const NEW: Self = Self {
        module: 5,
        with_positions: 0,
    };
}

/// What the metadata of a version lacks.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub from: (u32, u32),
    pub code_start: CodeStart,
    pub code_alignment: u64,
    pub code_deoptimization: u64,
    pub code_positions: u64,
    pub code_flags: u64,
    pub code_size: u64,
    /// `REGEXP` of src/objects/code-kind.h.
    pub code_kind_regexp: u32,
    pub deoptimization_inlined_count: u64,
    pub deoptimization_literals: u64,
    pub deoptimization_shared: u64,
    pub deoptimization_inlining: u64,
    pub bytecode_positions: u64,
    pub bytecode_data: u64,
    pub untrusted_data: Option<u64>,
    pub scope_module_count_first: bool,
    pub scope_flags_shift: u32,
    pub scope_types: ScopeTypes,
    pub position_encoding: PositionEncoding,
}

/// src/objects/code.h `CODE_FIELDS` and `DeoptimizationData`,
/// src/objects/code.tq, src/objects/scope-info.tq, 10.0 and 10.3.
const V10_2: Known = Known {
    from: (10, 2),
    code_start: CodeStart::Inline(128),
    code_alignment: 32,
    code_deoptimization: 16,
    code_positions: 24,
    code_flags: 48,
    code_size: 40,
    code_kind_regexp: 3,
    deoptimization_inlined_count: 1,
    deoptimization_literals: 2,
    deoptimization_shared: 6,
    deoptimization_inlining: 7,
    bytecode_positions: 32,
    bytecode_data: 56,
    untrusted_data: None,
    scope_module_count_first: false,
    scope_flags_shift: 32,
    scope_types: ScopeTypes::OLD,
    position_encoding: PositionEncoding::Signed,
};

/// The metadata gives the first three of Code; the rest was read in the
/// memory of a Node 20 (V8 11.3.244), whose InstructionStream has neither
/// relocation information nor padding: 16 bytes.
const V11_3: Known = Known {
    from: (11, 3),
    code_start: CodeStart::Stream {
        header: 16,
        field: 40,
    },
    code_alignment: 64,
    code_size: 56,
    bytecode_data: 54,
    ..V10_2
};

/// src/objects/code.h `CODE_DATA_FIELDS`, src/objects/instruction-stream.h
/// `ISTREAM_FIELDS`, src/objects/deoptimization-data.h,
/// src/objects/bytecode-array.tq, src/objects/scope-info.tq, 12.4.254.
const V12_4: Known = Known {
    from: (12, 4),
    code_start: CodeStart::Stream {
        header: 32,
        field: 40,
    },
    code_deoptimization: 8,
    code_positions: 16,
    code_size: 52,
    bytecode_positions: 24,
    bytecode_data: 64,
    scope_module_count_first: true,
    ..V11_3
};

/// The same files, 13.6.233; src/objects/shared-function-info.tq.
const V13: Known = Known {
    from: (13, 0),
    code_flags: 52,
    code_size: 56,
    deoptimization_literals: 3,
    deoptimization_shared: 7,
    deoptimization_inlining: 8,
    untrusted_data: Some(16),
    scope_flags_shift: 0,
    scope_types: ScopeTypes::NEW,
    ..V12_4
};

/// The same files and src/codegen/source-position-table.cc `DecodeEntry`,
/// 14.6.202.
const V14: Known = Known {
    from: (14, 0),
    code_kind_regexp: 4,
    position_encoding: PositionEncoding::Flags,
    ..V13
};

/// Ordered; a version takes the last entry that is not newer than itself.
pub const KNOWN: [Known; 5] = [V10_2, V11_3, V12_4, V13, V14];

impl Known {
    /// `None` for a version older than the first.
    pub fn of(version: Version) -> Option<Self> {
        KNOWN
            .into_iter()
            .rfind(|known| known.from <= (version.major, version.minor))
    }
}
