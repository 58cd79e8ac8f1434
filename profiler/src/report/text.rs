//! Names and numbers as text.

use std::borrow::Cow;

use crate::profile::{Frame, FrameKind, Function, Recording, Source, Unit};

/// A name that any text format can carry on one line: no control characters
/// (terminals obey them, XML forbids them), no line breaks of any kind, and
/// none of the characters that turn the direction of writing, which make a
/// name read as another. Names come from hostile processes.
pub fn clean(name: &str) -> Cow<'_, str> {
    fn replacement(character: char) -> Option<char> {
        match character {
            '\t' | '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some(' '),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => {
                Some('\u{fffd}')
            }
            _ if character.is_control() => Some('\u{fffd}'),
            _ => None,
        }
    }
    let trimmed = name.trim();
    if trimmed.is_empty() {
        return Cow::Borrowed("[unknown]");
    }
    if trimmed.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        || !trimmed.chars().any(|c| replacement(c).is_some())
    {
        return Cow::Borrowed(trimmed);
    }
    Cow::Owned(
        trimmed
            .chars()
            .map(|character| replacement(character).unwrap_or(character))
            .collect(),
    )
}

/// As [`clean`], for text that may be empty.
pub fn clean_or_empty(text: &str) -> Cow<'_, str> {
    if text.trim().is_empty() {
        Cow::Borrowed("")
    } else {
        clean(text)
    }
}

/// At most `limit` characters.
pub fn shorten(text: &str, limit: usize) -> Cow<'_, str> {
    match text.char_indices().nth(limit) {
        None => Cow::Borrowed(text),
        Some(_) => {
            let keep = text.chars().take(limit.saturating_sub(1));
            Cow::Owned(keep.chain(['…']).collect())
        }
    }
}

/// The file name of a path.
pub fn base_name(path: &str) -> &str {
    path.rsplit('/')
        .find(|part| !part.is_empty())
        .unwrap_or(path)
}

/// Where a function is: `file:line`, or its module.
pub fn place(recording: &Recording, function: &Function) -> String {
    if !function.file.is_empty() {
        return match function.line {
            0 => function.file.clone(),
            line => format!("{}:{line}", function.file),
        };
    }
    function
        .module
        .map(|id| recording.modules[id as usize].path.clone())
        .unwrap_or_default()
}

/// A function without what differs from frame to frame: as [`Frame::label`],
/// but neither line nor file.
pub fn function_label(function: &Function) -> String {
    match function.kind {
        FrameKind::Python | FrameKind::JavaScript => function.name.clone(),
        _ => Frame::default().label(function),
    }
}

/// Machine-readable.
pub fn kind_name(kind: FrameKind) -> &'static str {
    match kind {
        FrameKind::Native => "native",
        FrameKind::Kernel => "kernel",
        FrameKind::Python => "python",
        FrameKind::JavaScript => "javascript",
        FrameKind::Jit => "jit",
        FrameKind::Synthetic => "synthetic",
    }
}

/// For people.
pub fn kind_title(kind: Option<FrameKind>) -> &'static str {
    match kind {
        Some(FrameKind::Native) => "native",
        Some(FrameKind::Kernel) => "kernel",
        Some(FrameKind::Python) => "Python",
        Some(FrameKind::JavaScript) => "JavaScript",
        Some(FrameKind::Jit) => "JIT-compiled",
        Some(FrameKind::Synthetic) => "not resolved",
        None => "no stack",
    }
}

/// `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A weight in its source's unit.
pub fn amount(weight: u64, source: Source) -> String {
    match source.unit() {
        Unit::Nanoseconds => duration(weight),
        Unit::Bytes => bytes(weight),
    }
}

/// `1.23 s`, `45.6 ms`, `7.89 µs`, `12 ns`.
pub fn duration(ns: u64) -> String {
    let value = ns as f64;
    match ns {
        0 => "0 s".to_string(),
        1..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} µs", three_digits(value / 1e3)),
        1_000_000..1_000_000_000 => format!("{} ms", three_digits(value / 1e6)),
        _ => format!("{} s", three_digits(value / 1e9)),
    }
}

/// `1.23 MiB`.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut value = number as f64;
    let mut unit = "";
    for next in UNITS {
        // 1023.5 would be shown as 1024.
        if !unit.is_empty() && value < 1023.5 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{} {unit}", three_digits(value))
}

fn three_digits(value: f64) -> String {
    if value < 9.995 {
        format!("{value:.2}")
    } else if value < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// Parts of a percent where they matter.
pub fn percent(value: f64) -> String {
    if value > 0.0 && value < 0.01 {
        "<0.01 %".to_string()
    } else if value > 0.0 && value < 1.0 {
        format!("{value:.2} %")
    } else {
        format!("{value:.1} %")
    }
}

/// With a large letter at the beginning.
pub fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map(|first| first.to_uppercase().chain(characters).collect())
        .unwrap_or_default()
}

/// Date and time of milliseconds after the Unix epoch.
pub struct Utc {
    pub year: u64,
    pub month: u64,
    pub day: u64,
    pub hour: u64,
    pub minute: u64,
    pub second: u64,
    pub millisecond: u64,
}

impl Utc {
    /// Days are counted from the first of March of the year 0, so that the
    /// leap day is the last of its year.
    pub fn new(unix_ms: u64) -> Self {
        const DAY_MS: u64 = 86_400_000;
        const DAYS_IN_400_YEARS: u64 = 146_097;
        let days = unix_ms / DAY_MS + 719_468;
        let era = days / DAYS_IN_400_YEARS;
        let day_of_era = days % DAYS_IN_400_YEARS;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        let of_day = unix_ms % DAY_MS;
        Self {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * from_march + 2) / 5 + 1,
            hour: of_day / 3_600_000,
            minute: of_day / 60_000 % 60,
            second: of_day / 1_000 % 60,
            millisecond: of_day % 1_000,
        }
    }

    /// `2026-01-31 12:34:56 UTC`.
    pub fn text(&self) -> String {
        format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
            self.year, self.month, self.day, self.hour, self.minute, self.second
        )
    }

    /// `2026-01-31T12:34:56.789Z`.
    pub fn rfc3339(&self) -> String {
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            self.year, self.month, self.day, self.hour, self.minute, self.second, self.millisecond
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::sample::NASTY;

    #[test]
    fn clean_names_are_one_harmless_line() {
        for name in NASTY {
            let name = clean(name);
            assert!(!name.is_empty() && name.lines().count() == 1, "{name:?}");
            assert!(!name.chars().any(char::is_control), "{name:?}");
            assert_eq!(clean(&name), name, "cleaning twice changes nothing");
        }
        assert_eq!(clean("a::b<c>(int)"), "a::b<c>(int)");
        assert_eq!(clean(" \n"), "[unknown]");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(duration(0), "0 s");
        assert_eq!(duration(999), "999 ns");
        assert_eq!(duration(12_345), "12.3 µs");
        assert_eq!(duration(60_000_000_000), "60.0 s");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.50 KiB");
        assert_eq!(bytes(512 << 20), "512 MiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        assert_eq!(percent(0.004), "<0.01 %");
        assert_eq!(percent(12.34), "12.3 %");
        assert_eq!(shorten("äbcdef", 4), "äbc…");
        assert_eq!(shorten("äbcd", 4), "äbcd");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_868_799_000, "2000-02-29T23:59:59.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599_000, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Utc::new(unix_ms).rfc3339(), text);
        }
        assert_eq!(
            Utc::new(1_764_000_000_123).text(),
            "2025-11-24 16:00:00 UTC"
        );
        Utc::new(u64::MAX).text();
    }
}
