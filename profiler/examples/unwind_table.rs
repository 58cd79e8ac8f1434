//! Builds the unwind table of each file given and says what it took:
//!
//! ```text
//! cargo run --release --example unwind_table -- /usr/bin/node
//! ```

use std::process::ExitCode;
use std::time::Instant;

use profiler::elf::Elf;
use profiler::unwind;

fn main() -> ExitCode {
    let mut result = ExitCode::SUCCESS;
    for path in std::env::args().skip(1) {
        if let Err(error) = measure(&path) {
            eprintln!("{path}: {error:#}");
            result = ExitCode::from(2);
        }
    }
    result
}

fn measure(path: &str) -> anyhow::Result<()> {
    let data = std::fs::read(path)?;
    let mut best = f64::MAX;
    let mut table = None;
    for _ in 0..5 {
        let start = Instant::now();
        table = Some(unwind::build(&Elf::parse(&data)?)?);
        best = best.min(start.elapsed().as_secs_f64());
    }
    if let Some(table) = table {
        println!(
            "{path}: {:.2} ms, {} blocks, {} KiB, {:?}",
            best * 1e3,
            table.blocks.len(),
            table.blocks.len() * size_of::<profiler_ebpf::Block>() / 1024,
            table.statistics,
        );
    }
    Ok(())
}
