//! What is loaded in the kernel: nothing may stay when the profiler has gone.
use std::{collections::BTreeMap, process::Command, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::process;

/// Programs and maps, by id.
pub struct Loaded {
    programs: BTreeMap<u64, String>,
    maps: BTreeMap<u64, (String, String)>,
}

impl Loaded {
    pub fn now() -> Result<Self> {
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let programs = list("prog")?
            .iter()
            .filter_map(|program| Some((program["id"].as_u64()?, text(program, "name"))))
            .collect();
        let maps = list("map")?
            .iter()
            .filter_map(|map| Some((map["id"].as_u64()?, (text(map, "name"), text(map, "type")))))
            .collect();
        Ok(Self { programs, maps })
    }

    /// How many programs and maps there are that were not there before.
    pub fn added(&self, before: &Self) -> (usize, usize) {
        (
            self.programs
                .keys()
                .filter(|id| !before.programs.contains_key(id))
                .count(),
            self.maps
                .keys()
                .filter(|id| !before.maps.contains_key(id))
                .count(),
        )
    }

    /// Entries of each hash map that was not there before, by its name.
    pub fn entries(&self, before: &Self) -> Result<BTreeMap<String, usize>> {
        let mut counts = BTreeMap::new();
        for (id, (name, kind)) in &self.maps {
            if before.maps.contains_key(id) || !kind.ends_with("hash") {
                continue;
            }
            *counts.entry(name.clone()).or_default() += dump(*id)?;
        }
        Ok(counts)
    }

    /// Slots of the profiler's unwind tables that are in use, of one that was
    /// not there before.
    pub fn tables(&self, before: &Self) -> Result<usize> {
        let (id, _) = self
            .maps
            .iter()
            .find(|(id, (name, _))| name == "TABLES" && !before.maps.contains_key(id))
            .context("no TABLES")?;
        dump(*id)
    }

    /// Fails unless all that was added has gone. The kernel frees programs a
    /// moment after their last user, so it is asked for a while.
    pub fn check_gone(&self) -> Result<()> {
        let mut left = String::new();
        let gone = process::until(Duration::from_secs(10), || {
            let Ok(now) = Self::now() else { return false };
            let programs: Vec<_> = now
                .programs
                .iter()
                .filter(|(id, _)| !self.programs.contains_key(id))
                .collect();
            let maps: Vec<_> = now
                .maps
                .iter()
                .filter(|(id, _)| !self.maps.contains_key(id))
                .collect();
            left = format!("programs {programs:?}, maps {maps:?}");
            programs.is_empty() && maps.is_empty()
        });
        if !gone {
            bail!("left in the kernel: {left}");
        }
        Ok(())
    }
}

fn list(what: &str) -> Result<Vec<Value>> {
    let text = process::output(Command::new("bpftool").args(["--json", what, "list"]))?;
    let value: Value = serde_json::from_str(&text).context("bpftool's list")?;
    Ok(value.as_array().cloned().unwrap_or_default())
}

/// How many entries a map has. bpftool gives up when an entry is removed while
/// it walks, which a map of short-lived processes is made for: so it is asked
/// again.
fn dump(id: u64) -> Result<usize> {
    let id = id.to_string();
    let mut last = None;
    for _ in 0..50 {
        match process::output(Command::new("bpftool").args(["--json", "map", "dump", "id", &id])) {
            Ok(text) => {
                let entries: Value = serde_json::from_str(&text).context("bpftool map dump")?;
                return Ok(entries.as_array().map_or(0, Vec::len));
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("map {id} was not asked")))
}

/// Whether a program of this name, as the kernel cuts it, is attached by a link.
pub fn is_attached(name: &str) -> bool {
    let of_name = |program: &&Value| program["name"] == name;
    let (Ok(programs), Ok(links)) = (list("prog"), list("link")) else {
        return false;
    };
    let ids: Vec<_> = programs
        .iter()
        .filter(of_name)
        .map(|program| &program["id"])
        .collect();
    links.iter().any(|link| ids.contains(&&link["prog_id"]))
}
