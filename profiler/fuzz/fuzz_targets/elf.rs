#![no_main]

use libfuzzer_sys::fuzz_target;
use profiler_fuzz::elf::Elf;

fuzz_target!(|data: &[u8]| {
    let Ok(elf) = Elf::parse(data) else { return };
    for segment in elf.segments() {
        let _ = elf.bias(segment.address, segment.offset);
        let _ = elf.bytes_at(segment.address);
    }
    for name in [".text", ".eh_frame", ".debug_frame", ".gnu_debuglink"] {
        let _ = elf.section(name);
    }
    for probe in elf.probes() {
        let _ = elf.code_offset(probe.address);
    }
    let _ = elf.executable_ranges();
    let _ = elf.build_id();
    let _ = elf.eh_frame();
    let _ = elf.debug_link();
    let _ = elf.debug_alt_link();
    let _ = elf.interpreter();
    let _ = elf.is_pie();
    let _ = elf.is_go();
    if let Some(table) = elf.go_pclntab() {
        for function in table.functions().take(64) {
            let _ = function.name();
            let _ = table.line(&function, function.start);
            let _ = table.find(function.start);
        }
    }
});
