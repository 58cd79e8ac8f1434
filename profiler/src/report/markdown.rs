//! One screen for a pull request or a chat: where the CPU time went, how far
//! that can be trusted, what it cost.
//!
//! GitHub takes comments of up to 65,536 characters; rows, names and notes are
//! limited so that any recording fits.

mod disk;
mod memory;
mod network;
mod pools;
mod probes;
mod python;
mod statements;
mod syscalls;
mod waiting;

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use crate::{
    profile::{NoteKind, ProcessId, Recording, Source, Unit},
    views::{Amount, Top, Views, share::share_text, shares, top},
};

use super::{
    Selection, evidence,
    text::{self, amount, base_name, clean, duration, shorten},
};

const CONTAINERS: usize = 10;
const PROCESSES: usize = 10;
const FUNCTIONS: usize = 15;
const NOTES: usize = 15;
const FINDINGS: usize = 16;
const FINDING_LENGTH: usize = 250;
const NAME_LENGTH: usize = 80;
const LINE_LENGTH: usize = 1_000;

/// The largest comment of GitHub, in characters.
#[cfg(test)]
pub const LARGEST: usize = 65_536;

/// A name as code: nothing in it is markup, nobody is mentioned, no issue
/// linked. A table's cell ends at a pipe even in code.
fn code(name: &str) -> String {
    let name = clean(name);
    let name = shorten(&name, NAME_LENGTH);
    // A backslash before a pipe would escape the one that escapes the pipe.
    let name = name.replace("\\|", "\\ |").replace('|', "\\|");
    let mut longest = 0;
    let mut run = 0;
    for character in name.chars() {
        run = if character == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(longest + 1);
    // A backtick must not touch the fence; one blank on each side is dropped.
    let pad = if longest > 0 { " " } else { "" };
    format!("{fence}{pad}{name}{pad}{fence}")
}

/// A sentence: no markup, no mentions.
fn prose(text: &str) -> String {
    prose_of(text, LINE_LENGTH)
}

/// The same, of at most `length` characters.
fn prose_of(text: &str, length: usize) -> String {
    let text = clean(text);
    let text = shorten(&text, length);
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            // Escaping with a backslash would not stop a mention or a link to
            // an issue: those are looked for after Markdown.
            '@' | '#' => {
                escaped.push(character);
                escaped.push_str("<!-- -->");
            }
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' => {
                escaped.push('\\');
                escaped.push(character);
            }
            _ => escaped.push(character),
        }
    }
    // Addresses would become links.
    escaped.replace("://", ":<!-- -->//")
}

/// Shares of the shown rows, the others, and what belongs to neither.
fn tenths<T>(shown: &Top<T>, amount: impl Fn(&T) -> Amount, rest: Amount) -> Vec<String> {
    let weights: Vec<u64> = shown
        .rows
        .iter()
        .map(|row| amount(row).weight)
        .chain([shown.others.weight, rest.weight])
        .collect();
    shares(&weights, 1_000)
        .into_iter()
        .zip(weights)
        .map(|(tenths, weight)| share_text(tenths, weight))
        .collect()
}

/// Shares of values that are all of a whole.
fn tenths_of(values: &[u64]) -> Vec<String> {
    shares(values, 1_000)
        .into_iter()
        .zip(values)
        .map(|(tenths, &value)| share_text(tenths, value))
        .collect()
}

pub fn write(recording: &Recording, selection: Selection, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(text(recording, selection).as_bytes())
}

fn text(recording: &Recording, selection: Selection) -> String {
    let views = Views::new(recording, selection.source);
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_text(recording, selection, &views, &mut text);
    text
}

