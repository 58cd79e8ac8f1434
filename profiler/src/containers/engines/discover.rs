//! Where engines listen on this host.

use std::{
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use crate::profile::ContainerKind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Docker's, which Podman speaks too.
    Docker,
    /// Kubernetes' container runtime interface.
    Cri,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub api: Api,
    /// What its containers are, unless their cgroup says otherwise.
    pub kind: ContainerKind,
    /// `unix:///run/…`, or `tcp://…` from `DOCKER_HOST`.
    pub address: String,
    /// For a rootless engine, whose it is.
    pub user: Option<u32>,
}

impl Endpoint {
    pub fn path(&self) -> &Path {
        Path::new(
            self.address
                .strip_prefix("unix://")
                .unwrap_or(&self.address),
        )
    }

    /// All that this host seems to have. Root's come first.
    pub fn discover() -> Vec<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let mut found = Vec::new();
        for (from, path, kind) in [
            ("DOCKER_HOST", "/var/run/docker.sock", ContainerKind::Docker),
            (
                "CONTAINER_HOST",
                "/run/podman/podman.sock",
                ContainerKind::Podman,
            ),
        ] {
            let address = match variable(from) {
                Some(address) => address,
                None if is_socket(Path::new(path)) => format!("unix://{path}"),
                None => continue,
            };
            found.push(Self {
                api: Api::Docker,
                kind,
                address,
                user: None,
            });
        }
        for (path, kind) in [
            ("/run/containerd/containerd.sock", ContainerKind::Containerd),
            (
                "/run/k3s/containerd/containerd.sock",
                ContainerKind::Containerd,
            ),
            ("/run/crio/crio.sock", ContainerKind::Crio),
        ] {
            if is_socket(Path::new(path)) {
                found.push(Self {
                    api: Api::Cri,
                    kind,
                    address: format!("unix://{path}"),
                    user: None,
                });
            }
        }
        found.extend(Self::rootless(Path::new("/run/user")));
        found
    }

    fn rootless(users: &Path) -> Vec<Self> {
        let mut directories: Vec<(u32, PathBuf)> = std::fs::read_dir(users)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
            .collect();
        directories.sort();
        let mut found = Vec::new();
        for (user, directory) in directories.into_iter().take(64) {
            for (name, kind) in [
                ("docker.sock", ContainerKind::Docker),
                ("podman/podman.sock", ContainerKind::Podman),
            ] {
                let path = directory.join(name);
                if is_socket(&path) {
                    found.push(Self {
                        api: Api::Docker,
                        kind,
                        address: format!("unix://{}", path.display()),
                        user: (user != 0).then_some(user),
                    });
                }
            }
        }
        found
    }
}

fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|data| data.file_type().is_socket() && data.nlink() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rootless_sockets() {
        let users = tempfile::tempdir().expect("a directory");
        let podman = users.path().join("1000/podman");
        std::fs::create_dir_all(&podman).expect("made");
        std::fs::create_dir_all(users.path().join("nobody")).expect("made");
        std::fs::write(users.path().join("1000/docker.sock"), "").expect("written");
        let _listener = std::os::unix::net::UnixListener::bind(podman.join("podman.sock"));
        let found = Endpoint::rootless(users.path());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].user, Some(1000));
        assert_eq!(found[0].kind, ContainerKind::Podman);
        assert_eq!(found[0].path(), podman.join("podman.sock"));
    }
}
