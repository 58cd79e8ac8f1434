//! How often `profiler compare` is wrong about real programs: pairs of one build,
//! and pairs of which one does a tenth more work.
//!
//! The program prints the CPU time of a known amount of work. A round is the
//! median of several short runs, and runs of both sides take turns, as a
//! benchmark on a shared machine has to.
use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::shell;

const ROUNDS: usize = 7;
/// Of each side in a round.
const RUNS: usize = 15;
const UNITS: u64 = 1500;
const SLOWER_UNITS: u64 = 1650;

/// Pairs that ended with each exit code of `profiler compare`.
#[derive(Default)]
struct Counts {
    same: usize,
    worse: usize,
    unsure: usize,
}

pub fn bench(profiler: &Path, work: &Path, pairs: usize) -> Result<()> {
    let programs = work.join("programs");
    shell::run(Command::new(shell::root().join("tests/programs/build.sh")).arg(&programs))?;
    let program = programs.join("work");
    println!(
        "{:<28} {:>6} {:>8} {:>10} {:>22}",
        "pairs of 7 rounds", "pairs", "worse", "not worse", "not enough evidence"
    );
    for (name, units) in [("one build", UNITS), ("10 % more work", SLOWER_UNITS)] {
        let mut paired = Counts::default();
        let mut apart = Counts::default();
        let mut scatter = Vec::new();
        for _ in 0..pairs {
            let [baseline, candidate] = measure(&program, units)?;
            scatter.push(deviation(&baseline));
            let files = ["baseline.json", "candidate.json"].map(|name| work.join(name));
            for (file, values) in files.iter().zip([&baseline, &candidate]) {
                fs::write(file, serde_json::to_string(&metrics(values))?)?;
            }
            paired.add(judge(profiler, &files, &["--paired"])?);
            apart.add(judge(profiler, &files, &[])?);
        }
        scatter.sort_by(f64::total_cmp);
        for (how, counts) in [("--paired", paired), ("unpaired", apart)] {
            println!(
                "{:<28} {pairs:>6} {:>6.1} % {:>8.1} % {:>20.1} %",
                format!("{name}, {how}"),
                percent(counts.worse, pairs),
                percent(counts.same, pairs),
                percent(counts.unsure, pairs)
            );
        }
        println!(
            "  rounds of one build scattered by {:.1} % (median of pairs; 9 in 10 below {:.1} %)",
            100.0 * scatter[pairs / 2],
            100.0 * scatter[pairs * 9 / 10]
        );
    }
    Ok(())
}

impl Counts {
    fn add(&mut self, code: i32) {
        match code {
            0 => self.same += 1,
            1 => self.worse += 1,
            _ => self.unsure += 1,
        }
    }
}

fn percent(count: usize, all: usize) -> f64 {
    100.0 * count as f64 / all as f64
}

/// CPU time of each round of both sides, nanoseconds.
fn measure(program: &Path, units: u64) -> Result<[Vec<f64>; 2]> {
    let mut sides = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let mut runs = [Vec::new(), Vec::new()];
        for run in 0..RUNS {
            // a b b a: neither is always the first.
            for side in if run % 2 == 0 { [0, 1] } else { [1, 0] } {
                let units = if side == 0 { UNITS } else { units };
                let said = shell::output(Command::new(program).arg(units.to_string()))?;
                runs[side].push(said.trim().parse::<f64>().context("a number")?);
            }
        }
        for (side, mut runs) in sides.iter_mut().zip(runs) {
            runs.sort_by(f64::total_cmp);
            side.push(runs[RUNS / 2]);
        }
    }
    Ok(sides)
}

/// Standard deviation of the logarithms.
fn deviation(values: &[f64]) -> f64 {
    let logarithms: Vec<f64> = values.iter().map(|value| value.ln()).collect();
    let count = logarithms.len() as f64;
    let mean = logarithms.iter().sum::<f64>() / count;
    let squares: f64 = logarithms.iter().map(|it| (it - mean).powi(2)).sum();
    (squares / (count - 1.0)).sqrt()
}

/// Without times: the sides took turns within each round.
fn metrics(values: &[f64]) -> Value {
    json!({
        "format": "profiler-metrics",
        "version": 1,
        "host": {},
        "metrics": [{
            "name": "CPU time of the work",
            "unit": "ns",
            "better": "lower",
            "values": values,
        }],
    })
}

fn judge(profiler: &Path, files: &[std::path::PathBuf; 2], options: &[&str]) -> Result<i32> {
    let output = Command::new(profiler)
        .arg("compare")
        .args(files)
        .args(["--quiet", "--threshold", "10"])
        .args(options)
        .output()
        .with_context(|| format!("cannot run {}", profiler.display()))?;
    match output.status.code() {
        Some(code @ (0 | 1 | 3)) => Ok(code),
        _ => bail!(
            "profiler compare: {}",
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}
