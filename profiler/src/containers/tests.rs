//! With a directory tree as the hierarchy: ids are inode numbers there too.

use std::path::Path;

use super::{describe::make_unique, *};

const WEB: &str = "4f1c2a9be07d4f1c2a9be07d4f1c2a9be07d4f1c2a9be07d4f1c2a9be07d0123";
const DB: &str = "4f1cffffe07d4f1c2a9be07d4f1c2a9be07d4f1c2a9be07d4f1c2a9be07d0123";

fn tree(paths: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for path in paths {
        std::fs::create_dir_all(directory.path().join(path)).expect("made");
    }
    directory
}

fn id(mount: &Path, path: &str) -> u64 {
    files::cgroup_id(&mount.join(path)).expect("it is there")
}

fn containers(mount: &Path) -> Containers {
    Containers::with(Mounts::only_v2(mount), Vec::new())
}

#[test]
fn resolves_by_id() {
    let (docker, nested) = (format!("docker/{WEB}"), format!("docker/{WEB}/init.scope"));
    let tree = tree(&[&docker, &nested, "system.slice/ssh.service", "user.slice"]);
    let mut containers = containers(tree.path());
    let at = |path: &str| id(tree.path(), path);
    assert_eq!(containers.resolve(at(""), 0, 0), 0);
    let web = containers.resolve(at(&docker), 0, 0);
    assert_eq!(containers.resolve(at(&nested), 0, 0), web);
    let ssh = containers.resolve(at("system.slice/ssh.service"), 0, 0);
    let unknown = containers.resolve(u64::MAX, 0, 0);
    assert!(!containers.is_known(unknown) && containers.is_known(web));

    // Made later: by the event, and by a new scan.
    let made = tree.path().join("made");
    std::fs::create_dir(&made).expect("made");
    containers.cgroup_created(0, at("made"), b"/made");
    let by_event = containers.resolve(at("made"), 0, 0);
    std::fs::create_dir(tree.path().join("found")).expect("made");
    std::thread::sleep(RESCAN);
    let by_scan = containers.resolve(at("found"), 0, 0);

    let (list, notes) = containers.finish();
    let name = |container: ContainerId| list[container as usize].name.as_str();
    assert_eq!(name(0), "host");
    assert_eq!(name(web), &WEB[..12]);
    assert_eq!(list[web as usize].cgroup, format!("/{docker}"));
    assert_eq!(name(ssh), "ssh.service");
    assert_eq!(name(by_event), "made");
    assert_eq!(name(by_scan), "found");
    assert_eq!(name(unknown), UNKNOWN);
    let named = |text: &str| notes.iter().filter(|note| note.text.contains(text)).count();
    assert_eq!(named("1 container is shown by id (4f1c2a9be07d)"), 1);
}

#[test]
fn events_that_name_nothing() {
    let tree = tree(&[]);
    let mut containers = containers(tree.path());
    let long = format!("/{}", "x".repeat(CUT_PATH - 1));
    for path in [b"".as_slice(), b"\xff\xfe", b"no slash", long.as_bytes()] {
        assert!(containers.cgroup_created(0, 77, path).is_empty());
    }
    assert!(containers.cgroup_created(9, 77, b"/other").is_empty());
    let unknown = containers.resolve(77, 0, u32::MAX);
    assert!(!containers.is_known(unknown));
}

#[test]
fn selects() {
    let (web, db) = (format!("docker/{WEB}"), format!("docker/{DB}/init.scope"));
    let tree = tree(&[&web, &db, "system.slice/ssh.service/worker"]);
    let at = |path: &str| id(tree.path(), path);
    let mut containers = containers(tree.path());
    let mut select = |pattern: &str| containers.select(&[pattern.to_owned()]);
    assert_eq!(
        select("4f1c2"),
        Ok(Selection {
            ids: CgroupIds {
                v2: vec![at(&web)],
                v1: vec![]
            },
            names: vec![WEB[..12].to_owned()],
        })
    );
    assert!(matches!(select("4f1c"), Err(SelectError::Ambiguous { .. })));
    let error = select("nginx").expect_err("unknown").to_string();
    assert!(
        error.starts_with("no container matches `nginx`; there are: 4f1c2a9be07d, 4f1cffffe07d, "),
        "{error}"
    );
    // All below a cgroup, by name and by unit.
    let sorted = |mut ids: Vec<u64>| {
        ids.sort_unstable();
        ids
    };
    let mut containers = self::containers(tree.path());
    let selection = containers.select(&["ssh".to_owned()]).expect("the unit");
    assert_eq!(
        sorted(selection.ids.v2),
        sorted(vec![
            at("system.slice/ssh.service"),
            at("system.slice/ssh.service/worker")
        ])
    );
    // A child of a wanted cgroup that is made later, and one of another.
    let made = containers.cgroup_created(0, 1_000_001, b"/system.slice/ssh.service/more");
    assert_eq!(made.v2, [1_000_001]);
    assert!(
        containers
            .cgroup_created(0, 1_000_002, b"/system.slice/x.service")
            .is_empty()
    );
    // Idle containers that were not asked for are not reported.
    let (list, _) = containers.finish();
    assert!(list.iter().any(|container| container.name == "ssh.service"));

    let mut containers = self::containers(tree.path());
    let selection = containers.select(&["job*".to_owned()]).expect("it waits");
    assert!(selection.ids.is_empty() && selection.names.is_empty());
    let made = containers.cgroup_created(0, 1_000_003, b"/jobs/job-7");
    assert_eq!(made.v2, [1_000_003]);
}