fn write_text(
    recording: &Recording,
    selection: Selection,
    views: &Views,
    out: &mut String,
) -> std::fmt::Result {
    let about = &recording.about;
    let host = code(&about.host);
    match views.source {
        Source::GilWait => writeln!(out, "## Where {host} waited for the GIL\n")?,
        Source::Wakeup => writeln!(out, "## What ended the waits of {host}\n")?,
        source => writeln!(out, "## Where the {} of {host} went\n", source.measures())?,
    }
    writeln!(
        out,
        "{}, {} at {} Hz ({}).",
        text::Utc::new(about.start_unix_ms).text(),
        duration(about.duration_ns),
        about.frequency_hz,
        prose(&about.clock),
    )?;
    findings(recording, out)?;
    if views.is_empty() {
        writeln!(
            out,
            "**{}**",
            prose(&evidence::no_samples(recording, selection))
        )?;
    } else {
        writeln!(
            out,
            "**{} of {}** in {} {}: {}.",
            amount(views.total.weight, views.source),
            views.source.measures(),
            text::count(views.total.count),
            plural(views.source),
            kinds(views),
        )?;
        containers(recording, views, out)?;
        processes(recording, views, out)?;
        functions(recording, views, out)?;
        python::functions(recording, views, out)?;
    }
    waiting::accounts(recording, out)?;
    syscalls::calls(recording, out)?;
    memory::memory(recording, out)?;
    network::network(recording, out)?;
    disk::disk(recording, out)?;
    probes::probes(recording, out)?;
    statements::statements(recording, out)?;
    python::gil(recording, out)?;
    notes(recording, selection, views, out)?;
    writeln!(
        out,
        "\n<details><summary>Quality and cost of this recording</summary>\n"
    )?;
    let lines = evidence::quality_lines(recording)
        .into_iter()
        .chain(evidence::cost_lines(recording));
    for line in lines.take(40) {
        writeln!(
            out,
            "- {}: {}",
            prose(&shorten(&line.label, NAME_LENGTH)),
            prose(&line.text)
        )?;
    }
    writeln!(out, "\n</details>")
}

/// What is wrong, and the largest costs.
fn findings(recording: &Recording, out: &mut String) -> std::fmt::Result {
    let found = super::findings::findings(recording);
    for finding in found.iter().take(FINDINGS) {
        write!(out, "- {}", code(finding.container))?;
        if let Some(target) = finding.target {
            write!(out, " {}", code(target))?;
        }
        write!(out, ": {}", prose_of(&finding.text, FINDING_LENGTH))?;
        if !finding.evidence.is_empty() {
            write!(out, " ({})", prose_of(&finding.evidence, FINDING_LENGTH))?;
        }
        writeln!(out, ".")?;
    }
    more(found.len(), FINDINGS, out)?;
    writeln!(out)
}

/// Says how many rows a table does not show.
fn more(rows: usize, shown: usize, out: &mut String) -> std::fmt::Result {
    if rows > shown {
        writeln!(out, "\nand {} more.", rows - shown)?;
    }
    Ok(())
}

/// A process in a table that is not about it alone.
fn process_name(recording: &Recording, id: ProcessId) -> String {
    let process = &recording.processes[id as usize];
    format!("{} {}", code(&process.name), process.pid)
}

/// What is counted beside the weights.
fn plural(source: Source) -> String {
    format!("{}s", source.event())
}

/// Title of the column with the weights.
fn amount_title(views: &Views) -> &'static str {
    match views.source {
        Source::OnCpu => "CPU time",
        Source::GilWait => "GIL wait",
        Source::Wakeup => "Others' waiting",
        source => match source.unit() {
            Unit::Nanoseconds => "Time",
            Unit::Bytes => "Bytes",
        },
    }
}

fn kinds(views: &Views) -> String {
    let rows = views.kinds();
    let weights: Vec<u64> = rows.iter().map(|row| row.amount.weight).collect();
    let parts: Vec<_> = rows
        .iter()
        .zip(shares(&weights, 1_000))
        .map(|(row, tenths)| {
            format!(
                "{} {}",
                text::kind_title(row.id),
                share_text(tenths, row.amount.weight)
            )
        })
        .collect();
    parts.join(", ")
}

