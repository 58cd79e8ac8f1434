//! MariaDB of the release that the containers' image is of, with the libraries
//! that the image does not have. It runs from there without being installed.
use anyhow::{Context, Result};

use crate::{cache, suites::Suites};

const RELEASE: &str = "bookworm";
const PACKAGES: [&str; 8] = [
    "libaio1",
    "libmariadb3",
    "libncurses6",
    "libnuma1",
    "liburing2",
    "mariadb-client-core",
    "mariadb-common",
    "mariadb-server-core",
];

/// Fetches it if it is not there. `tests/support/mariadb.rs` looks for a
/// directory of this name.
pub fn fetch() -> Result<()> {
    cache::once(&format!("mariadb-{RELEASE}"), |root| {
        eprintln!("fetching MariaDB of {RELEASE}");
        let suites = Suites::open(&[RELEASE])?;
        for package in PACKAGES {
            suites
                .unpack(package, root)
                .with_context(|| format!("cannot get {package} of {RELEASE}"))?;
        }
        Ok(())
    })?;
    Ok(())
}
