//! Disk requests: against what programs did, and the kernel's own counters.
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    cgroups::Version,
    folded::Folded,
    image,
    measurement::measured,
    process,
    process::Process,
    profiler, programs,
    recording::Recording,
    stack::{Stack, docker},
};

const HOLDER: &str = env!("CARGO_BIN_EXE_stack");
/// Calls of each kind. Direct ones move 512 KiB, in one request, the others 64 KiB.
const CALLS: u64 = 200;
const LARGE: u64 = 512 << 10;
const SMALL: u64 = 64 << 10;
/// By how much a median, which is an edge of a histogram, may be more than that of
/// the calls that the requests are made in.
const LATENCY_ERROR: f64 = 0.2;
/// Largest difference of the time of all requests to the device's own account, and
/// the unit of that, milliseconds: its ends are cut off.
const TIME_ERROR: f64 = 0.03;
/// By how much less it may be of writes. The block layer dates all requests that
/// are made under one plug from when it looked at the clock first
/// (blk_time_get_ns, 6.9), and fsync(2) makes many.
const PLUGGED_ERROR: f64 = 0.4;
const TIME_UNIT: f64 = 2.0;

/// A file system of its own on a loop device, so that the device's counters
/// move for the test alone.
struct Disk {
    /// Removed after it is unmounted.
    _directory: tempfile::TempDir,
    mount: PathBuf,
    /// `loop0`.
    device: String,
}

