//! Containers of a real Docker, on cgroup version 1 (hybrid) and version 2.
//!
//! Needs root, `docker.io`, `busybox-static`. Each test starts its own `dockerd`.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use profiler::{
    containers::{Containers, Endpoint, Mounts, engines::Api},
    profile::{Container, ContainerKind},
};

struct Engine {
    directory: tempfile::TempDir,
    daemon: Child,
}

impl Engine {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let log = fs::File::create(at("log")).expect("a log");
        let daemon = Command::new("dockerd")
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .arg("-H")
            .arg(format!("unix://{}", at("docker.sock").display()))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("dockerd starts");
        let engine = Self { directory, daemon };
        let deadline = Instant::now() + Duration::from_secs(60);
        while engine.try_docker(&["version"]).is_none() {
            assert!(
                Instant::now() < deadline,
                "dockerd does not answer: {}",
                fs::read_to_string(engine.directory.path().join("log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        let root = engine.directory.path().join("image/bin");
        fs::create_dir_all(&root).expect("made");
        fs::copy("/bin/busybox", root.join("busybox")).expect("copied");
        for name in ["sh", "sleep", "dd"] {
            std::os::unix::fs::symlink("busybox", root.join(name)).expect("linked");
        }
        let archive = engine.directory.path().join("image.tar");
        let status = Command::new("tar")
            .arg("-C")
            .arg(engine.directory.path().join("image"))
            .arg("-cf")
            .arg(&archive)
            .arg(".")
            .status()
            .expect("tar runs");
        assert!(status.success());
        engine.docker(&["import", archive.to_str().expect("UTF-8"), "tiny"]);
        engine
    }

    fn address(&self) -> String {
        format!("unix://{}/docker.sock", self.directory.path().display())
    }

    fn endpoint(&self) -> Endpoint {
        endpoint(self.address())
    }

    fn try_docker(&self, arguments: &[&str]) -> Option<String> {
        let output = Command::new("docker")
            .arg("-H")
            .arg(self.address())
            .args(arguments)
            .output()
            .expect("docker runs");
        if !output.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn docker(&self, arguments: &[&str]) -> String {
        self.try_docker(arguments)
            .unwrap_or_else(|| panic!("docker {arguments:?}"))
    }

    fn run(&self, name: &str, options: &[&str], script: &str) -> Running {
        let mut arguments = vec!["run", "-d", "--name", name];
        arguments.extend(options);
        arguments.extend(["tiny", "sh", "-c", script]);
        let id = self.docker(&arguments);
        let pid = self.docker(&["inspect", "-f", "{{.State.Pid}}", name]);
        Running {
            id,
            pid: pid.parse().expect("a pid"),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(all) = self.try_docker(&["ps", "-aq"]) {
            for id in all.lines() {
                self.try_docker(&["rm", "-f", id]);
            }
        }
        // SIGTERM, so that it unmounts and stops its containerd.
        let _ = Command::new("kill")
            .arg(self.daemon.id().to_string())
            .status();
        let _ = self.daemon.wait();
    }
}

struct Running {
    id: String,
    pid: u32,
}

fn endpoint(address: String) -> Endpoint {
    Endpoint {
        api: Api::Docker,
        kind: ContainerKind::Docker,
        address,
        user: None,
    }
}

/// What the kernel side sends: ids of the cgroups of a process, (v2, v1).
fn ids(mounts: &Mounts, pid: u32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it lives");
    let (v2, v1) = mounts.paths_of(&text);
    let inode = |mount: Option<&Path>, path: Option<&str>| {
        let directory = mount?.join(path?.trim_start_matches('/'));
        Some(fs::metadata(directory).ok()?.ino())
    };
    (
        inode(mounts.v2.as_deref(), v2).unwrap_or(0),
        inode(mounts.v1_controller().map(|v1| v1.mount.as_path()), v1).unwrap_or(0),
    )
}

/// The directory that accounts for a container's CPU time, and that time.
fn cpu_ns(mounts: &Mounts, id: &str) -> u64 {
    let read = |path: PathBuf| fs::read_to_string(path).expect("it is there");
    if let Some(cpuacct) = mounts.v1("cpuacct") {
        let text = read(cpuacct.join("docker").join(id).join("cpuacct.usage"));
        text.trim().parse().expect("a number")
    } else {
        let mount = mounts.v2.as_deref().expect("version 2");
        let text = read(mount.join("docker").join(id).join("cpu.stat"));
        let usage = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("usage_usec "));
        usage
            .expect("the first line")
            .parse::<u64>()
            .expect("a number")
            * 1000
    }
}

fn find<'a>(list: &'a [Container], name: &str) -> &'a Container {
    list.iter()
        .find(|container| container.name == name)
        .unwrap_or_else(|| {
            let names: Vec<_> = list.iter().map(|container| &container.name).collect();
            panic!("no {name} in {names:?}")
        })
}

fn scenario(version: u32) {
    let engine = Engine::start();
    let busy = "while :; do :; done";
    let limits = ["--cpus", "0.1", "--memory", "64m", "--pids-limit", "50"];
    // Without controllers, as on this version 2, limits are refused.
    let limits: &[&str] = if version == 1 { &limits } else { &[] };
    let web = engine.run("web", &[limits, &["--label", "tier=front"]].concat(), busy);
    let db = engine.run("db", &[], "sleep 1000");
    let mounts = Mounts::find();
    assert_eq!(mounts.v1_controller().is_some(), version == 1);

    let start = Instant::now();
    let mut containers = Containers::with(mounts.clone(), vec![engine.endpoint()]);
    eprintln!("v{version}: new took {:?}", start.elapsed());
    let (web_v2, web_v1) = ids(&mounts, web.pid);
    let (db_v2, db_v1) = ids(&mounts, db.pid);

    // Selecting, in objects of their own: a selection narrows the report.
    {
        let mut other = Containers::with(mounts.clone(), vec![engine.endpoint()]);
        let error = other
            .select(&["nginx".to_owned()])
            .expect_err("there is none")
            .to_string();
        assert!(error.contains("db") && error.contains("web"), "{error}");
        for pattern in ["web", "we*", &web.id[..6]] {
            let mut other = Containers::with(mounts.clone(), vec![engine.endpoint()]);
            let selection = other.select(&[pattern.to_owned()]).expect("web");
            assert_eq!(selection.names, ["web"], "{pattern}");
            let ids = selection.ids;
            if version == 1 {
                assert_eq!(ids.v1, [web_v1], "{pattern}");
                assert!(!ids.v1.contains(&db_v1));
            } else {
                assert_eq!((ids.v2, ids.v1), (vec![web_v2], vec![]), "{pattern}");
                assert_ne!(web_v2, db_v2);
            }
        }
        // One that starts later and matches: wanted once its name is known.
        let mut other = Containers::with(mounts.clone(), vec![engine.endpoint()]);
        let selection = other.select(&["job-*".to_owned()]).expect("it waits");
        assert!(selection.ids.is_empty());
        let job = engine.run("job-1", &[], "sleep 1000");
        let (v2, v1) = ids(&mounts, job.pid);
        let path = format!("/docker/{}", job.id);
        let (hierarchy, id) = match mounts.v1_controller() {
            Some(controller) => (controller.hierarchy, v1),
            None => (0, v2),
        };
        let start = Instant::now();
        let mut made = other.cgroup_created(hierarchy, id, path.as_bytes());
        while made.is_empty() && start.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(1));
            made = other.newly_wanted();
        }
        eprintln!(
            "v{version}: a new container was wanted after {:?}",
            start.elapsed()
        );
        assert!(made.v1.contains(&id) || made.v2.contains(&id));
        engine.docker(&["rm", "-f", "job-1"]);
    }

