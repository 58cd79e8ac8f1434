//! SharedFunctionInfo: the name of a function, and where its text is.

use std::sync::Arc;

use profiler_ebpf::v8::folded;

use super::{
    heap::{Heap, ObjectError, is_small, pointer, small},
    script::Script,
};
use crate::runtimes::Memory;

/// src/common/globals.h `kScopeInfoMaxInlinedLocalNamesSize`: more names are
/// kept in a hash table, which takes one slot. 10.0 to 14.6.
const MAX_INLINE_NAMES: u64 = 75;
/// Variables of a function that live in its context.
const MAX_LOCALS: u64 = 1 << 20;

/// src/objects/scope-info.tq: the map, the flags, the number of parameters,
/// the number of variables in the context, then slots by the flags.
mod scope {
    pub const FLAGS: u64 = 8;
    pub const LOCALS: u64 = 24;
    /// From 12.8 on, src/objects/scope-info.tq.
    pub const FIXED_START: u64 = 32;

    pub const TYPE: u32 = 15;
    pub const SAVED_CLASS_VARIABLE: u32 = 1 << 10;
    pub const FUNCTION_VARIABLE: u32 = 3 << 12;
    pub const INFERRED_NAME: u32 = 1 << 14;
}

/// What is known of a function.
#[derive(Clone, Debug)]
pub struct Function {
    /// As `SharedFunctionInfo::DebugNameCStr` gives it, which `--cpu-prof`
    /// shows: its own name, else the one inferred. Empty: it has none.
    pub name: String,
    pub script: Option<Arc<Script>>,
    /// Offset in the script of its parameters.
    pub start: Option<u32>,
}

#[derive(Default)]
struct Scope {
    own: Option<String>,
    inferred: Option<String>,
    start: Option<u32>,
}

