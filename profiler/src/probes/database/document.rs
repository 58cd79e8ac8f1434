//! A report for people: findings, then tables, as plain text or Markdown.

use std::io::{self, Write};

use super::{Finding, Section};
use crate::report::text::{clean_or_empty, shorten};

/// Widest cell of a table in plain text, characters.
const WIDEST_TEXT_CELL: usize = 100;

/// What is shown of a report.
pub struct Document {
    pub title: String,
    /// Names and values that say what was probed, and how.
    pub about: Vec<(&'static str, String)>,
    pub findings: Vec<Finding>,
    pub parts: Vec<Part>,
}

pub struct Part {
    pub title: String,
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    /// What a reader must know of it: what it covers, or why it is missing.
    notes: Vec<String>,
}

pub struct Column {
    name: &'static str,
    number: bool,
}

impl Column {
    pub fn text(name: &'static str) -> Self {
        Self {
            name,
            number: false,
        }
    }

    pub fn number(name: &'static str) -> Self {
        Self { name, number: true }
    }
}

impl Part {
    pub fn new(title: impl Into<String>, columns: Vec<Column>) -> Self {
        Self {
            title: title.into(),
            columns,
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

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

    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "{}", self.title);
        self.rows.push(cells);
    }

    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

impl Document {
    pub fn write_text(&self, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "{}", clean_or_empty(&self.title))?;
        for (name, value) in &self.about {
            writeln!(to, "  {name}: {}", clean_or_empty(value))?;
        }
        writeln!(to, "\nFindings")?;
        if self.findings.is_empty() {
            writeln!(to, "  none")?;
        }
        for finding in &self.findings {
            let severity = finding.severity.name();
            writeln!(to, "  {severity}: {}", clean_or_empty(&finding.text))?;
            for (name, text) in details(finding) {
                writeln!(to, "    {name}: {}", clean_or_empty(text))?;
            }
        }
        for part in &self.parts {
            writeln!(to, "\n{}", clean_or_empty(&part.title))?;
            part.write_text(to)?;
        }
        Ok(())
    }

    pub fn write_markdown(&self, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "# {}\n", escape(&self.title))?;
        for (name, value) in &self.about {
            writeln!(to, "* {name}: {}", escape(value))?;
        }
        writeln!(to, "\n## Findings\n")?;
        if self.findings.is_empty() {
            writeln!(to, "None.")?;
        }
        for finding in &self.findings {
            let severity = finding.severity.name();
            writeln!(to, "* **{severity}**: {}", escape(&finding.text))?;
            for (name, text) in details(finding) {
                writeln!(to, "  * {name}: {}", escape(text))?;
            }
        }
        for part in &self.parts {
            writeln!(to, "\n## {}\n", escape(&part.title))?;
            part.write_markdown(to)?;
        }
        Ok(())
    }
}

fn details(finding: &Finding) -> impl Iterator<Item = (&'static str, &str)> {
    [
        ("evidence", finding.evidence.as_str()),
        ("what to do", finding.advice.as_str()),
    ]
    .into_iter()
    .filter(|(_, text)| !text.is_empty())
}

impl Part {
    fn write_text(&self, to: &mut dyn Write) -> io::Result<()> {
        if !self.rows.is_empty() {
            self.write_aligned(to)?;
        } else if self.notes.is_empty() {
            writeln!(to, "  none")?;
        }
        for note in &self.notes {
            writeln!(to, "  {}", clean_or_empty(note))?;
        }
        Ok(())
    }

    fn write_aligned(&self, to: &mut dyn Write) -> io::Result<()> {
        let header = self.columns.iter().map(|column| column.name.to_owned());
        let lines: Vec<Vec<String>> = std::iter::once(header.collect())
            .chain(self.rows.iter().map(|row| {
                row.iter()
                    .map(|cell| shorten(&clean_or_empty(cell), WIDEST_TEXT_CELL).into_owned())
                    .collect()
            }))
            .collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|index| lines.iter().map(|line| line[index].chars().count()).max())
            .map(Option::unwrap_or_default)
            .collect();
        for line in &lines {
            let mut text = String::new();
            for ((cell, column), width) in line.iter().zip(&self.columns).zip(&widths) {
                if column.number {
                    text += &format!("  {cell:>width$}");
                } else {
                    text += &format!("  {cell:<width$}");
                }
            }
            writeln!(to, "{}", text.trim_end())?;
        }
        Ok(())
    }

    fn write_markdown(&self, to: &mut dyn Write) -> io::Result<()> {
        if !self.rows.is_empty() {
            let names: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
            writeln!(to, "| {} |", names.join(" | "))?;
            let rules = self.columns.iter().map(|column| match column.number {
                true => "--:",
                false => ":--",
            });
            writeln!(to, "|{}|", rules.collect::<Vec<_>>().join("|"))?;
            for row in &self.rows {
                let cells: Vec<String> = row.iter().map(|cell| escape(cell)).collect();
                writeln!(to, "| {} |", cells.join(" | "))?;
            }
        } else if self.notes.is_empty() {
            writeln!(to, "None.")?;
        }
        for note in &self.notes {
            writeln!(to, "\n{}", escape(note))?;
        }
        Ok(())
    }
}

/// Text that Markdown shows as it is, on one line.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in clean_or_empty(text).chars() {
        if matches!(
            character,
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '&'
        ) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::database::Severity;

    fn document() -> Document {
        let mut part = Part::new("Keys", vec![Column::text("Key"), Column::number("Bytes")]);
        part.row(vec!["a|b\u{1b}[31m".to_owned(), "1".to_owned()]);
        part.row(vec!["c".to_owned(), "1,000".to_owned()]);
        let refused: Section<()> = Section::missing("permission denied");
        Document {
            title: "Redis".to_owned(),
            about: vec![("server", "7".to_owned())],
            findings: vec![
                Finding::new(Severity::Problem, "big_key", "a is big").evidence("1,000 bytes"),
            ],
            parts: vec![part, Part::of("Slow", &refused, Vec::new(), |(), _| {})],
        }
    }

    #[test]
    fn text_is_aligned_and_harmless() {
        let mut out = Vec::new();
        document().write_text(&mut out).expect("a vector takes all");
        let text = String::from_utf8(out).expect("it is text");
        assert!(
            text.contains("problem: a is big\n    evidence: 1,000 bytes\n"),
            "{text}"
        );
        assert!(text.contains("  c         1,000\n"), "{text}");
        assert!(text.contains("Not measured: permission denied."), "{text}");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn markdown_cells_cannot_break_their_table() {
        let mut out = Vec::new();
        document()
            .write_markdown(&mut out)
            .expect("a vector takes all");
        let text = String::from_utf8(out).expect("it is text");
        assert!(text.contains("| a\\|b"), "{text}");
        assert!(text.contains("|:--|--:|"), "{text}");
    }
}
