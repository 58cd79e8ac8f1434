//! The profiler on other kernels than the machine's: Debian's, each booted in
//! an emulator with nothing but the static binary and a test program.
use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{cache, dist, shell, suites::Suites, test::Outcome};

struct Kernel {
    name: &'static str,
    /// Start and end of the package's name; the version between them grows.
    package: (&'static str, &'static str),
}

/// From the oldest that the profiler supports to the newest there is.
const KERNELS: &[Kernel] = &[
    Kernel {
        name: "5.10",
        package: ("linux-image-5.10.", "-cloud-amd64"),
    },
    Kernel {
        name: "6.1",
        package: ("linux-image-6.1.", "-cloud-amd64"),
    },
    Kernel {
        name: "6.12",
        package: ("linux-image-6.12.", "-cloud-amd64"),
    },
    Kernel {
        name: "7.2",
        package: ("linux-binary-7.2.", "-cloud-amd64"),
    },
];
const SUITES: &[&str] = &["bullseye", "bookworm", "forky"];
const LIMIT: Duration = Duration::from_secs(240);

/// The share of the known program's stacks that must reach their root.
const COMPLETE: f64 = 0.99;

pub fn test(filter: Option<&str>) -> Result<Vec<Outcome>> {
    // Someone who works on these machines themselves has no use for it.
    if env::var_os("PROFILER_NO_BINARY").is_some() {
        return boot_all(None, filter);
    }
    let binary = match env::var_os("PROFILER") {
        Some(binary) => binary.into(),
        None => dist::build()?,
    };
    boot_all(Some(&binary), filter)
}

/// Boots the kernels whose name contains `filter`. Without a profiler, only the
/// machines themselves are tested.
fn boot_all(profiler: Option<&Path>, filter: Option<&str>) -> Result<Vec<Outcome>> {
    let chosen = KERNELS
        .iter()
        .filter(|kernel| filter.is_none_or(|part| kernel.name.contains(part)));
    let initramfs = initramfs(profiler)?;
    let mut suites = None;
    let mut outcomes = Vec::new();
    for kernel in chosen {
        let started = Instant::now();
        let outcome = image(kernel, &mut suites).and_then(|image| {
            let run = || {
                let console = boot(kernel, &image, &initramfs)?;
                check(&console, profiler.is_some())
            };
            run().or_else(|error| {
                // Shares are measured on a machine that others use, in an
                // emulator; what is wrong is wrong again.
                if !error.is::<Measured>() {
                    return Err(error);
                }
                println!("kernel {:<5} is booted again: {error:#}", kernel.name);
                run()
            })
        });
        let seconds = started.elapsed().as_secs_f64();
        outcomes.push(match outcome {
            Ok(said) => {
                println!("kernel {:<5} ok in {seconds:.0} s: {said}", kernel.name);
                Outcome::passed(kernel.name)
            }
            Err(error) => {
                println!(
                    "kernel {:<5} FAILED in {seconds:.0} s: {error:#}",
                    kernel.name
                );
                Outcome::failed(kernel.name, format!("{error:#}"))
            }
        });
    }
    Ok(outcomes)
}

/// The kernel's image, fetched once.
fn image(kernel: &Kernel, suites: &mut Option<Suites>) -> Result<PathBuf> {
    let image = cache::directory("kernels")?.join(format!("vmlinuz-{}", kernel.name));
    if image.is_file() {
        return Ok(image);
    }
    let (start, end) = kernel.package;
    let suites = match suites {
        Some(suites) => suites,
        None => suites.insert(Suites::open(SUITES)?),
    };
    let package = suites.newest(start, end)?;
    eprintln!("fetching {package}, which is not installed");
    let unpacked = cache::directory("kernels")?.join("unpacked");
    let _ = fs::remove_dir_all(&unpacked);
    suites.unpack(&package, &unpacked)?;
    let found = find_image(&unpacked)?.with_context(|| format!("{package} holds no kernel"))?;
    let partial = image.with_extension("partial");
    fs::copy(&found, &partial)?;
    fs::rename(&partial, &image)?;
    fs::remove_dir_all(&unpacked)?;
    Ok(image)
}