impl<M: Memory> Heap<'_, M> {
    /// That there is a function at an address, and, if `check` says so, the
    /// one that was there.
    pub fn check_function(&self, address: u64, check: Check) -> Result<(), ObjectError> {
        self.check(address, &[self.layout.shared_type], "a function")?;
        let now = self.u32(address, self.layout.shared_check)?;
        let same = match check {
            Check::None => true,
            Check::Whole(check) => now == check,
            Check::Folded(check) => folded(now) == check,
        };
        if same {
            Ok(())
        } else {
            Err(ObjectError::Replaced)
        }
    }

    /// A function whose code is one of V8's builtins or of C++: native
    /// symbols name those.
    pub fn is_builtin(&self, shared: u64) -> Result<bool, ObjectError> {
        let data = self.word(shared, self.layout.shared_function_data)?;
        match self.layout.shared_untrusted_data {
            // One of the two halves is in use, the other is zero.
            Some(other) if data == 0 => {
                let other = self.word(shared, other)?;
                Ok(is_small(other) || self.is_foreign(other))
            }
            _ => Ok(is_small(data) || self.is_foreign(data)),
        }
    }

    /// Neither bytecode nor code nor text to compile: a template of the API,
    /// WebAssembly.
    fn is_foreign(&self, word: u64) -> bool {
        let layout = self.layout;
        pointer(word, "")
            .and_then(|address| self.type_of(address))
            .is_ok_and(|kind| {
                kind != layout.code_type
                    && kind != layout.bytecode_type
                    && Some(kind) != layout.interpreter_data_type
                    && !layout.uncompiled_types.contains(&kind)
            })
    }

    /// The bytecode of a function that has any.
    pub fn bytecode_of(&self, shared: u64) -> Result<u64, ObjectError> {
        self.bytecode(self.word(shared, self.layout.shared_function_data)?)
    }

    /// The bytecode that a tagged word leads to: as it is, with a copy of the
    /// interpreter, or through baseline code.
    pub fn bytecode(&self, word: u64) -> Result<u64, ObjectError> {
        const BYTECODE: &str = "bytecode";
        let layout = self.layout;
        let mut word = word;
        for _ in 0..3 {
            let address = pointer(word, BYTECODE)?;
            let found = self.type_of(address)?;
            if found == layout.bytecode_type {
                return Ok(address);
            }
            word = if found == layout.code_type {
                self.word(address, layout.code_deoptimization)?
            } else if Some(found) == layout.interpreter_data_type {
                self.word(address, layout.interpreter_data_bytecode)?
            } else {
                return Err(ObjectError::NotA {
                    expected: BYTECODE,
                    address,
                    found,
                });
            };
        }
        Err(ObjectError::Damaged(BYTECODE))
    }

    /// Name and start of a function.
    pub fn name_and_start(&self, shared: u64) -> Result<(String, Option<u32>), ObjectError> {
        let layout = self.layout;
        let word = self.word(shared, layout.shared_name)?;
        let mut scope = Scope::default();
        // `kNoSharedNameSentinel` is a small integer.
        if !is_small(word) {
            let address = pointer(word, "a name")?;
            if self.is_string(address) {
                scope.own = Some(self.name(word)?);
            } else {
                self.check(address, &[layout.scope_type], "a scope")?;
                scope = self.scope(address)?;
            }
        }
        self.uncompiled(shared, &mut scope);
        let name = [scope.own, scope.inferred]
            .into_iter()
            .flatten()
            .find(|name| !name.is_empty());
        Ok((name.unwrap_or_default(), scope.start))
    }

    /// A function that was not compiled yet, or whose bytecode was thrown
    /// away, has its inferred name and its place elsewhere.
    fn uncompiled(&self, shared: u64, scope: &mut Scope) {
        let layout = self.layout;
        let offsets = [
            Some(layout.shared_function_data),
            layout.shared_untrusted_data,
        ];
        for offset in offsets.into_iter().flatten() {
            let Ok(data) = self
                .word(shared, offset)
                .and_then(|word| self.object(word, &layout.uncompiled_types, "text"))
            else {
                continue;
            };
            if scope.inferred.is_none() {
                scope.inferred = self
                    .word(data, layout.uncompiled_inferred_name)
                    .and_then(|word| self.name(word))
                    .ok();
            }
            if scope.start.is_none() {
                scope.start = self.u32(data, layout.uncompiled_start).ok();
            }
        }
    }

    fn scope(&self, address: u64) -> Result<Scope, ObjectError> {
        const SCOPE: &str = "a scope";
        let layout = self.layout;
        let flags = (self.word(address, scope::FLAGS)? >> layout.scope_flags_shift) as u32;
        let kind = flags & scope::TYPE;
        let locals = small(self.word(address, scope::LOCALS)?)
            .and_then(|count| u64::try_from(count).ok())
            .filter(|&count| count < MAX_LOCALS)
            .ok_or(ObjectError::Damaged(SCOPE))?;
        let mut slots = layout.scope_first_names;
        if layout.scope_module_count_first && kind == layout.scope_types.module {
            slots += 1;
        }
        slots += if locals < MAX_INLINE_NAMES { locals } else { 1 };
        slots += locals;
        if flags & scope::SAVED_CLASS_VARIABLE != 0 {
            slots += 1;
        }
        // The first slot is behind the map.
        let slot = |index: u64| self.word(address, 8 + 8 * index);
        let mut scope = Scope::default();
        if flags & scope::FUNCTION_VARIABLE != 0 {
            let word = slot(slots)?;
            if !is_small(word) {
                scope.own = Some(self.name(word)?);
            }
            slots += 2;
        }
        if flags & scope::INFERRED_NAME != 0 {
            // Undefined is no string.
            scope.inferred = self.name(slot(slots)?).ok();
            slots += 1;
        }
        let start = if layout.scope_positions_fixed {
            Some(self.word(address, scope::FIXED_START)?)
        } else if layout.scope_types.with_positions >> kind & 1 != 0 {
            Some(slot(slots)?)
        } else {
            None
        };
        scope.start = start
            .and_then(small)
            .and_then(|start| u32::try_from(start).ok());
        Ok(scope)
    }
}

/// What tells a function from another that got its address.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    /// A pointer to it was read just now.
    None,
    Whole(u32),
    Folded(u16),
}
