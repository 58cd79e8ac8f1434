//! What is wrong, in plain words.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// For programs, such as `missing_index`; kinds are not renamed.
    pub kind: &'static str,
    pub text: String,
    /// The numbers that say so, and over which time.
    pub evidence: String,
    pub advice: String,
}

impl Finding {
    pub fn new(severity: Severity, kind: &'static str, text: impl Into<String>) -> Self {
        Self {
            severity,
            kind,
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
