#![no_main]

use libfuzzer_sys::fuzz_target;
use profiler_fuzz::elf::Elf;
use profiler_fuzz::unwind;

fuzz_target!(|data: &[u8]| {
    let Ok(elf) = Elf::parse(data) else { return };
    let ranges = elf.executable_ranges();
    let Ok(table) = unwind::build(&elf) else {
        return;
    };
    table.check(&ranges);
});
