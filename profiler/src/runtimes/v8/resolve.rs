//! From a frame as the kernel side sent it to functions and lines.

use std::sync::Arc;

use profiler_ebpf::javascript;
use rustc_hash::FxHashMap;

use super::{
    code::{Code, Tier},
    function::{Check, Function},
    heap::{Heap, ObjectError, pointer},
    positions::{self, Position},
    recognise::Engine,
    script::Script,
};
use crate::runtimes::Memory;

/// Most functions that one frame stands for.
const MAX_INLINED: usize = 128;
/// Scripts of a process that are remembered; with more, all are read again.
const MAX_SCRIPTS: usize = 4096;

/// A function on the stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JavaScriptFrame {
    /// As `--cpu-prof` has it; what it is assigned to, or `(anonymous)`, for
    /// one without a name.
    pub function: String,
    /// A path, a URL or `node:...`; may be empty.
    pub script: Arc<str>,
    /// Where it runs, both from 1 on; 0 when it is not known. When only the
    /// function is known: where that begins, and `exact` is false.
    pub line: u32,
    pub column: u32,
    pub exact: bool,
    /// Line of the definition, 0 when it is not known.
    pub first_line: u32,
    /// Column of the definition's parameters, 0 when it is not known.
    pub first_column: u32,
    /// It was built into the frame that follows.
    pub inlined: bool,
    /// `None`: not JavaScript, but WebAssembly or a regular expression.
    pub tier: Option<Tier>,
}

/// Reads the frames of one process, and remembers its scripts.
pub struct Reader {
    engine: Arc<Engine>,
    scripts: FxHashMap<u64, (u64, Arc<Script>, Arc<str>)>,
    /// The map of what is in front of instructions: one in a process.
    stream_map: Option<u64>,
}

