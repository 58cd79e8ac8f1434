//! One number for everything that decides what the BPF object contains.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The sources of the BPF side, the locked versions of all it depends on, the
/// profile it is built with, and the flags.
pub fn sources(root: &Path, flags: &[String]) -> Result<String> {
    let mut hash = Sha256::new();
    // Lengths keep two neighbouring items from being read as one.
    let mut add = |name: &str, content: &[u8]| {
        for item in [name.as_bytes(), content] {
            hash.update((item.len() as u64).to_le_bytes());
            hash.update(item);
        }
    };
    let side = root.join("profiler-ebpf");
    let mut files = Vec::new();
    list(&side, &mut files)?;
    files.sort();
    for file in files {
        let name = file.strip_prefix(root)?.to_string_lossy().into_owned();
        add(
            &name,
            &fs::read(&file).with_context(|| format!("reading {name}"))?,
        );
    }
    let lock = fs::read_to_string(root.join("Cargo.lock")).context("reading Cargo.lock")?;
    for package in locked(&lock, "profiler-ebpf") {
        add("locked", package.as_bytes());
    }
    let manifest = fs::read_to_string(root.join("Cargo.toml")).context("reading Cargo.toml")?;
    add(
        "manifest",
        tables(&manifest, &["workspace.package", "profile.release"]).as_bytes(),
    );
    for flag in flags {
        add("flag", flag.as_bytes());
    }
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn list(directory: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list(&entry.path(), into)?;
        } else {
            into.push(entry.path());
        }
    }
    Ok(())
}

/// Name, version and checksum of all that `package` needs, itself left out.
fn locked(lock: &str, package: &str) -> BTreeSet<String> {
    let mut known: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
    for block in lock.split("[[package]]").skip(1) {
        let field = |name: &str| {
            block
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""))
                .map(|value| value.trim_end_matches('"').to_owned())
                .unwrap_or_default()
        };
        let needs = block
            .split_once("dependencies = [")
            .map(|(_, list)| list.split(']').next().unwrap_or_default())
            .unwrap_or_default()
            .lines()
            .map(|line| line.trim().trim_matches(['"', ',']).to_owned())
            .filter(|line| !line.is_empty())
            .collect();
        let (name, version) = (field("name"), field("version"));
        let described = format!("{name} {version} {}", field("checksum"));
        // A dependency names the version only where there are several.
        known.insert(
            format!("{name} {version}"),
            (described.clone(), Vec::clone(&needs)),
        );
        known.insert(name, (described, needs));
    }
    let mut found = BTreeSet::new();
    let mut open = vec![package.to_owned()];
    while let Some(name) = open.pop() {
        let Some((described, needs)) = known.get(&name) else {
            continue;
        };
        if name == package || found.insert(described.clone()) {
            open.extend(needs.iter().cloned());
        }
    }
    found
}

/// The tables of a manifest whose name starts with one of `names`, without
/// comments and blank lines.
fn tables(manifest: &str, names: &[&str]) -> String {
    let mut kept = String::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            inside = names.iter().any(|wanted| name.starts_with(wanted));
        }
        if inside && !line.is_empty() && !line.starts_with('#') {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::{locked, tables};

    const LOCK: &str = r#"
[[package]]
name = "a"
version = "1.0.0"
checksum = "aa"
dependencies = [
 "b",
 "c 2.0.0",
]

[[package]]
name = "b"
version = "1.0.0"
checksum = "bb"

[[package]]
name = "c"
version = "1.0.0"
checksum = "c1"

[[package]]
name = "c"
version = "2.0.0"
checksum = "c2"

[[package]]
name = "other"
version = "1.0.0"
checksum = "no"
"#;

    #[test]
    fn follows_what_is_needed() {
        let found: Vec<String> = locked(LOCK, "a").into_iter().collect();
        assert_eq!(found, ["b 1.0.0 bb", "c 2.0.0 c2"]);
    }

    #[test]
    fn keeps_the_named_tables() {
        let text = "[profile.release]\n# why\nlto = true\n\n[profile.dev]\nx = 1\n[profile.release.package.p]\ny = 2\n";
        assert_eq!(
            tables(text, &["profile.release"]),
            "[profile.release]\nlto = true\n[profile.release.package.p]\ny = 2\n"
        );
    }
}