/// Older packages have the kernel in boot/, newer ones beside its modules.
fn find_image(directory: &Path) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            if let Some(found) = find_image(&entry.path())? {
                return Ok(Some(found));
            }
        } else if name.to_string_lossy().starts_with("vmlinuz") {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// Packs busybox, the test programs and the profiler.
fn initramfs(profiler: Option<&Path>) -> Result<PathBuf> {
    let work = shell::target().join("kernels");
    let tree = work.join("root");
    let _ = fs::remove_dir_all(&tree);
    for directory in ["bin", "lib", "lib64", "test"] {
        fs::create_dir_all(tree.join(directory))?;
    }
    let busybox = shell::find("busybox").context("busybox is not installed")?;
    copy(&busybox, &tree.join("bin/busybox"))?;
    libraries(&busybox, &tree)?;
    copy(
        &shell::root().join("tests/kernels/init"),
        &tree.join("init"),
    )?;
    shell::run(Command::new(shell::root().join("tests/programs/build.sh")).arg(tree.join("test")))?;
    fs::File::create(work.join("disk"))?.set_len(64 << 20)?;
    shell::run(
        Command::new("mkfs.ext4")
            .args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
            .arg(work.join("disk")),
    )?;
    libraries(&tree.join("test/shares"), &tree)?;
    if let Some(profiler) = profiler {
        // Its debug information is of no use there.
        shell::run(
            Command::new("strip")
                .arg("-o")
                .arg(tree.join("test/profiler"))
                .arg(profiler),
        )?;
        // One that was built for use here has some.
        libraries(profiler, &tree)?;
    }
    let archive = work.join("initramfs");
    shell::run(Command::new("sh").current_dir(&tree).args([
        "-c",
        "find . | cpio --quiet -o -H newc -R 0:0 >../initramfs",
    ]))?;
    Ok(archive)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Copies what a dynamic program loads: its libraries and the loader itself.
fn libraries(program: &Path, tree: &Path) -> Result<()> {
    // Fails on a static program, which needs none.
    let Ok(text) = shell::output(Command::new("ldd").arg(program)) else {
        return Ok(());
    };
    for word in text.split_whitespace().filter(|word| word.starts_with('/')) {
        let library = Path::new(word);
        if library.starts_with(tree) {
            continue;
        }
        let into = if library.starts_with("/lib64") {
            "lib64"
        } else {
            "lib"
        };
        let name = library.file_name().context("a library without a name")?;
        copy(library, &tree.join(into).join(name))?;
    }
    Ok(())
}

/// Boots a kernel and returns what it wrote to its serial console.
///
/// Two CPUs that take turns on one thread: when they run at the same time, qemu
/// does not order what one writes into code that the other runs, and the kernel
/// crashes in a jump that it is patching (as it does where a program is attached
/// to a tracepoint of the scheduler).
fn boot(kernel: &Kernel, image: &Path, initramfs: &Path) -> Result<String> {
    let (in_time, console) = shell::output_within(
        Command::new("qemu-system-x86_64")
            .args(["-accel", "tcg,thread=single", "-cpu", "max"])
            .args(["-m", "1G", "-smp", "2"])
            .args(["-nographic", "-no-reboot", "-net", "none", "-kernel"])
            .arg(image)
            .arg("-initrd")
            .arg(initramfs)
            // Changes are forgotten.
            .args(["-snapshot", "-drive"])
            .arg(format!(
                "file={},if=none,id=disk,format=raw",
                shell::target().join("kernels/disk").display()
            ))
            .args(["-device", "nvme,drive=disk,serial=disk"])
            .args(["-append", "console=ttyS0 quiet panic=-1"]),
        LIMIT,
    )?;
    let console = console.replace('\r', "");
    let kept = shell::target().join(format!("kernels/console-{}.txt", kernel.name));
    fs::write(&kept, &console)?;
    if !in_time {
        bail!(
            "not done after {} s: see {}",
            LIMIT.as_secs(),
            kept.display()
        );
    }
    if !console.contains("=== done") {
        bail!("it did not come to its end: see {}", kept.display());
    }
    Ok(console)
}

/// Looks at what the profiler wrote there about each program.
fn check(console: &str, with_profiler: bool) -> Result<String> {
    // The firmware leaves the cursor in the middle of a line.
    let version = console
        .split_once("=== kernel ")
        .and_then(|(_, rest)| rest.lines().next())
        .context("it did not name its kernel")?;
    let mut said = vec![version.to_owned()];
    for program in [
        "shares-static",
        "shares",
        "waits",
        "kernel",
        "disk",
        "statements",
    ] {
        let begin = format!("=== begin {program}\n");
        let end = format!("=== end {program} ");
        let (_, rest) = console
            .split_once(&begin)
            .with_context(|| format!("no {program}"))?;
        let (text, rest) = rest
            .split_once(&end)
            .with_context(|| format!("no end of {program}"))?;
        let code = rest.lines().next().unwrap_or_default().trim();
        if !with_profiler {
            let name = match program {
                "statements" => "postgres",
                "kernel" => "dd",
                program => program,
            };
            if code != name {
                bail!("{program} did not run: {code}");
            }
            continue;
        }
        if code != "0" {
            let messages: Vec<&str> = text.lines().filter(|line| line.starts_with("# ")).collect();
            bail!(
                "the profiler ended with {code} on {program}: {}",
                messages.join("\n")
            );
        }
        let found = match program {
            "waits" => waits(text),
            "kernel" => kernel_stacks(text, version),
            "disk" => disk(text),
            "statements" => statements(text),
            program => complete_stacks(text, program),
        };
        said.push(found?);
    }
    Ok(said.join(", "))
}

/// The known program's stacks reach their root.
fn complete_stacks(text: &str, program: &str) -> Result<String> {
    let (complete, all) = stacks(text);
    if all == 0 {
        bail!("no sample of {program}");
    }
    let share = complete as f64 / all as f64;
    if share < COMPLETE {
        bail!(Measured(format!(
            "only {:.1} % of the stacks of {program} reach their root",
            share * 100.0
        )));
    }
    Ok(format!("{program} {:.1} % complete", share * 100.0))
}

/// What was measured is not as it should be.
#[derive(Debug)]
struct Measured(String);

impl std::fmt::Display for Measured {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(&self.0)
    }
}

impl std::error::Error for Measured {}

/// The walker of kernel stacks agrees with the kernel's own wherever it is used: on
/// kernels from 6.5 on.
fn kernel_stacks(text: &str, version: &str) -> Result<String> {
    let number = |name: &str| -> Result<u64> {
        text.lines()
            .filter_map(|line| line.trim().strip_prefix('"')?.split_once("\": "))
            .find(|(key, _)| *key == name)
            .and_then(|(_, value)| value.trim_end_matches(',').parse().ok())
            .with_context(|| format!("no {name}"))
    };
    let compared = number("kernel_stacks_compared")?;
    let different = number("kernel_stacks_different")?;
    let handed_over = number("kernel_stacks_handed_over")?;
    if different != 0 {
        bail!("{different} of {compared} kernel stacks are not as the kernel tells them");
    }
    let mut numbers = version
        .split(['.', '-'])
        .map(|part| part.parse().unwrap_or(0));
    let (major, minor): (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if (major, minor) < (6, 5) {
        if compared + handed_over != 0 {
            bail!("kernel stacks were walked by data of another layout");
        }
        return Ok("kernel stacks left to it".to_owned());
    }
    // Of the samples, one in 64 is compared.
    if compared < 8 || handed_over > compared * 64 / 20 {
        bail!(Measured(format!(
            "only {compared} kernel stacks were compared, {handed_over} handed over"
        )));
    }
    Ok(format!("{compared} kernel stacks as the kernel tells them"))
}

/// Where threads of the program of the same name wait, and why.
const WAITS: &[(&str, &str)] = &[
    ("want_the_lock", "[blocked: lock]"),
    ("sleep_a_while", "[blocked: sleep]"),
    ("read_the_pipe", "[blocked: pipe]"),
    ("receive", "[blocked: network read]"),
    ("poll_the_peer", "[blocked: network read]"),
    ("park", "[idle: poll]"),
    ("wait_for_a_child", "[blocked: child process]"),
];
/// Least time for which each of them must be found to wait, in nanoseconds: of
/// three seconds, on a machine that is emulated.
const WAITED: u64 = 1_000_000_000;

/// Where threads of that program send and receive.
const TRAFFIC: &[(&str, &str)] = &[
    ("receive", "[network receive]"),
    ("poll_the_peer", "[network receive]"),
];

fn waits(folded: &str) -> Result<String> {
    for (function, reason) in WAITS {
        let waited: u64 = folded
            .lines()
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(stack, _)| {
                stack.split(';').any(|frame| frame == *function) && stack.ends_with(reason)
            })
            .filter_map(|(_, weight)| weight.parse::<u64>().ok())
            .sum();
        if waited < WAITED {
            bail!(Measured(format!(
                "{function} waits {waited} ns with {reason}"
            )));
        }
    }
    let moved = |function: &str, ending: &str| {
        folded
            .lines()
            .filter_map(|line| line.rsplit_once(' '))
            .any(|(stack, _)| {
                stack.split(';').any(|frame| frame == function) && stack.ends_with(ending)
            })
    };
    for (function, ending) in TRAFFIC {
        if !moved(function, ending) {
            // A stack of few: the one that is due may come before its table.
            bail!(Measured(format!("{function} does not end in {ending}")));
        }
    }
    Ok(format!("{} kinds of waits", WAITS.len()))
}

/// Bytes that each function of `disk` writes or reads, and what its requests are
/// called.
const DISK_BYTES: u64 = 50 * (512 << 10);
const DISK: [(&str, &str); 2] = [
    ("write_directly", "[disk write: nvme0n1]"),
    ("read_directly", "[disk read: nvme0n1]"),
];

fn disk(folded: &str) -> Result<String> {
    for (function, request) in DISK {
        let bytes: u64 = folded
            .lines()
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(stack, _)| {
                stack.split(';').any(|frame| frame == function) && stack.ends_with(request)
            })
            .filter_map(|(_, weight)| weight.parse::<u64>().ok())
            .sum();
        if bytes != DISK_BYTES {
            bail!(Measured(format!(
                "{bytes} bytes instead of {DISK_BYTES} of {request} in {function}"
            )));
        }
    }
    Ok("disk requests to the byte".to_owned())
}

