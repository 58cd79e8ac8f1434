//! On-CPU time: a tick of the sampling clock weighs the sampling period.

use aya_ebpf::programs::PerfEventContext;
use profiler_ebpf::{Counter, Source};

use crate::{
    gate::{self, Verdict},
    maps::count,
    walk::{self, Context, registers},
};

#[inline(always)]
pub fn sample(context: &PerfEventContext) {
    match gate::current() {
        Verdict::Idle => count(Counter::Idle as u32),
        Verdict::NotWanted => count(Counter::NotWanted as u32),
        Verdict::Wanted(wanted) => {
            walk::record(
                Context::Perf(context),
                wanted,
                Source::OnCpu,
                registers::sample_period(context),
                walk::Told::Nothing,
            );
        }
    }
}
