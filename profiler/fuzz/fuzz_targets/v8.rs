#![no_main]

use std::{
    env, fs,
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use libfuzzer_sys::fuzz_target;
use profiler_ebpf::{javascript, v8::folded};
use profiler_fuzz::{
    elf::Elf,
    heap::{Heap, Input},
    runtimes::{
        Memory,
        v8::{Engine, Reader, recognise},
    },
};

/// Of each Node that is there.
static ENGINES: LazyLock<Vec<Arc<Engine>>> = LazyLock::new(|| {
    let cache = env::var_os("PROFILER_TEST_CACHE")
        .map_or_else(|| PathBuf::from("/var/cache/profiler-tests"), PathBuf::from);
    let engines: Vec<_> = ["18", "20", "22", "24", "26"]
        .iter()
        .filter_map(|line| {
            let path = cache.join("nodes").join(line).join("package/bin/node");
            let bytes = fs::read(&path).ok()?;
            let elf = Elf::parse(&bytes).ok()?;
            let engine = recognise(&fs::File::open(&path).ok()?, &elf)?;
            Some(Arc::new(engine.ok()?))
        })
        .collect();
    assert!(!engines.is_empty(), "no Node: cargo xtask setup test");
    engines
});

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let engine = &ENGINES[usize::from(input.byte()) % ENGINES.len()];
    let mut heap = Heap::new(&engine.layout);
    let function = heap.function(&mut input);
    let code = heap.code(function, &mut input);
    heap.damage(&mut input);
    let check = heap
        .u32(function + engine.layout.shared_check)
        .unwrap_or_default();
    let offset = engine.layout.bytecode_data + u64::from(input.byte());
    let mut reader = Reader::new(Arc::clone(engine));
    // Twice: the second time by what was remembered.
    for _ in 0..2 {
        for (kind, object, detail) in [
            (
                javascript::INTERPRETED,
                function,
                offset << 32 | u64::from(check),
            ),
            (
                javascript::COMPILED,
                function,
                u64::from(folded(check)) << 48 | code,
            ),
            (javascript::CODE, code, u64::from(input.byte())),
        ] {
            let _ = reader.resolve(&heap, kind, object, detail);
        }
    }
});
