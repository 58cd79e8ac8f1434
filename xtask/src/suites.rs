//! Packages of other Debian releases than the machine's, fetched and unpacked
//! without installing them: apt with lists and a cache of its own.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{cache, shell};

pub struct Suites {
    directory: PathBuf,
}

impl Suites {
    /// Fetches the package lists of the suites `names` from the mirror that the machine
    /// itself uses.
    pub fn open(names: &[&str]) -> Result<Self> {
        let directory = cache::directory("apt")?;
        for part in ["state/lists/partial", "cache/archives/partial", "parts"] {
            fs::create_dir_all(directory.join(part))?;
        }
        let mirror = mirror()?;
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let mut list = String::new();
        for suite in names {
            list += &format!("deb [signed-by={keyring}] {} {suite} main\n", mirror.main);
            // A rolling suite has no security updates of its own.
            if let Some(security) = &mirror.security
                && *suite != "forky"
            {
                list += &format!("deb [signed-by={keyring}] {security} {suite}-security main\n");
            }
        }
        fs::write(directory.join("sources.list"), list)?;
        let suites = Self { directory };
        eprintln!("fetching the package lists of {}", names.join(", "));
        shell::output(suites.apt("apt-get").args(["update", "-qq"]))?;
        Ok(suites)
    }

    /// The newest package whose name has this start and this end.
    pub fn newest(&self, start: &str, end: &str) -> Result<String> {
        let names = shell::output(self.apt("apt-cache").args(["pkgnames", start]))?;
        names
            .lines()
            .filter(|name| name.ends_with(end))
            .max_by_key(|name| numbers(name))
            .map(str::to_owned)
            .with_context(|| format!("the mirror has no package {start}…{end}"))
    }

    /// Unpacks a package into `into`.
    pub fn unpack(&self, package: &str, into: &Path) -> Result<()> {
        let download = self.directory.join("download");
        let _ = fs::remove_dir_all(&download);
        fs::create_dir_all(&download)?;
        shell::output(
            self.apt("apt-get")
                .current_dir(&download)
                .args(["download", "-qq", package]),
        )?;
        let file = fs::read_dir(&download)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|end| end == "deb"))
            .with_context(|| format!("apt-get fetched no {package}"))?;
        shell::output(
            Command::new("dpkg-deb")
                .arg("--extract")
                .arg(&file)
                .arg(into),
        )?;
        fs::remove_dir_all(&download)?;
        Ok(())
    }

    fn apt(&self, tool: &str) -> Command {
        let mut command = Command::new(tool);
        let directory = self.directory.display();
        for option in [
            format!("Dir::Etc::sourcelist={directory}/sources.list"),
            format!("Dir::Etc::sourceparts={directory}/parts"),
            format!("Dir::State={directory}/state"),
            format!("Dir::State::lists={directory}/state/lists"),
            format!("Dir::Cache={directory}/cache"),
            "Dir::State::status=/dev/null".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=5".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "APT::Sandbox::User=".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }
}

struct Mirror {
    main: String,
    security: Option<String>,
}

/// On Debian the mirror of the machine's own configuration, elsewhere the one
/// that debootstrap knows.
fn mirror() -> Result<Mirror> {
    let targets = shell::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(ORIGIN) $(RELEASE)",
    ]))
    .unwrap_or_default();
    let mut mirror = Mirror {
        main: String::new(),
        security: None,
    };
    for line in targets.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[address, origin, release] = &words[..] else {
            continue;
        };
        if origin != "Debian" {
            continue;
        }
        if release.ends_with("-security") {
            mirror.security = Some(address.to_owned());
        } else if !release.contains("backports") {
            mirror.main = address.to_owned();
        }
    }
    if mirror.main.is_empty() {
        let script = fs::read_to_string("/usr/share/debootstrap/scripts/sid")
            .context("no Debian mirror is configured, and debootstrap is not installed")?;
        mirror.main = script
            .lines()
            .find_map(|line| line.trim().strip_prefix("default_mirror "))
            .context("debootstrap names no mirror")?
            .trim()
            .to_owned();
    }
    if mirror.main.is_empty() {
        bail!("no Debian mirror is known");
    }
    Ok(mirror)
}

/// The numbers in a name, in order: what decides which version is newer.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|character: char| !character.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn orders_versions() {
        assert!(numbers("linux-image-6.1.0-50-cloud") > numbers("linux-image-6.1.0-9-cloud"));
        assert!(numbers("linux-image-6.12.111+deb12") > numbers("linux-image-6.12.107+deb12"));
    }
}
