//! One recording. A stand-in: the integrator replaces it.

use crate::{options::RecordOptions, profile::Recording, progress::Progress};

pub fn record(_: &RecordOptions, _: &dyn Progress) -> anyhow::Result<Recording> {
    anyhow::bail!("recording is not implemented in this build")
}