    let in_web = containers.resolve(web_v2, web_v1, web.pid);
    let in_db = containers.resolve(db_v2, db_v1, db.pid);
    // systemd in a container would make these.
    let mount = match mounts.v1_controller() {
        Some(v1) => v1.mount.clone(),
        None => mounts.v2.clone().expect("version 2"),
    };
    let nested = mount.join("docker").join(&db.id).join("init.scope");
    fs::create_dir(&nested).expect("a nested cgroup");
    std::thread::sleep(Duration::from_millis(300));
    let nested_id = fs::metadata(&nested).expect("made").ino();
    let in_nested = match version {
        1 => containers.resolve(db_v2, nested_id, 0),
        _ => containers.resolve(nested_id, 0, 0),
    };
    assert_eq!(in_nested, in_db);
    fs::remove_dir(&nested).expect("removed");

    containers.begin();
    let before = cpu_ns(&mounts, &web.id);
    let began = Instant::now();
    // It is gone before the end, and still has its name and figures.
    let late = engine.run(
        "late",
        &["--rm"],
        "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done",
    );
    let (late_v2, late_v1) = ids(&mounts, late.pid);
    let in_late = containers.resolve(late_v2, late_v1, late.pid);
    assert!(containers.is_known(in_late));
    std::thread::sleep(Duration::from_secs(4));
    while Path::new(&format!("/proc/{}", late.pid)).exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    containers.end();
    let used = cpu_ns(&mounts, &web.id) - before;
    let elapsed = began.elapsed();
    let start = Instant::now();
    let (list, _) = containers.finish();
    eprintln!("v{version}: finish took {:?}", start.elapsed());

    assert_eq!(list[0].name, "host");
    let found = find(&list, "web");
    assert_eq!(list[in_web as usize].name, "web");
    assert_eq!(list[in_db as usize].name, "db");
    assert_eq!(list[in_late as usize].name, "late");
    assert_eq!(found.kind, ContainerKind::Docker);
    assert_eq!(found.id, web.id);
    assert_eq!(found.image, "tiny");
    assert_eq!(found.cgroup, format!("/docker/{}", web.id));
    assert!(
        found
            .labels
            .contains(&("tier".to_owned(), "front".to_owned()))
    );
    // Other engines' containers may run on this host; ours all have names.
    for running in [&web.id, &db.id, &late.id] {
        let named = list.iter().find(|container| container.id == *running);
        assert_ne!(named.expect("reported").name, running[..12]);
    }

