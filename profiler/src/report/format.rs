//! The formats by name and by file name.

use std::{fmt, path::Path, str::FromStr};

use thiserror::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    Json,
    Html,
    Markdown,
    Flamegraph,
    Folded,
    Raw,
    Pprof,
    Pstats,
    Speedscope,
    Profile,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown format `{0}`; known are {known}", known = known())]
pub struct UnknownFormat(pub String);

fn known() -> String {
    Format::ALL.map(Format::name).join(", ")
}

impl Format {
    pub const ALL: [Self; 10] = [
        Self::Json,
        Self::Html,
        Self::Markdown,
        Self::Flamegraph,
        Self::Folded,
        Self::Raw,
        Self::Pprof,
        Self::Pstats,
        Self::Speedscope,
        Self::Profile,
    ];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Html => "html",
            Self::Markdown => "markdown",
            Self::Flamegraph => "flamegraph",
            Self::Folded => "folded",
            Self::Raw => "raw",
            Self::Pprof => "pprof",
            Self::Pstats => "pstats",
            Self::Speedscope => "speedscope",
            Self::Profile => "profile",
        }
    }

    /// What it is, for a help text.
    pub fn description(self) -> &'static str {
        match self {
            Self::Json => "the whole report for programs (reports/schema.json)",
            Self::Html => "one page with everything, to click through",
            Self::Markdown => "one screen of tables, for a pull request",
            Self::Flamegraph => "a flame graph (SVG)",
            Self::Folded => "folded stacks weighted in nanoseconds, one a line",
            Self::Raw => {
                "Python frames only, counted in samples, as `py-spy --format raw` has them"
            }
            Self::Pprof => "for `go tool pprof` and what else reads its format",
            Self::Pstats => {
                "Python functions for `python -m pstats` and snakeviz; sampled: its counts are \
                 samples, not calls"
            }
            Self::Speedscope => "for speedscope.app",
            Self::Profile => "the recording itself, to render or compare later",
        }
    }

    /// The usual ending of its files, with the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Json => ".json",
            Self::Html => ".html",
            Self::Markdown => ".md",
            Self::Flamegraph => ".svg",
            Self::Folded => ".folded",
            Self::Raw => ".raw",
            Self::Pprof => ".pb.gz",
            Self::Pstats => ".pstats",
            Self::Speedscope => ".speedscope.json",
            Self::Profile => ".profile",
        }
    }

    /// By the ending of the file's name. `.txt` is nothing: it could be meant
    /// as folded stacks or as something to read.
    pub fn from_path(path: &Path) -> Option<Self> {
        const ENDINGS: [(&str, Format); 17] = [
            // Before `.json`, which it ends in too.
            (".speedscope.json", Format::Speedscope),
            (".speedscope", Format::Speedscope),
            (".json", Format::Json),
            (".html", Format::Html),
            (".htm", Format::Html),
            (".md", Format::Markdown),
            (".markdown", Format::Markdown),
            (".svg", Format::Flamegraph),
            (".folded", Format::Folded),
            (".collapsed", Format::Folded),
            (".raw", Format::Raw),
            (".pb.gz", Format::Pprof),
            (".pprof", Format::Pprof),
            (".pprof.gz", Format::Pprof),
            (".pstats", Format::Pstats),
            (".prof", Format::Pstats),
            (".profile", Format::Profile),
        ];
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        ENDINGS
            .iter()
            .find(|(ending, _)| name.ends_with(ending))
            .map(|&(_, format)| format)
    }

    /// Whether it is not for a terminal.
    pub fn is_binary(self) -> bool {
        matches!(self, Self::Pprof | Self::Pstats | Self::Profile)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        let lower = text.to_ascii_lowercase();
        Self::ALL
            .into_iter()
            .find(|format| format.name() == lower || format.extension()[1..] == lower)
            .ok_or_else(|| UnknownFormat(text.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_endings_lead_back() {
        for format in Format::ALL {
            assert_eq!(format.name().parse(), Ok(format));
            let path = format!("/tmp/x.y{}", format.extension());
            assert_eq!(Format::from_path(Path::new(&path)), Some(format));
        }
        assert_eq!("MD".parse(), Ok(Format::Markdown));
        let error = "xml".parse::<Format>().unwrap_err().to_string();
        assert!(error.contains("`xml`") && error.contains("speedscope"));
        assert_eq!(Format::from_path(Path::new("report.txt")), None);
        assert_eq!(Format::from_path(Path::new("/a.json/report")), None);
        assert_eq!(Format::from_path(Path::new("-")), None);
    }
}
