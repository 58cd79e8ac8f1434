//! Measurements on a machine that others use at the same time.
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, anyhow};

/// Runs a measurement and, when it fails, once more: what is wrong is wrong
/// again, what a neighbour on the machine disturbed is not. The first failure
/// is printed even when the second run passes.
///
/// # Errors
/// Both failures, when both runs fail.
pub fn measured<T>(mut measurement: impl FnMut() -> Result<T>) -> Result<T> {
    let mut attempt = || {
        catch_unwind(AssertUnwindSafe(&mut measurement)).unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Err(anyhow!("{}", text.unwrap_or("it panicked")))
        })
    };
    attempt().or_else(|first| {
        println!("measured again, because: {first:#}");
        attempt().map_err(|second| anyhow!("{second:#}\nand before that: {first:#}"))
    })
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
        assert_eq!(error.to_string(), "run 2\nand before that: run 1");
        assert_eq!(runs, 2);
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