    let usage = found.usage.as_ref().expect("figures");
    let cpu = usage.cpu_ns.expect("CPU time");
    eprintln!("v{version}: cpu {cpu} of the files' {used}, {usage:?}");
    assert!(cpu.abs_diff(used) < used / 10 + 20_000_000, "{cpu} {used}");
    let parts = usage.cpu_user_ns.expect("user") + usage.cpu_system_ns.expect("system");
    assert!(parts.abs_diff(cpu) < cpu / 20 + 40_000_000, "{parts} {cpu}");
    assert_eq!(usage.network_receive_bytes, Some(0), "only a loopback");
    let idle = find(&list, "db").usage.as_ref().expect("figures");
    assert!(idle.cpu_ns.expect("CPU time") < cpu / 10);
    let gone = find(&list, "late").usage.as_ref().expect("figures");
    eprintln!("v{version}: late {:?}", gone.cpu_ns);
    assert!(gone.cpu_ns.expect("CPU time") > 20_000_000);
    let host = list[0].usage.as_ref().expect("figures");
    assert!(host.cpu_ns.expect("CPU time") >= cpu * 9 / 10);

    if version == 1 {
        let inspect = engine.docker(&[
            "inspect",
            "-f",
            "{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}",
            "web",
        ]);
        let limits: Vec<u64> = inspect.split(' ').flat_map(str::parse).collect();
        assert_eq!(usage.cpu_limit, Some(limits[0] as f64 / 1e9));
        assert_eq!(usage.memory_limit_bytes, Some(limits[1]));
        assert_eq!(usage.pids_limit, Some(limits[2]));
        assert_eq!(usage.pids, Some(1));
        assert_eq!(usage.oom_kills, Some(0));
        assert!(usage.cpu_throttled_periods.expect("throttling") > 0);
        assert!(usage.cpu_throttled_ns.expect("throttling") > 0);
        assert!(cpu as f64 <= elapsed.as_nanos() as f64 * 0.2);
        // `docker stats` says the same.
        let stats = engine.docker(&["stats", "--no-stream", "--format", "{{json .}}", "web"]);
        eprintln!("v{version}: {stats}");
        let memory = stats
            .split_once("\"MemUsage\":\"")
            .and_then(|(_, rest)| rest.split_once("iB"))
            .expect("memory")
            .0;
        let (number, unit) = memory.split_at(memory.len() - 1);
        let unit = if unit == "M" { 1 << 20 } else { 1 << 10 };
        let memory = number.parse::<f64>().expect("a number") * f64::from(unit);
        let working_set = usage.memory_working_set_bytes.expect("memory") as f64;
        assert!(
            (memory - working_set).abs() < 200_000.0,
            "{memory} {working_set}"
        );
        let limit = find(&list, "db").usage.as_ref().expect("figures");
        assert_eq!((limit.cpu_limit, limit.memory_limit_bytes), (None, None));
    } else {
        assert!(usage.cpu_pressure.is_some());
        // Its controllers are not in this hierarchy.
        assert_eq!(usage.memory_usage_bytes, None);
    }

    engine_is_dead(&mounts, &web, (web_v2, web_v1), &engine);
}

/// Nothing listens, or what listens never answers: ids, one note, no delay.
fn engine_is_dead(mounts: &Mounts, web: &Running, ids: (u64, u64), engine: &Engine) {
    let silent = engine.directory.path().join("silent.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&silent).expect("a socket");
    for path in [engine.directory.path().join("gone.sock"), silent] {
        let address = format!("unix://{}", path.display());
        let start = Instant::now();
        let mut containers = Containers::with(mounts.clone(), vec![endpoint(address.clone())]);
        containers.begin();
        let container = containers.resolve(ids.0, ids.1, web.pid);
        assert!(start.elapsed() < Duration::from_millis(500));
        let start = Instant::now();
        let (list, notes) = containers.finish();
        assert!(start.elapsed() < Duration::from_millis(2500));
        assert_eq!(list[container as usize].name, web.id[..12]);
        assert!(list[container as usize].usage.is_some());
        let notes: Vec<_> = notes
            .iter()
            .filter(|note| note.text.contains("by id"))
            .collect();
        assert_eq!(notes.len(), 1, "{notes:?}");
        eprintln!("{}", notes[0].text);
        assert!(!notes[0].text.contains('\n'));
    }
}

#[test]
fn docker_on_version_1() {
    if Mounts::find().v1_controller().is_none() {
        eprintln!("skipped: this host has no version 1 controller mounted");
        return;
    }
    scenario(1);
}

/// In a mount namespace of its own, where only version 2 is mounted.
#[test]
fn docker_on_version_2() {
    let output = Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-c"])
        .arg(
            "umount -R /sys/fs/cgroup 2>/dev/null || umount -Rl /sys/fs/cgroup; \
             mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$0\" \"$@\"",
        )
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "inside_version_2", "--ignored", "--nocapture"])
        .output()
        .expect("unshare runs");
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
}

#[test]
#[ignore = "run by docker_on_version_2"]
fn inside_version_2() {
    scenario(2);
}
