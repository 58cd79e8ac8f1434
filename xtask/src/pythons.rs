//! CPython of other Debian releases, each in a root directory of its own:
//! stripped builds, another C library, and files at the paths of the host's.
use std::{fs, os::unix::fs::symlink, path::Path};

use anyhow::{Context, Result};

use crate::{cache, suites::Suites};

/// Release, version, and the packages that differ in name.
const RELEASES: [(&str, &str, &str); 3] = [
    ("bullseye", "3.9", "libffi7"),
    ("trixie", "3.13", "libffi8"),
    ("forky", "3.14", "libffi8"),
];

/// What the interpreter and the modules that the tests import are linked with.
const LIBRARIES: [&str; 4] = ["libc6", "libexpat1", "libgcc-s1", "zlib1g"];

/// Fetches those that are not there.
pub fn fetch() -> Result<()> {
    let directory = cache::directory("python-roots")?;
    for (release, version, foreign_functions) in RELEASES {
        let root = directory.join(release);
        if root.exists() {
            continue;
        }
        eprintln!("fetching CPython {version} of {release}");
        let partial = cache::directory("python-roots.partial")?;
        fs::remove_dir_all(&partial)?;
        fs::create_dir_all(&partial)?;
        let suites = Suites::open(&[release])?;
        let packages = [
            format!("python{version}-minimal"),
            format!("libpython{version}-minimal"),
            format!("libpython{version}-stdlib"),
            foreign_functions.to_owned(),
        ];
        for package in packages.iter().map(String::as_str).chain(LIBRARIES) {
            suites
                .unpack(package, &partial)
                .with_context(|| format!("cannot get {package} of {release}"))?;
        }
        complete(&partial)?;
        fs::rename(&partial, &root).with_context(|| format!("cannot keep {}", root.display()))?;
    }
    Ok(())
}

/// What a whole system has and no package of these brings.
fn complete(root: &Path) -> Result<()> {
    for name in ["lib", "lib64"] {
        if !root.join(name).exists() {
            symlink(format!("usr/{name}"), root.join(name))?;
        }
    }
    for name in ["tmp", "proc", "dev"] {
        fs::create_dir_all(root.join(name))?;
    }
    Ok(())
}
