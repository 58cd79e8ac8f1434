//! A document of a probe as plain text or Markdown.

use std::io::{self, Write};

use super::text::{clean_or_empty, shorten};
use crate::profile::document::{Document, Finding, Part};

/// Widest cell of a table in plain text, characters.
const WIDEST_TEXT_CELL: usize = 100;

pub fn write_text(document: &Document, to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "{}", clean_or_empty(&document.title))?;
    for (name, value) in &document.about {
        writeln!(to, "  {name}: {}", clean_or_empty(value))?;
    }
    writeln!(to, "\nFindings")?;
    if document.findings.is_empty() {
        writeln!(to, "  none")?;
    }
    for finding in &document.findings {
        let severity = finding.severity.name();
        writeln!(to, "  {severity}: {}", clean_or_empty(&finding.text))?;
        for (name, text) in details(finding) {
            writeln!(to, "    {name}: {}", clean_or_empty(text))?;
        }
    }
    for part in &document.parts {
        writeln!(to, "\n{}", clean_or_empty(&part.title))?;
        write_part_text(part, to)?;
    }
    Ok(())
}

pub fn write_markdown(document: &Document, to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "# {}\n", escape(&document.title))?;
    for (name, value) in &document.about {
        writeln!(to, "* {name}: {}", escape(value))?;
    }
    writeln!(to, "\n## Findings\n")?;
    if document.findings.is_empty() {
        writeln!(to, "None.")?;
    }
    for finding in &document.findings {
        let severity = finding.severity.name();
        writeln!(to, "* **{severity}**: {}", escape(&finding.text))?;
        for (name, text) in details(finding) {
            writeln!(to, "  * {name}: {}", escape(text))?;
        }
    }
    for part in &document.parts {
        writeln!(to, "\n## {}\n", escape(&part.title))?;
        write_part_markdown(part, to)?;
    }
    Ok(())
}

fn details(finding: &Finding) -> impl Iterator<Item = (&'static str, &str)> {
    [
        ("evidence", finding.evidence.as_str()),
        ("what to do", finding.advice.as_str()),
    ]
    .into_iter()
    .filter(|(_, text)| !text.is_empty())
}

fn write_part_text(part: &Part, to: &mut dyn Write) -> io::Result<()> {
    if !part.rows.is_empty() {
        write_aligned(part, to)?;
    } else if part.notes.is_empty() {
        writeln!(to, "  none")?;
    }
    for note in &part.notes {
        writeln!(to, "  {}", clean_or_empty(note))?;
    }
    Ok(())
}

fn write_aligned(part: &Part, to: &mut dyn Write) -> io::Result<()> {
    let header = part
        .columns
        .iter()
        .map(|column| column.name.clone().into_owned());
    let lines: Vec<Vec<String>> = std::iter::once(header.collect())
        .chain(part.rows.iter().map(|row| {
            row.iter()
                .map(|cell| shorten(&clean_or_empty(cell), WIDEST_TEXT_CELL).into_owned())
                .collect()
        }))
        .collect();
    let widths: Vec<usize> = (0..part.columns.len())
        .map(|index| lines.iter().map(|line| line[index].chars().count()).max())
        .map(Option::unwrap_or_default)
        .collect();
    for line in &lines {
        let mut text = String::new();
        for ((cell, column), width) in line.iter().zip(&part.columns).zip(&widths) {
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

fn write_part_markdown(part: &Part, to: &mut dyn Write) -> io::Result<()> {
    if !part.rows.is_empty() {
        let names: Vec<&str> = part.columns.iter().map(|column| &*column.name).collect();
        writeln!(to, "| {} |", names.join(" | "))?;
        let rules = part.columns.iter().map(|column| match column.number {
            true => "--:",
            false => ":--",
        });
        writeln!(to, "|{}|", rules.collect::<Vec<_>>().join("|"))?;
        for row in &part.rows {
            let cells: Vec<String> = row.iter().map(|cell| escape(cell)).collect();
            writeln!(to, "| {} |", cells.join(" | "))?;
        }
    } else if part.notes.is_empty() {
        writeln!(to, "None.")?;
    }
    for note in &part.notes {
        writeln!(to, "\n{}", escape(note))?;
    }
    Ok(())
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
    use crate::{
        probes::database::Section,
        profile::document::{Column, Severity},
    };

    fn document() -> Document {
        let mut part = Part::new("Keys", vec![Column::text("Key"), Column::number("Bytes")]);
        part.row(vec!["a|b\u{1b}[31m".to_owned(), "1".to_owned()]);
        part.row(vec!["c".to_owned(), "1,000".to_owned()]);
        let refused: Section<()> = Section::missing("permission denied");
        Document {
            title: "Redis".to_owned(),
            about: vec![("server".into(), "7".to_owned())],
            findings: vec![
                Finding::new(Severity::Problem, "big_key", "a is big").evidence("1,000 bytes"),
            ],
            parts: vec![part, Part::of("Slow", &refused, Vec::new(), |(), _| {})],
        }
    }

    #[test]
    fn text_is_aligned_and_harmless() {
        let mut out = Vec::new();
        write_text(&document(), &mut out).expect("a vector takes all");
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
        write_markdown(&document(), &mut out).expect("a vector takes all");
        let text = String::from_utf8(out).expect("it is text");
        assert!(text.contains("| a\\|b"), "{text}");
        assert!(text.contains("|:--|--:|"), "{text}");
    }
}
