//! `--mode full` on the demo stack: each fault that is planted there is found by
//! its name, and none where nothing is planted.
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{cgroups::Version, measurement::measured, process, profiler, stack::Stack};

const HOLDER: &str = env!("CARGO_BIN_EXE_stack");

/// What is planted (`tests/stack`), and how it is found.
struct Fault {
    /// What people call it.
    name: &'static str,
    /// Where it is found, which need not be where it is made.
    container: &'static str,
    kind: &'static str,
    /// Names in the finding's text or evidence.
    words: &'static [&'static str],
}

const FAULTS: &[Fault] = &[
    Fault {
        name: "N+1 query",
        container: "shop-db",
        kind: "n_plus_one",
        words: &[
            "FROM order_lines WHERE order_id = $1",
            "FROM orders WHERE customer_id = $1",
        ],
    },
    Fault {
        name: "missing index",
        container: "shop-db",
        kind: "missing_index",
        words: &["orders", "reference"],
    },
    Fault {
        name: "lock pile-up",
        container: "shop-db",
        kind: "lock_pile_up",
        words: &["stock", "shop-orders", "UPDATE stock"],
    },
    Fault {
        name: "pool too small",
        container: "shop-reports",
        kind: "pool_too_small",
        words: &["all 2 connections", "shop-db"],
    },
    Fault {
        name: "CPU hot spot",
        container: "shop-api",
        kind: "hot_function",
        words: &["price_with_discounts", "/shop/api/prices.py:"],
    },
    Fault {
        name: "blocking call in the event loop",
        container: "shop-api",
        kind: "blocked_event_loop",
        words: &["carrier_rate", "/shop/api/shipping.py:"],
    },
    Fault {
        name: "cache with 10 % hits",
        container: "shop-cache",
        kind: "cache_hit",
        words: &["cache hit", "recommendations:"],
    },
];

impl Fault {
    fn is(&self, finding: &Value) -> bool {
        let text = format!("{} {}", finding["text"], finding["evidence"]);
        finding["kind"] == self.kind
            && finding["container"] == self.container
            && self.words.iter().all(|word| text.contains(word))
    }
}

#[test]
fn every_planted_fault_is_found() -> Result<()> {
    let stack = Stack::start_demo(version(), Path::new(HOLDER), false)?;
    measured(|| check_faults(&stack))
}

fn check_faults(stack: &Stack) -> Result<()> {
    let report = report(
        stack,
        &[
            "--duration",
            "20",
            "--endpoints",
            "all",
            "--load",
            "light",
            // Its program is no `qdrant`, only its engine is.
            "--vectors",
            "http://127.0.0.1:26333",
        ],
    )?;
    let findings = findings(&report)?;
    let missed: Vec<&str> = FAULTS
        .iter()
        .filter(|fault| !findings.iter().any(|finding| fault.is(finding)))
        .map(|fault| fault.name)
        .collect();
    ensure!(missed.is_empty(), "not found: {missed:?} in {findings:#?}");
    // Beside them all were asked, and each belongs to its container.
    let probes = report["probes"].as_array().context("no probes")?;
    let mut asked = Vec::new();
    for probe in probes {
        ensure!(probe["status"] == "measured", "{probe:#}");
        asked.push((probe["kind"].as_str(), probe["container"].as_str()));
    }
    for (kind, container) in [
        ("postgres", "shop-db"),
        ("redis", "shop-cache"),
        ("load", "shop-api"),
        ("load", "shop-reports"),
        ("vectors", "host"),
    ] {
        ensure!(asked.contains(&(Some(kind), Some(container))), "{asked:?}");
    }
    Ok(())
}

#[test]
fn a_healthy_shop_has_none_of_them() -> Result<()> {
    let stack = Stack::start_demo(version(), Path::new(HOLDER), true)?;
    measured(|| check_health(&stack))
}

fn check_health(stack: &Stack) -> Result<()> {
    let report = report(stack, &["--duration", "8"])?;
    let findings = findings(&report)?;
    for kind in ["postgres", "redis"] {
        let probes = report["probes"].as_array().context("no probes")?;
        let asked = probes
            .iter()
            .any(|probe| probe["kind"] == kind && probe["status"] == "measured");
        ensure!(asked, "{kind} was not asked: {probes:#?}");
    }
    for fault in FAULTS {
        // What is hottest may be hot anywhere; the others are faults wherever
        // they are.
        let found = findings.iter().find(|finding| match fault.kind {
            "hot_function" => fault.is(finding),
            kind => finding["kind"] == kind,
        });
        ensure!(found.is_none(), "{}: {found:#?}", fault.name);
    }
    Ok(())
}

fn version() -> Version {
    match Version::V1.mount() {
        Some(_) => Version::V1,
        None => Version::V2,
    }
}

/// Of a profiler on the host whose containers these are.
fn report(stack: &Stack, options: &[&str]) -> Result<Value> {
    let output = process::any_output(
        stack
            .command_in_network(&profiler::binary())
            .args(["--mode", "full", "--containers", "shop-*"])
            .args(["--format", "json"])
            .args(options),
    )?;
    let messages = profiler::messages(&output);
    ensure!(output.status.success(), "{messages}");
    serde_json::from_slice(&output.stdout).context("its report")
}

fn findings(report: &Value) -> Result<&Vec<Value>> {
    report["findings"].as_array().context("no findings")
}
