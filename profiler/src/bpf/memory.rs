//! The hooks on page faults, reclaim and the out-of-memory killer.

use aya::programs::{
    PerfEvent,
    perf_event::{PerfEventConfig, PerfEventScope, SamplePolicy, SoftwareEvent},
};

use profiler_ebpf::MINOR_FAULTS_PER_SAMPLE;

use super::kernel::{Kernel, KernelError};

/// Program, event, and how many of them it is run for. Not a frequency: with
/// that the kernel's period jumps from one to thousands and back.
const FAULTS: [(&str, SoftwareEvent, u64); 2] = [
    (
        "minor_fault",
        SoftwareEvent::PageFaultsMin,
        MINOR_FAULTS_PER_SAMPLE,
    ),
    ("major_fault", SoftwareEvent::PageFaultsMaj, 1),
];

/// Two tracepoints share a program.
const RECLAIM: [(&str, [&str; 2]); 2] = [
    (
        "reclaim_begin",
        [
            "mm_vmscan_direct_reclaim_begin",
            "mm_vmscan_memcg_reclaim_begin",
        ],
    ),
    (
        "reclaim_end",
        [
            "mm_vmscan_direct_reclaim_end",
            "mm_vmscan_memcg_reclaim_end",
        ],
    ),
];

impl Kernel {
    /// Looks at page faults from now on, wherever CPU time is sampled.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the programs or the events; nothing is recorded then.
    pub fn sample_faults(&mut self) -> Result<(), KernelError> {
        for (name, ..) in FAULTS {
            self.load_sampler(name)?;
        }
        let cpus = self.sampled_cpus();
        let attached = cpus.iter().try_for_each(|&cpu| self.start_faults(cpu));
        self.samples_faults = attached.is_ok();
        if attached.is_err() {
            for cpu in cpus {
                self.stop_faults(cpu);
            }
        }
        attached
    }

    /// Attaches to the faults of a CPU.
    pub(super) fn start_faults(&mut self, cpu: u32) -> Result<(), KernelError> {
        for (name, event, period) in FAULTS {
            let link = self
                .program::<PerfEvent>(name)?
                .attach(
                    PerfEventConfig::Software(event),
                    PerfEventScope::AllProcessesOneCpu { cpu },
                    SamplePolicy::Period(period),
                    false,
                )
                .map_err(|source| KernelError::Sampler {
                    cpu,
                    source: source.into(),
                })?;
            self.fault_samplers
                .entry(cpu)
                .or_default()
                .push((name, link));
        }
        Ok(())
    }

    pub(super) fn stop_faults(&mut self, cpu: u32) {
        for (name, link) in self.fault_samplers.remove(&cpu).unwrap_or_default() {
            if let Ok(program) = self.program::<PerfEvent>(name) {
                // It fails only if the link is gone, which is what we want.
                let _ = program.detach(link);
            }
        }
    }

    /// Times how long threads free memory themselves.
    ///
    /// # Errors
    ///
    /// If the kernel has none of the tracepoints, or refuses a program.
    pub fn time_reclaim(&mut self) -> Result<(), KernelError> {
        for (name, tracepoints) in RECLAIM {
            for tracepoint in tracepoints {
                self.attach_tracepoint(name, tracepoint)?;
            }
        }
        Ok(())
    }

    /// Reports processes that the out-of-memory killer chooses.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the program.
    pub fn watch_oom_kills(&mut self) -> Result<(), KernelError> {
        self.attach_tracepoint("oom_kill", "mark_victim")
            .map(|_| ())
    }
}
