//! Numbers with units: `100ms`, `1000 req/s`, `500KB`, `90%`, `0.1`.

use std::fmt;

use crate::report::text;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// Nanoseconds.
    Time,
    Bytes,
    /// A second.
    Rate,
    Percent,
    Number,
    /// Nanoseconds a second.
    TimeRate,
    /// Bytes a second.
    ByteRate,
}

/// A value in the base unit of its dimension.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantity {
    pub value: f64,
    pub dimension: Dimension,
}

/// A unit by its name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    dimension: Dimension,
    factor: f64,
}

impl Unit {
    /// KB and MB are powers of 1000, KiB and MiB of 1024: of the two that people
    /// mean by KB, the smaller, which a budget never passes by mistake.
    pub fn parse(name: &str) -> Option<Self> {
        use Dimension::{Bytes, Number, Percent, Rate, Time};
        let name = name.trim().to_ascii_lowercase();
        let (dimension, factor) = match name.as_str() {
            "" => (Number, 1.0),
            "%" | "percent" => (Percent, 1.0),
            "ns" => (Time, 1.0),
            "us" | "µs" | "μs" => (Time, 1e3),
            "ms" => (Time, 1e6),
            "s" | "sec" | "seconds" => (Time, 1e9),
            "m" | "min" => (Time, 60e9),
            "h" => (Time, 3600e9),
            "b" | "bytes" => (Bytes, 1.0),
            "kb" => (Bytes, 1e3),
            "mb" => (Bytes, 1e6),
            "gb" => (Bytes, 1e9),
            "kib" => (Bytes, 1024.0),
            "mib" => (Bytes, 1024.0 * 1024.0),
            "gib" => (Bytes, 1024.0 * 1024.0 * 1024.0),
            "ns/s" => (Dimension::TimeRate, 1.0),
            "b/s" | "bytes/s" => (Dimension::ByteRate, 1.0),
            "rps" | "qps" | "tps" => (Rate, 1.0),
            other => match other.rsplit_once('/') {
                // Of whatever: requests, queries, …
                Some((what, "s" | "sec" | "second")) if is_word(what) => (Rate, 1.0),
                Some((what, "min" | "minute")) if is_word(what) => (Rate, 1.0 / 60.0),
                _ => return None,
            },
        };
        Some(Self { dimension, factor })
    }

    pub fn of(self, value: f64) -> Quantity {
        Quantity {
            value: value * self.factor,
            dimension: self.dimension,
        }
    }
}

fn is_word(what: &str) -> bool {
    what.chars().all(char::is_alphabetic)
}

impl Quantity {
    /// A number and its unit, with or without a blank between.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let end = text
            .find(|character: char| !matches!(character, '0'..='9' | '.' | ',' | '_'))
            .unwrap_or(text.len());
        let digits: String = text[..end]
            .chars()
            .filter(|it| !matches!(it, ',' | '_'))
            .collect();
        let value: f64 = digits.parse().ok()?;
        value
            .is_finite()
            .then(|| Unit::parse(&text[end..]).map(|unit| unit.of(value)))?
    }

    /// The same of another value.
    pub fn with(self, value: f64) -> Self {
        Self { value, ..self }
    }
}

impl Dimension {
    /// The base unit, machine-readable.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Time => "ns",
            Self::Bytes => "B",
            Self::Rate => "/s",
            Self::Percent => "%",
            Self::Number => "",
            Self::TimeRate => "ns/s",
            Self::ByteRate => "B/s",
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value;
        // Negative ones occur as ends of intervals only.
        let whole = value.max(0.0).round() as u64;
        let shown = match self.dimension {
            Dimension::Time => text::duration(whole),
            Dimension::Bytes => text::bytes(whole),
            Dimension::TimeRate => format!("{}/s", text::duration(whole)),
            Dimension::ByteRate => format!("{}/s", text::bytes(whole)),
            Dimension::Rate => format!("{}/s", number(value)),
            Dimension::Percent => format!("{}%", number(value)),
            Dimension::Number => number(value),
        };
        to.pad(&shown)
    }
}

fn number(value: f64) -> String {
    if value >= 1000.0 {
        text::count(value.round() as u64)
    } else if value == value.round() {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}").trim_end_matches('0').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_understood() {
        use Dimension::{Bytes, Number, Percent, Rate, Time};
        for (text, value, dimension) in [
            ("100ms", 1e8, Time),
            ("1.8s", 1.8e9, Time),
            ("1000 req/s", 1000.0, Rate),
            ("60 req/min", 1.0, Rate),
            ("70%", 70.0, Percent),
            ("500KB", 500e3, Bytes),
            ("2 MiB", 2097152.0, Bytes),
            ("0.1", 0.1, Number),
            ("100", 100.0, Number),
            ("1,000/s", 1000.0, Rate),
        ] {
            let found = Quantity::parse(text).expect(text);
            assert_eq!(found.dimension, dimension, "{text}");
            assert!(
                (found.value - value).abs() < 1e-6 * value,
                "{text}: {found:?}"
            );
        }
        for text in ["", "fast", "10 parsecs", "-5ms", "1.2.3", "<70%", "1 a b/s"] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
        assert_eq!(
            Quantity::parse("0.10").map(|it| it.to_string()).as_deref(),
            Some("0.1")
        );
        assert_eq!(
            Quantity::parse("1000 req/s")
                .map(|it| it.to_string())
                .as_deref(),
            Some("1,000/s")
        );
    }
}
