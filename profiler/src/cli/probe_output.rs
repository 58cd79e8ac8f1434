//! How the probes of databases write what they found.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use crate::{output::Target, profile::Document, report::document};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProbeFormat {
    /// Findings and tables, for a terminal.
    Text,
    /// Everything, for programs; its schema is in reports/.
    Json,
    Markdown,
}

#[derive(Debug, Args)]
pub struct ProbeOutput {
    /// Format of the result [default: by the extension of --output (.json, .md), else text]
    #[arg(long, value_enum)]
    pub format: Option<ProbeFormat>,

    /// Write the result to this file instead of stdout. The file is readable by
    /// its owner only.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl ProbeOutput {
    /// Where to, checked before the probe.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub fn target(&self) -> anyhow::Result<Target> {
        let target = Target::new(self.output.as_deref());
        target.check(None)?;
        Ok(target)
    }

    pub fn chosen(&self) -> ProbeFormat {
        self.format
            .unwrap_or_else(|| by_name(self.output.as_deref()))
    }

    /// # Errors
    /// When it cannot be written.
    pub fn write(
        &self,
        target: &Target,
        found: &Document,
        json: &dyn Fn(&mut dyn Write) -> std::io::Result<()>,
    ) -> anyhow::Result<()> {
        let format = self.chosen();
        target.write(&|to| {
            Ok(match format {
                ProbeFormat::Text => document::write_text(found, to),
                ProbeFormat::Json => json(to),
                ProbeFormat::Markdown => document::write_markdown(found, to),
            }?)
        })?;
        Ok(())
    }
}

fn by_name(path: Option<&Path>) -> ProbeFormat {
    match path.and_then(Path::extension).and_then(|end| end.to_str()) {
        Some("json") => ProbeFormat::Json,
        Some("md") => ProbeFormat::Markdown,
        _ => ProbeFormat::Text,
    }
}