impl Reader {
    pub fn new(engine: Arc<Engine>) -> Self {
        Self {
            engine,
            scripts: FxHashMap::default(),
            stream_map: None,
        }
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The functions of a frame, of [`javascript`] `kind`, innermost first.
    /// None of a builtin: its native frame names it.
    ///
    /// # Errors
    /// When the objects are not what they were when the frame was taken: V8
    /// has moved or freed them, or the process is gone.
    pub fn resolve(
        &mut self,
        memory: &impl Memory,
        kind: u32,
        object: u64,
        detail: u64,
    ) -> Result<Vec<JavaScriptFrame>, ObjectError> {
        let engine = Arc::clone(&self.engine);
        let heap = Heap {
            memory,
            layout: &engine.layout,
        };
        match kind {
            javascript::INTERPRETED => {
                let check = Check::Whole(detail as u32);
                heap.check_function(object, check)?;
                let frame = self.interpreted(heap, object, (detail >> 32) as u32)?;
                heap.check_function(object, check)?;
                Ok(vec![frame])
            }
            javascript::COMPILED => {
                let check = Check::Folded((detail >> 48) as u16);
                heap.check_function(object, check)?;
                let frames = self.compiled(heap, object, detail & 0xffff_ffff_ffff)?;
                heap.check_function(object, check)?;
                Ok(frames)
            }
            javascript::CODE => self.code(heap, object, detail),
            _ => Err(ObjectError::Damaged("the frame")),
        }
    }

    fn interpreted<M: Memory>(
        &mut self,
        heap: Heap<M>,
        shared: u64,
        slot: u32,
    ) -> Result<JavaScriptFrame, ObjectError> {
        let bytecode = heap.bytecode_of(shared)?;
        // `InterpretedFrame::GetBytecodeOffset`: the slot counts from the
        // tagged pointer.
        let offset = u64::from(slot)
            .checked_sub(heap.layout.bytecode_data - 1)
            .and_then(|offset| u32::try_from(offset).ok())
            .ok_or(ObjectError::Damaged("a bytecode offset"))?;
        let position = self.bytecode_position(heap, bytecode, offset);
        self.frame(heap, shared, position, Tier::Interpreted)
    }

    fn bytecode_position<M: Memory>(
        &self,
        heap: Heap<M>,
        bytecode: u64,
        offset: u32,
    ) -> Option<u32> {
        let word = heap.word(bytecode, heap.layout.bytecode_positions).ok()?;
        let table = heap.bytes(word).ok()?;
        positions::lookup(&table, offset, heap.layout.position_encoding)?.script_offset()
    }

    /// `shared` is the function that the frame names, `address` is in its
    /// code, or in that of what it calls.
    fn compiled<M: Memory>(
        &mut self,
        heap: Heap<M>,
        shared: u64,
        address: u64,
    ) -> Result<Vec<JavaScriptFrame>, ObjectError> {
        if heap.is_builtin(shared)? {
            return Ok(Vec::new());
        }
        let code = heap
            .code_at(address, &mut self.stream_map)
            .and_then(|code| Ok((code, heap.tier(&code).ok_or(ObjectError::NoCode(address))?)));
        let Ok((code, tier)) = code else {
            // Builtin code: the function is known, its place is not.
            return Ok(vec![self.frame(heap, shared, None, Tier::Baseline)?]);
        };
        if tier == Tier::Baseline {
            let bytecode =
                heap.bytecode(heap.word(code.object, heap.layout.code_deoptimization)?)?;
            let own = heap.bytecode_of(shared) == Ok(bytecode);
            let position = if own {
                self.baseline_position(heap, &code, bytecode, address)
            } else {
                None
            };
            heap.check_code(&code)?;
            return Ok(vec![self.frame(heap, shared, position, tier)?]);
        }
        let (outer, mut frames) = self.optimised(heap, &code, tier, address)?;
        heap.check_code(&code)?;
        if outer != shared {
            // The thread is at the first or last instructions of a function
            // that `shared` has called.
            frames.push(self.frame(heap, shared, None, tier)?);
        }
        Ok(frames)
    }

    fn baseline_position<M: Memory>(
        &self,
        heap: Heap<M>,
        code: &Code,
        bytecode: u64,
        address: u64,
    ) -> Option<u32> {
        /// Bytecode of a function, V8's own limits are lower.
        const MAX_BYTECODE: usize = 16 << 20;
        let sizes = self.engine.bytecode_sizes.as_ref()?;
        let table = heap.code_positions(code).ok()?;
        // BytecodeArray is an array in this: its length is behind its map.
        let length = super::heap::small(heap.word(bytecode, 8).ok()?)?;
        let length = usize::try_from(length)
            .ok()
            .filter(|&length| length <= MAX_BYTECODE)?;
        let bytes = heap
            .memory
            .bytes(bytecode + heap.layout.bytecode_data, length)
            .ok()?;
        let offset = positions::baseline(&table, &bytes, sizes, address - code.start + 1)?;
        self.bytecode_position(heap, bytecode, offset)
    }

    /// The function that optimised code is of, and the frames at an address.
    fn optimised<M: Memory>(
        &mut self,
        heap: Heap<M>,
        code: &Code,
        tier: Tier,
        address: u64,
    ) -> Result<(u64, Vec<JavaScriptFrame>), ObjectError> {
        const INLINING: ObjectError = ObjectError::Damaged("an inlining position");
        let data = heap.optimised(code)?;
        let offset = u32::try_from(address - code.start).map_err(|_| INLINING)?;
        let mut position =
            positions::lookup(&data.positions, offset, heap.layout.position_encoding)
                .unwrap_or(Position::from_raw(0));
        let mut frames = Vec::new();
        let mut last = usize::MAX;
        while let Some(index) = position.inlining() {
            // A function is built in after the one that calls it was.
            if index >= last || frames.len() >= MAX_INLINED {
                return Err(INLINING);
            }
            last = index;
            let inlining = data.inlinings.get(index).ok_or(INLINING)?;
            let shared = match inlining.function {
                Some(index) => {
                    let word = *data.inlined.get(index).ok_or(INLINING)?;
                    let shared = pointer(word, "a function")?;
                    heap.check_function(shared, Check::None)?;
                    shared
                }
                None => data.shared,
            };
            let mut frame = self.frame(heap, shared, position.script_offset(), tier)?;
            frame.inlined = true;
            frames.push(frame);
            position = inlining.position;
        }
        frames.push(self.frame(heap, data.shared, position.script_offset(), tier)?);
        Ok((data.shared, frames))
    }

    /// Code of a frame that names no function.
    fn code<M: Memory>(
        &mut self,
        heap: Heap<M>,
        address: u64,
        kind: u64,
    ) -> Result<Vec<JavaScriptFrame>, ObjectError> {
        let code = heap.code_at(address, &mut self.stream_map);
        if let Ok(code) = code
            && let Some(tier) = heap.tier(&code)
            && tier != Tier::Baseline
        {
            let (_, frames) = self.optimised(heap, &code, tier, address)?;
            heap.check_code(&code)?;
            return Ok(frames);
        }
        let engine = Arc::clone(&self.engine);
        let function = match u32::try_from(kind)
            .ok()
            .and_then(|kind| engine.frame_type(kind))
        {
            Some("Wasm") => "(WebAssembly)",
            Some("Irregexp") => "(regular expression)",
            _ if code.is_ok_and(|code| heap.is_regexp(&code)) => "(regular expression)",
            _ => return Err(code.err().unwrap_or(ObjectError::NoCode(address))),
        };
        Ok(vec![JavaScriptFrame {
            function: function.to_owned(),
            script: Arc::from(""),
            line: 0,
            column: 0,
            exact: false,
            first_line: 0,
            first_column: 0,
            inlined: false,
            tier: None,
        }])
    }

    fn frame<M: Memory>(
        &mut self,
        heap: Heap<M>,
        shared: u64,
        position: Option<u32>,
        tier: Tier,
    ) -> Result<JavaScriptFrame, ObjectError> {
        let (name, start) = heap.name_and_start(shared)?;
        let (script, file) = match self.script_of(heap, shared) {
            Some((script, file)) => (Some(script), file),
            None => (None, Arc::from("")),
        };
        let function = Function {
            name,
            script,
            start,
        };
        let place = |offset: Option<u32>| function.script.as_ref()?.place(offset?);
        let exact = place(position);
        let definition = place(function.start);
        let (line, column) = exact.or(definition).unwrap_or((0, 0));
        let (first_line, first_column) = definition.unwrap_or((0, 0));
        let name = if function.name.is_empty() {
            self.name_from_text(heap, shared, function.start)
                .unwrap_or_else(|| "(anonymous)".to_owned())
        } else {
            function.name
        };
        Ok(JavaScriptFrame {
            function: name,
            script: file,
            line,
            column,
            exact: exact.is_some(),
            first_line,
            first_column,
            inlined: false,
            tier: Some(tier),
        })
    }

    /// Newer V8s infer no names for functions of Node's own scripts.
    fn name_from_text<M: Memory>(
        &self,
        heap: Heap<M>,
        shared: u64,
        start: Option<u32>,
    ) -> Option<String> {
        let word = heap.word(shared, heap.layout.shared_script).ok()?;
        let script = heap
            .object(word, &[heap.layout.script_type], "a script")
            .ok()?;
        heap.name_from_text(script, start?)
    }

    fn script_of<M: Memory>(
        &mut self,
        heap: Heap<M>,
        shared: u64,
    ) -> Option<(Arc<Script>, Arc<str>)> {
        let layout = heap.layout;
        let word = heap.word(shared, layout.shared_script).ok()?;
        let address = heap.object(word, &[layout.script_type], "a script").ok()?;
        // Another script may have got the address of one that was freed: it
        // has another text.
        let source = heap.word(address, layout.script_source).ok()?;
        if let Some((known, script, file)) = self.scripts.get(&address)
            && *known == source
        {
            return Some((Arc::clone(script), Arc::clone(file)));
        }
        let script = Arc::new(heap.script(address).ok()?);
        let file = Arc::from(script.name.as_str());
        if self.scripts.len() >= MAX_SCRIPTS {
            self.scripts.clear();
        }
        let entry = (source, Arc::clone(&script), Arc::clone(&file));
        self.scripts.insert(address, entry);
        Some((script, file))
    }
}
