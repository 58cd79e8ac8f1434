//! Cgroups, and the container engines that name them.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use super::{Check, host::Host};

pub fn checks(host: &Host) -> Vec<Check> {
    let mut checks = vec![cgroups(host)];
    let engines = engines(host, std::env::var("DOCKER_HOST").ok());
    if engines.is_empty() {
        checks.push(Check::ok(
            "container engines",
            "none found; a container would be shown by its cgroup",
        ));
    }
    checks.extend(engines);
    checks
}

fn cgroups(host: &Host) -> Check {
    const NAME: &str = "cgroups";
    let mounts = host.read("/proc/self/mounts").unwrap_or_default();
    let mut unified = None;
    let mut accounting = false;
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        let (Some(path), Some(kind), options) = (
            fields.next(),
            fields.next(),
            fields.next().unwrap_or_default(),
        ) else {
            continue;
        };
        match kind {
            "cgroup2" => unified = unified.or(Some(path)),
            "cgroup" => {
                accounting |= options.split(',').any(|option| option == "cpuacct");
            }
            _ => {}
        }
    }
    match (unified, accounting) {
        (Some(path), true) => {
            Check::ok(NAME, format!("hybrid: version 1, and version 2 at {path}"))
        }
        (None, true) => Check::ok(NAME, "version 1"),
        (Some(path), false) => Check::ok(NAME, format!("version 2 at {path}")),
        (None, false) => Check::limited(NAME, "not mounted")
            .costs("everything is shown as `host`, and containers have no figures of their own")
            .remedy("mount them at /sys/fs/cgroup; in a container, with --cgroupns=host"),
    }
}

/// How an engine is spoken to.
#[derive(Clone, Copy)]
enum Protocol {
    /// Docker's, over HTTP/1.
    Docker,
    /// The container runtime interface, over HTTP/2.
    Grpc,
}

struct Engine {
    name: &'static str,
    paths: &'static [&'static str],
    protocol: Protocol,
}

const ENGINES: &[Engine] = &[
    Engine {
        name: "Docker",
        paths: &["/run/docker.sock", "/var/run/docker.sock"],
        protocol: Protocol::Docker,
    },
    Engine {
        name: "Podman",
        paths: &["/run/podman/podman.sock"],
        protocol: Protocol::Docker,
    },
    Engine {
        name: "containerd",
        paths: &[
            "/run/containerd/containerd.sock",
            "/run/k3s/containerd/containerd.sock",
            "/run/docker/containerd/containerd.sock",
        ],
        protocol: Protocol::Grpc,
    },
    Engine {
        name: "CRI-O",
        paths: &["/run/crio/crio.sock"],
        protocol: Protocol::Grpc,
    },
];

fn engines(host: &Host, docker_host: Option<String>) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(path) = docker_host
        .as_deref()
        .and_then(|url| url.strip_prefix("unix://"))
    {
        checks.push(engine(&ENGINES[0], Path::new(path)));
    }
    for entry in ENGINES {
        if entry.name == "Docker" && !checks.is_empty() {
            continue;
        }
        // `/var/run` mostly is a link to `/run`.
        let there = entry
            .paths
            .iter()
            .map(|path| host.path(path))
            .find(|path| path.exists());
        checks.extend(there.map(|path| engine(entry, &path)));
    }
    checks
}

fn engine(engine: &Engine, path: &Path) -> Check {
    let answer = match engine.protocol {
        Protocol::Docker => ask_docker(path),
        Protocol::Grpc => ask_grpc(path),
    };
    match answer {
        Ok(()) => Check::ok(engine.name, format!("answers at {}", path.display())),
        Err(error) => {
            let remedy = match error.kind() {
                io::ErrorKind::PermissionDenied => "run it as root".to_string(),
                _ => format!(
                    "start it, or find out with its own tools why {} does not answer",
                    path.display()
                ),
            };
            Check::limited(
                engine.name,
                format!("does not answer at {}: {error}", path.display()),
            )
            .costs("its containers are shown by their ids, without names and images")
            .remedy(remedy)
        }
    }
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    let patience = Some(Duration::from_secs(1));
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(patience)?;
    Ok(stream)
}

fn ask_docker(path: &Path) -> io::Result<()> {
    let mut stream = connect(path)?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    let right = answer.starts_with(b"HTTP/1.") && answer.ends_with(b" 200");
    right
        .then_some(())
        .ok_or_else(|| io::Error::other("it answers with something else"))
}

/// Any server of this kind begins with its settings.
fn ask_grpc(path: &Path) -> io::Result<()> {
    const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    const SETTINGS: u8 = 4;
    let mut stream = connect(path)?;
    stream.write_all(HELLO)?;
    let mut header = [0; 9];
    stream.read_exact(&mut header)?;
    (header[3] == SETTINGS)
        .then_some(())
        .ok_or_else(|| io::Error::other("it answers with something else"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::{
        super::{State, host::tests::host},
        *,
    };

    #[test]
    fn versions_of_cgroups() {
        let v1 = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n";
        let v2 = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let systemd = "cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n";
        for (mounts, state, says) in [
            (format!("{v1}{v2}"), State::Ok, "hybrid"),
            (format!("{v1}{systemd}"), State::Ok, "version 1"),
            (v2.to_string(), State::Ok, "version 2"),
            (String::new(), State::Limited, "not mounted"),
        ] {
            let (_directory, host) = host(&[("/proc/self/mounts", &mounts)]);
            let check = cgroups(&host);
            assert_eq!(check.state, state);
            assert!(check.found.contains(says), "{check:?}");
        }
    }

    /// A server that says one thing to everybody.
    fn serve(host: &Host, path: &str, answer: &'static [u8]) {
        let path = host.path(path);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
        let listener = UnixListener::bind(path).expect("a socket");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut asked = [0; 16];
                let _ = stream.read_exact(&mut asked);
                let _ = stream.write_all(answer);
            }
        });
    }

    #[test]
    fn engines_are_asked() {
        let (_directory, host) = host(&[("/run/crio/crio.sock", "no socket")]);
        serve(&host, "/run/docker.sock", b"HTTP/1.1 200 OK\r\n\r\nOK");
        serve(
            &host,
            "/run/podman/podman.sock",
            b"HTTP/1.0 500 Oops\r\n\r\n",
        );
        serve(
            &host,
            "/run/containerd/containerd.sock",
            b"\0\0\x06\x04\0\0\0\0\0",
        );
        let found = engines(&host, None);
        let states: Vec<_> = found
            .iter()
            .map(|check| (check.name, check.state))
            .collect();
        assert_eq!(
            states,
            [
                ("Docker", State::Ok),
                ("Podman", State::Limited),
                ("containerd", State::Ok),
                ("CRI-O", State::Limited),
            ]
        );
        let elsewhere = host.path("/run/podman/podman.sock");
        let found = engines(&host, Some(format!("unix://{}", elsewhere.display())));
        assert_eq!(found[0].state, State::Limited);
        assert_eq!(found.len(), 4);
    }
}