fn containers(recording: &Recording, views: &Views, out: &mut String) -> std::fmt::Result {
    let mut rows = views.containers();
    // Where nothing ran there may still be memory to see, but one screen is
    // for what ran.
    rows.retain(|row| row.amount.weight > 0);
    let table = top(rows, CONTAINERS, |row| row.amount);
    let shares = tenths(&table, |row| row.amount, Amount::default());
    writeln!(
        out,
        "\n| Container | {} | Share | Memory | Throttled |",
        amount_title(views)
    )?;
    writeln!(out, "|:--|--:|--:|--:|--:|")?;
    for (row, share) in table.rows.iter().zip(&shares) {
        let container = &recording.containers[row.id as usize];
        let usage = container.usage.as_ref();
        let memory = usage
            .and_then(|usage| usage.memory_working_set_bytes.or(usage.memory_usage_bytes))
            .map(|used| {
                let limit = usage.and_then(|usage| usage.memory_limit_bytes);
                match limit {
                    Some(limit) => format!("{} of {}", text::bytes(used), text::bytes(limit)),
                    None => text::bytes(used),
                }
            });
        let throttled = usage.and_then(|usage| usage.cpu_throttled_ns).map(duration);
        writeln!(
            out,
            "| {} | {} | {share} | {} | {} |",
            code(&container.name),
            amount(row.amount.weight, views.source),
            memory.as_deref().unwrap_or(""),
            throttled.as_deref().unwrap_or(""),
        )?;
    }
    others(&table, views.source, &shares, "| | |", out)
}

/// The row that makes a shortened table add up.
fn others<T>(
    table: &Top<T>,
    source: Source,
    shares: &[String],
    rest: &str,
    out: &mut String,
) -> std::fmt::Result {
    if table.others_count == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "| {} others | {} | {} {rest}",
        text::count(table.others_count as u64),
        amount(table.others.weight, source),
        shares[table.rows.len()],
    )
}

fn processes(recording: &Recording, views: &Views, out: &mut String) -> std::fmt::Result {
    let mut rows = views.processes();
    rows.retain(|row| row.amount.weight > 0);
    let table = top(rows, PROCESSES, |row| row.amount);
    let shares = tenths(&table, |row| row.amount, Amount::default());
    writeln!(
        out,
        "\n| Process | {} | Share | Pid | Container |",
        amount_title(views)
    )?;
    writeln!(out, "|:--|--:|--:|--:|:--|")?;
    for (row, share) in table.rows.iter().zip(&shares) {
        let process = &recording.processes[row.id as usize];
        writeln!(
            out,
            "| {} | {} | {share} | {} | {} |",
            code(&process.name),
            amount(row.amount.weight, views.source),
            process.pid,
            code(&recording.containers[process.container as usize].name),
        )?;
    }
    others(&table, views.source, &shares, "| | |", out)
}

fn functions(recording: &Recording, views: &Views, out: &mut String) -> std::fmt::Result {
    let mut rows = views.functions();
    rows.retain(|row| row.own.weight > 0);
    let table = top(rows, FUNCTIONS, |row| row.own);
    let shares = tenths(&table, |row| row.own, views.without_stack);
    writeln!(out, "\n| Function | Self | Share | With callees | Where |")?;
    writeln!(out, "|:--|--:|--:|--:|:--|")?;
    for (row, share) in table.rows.iter().zip(&shares) {
        let function = &recording.functions[row.function as usize];
        let place = match function.module {
            Some(module) if function.file.is_empty() => {
                base_name(&recording.modules[module as usize].path).to_string()
            }
            _ => text::place(recording, function),
        };
        writeln!(
            out,
            "| {} | {} | {share} | {} | {} |",
            code(&text::function_label(function)),
            amount(row.own.weight, views.source),
            if row.total == row.own {
                // The share was rounded with those of its table.
                share.clone()
            } else {
                text::percent(crate::views::share::percent(
                    row.total.weight,
                    views.total.weight,
                ))
            },
            if place.is_empty() {
                String::new()
            } else {
                code(&place)
            },
        )?;
    }
    others(&table, views.source, &shares, "| | |", out)?;
    if views.without_stack.weight > 0 {
        writeln!(
            out,
            "| (no stack) | {} | {} | | |",
            amount(views.without_stack.weight, views.source),
            shares.last().map_or("", String::as_str),
        )?;
    }
    Ok(())
}

