//! The walk of kernel stacks, beside the kernel's own: `bpf_get_stack` tells of one
//! in 64 whether it is the same.
use std::{
    fs::{self, File},
    io::{ErrorKind, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::recording::Recording;

/// Stacks that were walked for each one that was compared.
const COMPARED: u64 = 64;
/// Percent of the stacks that may be left to the kernel: where they pass code that is
/// made at run time, as programs of BPF are.
const HANDED_OVER: u64 = 5;

/// Something that keeps the kernel busy, again and again.
type Work = Box<dyn FnMut() -> Result<()> + Send>;

#[test]
fn as_the_kernel_tells_them() -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let scratch = tempfile::tempdir()?;
    let directory = if modules_are_loaded()? {
        PathBuf::from("/dev/shm")
    } else {
        scratch.path().to_owned()
    };
    let work: [(&str, Work); 4] = [
        ("pages", Box::new(pages)),
        ("children", Box::new(children)),
        ("files", Box::new(move || files(&directory))),
        ("network", network()?),
    ];
    let recording = Recording::start(&["--sources", "on-cpu", "--frequency", "4999"])?;
    let threads: Vec<_> = work
        .into_iter()
        .map(|(name, mut round)| {
            let stop = Arc::clone(&stop);
            let run = move || -> Result<u64> {
                let mut rounds = 0;
                while !stop.load(Ordering::Relaxed) {
                    round().context(name)?;
                    rounds += 1;
                }
                Ok(rounds)
            };
            thread::spawn(run)
        })
        .collect();
    thread::sleep(Duration::from_secs(10));
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        let rounds = thread.join().expect("it does not panic")?;
        ensure!(rounds > 10, "only {rounds} rounds of some work");
    }
    let (report, _) = recording.end()?;
    let number = |name: &str| quality(&report, name);
    let compared = number("kernel_stacks_compared")?;
    let handed_over = number("kernel_stacks_handed_over")?;
    println!("{compared} compared, {handed_over} handed over");
    ensure!(number("kernel_stacks_different")? == 0, "some differ");
    if !has_known_data()? {
        ensure!(
            compared + handed_over == 0,
            "walked by data of another layout"
        );
        return Ok(());
    }
    ensure!(compared >= 100, "only {compared} were compared");
    let summary = report["quality"]["summary"].as_array();
    ensure!(
        summary.into_iter().flatten().any(|line| line
            .as_str()
            .is_some_and(|line| line.starts_with("Kernel stacks: "))),
        "the summary does not tell: {summary:?}"
    );
    let walked = compared * COMPARED;
    ensure!(
        handed_over * 100 <= (walked + handed_over) * HANDED_OVER,
        "{handed_over} were handed over, some {walked} were walked"
    );
    Ok(())
}

/// The file system may be in one, whose stacks are left to the kernel.
fn modules_are_loaded() -> Result<bool> {
    match fs::read_to_string("/proc/modules") {
        Ok(modules) => Ok(!modules.is_empty()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).context("/proc/modules"),
    }
}

/// Kernels from 6.5 on have the data as we know it.
fn has_known_data() -> Result<bool> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    let mut next = || numbers.next().context("a number")?.context("of the kernel");
    Ok((next()?, next()?) >= (6, 5))
}

fn quality(report: &Value, name: &str) -> Result<u64> {
    report["quality"][name]
        .as_u64()
        .with_context(|| format!("no {name}"))
}

/// Faults, in an interrupted user's stack.
fn pages() -> Result<()> {
    let mut memory = vec![0_u8; 32 << 20];
    for byte in memory.iter_mut().step_by(4096) {
        *byte = 1;
    }
    std::hint::black_box(memory);
    Ok(())
}

/// What begins and ends has stacks of its own.
fn children() -> Result<()> {
    ensure!(Command::new("true").status()?.success(), "true fails");
    Ok(())
}

/// A file system, and the kernel's threads that write back.
fn files(directory: &Path) -> Result<()> {
    let path = directory.join(format!("kernel-stacks-{}", std::process::id()));
    let mut file = File::create(&path)?;
    file.write_all(&[1; 1 << 20])?;
    file.sync_all()?;
    ensure!(fs::read(&path)?.len() == 1 << 20, "a short file");
    Ok(fs::remove_file(&path)?)
}

/// Packets over the loopback device, received in interrupts on a stack of their own.
fn network() -> Result<Work> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    Ok(Box::new(move || {
        let mut bytes = [0; 64];
        client.write_all(&bytes)?;
        server.read_exact(&mut bytes)?;
        server.write_all(&bytes)?;
        Ok(client.read_exact(&mut bytes)?)
    }))
}
