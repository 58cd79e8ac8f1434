//! What this host allows, found out by trying.
//!
//! Reading a setting says what an administrator wrote; whether a program
//! loads, a map is made or a counter opens is only known by doing it.

mod bpf;
mod containers;
mod host;
mod kernel;
mod limits;
mod perf;
mod preflight;
mod rights;
mod table;

use serde::Serialize;

use host::Host;
pub use limits::raise_limits;
pub use preflight::{Unusable, preflight};
pub use table::{Look, table};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Ok,
    /// Works, with less than there could be.
    Limited,
    Missing,
    /// Could not be looked at.
    Unknown,
}

/// One line of the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub state: State,
    /// Whether no recording works without it.
    pub required: bool,
    /// What was found.
    pub found: String,
    /// What it costs the user, empty when nothing.
    pub cost: String,
    /// How to get it, empty when there is nothing to get.
    pub remedy: String,
}

impl Check {
    fn new(name: &'static str, state: State, found: impl Into<String>) -> Self {
        Self {
            name,
            state,
            required: false,
            found: found.into(),
            cost: String::new(),
            remedy: String::new(),
        }
    }

    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, State::Ok, found)
    }

    fn limited(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, State::Limited, found)
    }

    fn missing(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, State::Missing, found)
    }

    fn unknown(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, State::Unknown, found)
    }

    fn costs(mut self, cost: impl Into<String>) -> Self {
        self.cost = cost.into();
        self
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// No recording works without it.
    fn required(mut self) -> Self {
        self.required = true;
        if self.state == State::Missing && self.cost.is_empty() {
            self.cost = "no recording works without it".to_string();
        }
        self
    }
}

/// All that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    pub profiler_version: &'static str,
    pub kernel: String,
    /// Whether a recording works here.
    pub usable: bool,
    pub checks: Vec<Check>,
}

impl Findings {
    fn new(kernel: String, checks: Vec<Check>) -> Self {
        Self {
            profiler_version: env!("CARGO_PKG_VERSION"),
            kernel,
            usable: !checks
                .iter()
                .any(|check| check.required && check.state == State::Missing),
            checks,
        }
    }

    pub fn usable(&self) -> bool {
        self.usable
    }

    /// What is in the way of a recording.
    pub fn obstacles(&self) -> impl Iterator<Item = &Check> {
        self.checks
            .iter()
            .filter(|check| check.required && check.state == State::Missing)
    }
}

/// Looks at everything.
pub fn examine() -> Findings {
    let host = Host::running();
    let mut checks = Vec::new();
    checks.extend(rights::checks(&host));
    checks.extend(kernel::checks(&host));
    checks.extend(bpf::checks(&host));
    checks.extend(perf::checks(&host));
    checks.extend(limits::checks(&host));
    checks.extend(containers::checks(&host));
    Findings::new(host.release(), checks)
}

pub fn json(findings: &Findings) -> anyhow::Result<String> {
    let mut text = serde_json::to_string_pretty(findings)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_required_is_in_the_way() {
        let findings = |checks| Findings::new("6.1.0".to_string(), checks);
        assert!(findings(vec![Check::missing("fentry", ""), Check::limited("x", "")]).usable());
        assert!(findings(vec![Check::unknown("x", "").required()]).usable());
        let bad = findings(vec![Check::missing("BTF", "").required()]);
        assert!(!bad.usable());
        assert_eq!(bad.obstacles().count(), 1);
        assert!(!bad.checks[0].cost.is_empty());
    }

    #[test]
    fn every_shortage_says_what_it_costs() {
        let findings = examine();
        assert!(findings.checks.len() > 20);
        for check in &findings.checks {
            assert!(!check.found.is_empty(), "{check:?}");
            if matches!(check.state, State::Limited | State::Missing) {
                assert!(!check.cost.is_empty(), "{check:?}");
                assert!(!check.remedy.is_empty(), "{check:?}");
            }
        }
        let parsed: serde_json::Value =
            serde_json::from_str(&json(&findings).expect("it is plain data")).expect("JSON");
        assert_eq!(parsed["usable"], findings.usable());
    }
}
