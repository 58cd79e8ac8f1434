//! What of a recording a report shows.

use std::borrow::Cow;

use crate::{
    profile::{Note, Recording, Source},
    views::{Kept, interpreted},
};

use super::text::duration;

/// Which stacks a report shows, and how much of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// What the formats show that can show one unit only. Those that can hold
    /// several (JSON, HTML, pprof) have all, and show this one first.
    pub source: Source,
    pub profile_type: ProfileType,
}

/// How Python is shown; named after the tools whose view it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProfileType {
    /// Everything, with a table of Python functions.
    #[default]
    Cprofile,
    /// Python frames only.
    PySpy,
}

impl ProfileType {
    pub const ALL: [Self; 2] = [Self::Cprofile, Self::PySpy];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cprofile => "cprofile",
            Self::PySpy => "py-spy",
        }
    }

    /// What it is, for a help text.
    pub fn description(self) -> &'static str {
        match self {
            Self::Cprofile => {
                "everything that ran, and a table of Python functions where there are any"
            }
            Self::PySpy => {
                "Python frames only: native and kernel time counts for the function that called \
                 it, and what runs no Python is left out"
            }
        }
    }
}

impl Selection {
    /// The recording with the stacks that are asked for. A note says what is
    /// left out.
    pub(super) fn apply(self, recording: &Recording) -> Cow<'_, Recording> {
        match self.profile_type {
            ProfileType::Cprofile => Cow::Borrowed(recording),
            ProfileType::PySpy => {
                let mut shorter = interpreted(recording, Kept::Python);
                let (kept, all) = (shorter.total(Source::OnCpu), recording.total(Source::OnCpu));
                shorter.notes.push(Note::info(format!(
                    "Only Python frames are shown (--profile-type py-spy): {} of {} of CPU \
                     time ran no Python and is left out.",
                    duration(all - kept),
                    duration(all)
                )));
                Cow::Owned(shorter)
            }
        }
    }
}
