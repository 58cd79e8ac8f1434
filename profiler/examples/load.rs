use profiler::bpf::*; use profiler::process::*;
use std::collections::BTreeMap;
fn main() {
    env_logger::init();
    let (mut k, mut ring) = Kernel::load(&KernelOptions{frequency:std::env::args().nth(1).map_or(99,|a|a.parse().unwrap()),gate:Gate::Everything,cgroup_v1_controller:Some("memory"),cpus:2}).unwrap_or_else(|e|{ println!("{e:?}"); std::process::exit(1)});
    k.start_sampling(0).unwrap(); k.start_sampling(1).unwrap();
    let mut table = ProcessTable::new(2).unwrap();
    let mut outcomes: BTreeMap<String,(u64,u64)> = BTreeMap::new();
    let mut fails: BTreeMap<String,u64> = BTreeMap::new();
    let begin = std::time::Instant::now();
    while begin.elapsed().as_secs() < 5 { std::thread::sleep(std::time::Duration::from_millis(20));
      table.install_finished(&mut k);
      ring.drain(10000, |e| match e { Event::Sample(s) => { 
         let o = outcomes.entry(format!("{:?}", s.outcome)).or_default(); o.0 += 1; o.1 += s.user_stack.len() as u64;
         if !matches!(s.outcome, profiler_ebpf::Outcome::RootReached|profiler_ebpf::Outcome::NoUserStack) {
            let name = table.executables.in_slot(s.header.failed_executable).map(|id| table.executables.get(id).path.display().to_string());
            *fails.entry(format!("{:?} {} {:?} {:x}", s.outcome, String::from_utf8_lossy(&s.header.thread_name).trim_matches('\0'), name, s.header.failed_address)).or_default()+=1; }
         table.learn(&s, &mut k) },
        Event::Exec(e) => table.executed(&e,&mut k), Event::Exit(e) => table.exited(&e,&mut k), Event::Fork(e)=>table.forked(&e,&mut k), Event::CgroupCreated{..}=>{} }); }
    println!("{outcomes:?}"); for (f,n) in &fails { println!("{n} {f}"); }
    println!("{:?} built {} in {} ms, tables {} KB", table.counts(), table.executables.built, table.executables.build_cpu_ns/1000000, table.executables.table_bytes()/1024);
    for r in k.program_runs() { println!("{r:?} {}", r.run_time_ns/r.run_count.max(1)); }
}
