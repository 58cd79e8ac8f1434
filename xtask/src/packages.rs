//! Packages of Debian and Ubuntu: what is missing, and installing just that.
use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::shell;

/// Something that must be on the machine, and the packages that can bring it.
pub struct Need {
    /// What it is for, as told to the user before it is installed.
    pub why: &'static str,
    /// How one sees that it is there, whoever put it there.
    pub proof: Proof,
    /// Each alternative is installed as a whole; the first that the machine's
    /// package lists know is taken. The names differ between distributions.
    pub packages: &'static [&'static [&'static str]],
}

pub enum Proof {
    Tool(&'static str),
    File(&'static str),
}

impl Proof {
    fn holds(&self) -> bool {
        match self {
            Self::Tool(tool) => shell::find(tool).is_some(),
            Self::File(file) => Path::new(file).exists(),
        }
    }
}

/// Installs what is missing of `needs`. Where nothing is missing, nothing is
/// run, so it also works without a network and without root.
pub fn ensure(purpose: &str, needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !need.proof.holds()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if shell::find("apt-get").is_none() {
        let what: Vec<&str> = missing.iter().map(|need| need.packages[0][0]).collect();
        bail!(
            "{purpose} needs {}, and only Debian's and Ubuntu's packages are known here: install them by hand",
            what.join(", ")
        );
    }
    update()?;
    eprintln!("{purpose}: installing");
    let mut chosen: Vec<&str> = Vec::new();
    for need in missing {
        let packages = need
            .packages
            .iter()
            .find(|packages| packages.iter().all(|package| known(package)))
            .with_context(|| {
                format!(
                    "no package for {}: looked for {:?}",
                    need.why, need.packages
                )
            })?;
        eprintln!("  {:<28} {}", packages.join(" "), need.why);
        chosen.extend(packages.iter());
    }
    install(&chosen)
}

pub fn install(packages: &[&str]) -> Result<()> {
    shell::run(
        apt_get()?
            .args(["install", "--yes", "--no-install-recommends", "-qq"])
            .args(packages),
    )
}

/// Fetches the package lists, once in the life of this command.
pub fn update() -> Result<()> {
    static DONE: std::sync::Once = std::sync::Once::new();
    let mut result = Ok(());
    DONE.call_once(|| {
        result = apt_get().and_then(|mut command| shell::run(command.args(["update", "-qq"])));
    });
    result
}

/// Whether the machine's package lists offer a package.
pub fn known(package: &str) -> bool {
    candidate(package).is_some()
}

/// The version that would be installed.
pub fn candidate(package: &str) -> Option<String> {
    let text = shell::output(Command::new("apt-cache").args(["policy", package])).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (line != "(none)").then(|| line.to_owned())
}

/// `env` carries the setting through sudo, which clears the environment.
fn apt_get() -> Result<Command> {
    let mut command = shell::as_root("env")?;
    command.args([
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "-o",
        "Acquire::Retries=5",
    ]);
    Ok(command)
}
