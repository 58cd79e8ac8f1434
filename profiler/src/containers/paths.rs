//! What a cgroup's path says: which container, pod or unit it is.
//!
//! Engines and kubelet name cgroups in two ways each, one for the "cgroupfs"
//! driver (plain directories) and one for the "systemd" driver (slices and
//! scopes); LXC, ECS and systemd have their own.

use crate::profile::ContainerKind;

/// What runs in a cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub kind: ContainerKind,
    /// Full id, for an engine's container.
    pub id: String,
    /// What to call it when nobody knows better.
    pub name: String,
    /// The path up to the container's or unit's own cgroup: what is nested in
    /// it belongs to it.
    pub path: String,
    /// Kubernetes: uid of the pod.
    pub pod_uid: String,
    /// Kubernetes: class of service, `Guaranteed`, `Burstable`, `BestEffort`.
    pub qos: String,
}

impl Place {
    pub fn host() -> Self {
        Self {
            name: "host".to_owned(),
            path: "/".to_owned(),
            ..Self::default()
        }
    }

    pub fn is_host(&self) -> bool {
        self.kind == ContainerKind::Host
    }

    /// It is a container, not just a cgroup.
    pub fn is_container(&self) -> bool {
        !matches!(self.kind, ContainerKind::Host | ContainerKind::Cgroup)
    }
}

/// Digits of a container's id that are shown when it has no name.
pub const SHORT_ID: usize = 12;

pub fn short_id(id: &str) -> &str {
    id.get(..SHORT_ID).unwrap_or(id)
}

/// The outermost container of a path, else its unit. Containers in containers
/// (Docker in Docker, kind) belong to the outer one, since that is the one
/// this host's engines know.
pub fn classify(path: &str) -> Place {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    // Seen from a cgroup namespace, others' paths start with `..`.
    let named = parts.iter().take_while(|part| **part == "..").count();
    if parts.len() == named {
        return Place::host();
    }
    let up_to = |index: usize| format!("/{}", parts[..=index].join("/"));

    for (index, part) in parts.iter().enumerate() {
        if let Some((kind, id)) = container(&parts[..index], part) {
            let (pod_uid, qos) = pod(&parts[..=index]);
            return Place {
                kind,
                name: short_id(id).to_owned(),
                id: id.to_owned(),
                path: up_to(index),
                pod_uid,
                qos,
            };
        }
    }

    let (index, name) = unit(&parts);
    let (pod_uid, qos) = pod(&parts);
    Place {
        kind: ContainerKind::Cgroup,
        name,
        path: up_to(index),
        pod_uid,
        qos,
        ..Place::default()
    }
}

/// The engine and id, when `part` is a container's own directory.
fn container<'a>(parents: &[&str], part: &'a str) -> Option<(ContainerKind, &'a str)> {
    // runc given a systemd path but told to use cgroupfs makes one directory
    // named `SLICE:PREFIX:ID`.
    if let Some((rest, id)) = part.rsplit_once(':') {
        let kind = match rest.rsplit(':').next()? {
            "docker" => ContainerKind::Docker,
            "libpod" => ContainerKind::Podman,
            "crio" => ContainerKind::Crio,
            _ => ContainerKind::Containerd,
        };
        return is_id(id).then_some((kind, id));
    }
    let stem = part.strip_suffix(".scope").unwrap_or(part);
    for (prefix, kind) in [
        ("docker-", ContainerKind::Docker),
        ("libpod-", ContainerKind::Podman),
        ("crio-", ContainerKind::Crio),
        ("cri-containerd-", ContainerKind::Containerd),
        ("nerdctl-", ContainerKind::Containerd),
        ("containerd-", ContainerKind::Containerd),
    ] {
        if let Some(id) = stem.strip_prefix(prefix)
            && is_id(id)
        {
            return Some((kind, id));
        }
    }
    if is_id(part) {
        let in_pod = parents.iter().any(|parent| is_kubepods(parent));
        let kind = match parents.first().copied() {
            Some("libpod_parent") => ContainerKind::Podman,
            // Namespaces of containerd: nerdctl's and Kubernetes' defaults.
            Some("default" | "k8s.io") => ContainerKind::Containerd,
            // With kubelet's cgroupfs driver containerd has bare ids there,
            // CRI-O has its prefix. Docker corrects it when it knows the id.
            _ if in_pod => ContainerKind::Containerd,
            // Docker, also below a --cgroup-parent (GitHub's actions_job).
            _ => ContainerKind::Docker,
        };
        return Some((kind, part));
    }
    // ECS on Fargate: task id, hyphen, number of the container.
    if parents.first() == Some(&"ecs")
        && let Some((task, number)) = part.split_once('-')
        && task.len() == 32
        && is_hex(task)
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Some((ContainerKind::Containerd, part));
    }
    None
}

