//! What a probe found, for people: findings, then tables. It is kept as shown,
//! so that a saved recording renders without the server that was asked.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

type Text = Cow<'static, str>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Hurts now, or will soon.
    Problem,
    /// Costs something, or will.
    Warning,
    /// Good to know.
    Hint,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Warning => "warning",
            Self::Hint => "hint",
        }
    }
}

/// What is wrong, in plain words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub severity: Severity,
    /// For programs, such as `missing_index`; kinds are not renamed.
    pub kind: Text,
    pub text: String,
    /// The numbers that say so, and over which time.
    pub evidence: String,
    pub advice: String,
}

impl Finding {
    pub fn new(severity: Severity, kind: &'static str, text: impl Into<String>) -> Self {
        Self {
            severity,
            kind: kind.into(),
            text: text.into(),
            evidence: String::new(),
            advice: String::new(),
        }
    }

    pub fn evidence(mut self, evidence: impl Into<String>) -> Self {
        self.evidence = evidence.into();
        self
    }

    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }
}

/// What is shown of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    pub title: String,
    /// Names and values that say what was probed, and how.
    pub about: Vec<(Text, String)>,
    pub findings: Vec<Finding>,
    pub parts: Vec<Part>,
}

/// A table, and what a reader must know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub title: String,
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<String>>,
    /// What it covers, or why it is missing.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: Text,
    /// Set to the right.
    pub number: bool,
}

impl Column {
    pub fn text(name: impl Into<Text>) -> Self {
        Self {
            name: name.into(),
            number: false,
        }
    }

    pub fn number(name: impl Into<Text>) -> Self {
        Self {
            name: name.into(),
            number: true,
        }
    }
}

impl Part {
    pub fn new(title: impl Into<String>, columns: Vec<Column>) -> Self {
        Self {
            title: title.into(),
            columns,
            ..Self::default()
        }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "{}", self.title);
        self.rows.push(cells);
    }

    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Whether each row has a cell for each column; a saved one may have anything.
    pub fn is_whole(&self) -> bool {
        self.rows.iter().all(|row| row.len() == self.columns.len())
    }
}
