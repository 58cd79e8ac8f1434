//! The containers' root file system: a Debian with the services, made once on
//! a machine and kept in its cache.
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::process;

const RELEASE: &str = "bookworm";
const PACKAGES: &str = "python3,nodejs,postgresql,redis-server,redis-tools,nginx-light,wrk,procps";
/// Installed by apt afterwards: debootstrap does not resolve virtual packages.
const MORE: [&str; 8] = [
    "gunicorn",
    "node-express",
    "python3-asyncpg",
    "python3-fastapi",
    "python3-numpy",
    "python3-psycopg2",
    "python3-redis",
    "python3-uvicorn",
];
/// The number goes up with what is in it.
pub const IMAGE: &str = "profiler-tests:3";
const ROOT: &str = "rootfs-3";

/// Where large things are kept: of the machine, so that a fresh clone finds
/// them again.
pub fn cache() -> PathBuf {
    env::var_os("PROFILER_TEST_CACHE")
        .map_or_else(|| PathBuf::from("/var/cache/profiler-tests"), PathBuf::from)
}

/// Makes what the image is made from, if it is not there.
pub fn prepare() -> Result<()> {
    root_file_system().map(|_| ())
}

/// Makes the image known to the engine that `docker` talks to.
pub fn import(docker: &dyn Fn() -> Command) -> Result<()> {
    if process::any_output(docker().args(["image", "inspect", IMAGE]))?
        .status
        .success()
    {
        return Ok(());
    }
    let root = root_file_system()?;
    eprintln!("importing the containers' image");
    let mut tar = Command::new("tar")
        .arg("-C")
        .arg(&root)
        .args(["-c", "."])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start tar")?;
    let archive = tar.stdout.take().context("tar has no output")?;
    let imported = docker()
        .args(["import", "-", IMAGE])
        .stdin(archive)
        .stdout(Stdio::null())
        .status()
        .context("cannot start docker")?;
    ensure!(tar.wait()?.success(), "tar failed");
    ensure!(imported.success(), "docker import failed");
    Ok(())
}

/// A program of the image, run as it is, without a container: with the image's
/// own loader and libraries, and the machine's files.
pub fn program(path: &str) -> Result<Command> {
    let root = root_file_system()?;
    let libraries =
        ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"].map(|part| root.join(part));
    let paths = env::join_paths(&libraries).context("a path with a colon")?;
    let mut command = Command::new(libraries[0].join("ld-linux-x86-64.so.2"));
    command
        .arg("--library-path")
        .arg(paths)
        .arg(root.join(path));
    Ok(command)
}

/// The root file system itself, for programs that run from it with chroot.
pub fn root_file_system() -> Result<PathBuf> {
    let directory = cache().join("image");
    let finished = directory.join(ROOT);
    if finished.is_dir() {
        return Ok(finished);
    }
    eprintln!("building the containers' root file system with debootstrap (about a minute)");
    let partial = finished.with_extension("partial");
    let log = directory.join("debootstrap.log");
    fs::create_dir_all(&directory)?;
    // Mirrors fail now and then; debootstrap itself does not try again.
    let mut tries = 3;
    while let Err(error) = bootstrap(&partial, &log) {
        tries -= 1;
        if tries == 0 {
            return Err(error);
        }
        eprintln!("{error}; trying again");
        thread::sleep(Duration::from_secs(5));
    }
    shrink(&partial);
    fs::rename(&partial, &finished)?;
    Ok(finished)
}

fn bootstrap(partial: &Path, log: &Path) -> Result<()> {
    if partial.is_dir() {
        fs::remove_dir_all(partial)?;
    }
    let status = Command::new("debootstrap")
        .args([
            "--variant=minbase",
            &format!("--include={PACKAGES}"),
            RELEASE,
        ])
        .arg(partial)
        .stdin(Stdio::null())
        .stdout(fs::File::create(log)?)
        .stderr(Stdio::inherit())
        .status()
        .context("cannot start debootstrap")?;
    ensure!(
        status.success(),
        "debootstrap failed: see {}",
        log.display()
    );
    fs::copy("/etc/resolv.conf", partial.join("etc/resolv.conf"))?;
    for (command, names) in [("update", &[][..]), ("install", &MORE)] {
        process::output(
            Command::new("chroot")
                .arg(partial)
                .args([
                    "env",
                    "DEBIAN_FRONTEND=noninteractive",
                    "apt-get",
                    "-q",
                    "-y",
                ])
                .args([
                    "-o",
                    "Acquire::Retries=5",
                    "--no-install-recommends",
                    command,
                ])
                .args(names),
        )?;
    }
    Ok(())
}

/// Leaves out what no test reads.
fn shrink(root: &Path) {
    for directory in [
        "var/cache/apt/archives",
        "var/lib/apt/lists",
        "usr/share/doc",
        "usr/share/man",
    ] {
        let _ = fs::remove_dir_all(root.join(directory));
    }
}
