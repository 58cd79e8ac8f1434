//! The load generator wrk, of the containers' image.
use anyhow::{Context, Result};

use super::{image, process};

/// What wrk says.
pub struct Wrk(String);

impl Wrk {
    pub fn run(url: &str, threads: u32, connections: u32, duration: u32) -> Result<Self> {
        let output = process::output(
            image::program("usr/bin/wrk")?
                .arg(format!("-t{threads}"))
                .arg(format!("-c{connections}"))
                .arg(format!("-d{duration}s"))
                .args(["--latency", url]),
        )?;
        Ok(Self(output))
    }

    fn after(&self, label: &str) -> Result<&str> {
        self.0
            .lines()
            .find_map(|line| line.trim().strip_prefix(label))
            .map(str::trim)
            .with_context(|| format!("wrk says no {label}: {}", self.0))
    }

    /// Requests a second.
    pub fn rate(&self) -> Result<f64> {
        Ok(self.after("Requests/sec:")?.parse()?)
    }

    /// Seconds.
    pub fn percentile(&self, label: &str) -> Result<f64> {
        let text = self.after(label)?;
        let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
        let unit = match &text[digits.len()..] {
            "us" => 1e-6,
            "ms" => 1e-3,
            _ => 1.0,
        };
        Ok(digits.parse::<f64>()? * unit)
    }
}