/// What `postgres` did at its probes, so often.
const ROUNDS: u64 = 50;
const STATEMENTS: [(&str, &[(&str, u64)]); 2] = [
    (
        "SELECT f(?), ?",
        &[
            ("/executions", ROUNDS),
            ("/parse/count", ROUNDS),
            ("/rewrite/count", ROUNDS),
            ("/plan/count", ROUNDS),
            ("/plan/nested", ROUNDS),
            ("/execute/nested", 0),
            ("/lock_waits", ROUNDS),
            ("/failed", 0),
        ],
    ),
    ("SELECT failing", &[("/executions", 0), ("/failed", ROUNDS)]),
];

fn statements(text: &str) -> Result<String> {
    let servers = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("\"servers\": "))
        .with_context(|| format!("no phases of statements: {text}"))?;
    let servers: Value = serde_json::from_str(servers.trim_end_matches(','))?;
    let rows = servers
        .pointer("/0/statements")
        .and_then(Value::as_array)
        .context("no statements")?;
    for (statement, numbers) in STATEMENTS {
        let row = rows
            .iter()
            .find(|row| row["statement"] == statement)
            .with_context(|| format!("no {statement}: {servers}"))?;
        for &(place, expected) in numbers {
            if row.pointer(place).and_then(Value::as_u64) != Some(expected) {
                bail!("{place} is not {expected}: {row}");
            }
        }
    }
    Ok("phases of statements to the last one".to_owned())
}

/// The weight of the stacks that reach `main` or a thread's start, and of all.
fn stacks(folded: &str) -> (u64, u64) {
    let (mut complete, mut all) = (0, 0);
    for line in folded.lines().filter(|line| !line.starts_with("# ")) {
        let Some((stack, weight)) = line.rsplit_once(' ') else {
            continue;
        };
        let Ok(weight) = weight.parse::<u64>() else {
            continue;
        };
        all += weight;
        if stack
            .split(';')
            .any(|frame| frame == "main" || frame.starts_with("thread_entry"))
            && !stack.contains("[truncated")
        {
            complete += weight;
        }
    }
    (complete, all)
}

#[cfg(test)]
mod tests {
    use super::stacks;

    #[test]
    fn tells_complete_stacks() {
        let text = "host;p;_start;main;direct 3\nhost;p;[truncated: no table];direct 1\n# note 7\n";
        assert_eq!(stacks(text), (3, 4));
    }
}