/// Every engine's ids are 64 hexadecimal digits.
fn is_id(text: &str) -> bool {
    text.len() == 64 && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_kubepods(part: &str) -> bool {
    part == "kubepods" || part == "kubepods.slice" || part.contains("kubepods-")
}

/// Uid and class of service of the pod, from kubelet's directories
/// (pkg/kubelet/cm/pod_container_manager_linux.go): `kubepods/burstable/podUID`
/// or `kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID.slice`
/// where the uid's hyphens are underscores.
fn pod(parts: &[&str]) -> (String, String) {
    let Some(start) = parts.iter().position(|part| is_kubepods(part)) else {
        return Default::default();
    };
    let (mut uid, mut qos) = (String::new(), "Guaranteed");
    for part in &parts[start..] {
        let stem = part.split(':').next().unwrap_or(part);
        let stem = stem.strip_suffix(".slice").unwrap_or(stem);
        if stem == "burstable" || stem.contains("kubepods-burstable") {
            qos = "Burstable";
        } else if stem == "besteffort" || stem.contains("kubepods-besteffort") {
            qos = "BestEffort";
        }
        let last = match stem.rfind("-pod") {
            Some(at) if is_kubepods(part) => &stem[at + 1..],
            _ => stem,
        };
        if let Some(found) = last.strip_prefix("pod")
            && found.len() >= 32
            && uid.is_empty()
        {
            uid = found.replace('_', "-");
        }
    }
    if uid.is_empty() {
        return Default::default();
    }
    (uid, qos.to_owned())
}

/// The unit that a path belongs to: how many parts it has less one, and its
/// name.
fn unit(parts: &[&str]) -> (usize, String) {
    // All of a user's sessions and services are the user's.
    if let Some(index) = parts.iter().position(|part| {
        part.strip_prefix("user-")
            .and_then(|rest| rest.strip_suffix(".slice"))
            .is_some_and(|uid| !uid.is_empty() && uid.bytes().all(|byte| byte.is_ascii_digit()))
    }) {
        return (index, parts[index].to_owned());
    }
    for (index, part) in parts.iter().enumerate() {
        // LXC: `lxc/NAME` before version 4, then `lxc.payload.NAME`.
        if index == 0 && *part == "lxc" && parts.len() > 1 {
            return (1, parts[1].to_owned());
        }
        if let Some(name) = part.strip_prefix("lxc.payload.")
            && !name.is_empty()
        {
            return (index, name.to_owned());
        }
        if part.ends_with(".service") || part.ends_with(".scope") {
            return (index, (*part).to_owned());
        }
    }
    let last = parts.len() - 1;
    if parts[last].ends_with(".slice") {
        return (last, parts[last].to_owned());
    }
    (last, parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ContainerKind::*;

    const ID: &str = "4f1c2a9be07d4f1c2a9be07d4f1c2a9be07d4f1c2a9be07d4f1c2a9be07d0123";
    const UID: &str = "0b7a3c52-0d3c-4e1f-9c1d-2a1b3c4d5e6f";

    fn check(path: &str, kind: ContainerKind, end: &str) -> Place {
        let path = path
            .replace("ID", ID)
            .replace("PODU_", &UID.replace('-', "_"))
            .replace("PODU", UID);
        let place = classify(&path);
        assert_eq!(place.kind, kind, "{path}");
        assert_eq!(place.id, ID, "{path}");
        assert_eq!(place.name, &ID[..12], "{path}");
        let end = end
            .replace("ID", ID)
            .replace("PODU_", &UID.replace('-', "_"))
            .replace("PODU", UID);
        assert_eq!(place.path, end, "{path}");
        place
    }

    #[test]
    fn docker() {
        check("/docker/ID", Docker, "/docker/ID");
        check("/docker/ID/init.scope", Docker, "/docker/ID");
        check(
            "/docker/ID/system.slice/nginx.service",
            Docker,
            "/docker/ID",
        );
        check(
            "/system.slice/docker-ID.scope",
            Docker,
            "/system.slice/docker-ID.scope",
        );
        check("/actions_job/ID", Docker, "/actions_job/ID");
        check("/system.slice:docker:ID", Docker, "/system.slice:docker:ID");
        // Rootless.
        check(
            "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope",
            Docker,
            "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope",
        );
        // In another container: the outer one's.
        let inner =
            "/docker/ID/docker/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        check(inner, Docker, "/docker/ID");
        // Seen from a cgroup namespace.
        check("/../docker-ID.scope", Docker, "/../docker-ID.scope");
    }

    #[test]
    fn podman() {
        check(
            "/machine.slice/libpod-ID.scope/container",
            Podman,
            "/machine.slice/libpod-ID.scope",
        );
        check(
            "/libpod_parent/libpod-ID",
            Podman,
            "/libpod_parent/libpod-ID",
        );
        check("/libpod_parent/ID", Podman, "/libpod_parent/ID");
        check(
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
            Podman,
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope",
        );
        check(
            "/machine.slice/machine-libpod_pod_0123.slice/libpod-ID.scope",
            Podman,
            "/machine.slice/machine-libpod_pod_0123.slice/libpod-ID.scope",
        );
        // Its monitor is not in the container.
        let monitor = classify(&format!("/machine.slice/libpod-conmon-{ID}.scope"));
        assert_eq!(monitor.kind, Cgroup);
        assert_eq!(monitor.name, format!("libpod-conmon-{ID}.scope"));
    }

    #[test]
    fn containerd_and_crio() {
        check("/default/ID", Containerd, "/default/ID");
        check(
            "/system.slice/nerdctl-ID.scope",
            Containerd,
            "/system.slice/nerdctl-ID.scope",
        );
        check("/k8s.io/ID", Containerd, "/k8s.io/ID");
        check(
            "/system.slice/crio-ID.scope",
            Crio,
            "/system.slice/crio-ID.scope",
        );
    }

    #[test]
    fn kubernetes() {
        for (path, kind, qos) in [
            ("/kubepods/burstable/podPODU/ID", Containerd, "Burstable"),
            ("/kubepods/podPODU/ID", Containerd, "Guaranteed"),
            ("/kubepods/besteffort/podPODU/crio-ID", Crio, "BestEffort"),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podPODU_.slice/cri-containerd-ID.scope",
                Containerd,
                "Burstable",
            ),
            (
                "/kubepods.slice/kubepods-podPODU_.slice/crio-ID.scope",
                Crio,
                "Guaranteed",
            ),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podPODU_.slice/docker-ID.scope",
                Docker,
                "BestEffort",
            ),
            (
                "/system.slice/containerd.service/kubepods-burstable-podPODU_.slice:cri-containerd:ID",
                Containerd,
                "Burstable",
            ),
        ] {
            let place = check(path, kind, path);

            assert_eq!(place.pod_uid, UID, "{path}");
            assert_eq!(place.qos, qos, "{path}");
        }
        let pod = classify(&format!("/kubepods/burstable/pod{UID}"));
        assert_eq!((pod.kind, pod.pod_uid.as_str()), (Cgroup, UID));
        // A static pod's uid is the hash of its manifest.
        let hash = "0123456789abcdef0123456789abcdef";
        let place = classify(&format!("/kubepods/burstable/pod{hash}/{ID}"));
        assert_eq!((place.kind, place.pod_uid.as_str()), (Containerd, hash));
    }

    #[test]
    fn ecs_and_lxc() {
        let task = "0123456789abcdef0123456789abcdef";
        check(
            &format!("/ecs/{task}/ID"),
            Docker,
            &format!("/ecs/{task}/ID"),
        );
        let fargate = classify(&format!("/ecs/{task}/{task}-1234567890"));
        assert_eq!(fargate.kind, Containerd);
        assert_eq!(fargate.id, format!("{task}-1234567890"));
        for (path, name, end) in [
            ("/lxc/web/init.scope", "web", "/lxc/web"),
            (
                "/lxc.payload.web/system.slice/a.service",
                "web",
                "/lxc.payload.web",
            ),
            ("/lxc.monitor.web", "lxc.monitor.web", "/lxc.monitor.web"),
        ] {
            let place = classify(path);
            assert_eq!(
                (place.kind, place.name.as_str(), place.path.as_str()),
                (Cgroup, name, end)
            );
        }
    }

    #[test]
    fn units() {
        for (path, name, end) in [
            (
                "/system.slice/ssh.service",
                "ssh.service",
                "/system.slice/ssh.service",
            ),
            (
                "/system.slice/ssh.service/worker",
                "ssh.service",
                "/system.slice/ssh.service",
            ),
            (
                "/system.slice/system-getty.slice/getty@tty1.service",
                "getty@tty1.service",
                "/system.slice/system-getty.slice/getty@tty1.service",
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/a.service",
                "user-1000.slice",
                "/user.slice/user-1000.slice",
            ),
            (
                "/user.slice/user-1000.slice/session-3.scope",
                "user-1000.slice",
                "/user.slice/user-1000.slice",
            ),
            ("/init.scope", "init.scope", "/init.scope"),
            ("/system.slice", "system.slice", "/system.slice"),
            ("/process_api/0123", "process_api/0123", "/process_api/0123"),
            (
                "/docker/buildkit/x6y0d2",
                "docker/buildkit/x6y0d2",
                "/docker/buildkit/x6y0d2",
            ),
        ] {
            let place = classify(path);
            assert_eq!(
                (place.kind, place.name.as_str(), place.path.as_str()),
                (Cgroup, name, end)
            );
        }
        assert!(classify("/").is_host());
        assert!(classify("").is_host());
        assert!(classify("/..").is_host());
    }

    #[test]
    fn hostile_paths() {
        for path in [
            "/:",
            "/a:b:c",
            "/lxc",
            "/lxc.payload.",
            "/ecs/-",
            "/é/ü-😀.scope",
            "/pod",
        ] {
            classify(path);
        }
        assert_eq!(
            classify(&format!("/docker/{}", "g".repeat(64))).kind,
            Cgroup
        );
    }
}
