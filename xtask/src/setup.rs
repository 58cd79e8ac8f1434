//! What building, testing and measuring need on a Debian or Ubuntu machine
//! that has Rust.
use anyhow::Result;

use crate::packages::{self, Need, Proof};

const BUILD: &[Need] = &[
    Need {
        why: "C compiler, which links Rust programs",
        proof: Proof::Tool("cc"),
        packages: &[&["gcc"]],
    },
    Need {
        why: "C library to link with",
        proof: Proof::File("/usr/include/stdio.h"),
        packages: &[&["libc6-dev"]],
    },
];

const TEST: &[Need] = &[
    Need {
        why: "container engine, for tests on real containers",
        proof: Proof::Tool("dockerd"),
        packages: &[&["docker.io"]],
    },
    Need {
        why: "client of the container engine",
        proof: Proof::Tool("docker"),
        packages: &[&["docker-cli"], &["docker.io"]],
    },
    Need {
        why: "builds the containers' root file system",
        proof: Proof::Tool("debootstrap"),
        packages: &[&["debootstrap"]],
    },
    Need {
        why: "signatures of Debian's archive, for that and for other kernels",
        proof: Proof::File("/usr/share/keyrings/debian-archive-keyring.gpg"),
        packages: &[&["debian-archive-keyring"]],
    },
    Need {
        why: "boots other kernels, to run the profiler on them",
        proof: Proof::Tool("qemu-system-x86_64"),
        packages: &[&["qemu-system-x86"]],
    },
    Need {
        why: "shell of those machines",
        proof: Proof::Tool("busybox"),
        packages: &[&["busybox-static"], &["busybox"]],
    },
    Need {
        why: "disk requests in known amounts",
        proof: Proof::Tool("fio"),
        packages: &[&["fio"]],
    },
    Need {
        why: "network traffic in known amounts",
        proof: Proof::Tool("iperf3"),
        packages: &[&["iperf3"]],
    },
    Need {
        why: "a file system of a test's own",
        proof: Proof::Tool("mkfs.ext4"),
        packages: &[&["e2fsprogs"]],
    },
    Need {
        why: "packs the file system of those machines",
        proof: Proof::Tool("cpio"),
        packages: &[&["cpio"]],
    },
    Need {
        why: "checks that nothing is left in the kernel",
        proof: Proof::Tool("bpftool"),
        packages: &[&["bpftool"], &["linux-tools-generic"]],
    },
    Need {
        why: "stacks of another profiler to compare with",
        proof: Proof::Tool("perf"),
        packages: &[&["linux-perf"], &["linux-tools-generic"]],
    },
    Need {
        why: "network namespaces",
        proof: Proof::Tool("ip"),
        packages: &[&["iproute2"]],
    },
    Need {
        why: "namespaces and mounts",
        proof: Proof::Tool("nsenter"),
        packages: &[&["util-linux"]],
    },
    Need {
        why: "certificates of a test's own server",
        proof: Proof::Tool("openssl"),
        packages: &[&["openssl"]],
    },
    Need {
        why: "C++ programs, whose names are told",
        proof: Proof::Tool("g++"),
        packages: &[&["g++"]],
    },
    Need {
        why: "Go programs, and the reader of pprof files",
        proof: Proof::Tool("go"),
        packages: &[&["golang-go"]],
    },
    Need {
        why: "packs debug information as distributions do",
        proof: Proof::Tool("xz"),
        packages: &[&["xz-utils"]],
    },
    Need {
        why: "fetches the versions of Node to test on",
        proof: Proof::Tool("npm"),
        packages: &[&["npm"]],
    },
    Need {
        why: "fetches py-spy and vector databases, for tests",
        proof: Proof::Tool("pip3"),
        packages: &[&["python3-pip"]],
    },
    Need {
        why: "counts system calls, which tests compare with",
        proof: Proof::Tool("strace"),
        packages: &[&["strace"]],
    },
    Need {
        why: "browser that opens the HTML report",
        proof: Proof::Tool("chromium"),
        packages: &[&["chromium"], &["chromium-browser"]],
    },
];

const BENCH: &[Need] = &[
    Need {
        why: "a profiler to compare with",
        proof: Proof::Tool("perf"),
        packages: &[&["linux-perf"], &["linux-tools-generic"]],
    },
    Need {
        why: "a profiler to compare with",
        proof: Proof::Tool("bpftrace"),
        packages: &[&["bpftrace"]],
    },
    Need {
        why: "names BPF programs and their run time",
        proof: Proof::Tool("bpftool"),
        packages: &[&["bpftool"], &["linux-tools-generic"]],
    },
];

const BENCH_LOAD: &[Need] = &[Need {
    why: "C++ compiler and CMake, which oha is built with",
    proof: Proof::Tool("cmake"),
    packages: &[&["g++", "cmake"]],
}];

pub fn build() -> Result<()> {
    packages::ensure("building", BUILD)
}

pub fn test() -> Result<()> {
    build()?;
    packages::ensure("testing", TEST)
}

pub fn bench() -> Result<()> {
    build()?;
    packages::ensure("measuring", BENCH)
}

pub fn bench_load() -> Result<()> {
    build()?;
    packages::ensure("measuring the load generator", BENCH_LOAD)
}
