//! Formats of a result, and which one a file name asks for.

use std::path::Path;

use clap::ValueEnum;

use crate::output::Target;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The whole report for programs, with a published schema.
    Json,
    /// One file to look at in a browser, without a network.
    Html,
    /// Tables for a pull request.
    Markdown,
    /// An SVG flame graph.
    Flamegraph,
    /// One line a stack, for flame graph scripts.
    Folded,
    /// For `go tool pprof` and Pyroscope; binary.
    Pprof,
    /// For speedscope.app.
    Speedscope,
    /// The raw recording, for `profiler report`: asked for by `.profile`.
    #[value(skip)]
    Recording,
}

/// Extensions, longest first where one ends another.
const EXTENSIONS: &[(&str, Format)] = &[
    (".speedscope.json", Format::Speedscope),
    (".speedscope", Format::Speedscope),
    (".json", Format::Json),
    (".html", Format::Html),
    (".htm", Format::Html),
    (".md", Format::Markdown),
    (".markdown", Format::Markdown),
    (".svg", Format::Flamegraph),
    (".folded", Format::Folded),
    (".pb.gz", Format::Pprof),
    (".pprof", Format::Pprof),
    (".profile", Format::Recording),
];

impl Format {
    /// What was asked for, else what the file's name says, else JSON.
    pub fn choose(asked: Option<Self>, target: &Target) -> Self {
        asked
            .or_else(|| match target {
                Target::File(path) => Self::of_name(path),
                Target::Stdout => None,
            })
            .unwrap_or(Self::Json)
    }

    fn of_name(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        EXTENSIONS
            .iter()
            .find(|(extension, _)| name.ends_with(extension))
            .map(|&(_, format)| format)
    }

    /// As shown to people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Html => "html",
            Self::Markdown => "markdown",
            Self::Flamegraph => "flamegraph",
            Self::Folded => "folded",
            Self::Pprof => "pprof",
            Self::Speedscope => "speedscope",
            Self::Recording => "recording",
        }
    }

    /// Its name if a terminal must not show it.
    pub fn binary(self) -> Option<&'static str> {
        matches!(self, Self::Pprof | Self::Recording).then(|| self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_wins_over_the_name() {
        let of = |asked, name: &str| Format::choose(asked, &Target::new(Some(Path::new(name))));
        for (name, format) in [
            ("a.json", Format::Json),
            ("a.html", Format::Html),
            ("reports/A.HTML", Format::Html),
            ("a.md", Format::Markdown),
            ("a.svg", Format::Flamegraph),
            ("a.folded", Format::Folded),
            ("a.pb.gz", Format::Pprof),
            ("a.speedscope.json", Format::Speedscope),
            ("x.profile", Format::Recording),
            ("a.txt", Format::Json),
            ("noextension", Format::Json),
            ("-", Format::Json),
        ] {
            assert_eq!(of(None, name), format, "{name}");
        }
        assert_eq!(of(Some(Format::Folded), "a.html"), Format::Folded);
        assert_eq!(Format::choose(None, &Target::Stdout), Format::Json);
    }
}
