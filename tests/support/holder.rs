//! The process that holds a container stack: everything it starts lives in its
//! mount namespace and ends with it.
use std::{
    ffi::CString,
    fs, io,
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{
    cgroups::{self, Version},
    demo, image, process, programs, stack,
};

/// How long a test waits for another's stack to go.
const PATIENCE: Duration = Duration::from_secs(600);

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn stop(_: libc::c_int) {
    STOP.store(true, Ordering::Relaxed);
}

/// What a stack is of.
#[derive(Clone, Copy)]
pub enum Content {
    /// The engine and its image alone.
    Engine,
    /// Known programs ([`stack::CONTAINERS`]).
    Programs,
    /// A shop with its faults ([`demo::CONTAINERS`]), or without.
    Demo { fixed: bool },
}

impl Content {
    /// Starts the containers, whose load ends after so long, and waits until
    /// they work.
    fn start(self, engine: &Engine, programs: &Path, load: Duration) -> Result<()> {
        let load = format!("LOAD={}", load.as_secs());
        match self {
            Self::Engine => Ok(()),
            Self::Programs => {
                let programs = format!("{}:/programs:ro", programs.display());
                engine.containers(stack::CONTAINERS, &[programs], &[load])?;
                stack::wait_for_load(engine.version)
            }
            Self::Demo { fixed } => {
                let fixed = format!("FIXED={}", u8::from(fixed));
                engine.containers(demo::CONTAINERS, &demo::volumes(), &[load, fixed])?;
                demo::wait_for_clients(engine.version)
            }
        }
    }
}

/// Starts the stack, says `ready`, and takes it down when standard input
/// closes (unless `detached`), on a signal, or when starting it fails.
pub fn hold(version: Version, detached: bool, content: Content, load: Duration) -> Result<()> {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let handler = stop as extern "C" fn(libc::c_int);
        // SAFETY: the handler only stores into an atomic.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
    let programs = programs::build()?;
    let _alone = alone(
        version,
        if detached {
            Duration::from_secs(5)
        } else {
            PATIENCE
        },
    )?;
    // Fetched while there is a network.
    image::prepare()?;
    if !detached {
        private_network()?;
    }
    let mut engine = Engine::new(version)?;
    engine.clean();
    let started = engine.start().and_then(|()| {
        engine.image()?;
        content.start(&engine, &programs, load)
    });
    match &started {
        Ok(()) => println!("ready"),
        Err(error) => println!("{error:#}"),
    }
    if started.is_ok() {
        wait(detached);
    }
    drop(engine);
    started
}

/// A machine has one stack of a version, whoever started it: they share the
/// engine's files. The lock goes with this process.
fn alone(version: Version, patience: Duration) -> Result<fs::File> {
    let path = format!("/run/profiler-tests-{}.lock", version.name());
    let file = fs::File::create(&path).with_context(|| path.clone())?;
    let free = process::until(patience, || {
        // SAFETY: flock takes no pointer, and the descriptor is open.
        unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
    });
    if !free {
        bail!("another container stack is up: cargo xtask stack down");
    }
    Ok(file)
}

/// Until a signal comes or the other end of standard input is closed.
fn wait(detached: bool) {
    while !STOP.load(Ordering::Relaxed) {
        let mut input = libc::pollfd {
            fd: if detached { -1 } else { 0 },
            events: 0,
            revents: 0,
        };
        // SAFETY: one valid pollfd, and its count.
        unsafe { libc::poll(&raw mut input, 1, 200) };
        if input.revents & libc::POLLHUP != 0 {
            return;
        }
    }
}

struct Engine {
    version: Version,
    run: PathBuf,
    data: PathBuf,
    daemon: Option<Child>,
    /// cgroup directories of engines that were there before: not ours to remove.
    foreign: Vec<PathBuf>,
}

impl Engine {
    fn new(version: Version) -> Result<Self> {
        if version == Version::V1 && version.mount().is_none() {
            bail!("this machine has no cgroup version 1 hierarchy");
        }
        private_mounts()?;
        if version == Version::V2 {
            only_cgroup2()?;
        }
        let foreign = parents().into_iter().filter(|path| path.is_dir()).collect();
        Ok(Self {
            version,
            run: stack::run_directory(version),
            data: image::cache().join(format!("docker-{}", version.name())),
            daemon: None,
            foreign,
        })
    }

    fn docker(&self) -> Command {
        stack::docker(self.version)
    }

    fn start(&mut self) -> Result<()> {
        fs::create_dir_all(&self.run)?;
        fs::create_dir_all(&self.data)?;
        // The engine of the machine, if it has one, keeps its settings.
        let settings = self.run.join("daemon.json");
        fs::write(&settings, "{}")?;
        let log = self.run.join("dockerd.log");
        let output = fs::File::create(&log)?;
        let mut command = Command::new("dockerd");
        command
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .args([
                "--exec-opt",
                "native.cgroupdriver=cgroupfs",
                "--config-file",
            ])
            .arg(&settings)
            .arg("--data-root")
            .arg(&self.data)
            .arg("--exec-root")
            .arg(self.run.join("exec"))
            .arg("--pidfile")
            .arg(self.run.join("docker.pid"))
            .args(["--host", &stack::docker_host(self.version)])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        // SAFETY: prctl is async-signal-safe and touches no memory. The engine
        // stops its containers on SIGTERM.
        unsafe {
            command.pre_exec(
                || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                },
            );
        }
        self.daemon = Some(
            command
                .process_group(0)
                .spawn()
                .context("cannot start dockerd")?,
        );
        let up = process::until(Duration::from_secs(60), || {
            process::any_output(self.docker().arg("version"))
                .is_ok_and(|output| output.status.success())
        });
        if !up {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let tail: Vec<&str> = text.lines().rev().take(5).collect();
            bail!("dockerd does not answer: {}", tail.join(" | "));
        }
        Ok(())
    }

    fn image(&self) -> Result<()> {
        image::import(&|| self.docker())?;
        // What a run that was killed left in the engine's files.
        for id in stack::known_ids(&self.data) {
            process::any_output(self.docker().args(["rm", "--force", &id]))?;
        }
        Ok(())
    }

    fn containers(
        &self,
        containers: &[(&str, &str)],
        volumes: &[String],
        environment: &[String],
    ) -> Result<()> {
        for (name, script) in containers {
            process::output(
                self.docker()
                    .args(["run", "--detach", "--network=host", "--name", name])
                    .args(volumes.iter().flat_map(|volume| ["--volume", volume]))
                    .args(environment.iter().flat_map(|variable| ["--env", variable]))
                    .args([image::IMAGE, "/bin/sh", "-c", script]),
            )?;
        }
        Ok(())
    }

    /// Ends all processes of this stack and removes what they leave. It also
    /// finds what an earlier holder left that was itself killed.
    fn clean(&mut self) {
        let ids = stack::known_ids(&self.data);
        if let Some(daemon) = &mut self.daemon {
            // At once: nobody misses what is in them.
            let _ = process::any_output(
                stack::docker(self.version)
                    .args(["rm", "--force", "--volumes"])
                    .args(&ids),
            );
            if !daemon_end(daemon) {
                eprintln!("dockerd did not stop by itself");
            }
        }
        self.daemon = None;
        let mut left = 0;
        process::until(Duration::from_secs(10), || {
            let processes = self.processes(&ids);
            left = processes.len();
            for pid in processes {
                // SAFETY: kill touches no memory.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
            left == 0
        });
        for parent in parents() {
            for id in &ids {
                let _ = fs::remove_dir(parent.join(id));
            }
            if !self.foreign.contains(&parent) {
                let _ = fs::remove_dir(&parent);
            }
        }
        for id in &ids {
            let _ = fs::remove_dir_all(self.data.join("containers").join(id));
        }
        self.unmount();
        let _ = fs::remove_dir_all(&self.run);
        let _ = self.run.parent().map(fs::remove_dir);
        if left > 0 {
            eprintln!("{left} processes of the container stack would not end");
        }
    }

    /// Mounts of the engine: they would go with us, but hold its directories.
    fn unmount(&self) {
        let text = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        // The innermost come last.
        for path in text.lines().rev().filter_map(|line| line.split(' ').nth(1)) {
            let ours = [&self.run, &self.data]
                .into_iter()
                .any(|base| Path::new(path).starts_with(base));
            if let (true, Ok(path)) = (ours, CString::new(path)) {
                // SAFETY: a valid string.
                unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
            }
        }
    }

    /// The engine's processes, which name the run directory, and those in the
    /// containers' cgroups.
    fn processes(&self, ids: &[String]) -> Vec<libc::pid_t> {
        let mut found = Vec::new();
        let wanted = self.run.to_string_lossy().into_owned() + "/";
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<libc::pid_t>() else {
                continue;
            };
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            let engine = ["dockerd", "containerd"]
                .iter()
                .any(|name| line.contains(name));
            if engine && line.contains(&wanted) {
                found.push(pid);
            }
        }
        for parent in parents() {
            for id in ids {
                let list = fs::read_to_string(parent.join(id).join("cgroup.procs"));
                found.extend(
                    list.unwrap_or_default()
                        .lines()
                        .filter_map(|line| line.parse::<i32>().ok()),
                );
            }
        }
        found.retain(|pid| *pid > 1);
        found
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.clean();
    }
}

