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
    for (release, version, foreign_functions) in RELEASES {
        cache::once(&format!("python-roots/{release}"), |root| {
            eprintln!("fetching CPython {version} of {release}");
            let suites = Suites::open(&[release])?;
            let packages = [
                format!("python{version}-minimal"),
                format!("libpython{version}-minimal"),
                format!("libpython{version}-stdlib"),
                foreign_functions.to_owned(),
            ];
            for package in packages.iter().map(String::as_str).chain(LIBRARIES) {
                suites
                    .unpack(package, root)
                    .with_context(|| format!("cannot get {package} of {release}"))?;
            }
            complete(root)
        })?;
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