fn notes(
    recording: &Recording,
    selection: Selection,
    views: &Views,
    out: &mut String,
) -> std::fmt::Result {
    let mut notes = evidence::notes(recording, selection);
    if views.is_empty() {
        // The first says that there is nothing, and was said above.
        notes.remove(0);
    }
    if notes.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    for note in notes.iter().take(NOTES) {
        let kind = match note.kind {
            NoteKind::Info => "Note",
            NoteKind::Missing => "Not measured",
            NoteKind::Warning => "Warning",
        };
        writeln!(out, "- {kind}: {}", prose(&note.text))?;
    }
    if notes.len() > NOTES {
        writeln!(out, "- {} more notes", notes.len() - NOTES)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::sample;

    /// Cells of a table's line, split as GitHub does.
    fn cells(line: &str) -> Vec<String> {
        let mut cells = vec![String::new()];
        let mut escaped = false;
        for character in line.chars() {
            match character {
                '|' if !escaped => cells.push(String::new()),
                _ => {
                    if let Some(cell) = cells.last_mut() {
                        cell.push(character);
                    }
                }
            }
            escaped = character == '\\' && !escaped;
        }
        cells[1..cells.len() - 1].to_vec()
    }

    /// What is left without code spans, as CommonMark finds them.
    fn without_code(text: &str) -> String {
        let fence = |text: &str| text.bytes().take_while(|&byte| byte == b'`').count();
        let mut left = String::new();
        for mut rest in text.lines() {
            while let Some(start) = rest.find('`') {
                let escaped = rest[..start].ends_with('\\');
                left.push_str(&rest[..start]);
                rest = &rest[start..];
                let length = if escaped { 1 } else { fence(rest) };
                let mut end = length;
                let mut closed = None;
                while let Some(next) = rest[end..].find('`') {
                    let run = fence(&rest[end + next..]);
                    if run == length && !escaped {
                        closed = Some(end + next + run);
                        break;
                    }
                    end += next + run;
                }
                rest = &rest[closed.unwrap_or(length)..];
            }
            left.push_str(rest);
            left.push('\n');
        }
        left
    }

    #[test]
    fn names_cannot_leave_their_cell() {
        assert_eq!(code("a|b"), "`a\\|b`");
        assert_eq!(code("a`b``c"), "``` a`b``c ```");
        assert_eq!(code("a\\|b"), "`a\\ \\|b`");
        for seed in 0..30 {
            let text = text(&sample::nasty(seed), Selection::default());
            assert!(text.chars().count() < LARGEST);
            for table in text.split("\n\n").filter(|part| part.starts_with("| ")) {
                let columns = table.lines().next().map(|line| cells(line).len());
                for line in table.lines().filter(|line| line.starts_with('|')) {
                    assert_eq!(Some(cells(line).len()), columns, "{line}");
                }
            }
            let outside = without_code(&text);
            for tag in [
                "<!-- -->",
                "<details>",
                "</details>",
                "<summary>",
                "</summary>",
            ] {
                assert!(!outside.replace(tag, "").contains("<script"), "{outside}");
            }
            assert!(!outside.contains("@someone") && !outside.contains(" #1"));
        }
    }

    #[test]
    fn the_shares_of_each_table_are_100_percent() {
        for recording in [sample::plain(), sample::large(400, 20)] {
            let text = text(&recording, Selection::default());
            let mut tables = 0;
            for table in text.split("\n\n").filter(|part| part.starts_with("| ")) {
                let tenths = |cell: &str| {
                    let share = cell.trim().replace(" %", "").replace('.', "");
                    share.parse::<u64>().unwrap_or(0)
                };
                if [
                    "System call",
                    "Page faults",
                    "| Requests |",
                    "| Statement |",
                    "| Statement of PostgreSQL",
                ]
                .iter()
                .any(|title| table.contains(title))
                {
                    // Has no shares.
                    continue;
                }
                let lines: Vec<_> = table.lines().skip(2).map(cells).collect();
                if table.contains("| Wall time |") {
                    // Of these, each row adds up.
                    for line in &lines {
                        let sum: u64 = line[3..7].iter().map(|cell| tenths(cell)).sum();
                        assert_eq!(sum, 1_000, "{table}");
                    }
                    continue;
                }
                if table.contains("| Received |") {
                    // What went through connections, not parts of a whole.
                    continue;
                }
                let sum: u64 = lines.iter().map(|line| tenths(&line[2])).sum();
                assert_eq!(sum, 1_000, "{table}");
                tables += 1;
            }
            // Python functions, and the two of the GIL.
            assert_eq!(tables, 4 + 2 * usize::from(!recording.locks.is_empty()));
        }
    }

    #[test]
    fn it_fits_on_a_screen_and_says_what_counts() {
        let mut recording = sample::plain();
        let all = text(&recording, Selection::default());
        // Without what is only there when it is asked for.
        recording.statements = None;
        if let Some(syscalls) = &mut recording.syscalls {
            syscalls.targets.clear();
        }
        let text = text(&recording, Selection::default());
        assert!(text.lines().count() < 170, "{text}");
        assert!(all.lines().count() < 190, "{all}");
        for expected in [
            "| `web` |",
            "| `python3` | 1.72 s | 85.0 % | 4242 | `web` |",
            "| `walk` | 909 ms | 45.0 % | 45.0 % | `/app/app.py:10` |",
            "Python 45.0 %",
            "150 of 160 user stacks",
            "150 MiB of 512 MiB",
            "| `walk (app.py:10)` | 909 ms | 60.0 % | 0 s | 909 ms | `<module>` |  | 12 (100.0 %), 13 (55.6 %) |",
            "| `python3` | 5.50 s | 100.0 % | 1,003 | 80.0 % | 58.0 s | 4242 | `web` |",
            "| `web` | 2 | 120 s | 24.2 % | 5.0 % | 29.2 % | 41.6 % | network read 35.0 s |",
            "| `read` | 36 | EAGAIN 2 | 5.03 ms | 708 ns | 5.00 ms | 5.00 ms | 0 |",
            "**Killed for want of memory:** `python3` 4242 in `web`, after 3.00 s.",
            "| `python3` 4242 | 1,290 | 90 | 12.0 ms |",
            "| `python3` 4242 | 36 | 2 | 5.02 ms | `read` 5.02 ms in 34 |",
            "| `web` | 1.91 MiB (910) | 66.8 MiB (1,820) | 103 | 100: p50 50.3 ms, p99 99.1 ms, longest 100 ms | 2 failed connects, 7 retransmits, 2 resets received |",
            "| `python3` 4242 | `db.example.test (10.0.0.3:5432)` | TCP client |",
            "Packets dropped, host-wide: `no_socket` 3.",
            "Listening sockets of `host` dropped 6 connections, 5 of them because a queue was full.",
            "| `worker` | 4.50 s | 81.8 % | 7.8 % | 803 | 4242 | `walk (app.py:10)` |",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
    }
    #[test]
    fn the_tables_follow_the_source() {
        let waits = Selection {
            source: Source::GilWait,
            ..Selection::default()
        };
        let text = text(&sample::plain(), waits);
        for expected in [
            "## Where `testhost` waited for the GIL",
            "**5.50 s of waiting for the GIL** in 1,003 waits",
            "| Process | GIL wait | Share | Pid | Container |",
            "| `python3` | 5.50 s | 100.0 % | 4242 | `web` |",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
    }

    #[test]
    fn what_was_not_measured_says_so() {
        let mut recording = sample::plain();
        recording.locks[0].measured_from_ns = None;
        recording
            .samples
            .retain(|sample| sample.source == Source::OnCpu);
        let text = text(&recording, Selection::default());
        assert!(text.contains("| 80.0 % | not measured |"), "{text}");
    }
}