#[test]
fn names_are_unique() {
    let container = |name: &str, id: &str, cgroup: &str| Container {
        name: name.to_owned(),
        id: id.to_owned(),
        cgroup: cgroup.to_owned(),
        ..Container::default()
    };
    let mut list = [
        container("host", "", "/"),
        container("host", WEB, "/a"),
        container("web", WEB, "/a"),
        container("web", DB, "/b"),
        container("web", DB, "/c"),
        container("a.service", "", "/x/a.service"),
        container("a.service", "", "/y/a.service"),
    ];
    make_unique(&mut list);
    let names: Vec<&str> = list
        .iter()
        .map(|container| container.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "host",
            "host-4f1c2a9be07d",
            "web-4f1c2a9be07d",
            "web-4f1cffffe07d",
            "web-4f1cffffe07d-2",
            "a.service-/x/a.service",
            "a.service-/y/a.service",
        ]
    );
}

/// The real hierarchies of the host that runs the tests.
#[test]
fn this_process() {
    let mut containers = Containers::with(Mounts::find(), Vec::new());
    let text = files::read("/proc/self/cgroup").expect("cgroups");
    let (v2, v1) = containers.mounts.paths_of(&text);
    let id =
        |mount: Option<&Path>, path: Option<&str>| files::cgroup_id(&files::below(mount?, path?)?);
    let v2 = id(containers.mount(Hierarchy::V2), v2);
    let v1 = id(containers.mount(Hierarchy::V1), v1);
    let container = containers.resolve(v2.unwrap_or(0), v1.unwrap_or(0), std::process::id());
    assert!(
        containers.is_known(container),
        "{v2:?} {v1:?} of {text} in {:?}",
        containers.mounts
    );
    let before = Instant::now();
    containers.begin();
    std::thread::sleep(Duration::from_millis(60));
    containers.end();
    let (list, _) = containers.finish();
    let passed = before.elapsed().as_nanos() as u64;
    let host = list[0].usage.as_ref().expect("the host's figures");
    assert!((1..=passed).contains(&host.interval_ns), "{host:?}");
    assert!(host.memory_limit_bytes.is_some());
}

/// The thread that looks may get no CPU for a while, and then both of its
/// looks are late: no single interval says much, but one of many is right.
#[test]
fn an_interval_is_that_of_the_recording() {
    const RECORDED: Duration = Duration::from_millis(40);
    let tree = tree(&["system.slice/ssh.service"]);
    let cgroup = id(tree.path(), "system.slice/ssh.service");
    let mut seen = Vec::new();
    for _ in 0..50 {
        let mut containers = containers(tree.path());
        let unit = containers.resolve(cgroup, 0, 0);
        // Before the recording nothing counts.
        std::thread::sleep(RECORDED);
        let before = Instant::now();
        containers.begin();
        std::thread::sleep(RECORDED);
        containers.end();
        let (list, _) = containers.finish();
        let passed = before.elapsed().as_nanos() as u64;
        let intervals = [0, unit as usize].map(|container: usize| {
            list[container]
                .usage
                .as_ref()
                .map_or(0, |usage| usage.interval_ns)
        });
        assert!(
            intervals
                .iter()
                .all(|interval| (1..=passed).contains(interval)),
            "{intervals:?} of {passed}"
        );
        if intervals
            .iter()
            .all(|interval| (36_000_000..=80_000_000).contains(interval))
        {
            return;
        }
        seen.push(intervals);
    }
    panic!("{seen:?}");
}
