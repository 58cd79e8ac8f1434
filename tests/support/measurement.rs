//! Measurements on a machine that others use at the same time.
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, anyhow};

use super::steal::Steal;

/// What the hypervisor may take of a CPU, in percent, before a failure says
/// nothing.
const STEAL: f64 = 1.0;
/// Runs at most, however disturbed they are.
const RUNS: usize = 4;

/// Runs a measurement and, when it fails, once more: what is wrong is wrong
/// again, what a neighbour on the machine disturbed is not. A failure while the
/// hypervisor took the CPUs away does not count, unless all are like that.
/// Every failure is printed even when a later run passes.
///
/// # Errors
/// The failures, when two undisturbed runs fail, or all.
pub fn measured<T>(mut measurement: impl FnMut() -> Result<T>) -> Result<T> {
    let mut attempt = || {
        let steal = Steal::now();
        let result = catch_unwind(AssertUnwindSafe(&mut measurement)).unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Err(anyhow!("{}", text.unwrap_or("it panicked")))
        });
        result.map_err(|error| (error, steal.percent()))
    };
    let mut failures = Vec::new();
    let mut undisturbed = 0;
    loop {
        let (error, stolen) = match attempt() {
            Ok(result) => return Ok(result),
            Err(failure) => failure,
        };
        undisturbed += usize::from(stolen < STEAL);
        failures.push(format!("{error:#} ({stolen:.1} % of a CPU was stolen)"));
        if undisturbed == 2 || failures.len() == RUNS {
            failures.reverse();
            return Err(anyhow!("{}", failures.join("\nand before that: ")));
        }
        println!("measured again, because: {}", failures[failures.len() - 1]);
    }
}

#[cfg(test)]
mod tests {
    use anyhow::ensure;

    use super::*;

    #[test]
    fn what_is_wrong_twice_fails_and_says_both() {
        let mut runs = 0;
        let error = measured(|| {
            runs += 1;
            assert!(runs > 1, "run {runs}");
            ensure!(runs > 2, "run {runs}");
            Ok(())
        })
        .unwrap_err();
        let text = error.to_string();
        assert!(text.contains("and before that: run 1 ("), "{text}");
        assert!(text.starts_with(&format!("run {runs} (")), "{text}");
        assert!((2..=RUNS).contains(&runs), "{runs}");
    }

    #[test]
    fn what_passes_runs_once() -> Result<()> {
        let mut runs = 0;
        measured(|| {
            runs += 1;
            Ok(())
        })?;
        assert_eq!(runs, 1);
        Ok(())
    }
}
