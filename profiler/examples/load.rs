use profiler::bpf::*;
fn main() {
    env_logger::init();
    let mut k = Kernel::load(&KernelOptions{frequency:99,gate:Gate::Everything,cgroup_v1_controller:Some("memory"),cpus:2}).unwrap_or_else(|e|{ println!("{e:?}"); std::process::exit(1)});
    k.start_sampling(0).unwrap(); k.start_sampling(1).unwrap();
    for _ in 0..10 { std::thread::sleep(std::time::Duration::from_millis(100));
      k.drain(1000, |e| if let Event::Sample(s) = e { println!("{:?} {} k{} u{} {:?} cg {} {} {}", s.header.process, s.header.tid, s.kernel_stack.len(), s.user_stack.len(), s.outcome, s.header.cgroup_v2, s.header.cgroup_v1, String::from_utf8_lossy(&s.header.thread_name)); }); }
    for r in k.program_runs() { println!("{r:?}"); }
}
