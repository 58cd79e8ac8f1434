//! Which format a result gets, and what it shows.

use clap::{ValueEnum, builder::PossibleValue};

pub use crate::report::Format;
use crate::{output::Target, profile::Source, report::ProfileType};

/// What was asked for, else what the file's name says, else JSON.
pub fn choose(asked: Option<Format>, target: &Target) -> Format {
    asked
        .or_else(|| match target {
            Target::File(path) => Format::from_path(path),
            Target::Stdout => None,
        })
        .unwrap_or(Format::Json)
}

/// Its name if a terminal must not show it.
pub fn binary(format: Format) -> Option<&'static str> {
    format.is_binary().then(|| format.name())
}

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.description()))
    }
}

impl ValueEnum for Source {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Self::OnCpu => ("on-cpu", "CPU time, sampled"),
            Self::Wall => ("wall", "the whole time of threads: on a CPU and off"),
            Self::OffCpu => ("off-cpu", "all time off a CPU: blocked and idle"),
            Self::Blocked => (
                "blocked",
                "time in which threads wait inside of their work, for a CPU too",
            ),
            Self::Idle => ("idle", "time in which threads wait for work"),
            Self::GilWait => (
                "gil-wait",
                "waits for the global interpreter lock of CPython, each of them measured",
            ),
            Self::Wakeup => (
                "wakeup",
                "time that others waited for a lock, a pipe or a child until this woke them",
            ),
            Self::Syscall => ("syscall", "time in system calls"),
            Self::Disk => ("disk", "bytes of disk requests"),
            Self::DiskTime => ("disk-time", "time that disk requests took"),
            Self::Network => ("network", "bytes sent and received"),
            Self::PageFault => ("page-fault", "bytes that page faults brought in"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

impl ValueEnum for ProfileType {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.description()))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_option_wins_over_the_name() {
        let of = |asked, name: &str| choose(asked, &Target::new(Some(Path::new(name))));
        for (name, format) in [
            ("a.json", Format::Json),
            ("reports/A.HTML", Format::Html),
            ("a.speedscope.json", Format::Speedscope),
            ("x.profile", Format::Profile),
            ("a.txt", Format::Json),
            ("noextension", Format::Json),
            ("-", Format::Json),
        ] {
            assert_eq!(of(None, name), format, "{name}");
        }
        assert_eq!(of(Some(Format::Folded), "a.html"), Format::Folded);
        assert_eq!(choose(None, &Target::Stdout), Format::Json);
    }
}
