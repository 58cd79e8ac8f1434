//! A part of a report that may be missing for a reason of its own.

use serde::{Deserialize, Serialize};

use crate::profile::document::{Column, Part};

/// What a part of the probe found, or why it found nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Section<T> {
    Measured { data: T },
    NotMeasured { reason: String },
}

impl<T> Section<T> {
    pub fn missing(reason: impl Into<String>) -> Self {
        Self::NotMeasured {
            reason: reason.into(),
        }
    }

    pub fn data(&self) -> Option<&T> {
        match self {
            Self::Measured { data } => Some(data),
            Self::NotMeasured { .. } => None,
        }
    }

    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Measured { .. } => None,
            Self::NotMeasured { reason } => Some(reason),
        }
    }
}

impl<T, E: std::fmt::Display> From<Result<T, E>> for Section<T> {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(data) => Self::Measured { data },
            Err(error) => Self::missing(error.to_string()),
        }
    }
}

/// Two readings, or why one is missing.
pub fn both<'r, T, E: std::fmt::Display>(
    before: &'r Result<T, E>,
    after: &'r Result<T, E>,
) -> Result<(&'r T, &'r T), String> {
    match (before, after) {
        (Ok(before), Ok(after)) => Ok((before, after)),
        (Err(error), _) | (_, Err(error)) => Err(error.to_string()),
    }
}

impl Part {
    /// Shows a section: its rows, or why it is missing.
    pub fn of<T>(
        title: &str,
        section: &Section<T>,
        columns: Vec<Column>,
        rows: impl FnOnce(&T, &mut Self),
    ) -> Self {
        let mut part = Self::new(title, columns);
        match section {
            Section::Measured { data } => rows(data, &mut part),
            Section::NotMeasured { reason } => part.note(format!("Not measured: {reason}.")),
        }
        part
    }
}