fn daemon_end(daemon: &mut Child) -> bool {
    // SAFETY: kill touches no memory; the child has not been waited for.
    unsafe { libc::kill(daemon.id() as libc::pid_t, libc::SIGTERM) };
    let ended = process::until(Duration::from_secs(20), || {
        !matches!(daemon.try_wait(), Ok(None))
    });
    if !ended {
        let _ = daemon.kill();
        let _ = daemon.wait();
    }
    ended
}

/// `docker` in every hierarchy: the engine's own part of it.
fn parents() -> Vec<PathBuf> {
    cgroups::mounts()
        .into_iter()
        .map(|(path, _, _)| path.join("docker"))
        .collect()
}

/// From here on, mounts of this process and its children are theirs alone, and
/// go with the last of them.
fn private_mounts() -> Result<()> {
    // SAFETY: unshare takes no pointer; there is one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error()).context("no mount namespace: is this root?");
    }
    mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE)
}

/// A test's containers have a loopback of their own, so that two tests, or a
/// test and what a person tries, never want the same port.
fn private_network() -> Result<()> {
    // SAFETY: unshare takes no pointer; there is one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error()).context("no network namespace: is this root?");
    }
    process::output(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    Ok(())
}

/// Makes this mount namespace one of a host with cgroup version 2 alone.
fn only_cgroup2() -> Result<()> {
    if cgroups::mounts()
        .iter()
        .all(|(_, kind, _)| kind == "cgroup2")
    {
        return Ok(());
    }
    let path = CString::new("/sys/fs/cgroup")?;
    // SAFETY: a valid string.
    if unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) } != 0 {
        return Err(io::Error::last_os_error()).context("unmounting /sys/fs/cgroup");
    }
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0)
}

fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong) -> Result<()> {
    let [source, target, kind] =
        [source, target, kind].map(|text| CString::new(text).expect("no NUL"));
    // SAFETY: three valid strings, and no data.
    let result = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            std::ptr::null(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("mounting {target:?}"));
    }
    Ok(())
}