impl Disk {
    fn make() -> Result<Self> {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let image = directory.path().join("image");
        let mount = directory.path().join("mount");
        fs::create_dir(&mount)?;
        // Whole, so that the file below it need not grow.
        process::output(Command::new("fallocate").args(["-l", "512M"]).arg(&image))?;
        // Nothing is left to be initialised later.
        process::output(
            Command::new("mkfs.ext4")
                .args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
                .arg(&image),
        )?;
        // Past the page cache below it, so that it is as slow as a disk.
        let device = process::output(
            Command::new("losetup")
                .args(["--find", "--show", "--direct-io=on"])
                .arg(&image),
        )?;
        let device = device.trim();
        let mounted = process::output(
            Command::new("mount")
                .args(["-o", "noatime", device])
                .arg(&mount),
        );
        // Goes when nothing has it open.
        process::output(Command::new("losetup").args(["--detach", device]))?;
        mounted?;
        let device = device.trim_start_matches("/dev/").to_owned();
        Ok(Self {
            _directory: directory,
            mount,
            device,
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.mount.join(name)
    }

    fn sync(&self) -> Result<()> {
        process::output(Command::new("sync").arg("-f").arg(&self.mount)).map(|_| ())
    }

    /// Bytes read and written: sectors of 512 bytes.
    fn counters(&self) -> Result<[u64; 2]> {
        Ok(self.stat([2, 6])?.map(|sectors| sectors * 512))
    }

    /// Milliseconds that all reads and all writes took, from when the request was
    /// made until it was done.
    fn request_times(&self) -> Result<[u64; 2]> {
        self.stat([3, 7])
    }

    /// Fields of Documentation/admin-guide/iostats.rst, from 0 on.
    fn stat(&self, places: [usize; 2]) -> Result<[u64; 2]> {
        let text = fs::read_to_string(format!("/sys/block/{}/stat", self.device))?;
        let numbers: Vec<u64> = text
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let at = |place: usize| numbers.get(place).copied().context("a short stat");
        Ok([at(places[0])?, at(places[1])?])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The profiler may still look at what is open there.
        let mount = self.mount.clone();
        process::until(Duration::from_secs(5), || {
            Command::new("umount")
                .arg(&mount)
                .status()
                .is_ok_and(|status| status.success())
        });
    }
}

/// The test program, which works when it is told to.
struct Worker {
    process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// A kind of calls as the program timed them: their number, bytes, and
/// nanoseconds in all, at the median and at most.
struct Calls {
    name: String,
    bytes: u64,
    sum: f64,
    median: f64,
}

impl Worker {
    fn start(kind: &str, file: &Path) -> Result<Self> {
        let program = programs::build()?.join("disk");
        let mut process = Process::spawn(
            Command::new(program)
                .arg(kind)
                .arg(file)
                .arg(CALLS.to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        )?;
        let input = process.child().stdin.take().context("no input")?;
        let output = BufReader::new(process.child().stdout.take().context("no output")?);
        let mut worker = Self {
            process,
            input,
            output,
        };
        ensure!(worker.line()? == "ready", "it is not ready");
        Ok(worker)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Lets it work, and returns what it says of that.
    fn work(&mut self) -> Result<Vec<Calls>> {
        writeln!(self.input)?;
        let mut calls = Vec::new();
        loop {
            let line = self.line()?;
            if line == "done" {
                return Ok(calls);
            }
            let words: Vec<&str> = line.split(' ').collect();
            ensure!(words.len() == 6, "it said {line:?}");
            calls.push(Calls {
                name: words[0].to_owned(),
                bytes: words[2].parse()?,
                sum: words[3].parse()?,
                median: words[4].parse()?,
            });
        }
    }

    fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Bytes read and written, as the kernel charges them to the process:
    /// Documentation/filesystems/proc.rst.
    fn io(&self) -> Result<[u64; 2]> {
        let text = fs::read_to_string(format!("/proc/{}/io", self.pid()))?;
        let number = |name: &str| -> Result<u64> {
            let found = text.lines().find_map(|line| line.strip_prefix(name));
            Ok(found.context("no such counter")?.trim().parse()?)
        };
        Ok([number("read_bytes:")?, number("write_bytes:")?])
    }
}

struct Recorded {
    report: Value,
    bytes: Folded,
    time: Folded,
}

impl Recorded {
    /// Records the whole host while `work` is done.
    fn during<T>(work: impl FnOnce() -> Result<T>) -> Result<(Self, T)> {
        Self::of(profiler::command(), work)
    }

    /// The same with a profiler of another view of the host.
    fn of<T>(profiler: Command, work: impl FnOnce() -> Result<T>) -> Result<(Self, T)> {
        let recording = Recording::begin(profiler, &["--sources", "disk"])?;
        let done = work()?;
        let (report, saved) = recording.end()?;
        let folded = |source| -> Result<Folded> {
            let options = ["--format", "folded", "--source", source];
            Folded::parse(&profiler::render_with(&saved, &options)?)
        };
        let recorded = Self {
            report,
            bytes: folded("disk")?,
            time: folded("disk-time")?,
        };
        Ok((recorded, done))
    }

    fn rows(&self, table: &str) -> impl Iterator<Item = &Value> {
        self.report["disk"][table].as_array().into_iter().flatten()
    }

    fn process(&self, pid: u32) -> Result<&Value> {
        self.rows("processes")
            .find(|row| row["pid"] == pid)
            .with_context(|| format!("no row of process {pid}"))
    }

    fn device(&self, name: &str) -> Result<&Value> {
        self.rows("devices")
            .find(|row| row["name"] == name)
            .with_context(|| format!("no row of {name}"))
    }
}

fn operation<'r>(row: &'r Value, name: &str) -> &'r Value {
    row["operations"]
        .as_array()
        .and_then(|rows| rows.iter().find(|it| it["operation"] == name))
        .unwrap_or(&Value::Null)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// Weight of the stacks that have all of these frames.
fn weight(folded: &Folded, frames: &[&str]) -> u64 {
    let sum: f64 = folded
        .stacks
        .iter()
        .filter(|stack| frames.iter().all(|frame| stack.has(frame)))
        .map(|stack| stack.weight)
        .sum();
    sum as u64
}

/// Two processes on one disk, one past the page cache and one through it: all
/// bytes are those of the program, the process's own account and the device's.
#[test]
fn bytes_latencies_and_stacks_of_two_processes() -> Result<()> {
    measured(two_processes)
}

fn two_processes() -> Result<()> {
    let disk = Disk::make()?;
    let direct_path = disk.file("direct");
    let cached_path = disk.file("cached");
    let mut direct = Worker::start("direct", &direct_path)?;
    let mut cached = Worker::start("cached", &cached_path)?;
    disk.sync()?;
    let before = (disk.counters()?, direct.io()?, cached.io()?);
    let times_before = disk.request_times()?;
    let (recording, calls) = Recorded::during(|| {
        let calls = (direct.work()?, cached.work()?);
        disk.sync()?;
        Ok(calls)
    })?;
    let after = (disk.counters()?, direct.io()?, cached.io()?);
    let moved = |before: [u64; 2], after: [u64; 2]| [after[0] - before[0], after[1] - before[1]];

    // The device's: the journal's too, which a kernel thread writes.
    let row = recording.device(&disk.device)?;
    let of_device =
        [operation(row, "read"), operation(row, "write")].map(|it| number(&it["bytes"]));
    println!(
        "device: found {of_device:?}, by its stat {:?}",
        moved(before.0, after.0)
    );
    ensure!(
        of_device == moved(before.0, after.0),
        "{row}\n{}\n{}",
        recording.report["quality"],
        recording.report["notes"]
    );
    check_times(row, moved(times_before, disk.request_times()?))?;

    // What goes past the cache is read and written as the program says.
    let row = recording.process(direct.pid())?;
    let of_direct =
        [operation(row, "read"), operation(row, "write")].map(|it| number(&it["bytes"]));
    println!(
        "direct: found {of_direct:?}, by its io {:?}",
        moved(before.1, after.1)
    );
    ensure!(of_direct == [CALLS * LARGE; 2], "{row}");
    ensure!(of_direct == moved(before.1, after.1), "{row}");
    check_latencies(row, &calls.0)?;

    // What it made dirty, it wrote itself in fsync.
    let row = recording.process(cached.pid())?;
    let of_cached =
        [operation(row, "read"), operation(row, "write")].map(|it| number(&it["bytes"]));
    println!(
        "cached: found {of_cached:?}, by its io {:?}",
        moved(before.2, after.2)
    );
    ensure!(of_cached == [CALLS * SMALL; 2], "{row}");
    ensure!(number(&operation(row, "flush")["requests"]) <= 1, "{row}");
    check_cache(&row["page_cache"], moved(before.2, after.2))?;
    // The second time it reads from memory.
    ensure!(calls.1.iter().any(|it| it.name == "read_warm"));

    for (process, path, access) in [
        (direct.pid(), &direct_path, "direct"),
        (cached.pid(), &cached_path, "cached"),
    ] {
        check_files(&recording, process, path, access)?;
    }
    check_stacks(&recording, &disk.device, &calls)
}

/// How long the requests took, by the block layer's own account of them.
fn check_times(row: &Value, milliseconds: [u64; 2]) -> Result<()> {
    let less = [TIME_ERROR, PLUGGED_ERROR];
    for ((name, expected), less) in ["read", "write"].iter().zip(milliseconds).zip(less) {
        let found = total(operation(row, name), "total_ns") / 1e6;
        let expected = expected as f64;
        println!("{name}: {found:.1} ms in all, {expected} ms by its stat");
        ensure!(
            found - expected <= TIME_ERROR * expected + TIME_UNIT
                && expected - found <= less * expected + TIME_UNIT,
            "{name}: {found} ms instead of {expected} ms"
        );
    }
    Ok(())
}

/// Of requests, in the queue and in service.
fn total(operation: &Value, field: &str) -> f64 {
    ["queue", "service"]
        .iter()
        .map(|part| operation[part][field].as_f64().unwrap_or_default())
        .sum()
}

/// The latencies of a process whose every call makes one request: what it saw is
/// the request and the way there and back, which may be long where a hypervisor
/// runs somebody else before the thread.
fn check_latencies(row: &Value, calls: &[Calls]) -> Result<()> {
    for (name, calls) in ["write", "read"].iter().zip(calls) {
        let found = operation(row, name);
        ensure!(number(&found["requests"]) == CALLS, "{found}");
        ensure!(number(&found["errors"]) == 0, "{found}");
        let (median, sum) = (total(found, "p50_ns"), total(found, "total_ns"));
        println!(
            "{name}: median {:.0} µs of {:.0} µs, sum {:.1} ms of {:.1} ms",
            median / 1e3,
            calls.median / 1e3,
            sum / 1e6,
            calls.sum / 1e6
        );
        ensure!(sum <= calls.sum, "requests take longer than calls: {found}");
        ensure!(
            median <= (1.0 + LATENCY_ERROR) * calls.median,
            "{name}: half of the requests take more than {median} ns, of the calls {} ns",
            calls.median
        );
        let counted: u64 = found["service"]["p99_ns"].as_u64().unwrap_or_default();
        ensure!(counted <= number(&found["service"]["max_ns"]), "{found}");
    }
    Ok(())
}

/// `read_bytes` counts what was read from the disk, `write_bytes` what was made
/// dirty, metadata included.
fn check_cache(found: &Value, moved: [u64; 2]) -> Result<()> {
    println!("page cache: {found}, by its io {moved:?}");
    ensure!(moved[0] == CALLS * SMALL, "it read {} bytes", moved[0]);
    ensure!(number(&found["missed_bytes"]) == CALLS * SMALL, "{found}");
    ensure!(number(&found["dirtied_bytes"]) == moved[1], "{found}");
    // Kernels before 6.12 do not tell of what was there.
    if !found["looked_up_bytes"].is_null() {
        ensure!(
            number(&found["looked_up_bytes"]) == 2 * CALLS * SMALL,
            "{found}"
        );
        ensure!(number(&found["hit_bytes"]) == CALLS * SMALL, "{found}");
    }
    Ok(())
}

fn check_files(recording: &Recorded, process: u32, path: &Path, access: &str) -> Result<()> {
    let row = recording.process(process)?;
    for name in ["read", "write"] {
        let found: u64 = recording
            .rows("files")
            .filter(|file| {
                file["pid"] == process
                    && file["operation"] == name
                    && file["access"] == access
                    && file["path"].as_str().map(Path::new) == Some(path)
            })
            .map(|file| number(&file["bytes"]))
            .sum();
        ensure!(
            found == number(&operation(row, name)["bytes"]),
            "{found} bytes of {} {name}: {}",
            path.display(),
            recording.report["disk"]["files"]
        );
    }
    Ok(())
}

fn check_stacks(
    recording: &Recorded,
    device: &str,
    calls: &(Vec<Calls>, Vec<Calls>),
) -> Result<()> {
    let frame = |operation: &str| format!("[disk {operation}: {device}]");
    let (read, write) = (frame("read"), frame("write"));
    for (function, frame) in [
        ("write_directly", &write),
        ("read_directly", &read),
        ("write_and_sync", &write),
        ("read_cold", &read),
    ] {
        let expected = calls
            .0
            .iter()
            .chain(&calls.1)
            .find(|it| it.name == function)
            .context(function)?;
        let found = weight(&recording.bytes, &["main", function, frame]);
        let time = weight(&recording.time, &["main", function, frame]);
        println!(
            "{function}: {found} of {} bytes, {:.1} ms",
            expected.bytes,
            time as f64 / 1e6
        );
        // Of each process all writes are those of one function, and all reads.
        ensure!(
            found == expected.bytes,
            "{function}: {found} of {} bytes:{}",
            expected.bytes,
            recording.bytes.examples(|stack| stack.has(frame))
        );
        ensure!(time > 0, "{function} has no time");
    }
    ensure!(
        weight(&recording.bytes, &["read_warm"]) == 0,
        "it read what was there"
    );
    // All of the time is somewhere.
    let row = recording.device(device)?;
    let all = [frame("read"), frame("write"), frame("flush")]
        .map(|frame| weight(&recording.time, &[&frame]));
    ensure!(
        all.iter().sum::<u64>() == number(&row["request_ns"]),
        "{all:?} ns in stacks: {row}"
    );
    Ok(())
}

/// What is left to the kernel's writeback is its own; who made it dirty is told.
#[test]
fn buffered_writes_and_who_made_them() -> Result<()> {
    let disk = Disk::make()?;
    let path = disk.file("dirty");
    let mut worker = Worker::start("dirty", &path)?;
    disk.sync()?;
    let before = worker.io()?;
    let (recording, _) = Recorded::during(|| {
        worker.work()?;
        disk.sync()
    })?;
    let after = worker.io()?;
    let row = recording.process(worker.pid())?;
    println!("{}", row["page_cache"]);
    ensure!(number(&row["bytes"]) == 0, "it wrote itself: {row}");
    let dirtied = number(&row["page_cache"]["dirtied_bytes"]);
    ensure!(
        dirtied == after[1] - before[1] && dirtied >= CALLS * SMALL,
        "{row}"
    );
    // By kernel workers and by sync(1), whichever comes first. Below the loop
    // device its pages are written once more.
    let written: u64 = recording
        .rows("files")
        .filter(|file| file["inode"].as_u64() == fs::metadata(&path).ok().map(|it| inode(&it)))
        .inspect(|file| println!("{file}"))
        .filter(|file| file["device"] == disk.device.as_str())
        .filter(|file| file["operation"] == "write" && file["access"] == "cached")
        .map(|file| number(&file["bytes"]))
        .sum();
    ensure!(written == CALLS * SMALL, "{written} bytes of the file");
    let said = recording.report["notes"].to_string();
    ensure!(said.contains("kernel workers"), "no note: {said}");
    Ok(())
}

fn inode(status: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    status.ino()
}

/// Processes that are gone before anyone looks at them.
#[test]
fn short_lived_processes() -> Result<()> {
    const PROCESSES: u64 = 60;
    const BYTES: u64 = 256 << 10;
    let disk = Disk::make()?;
    let path = disk.file("brief");
    let dd = || {
        let mut command = Command::new("dd");
        command
            .args(["if=/dev/zero", "bs=128k", "count=2"])
            .args(["oflag=direct", "conv=notrunc", "status=none"])
            .arg(format!("of={}", path.display()));
        process::output(&mut command).map(|_| ())
    };
    dd()?;
    disk.sync()?;
    let (recording, ()) = Recorded::during(|| {
        for _ in 0..PROCESSES {
            dd()?;
        }
        // They are collected when they are gone for a while.
        std::thread::sleep(Duration::from_secs(3));
        Ok(())
    })?;
    let of_device = |row: &&Value| row["device"] == disk.device.as_str();
    let written: u64 = recording
        .rows("files")
        .filter(of_device)
        .filter(|row| {
            row["process"]
                .as_str()
                .is_some_and(|name| name == "dd" || name.starts_with("dd ("))
        })
        .map(|row| number(&row["bytes"]))
        .sum();
    println!("{written} bytes of {}", PROCESSES * BYTES);
    ensure!(written == PROCESSES * BYTES, "{}", recording.report["disk"]);
    Ok(())
}

#[test]
fn fio_in_a_container_on_cgroup_v1() -> Result<()> {
    if Version::V1.mount().is_none() {
        println!("this host has no cgroup version 1");
        return Ok(());
    }
    fio_in_a_container(Version::V1)
}

#[test]
fn fio_in_a_container_on_cgroup_v2() -> Result<()> {
    fio_in_a_container(Version::V2)
}

/// The host's fio in a container, on a file of its own past the page cache: the
/// bytes and requests of the container are those that fio says it made.
fn fio_in_a_container(version: Version) -> Result<()> {
    let disk = Disk::make()?;
    let path = disk.file("fio");
    process::output(
        Command::new("dd")
            .args(["if=/dev/zero", "bs=1M", "count=64", "status=none"])
            .arg(format!("of={}", path.display())),
    )?;
    disk.sync()?;
    let stack = Stack::start_empty(version, Path::new(HOLDER))?;
    let (recording, said) = Recorded::of(stack.command(&profiler::binary()), || {
        // It stays for a while: its name is asked of the engine.
        let script = format!(
            "chroot /host fio --name=job --filename={} --rw=randrw --bs=16k --direct=1 \
             --ioengine=psync --output-format=json; sleep 5",
            path.display()
        );
        let said = process::output(
            docker(version)
                .args(["run", "--name", "fio", "--network=host", "--volume=/:/host"])
                .args([image::IMAGE, "sh", "-c", &script]),
        )?;
        Ok(said)
    })?;
    let json = said.find('{').context("fio says nothing")?;
    let said: Value = serde_json::from_str(&said[json..])?;
    for name in ["read", "write"] {
        let job = &said["jobs"][0][name];
        let (mut bytes, mut requests) = (0, 0);
        for file in recording.rows("files") {
            if file["container"] == "fio"
                && file["device"] == disk.device.as_str()
                && file["operation"] == name
            {
                bytes += number(&file["bytes"]);
                requests += number(&file["requests"]);
            }
        }
        let row = operation(recording.device(&disk.device)?, name);
        let median = number(&row["service"]["p50_ns"]) + number(&row["queue"]["p50_ns"]);
        let call = number(&job["clat_ns"]["percentile"]["50.000000"]);
        println!(
            "{name}: {bytes} bytes of {}, {requests} requests of {}, median {median} ns of {call}",
            job["io_bytes"], job["total_ios"]
        );
        ensure!(
            bytes == number(&job["io_bytes"]) && requests == number(&job["total_ios"]),
            "{}",
            recording.report["disk"]["files"]
        );
        ensure!(median <= call, "requests take longer than calls: {row}");
    }
    Ok(())
}
