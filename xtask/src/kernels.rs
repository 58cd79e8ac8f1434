use anyhow::{Result, bail};

use crate::test::Outcome;

pub fn test(_: Option<&str>) -> Result<Vec<Outcome>> {
    bail!("not yet")
}
