//! The text of a script: where a function's name stands in it.

use super::source_map::Place;

/// Longest way from a function's name to its parameters, code units.
const NEAR: usize = 256;

/// A script by lines.
pub struct ScriptText<'a> {
    lines: Vec<&'a [u8]>,
    /// The last line that was asked for and is not ASCII: line, code units.
    wide: Option<(u32, Vec<u16>)>,
}

impl<'a> ScriptText<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut lines = Vec::new();
        let mut rest = text;
        while let Some((end, length)) = terminator(rest) {
            lines.push(&rest[..end]);
            rest = &rest[end + length..];
        }
        lines.push(rest);
        Self { lines, wide: None }
    }

    /// Where a function whose parameters begin at `parameters` has its
    /// `name`: `f(`, `function f(`, `f = async (`, `class f { constructor(`.
    pub fn name(&mut self, name: &str, parameters: Place) -> Option<Place> {
        // The last part of a name that was inferred: `exports.f`.
        let name = name.rsplit('.').next()?;
        let units: Vec<u16> = name.encode_utf16().collect();
        if units.is_empty() || !units.iter().all(|&unit| is_name(unit)) {
            return None;
        }
        let end = parameters.column as usize;
        let start = end.saturating_sub(NEAR);
        let before = self.part(parameters.line, start, end)?;
        let at = before
            .windows(units.len())
            .enumerate()
            .rev()
            .find(|&(at, window)| {
                let alone = |unit: Option<&u16>| unit.is_none_or(|&unit| !is_name(unit));
                window == units
                    && alone(before.get(at + units.len()))
                    && (at > 0 || start == 0)
                    && alone(at.checked_sub(1).and_then(|at| before.get(at)))
            })?
            .0;
        Some(Place {
            line: parameters.line,
            column: u32::try_from(start + at).ok()?,
        })
    }

    /// Whether a place is at an opening parenthesis.
    pub fn is_parenthesis(&mut self, place: Place) -> bool {
        let column = place.column as usize;
        self.part(place.line, column, column.saturating_add(1))
            .is_some_and(|units| units == [u16::from(b'(')])
    }

    /// Code units of a line.
    fn part(&mut self, line: u32, start: usize, end: usize) -> Option<Vec<u16>> {
        let text = self.lines.get(line as usize)?;
        // As far as they are ASCII, bytes are code units.
        if let Some(bytes) = text.get(..end)
            && bytes.is_ascii()
        {
            return Some(bytes[start..].iter().map(|&byte| u16::from(byte)).collect());
        }
        if self.wide.as_ref().is_none_or(|(known, _)| *known != line) {
            let units = String::from_utf8_lossy(text).encode_utf16().collect();
            self.wide = Some((line, units));
        }
        let (_, units) = self.wide.as_ref()?;
        units.get(start..end).map(<[u16]>::to_vec)
    }
}

/// The end of the first line, and the length of what ends it (ECMA-262,
/// section 12.3).
fn terminator(text: &[u8]) -> Option<(usize, usize)> {
    text.iter().enumerate().find_map(|(at, byte)| {
        let length = match byte {
            b'\n' => 1,
            b'\r' if text.get(at + 1) == Some(&b'\n') => 2,
            b'\r' => 1,
            // U+2028 and U+2029.
            0xe2 if matches!(text.get(at + 1..at + 3), Some([0x80, 0xa8 | 0xa9])) => 3,
            _ => return None,
        };
        Some((at, length))
    })
}

/// Whether a code unit is a part of names. Of those that are not ASCII, all
/// are taken for one.
fn is_name(unit: u16) -> bool {
    u8::try_from(unit).map_or(true, |byte| {
        byte >= 0x80 || byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'#')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_before_parameters() {
        let text =
            "function ab(a){}\r\nconst b=async(c)=>c;\u{2028}é=1;class c{constructor(d){}}\n";
        let mut text = ScriptText::new(text.as_bytes());
        for (name, line, column, expected) in [
            ("ab", 0, 11, Some(9)),
            ("b", 0, 11, None),
            ("b", 1, 13, Some(6)),
            ("exports.b", 1, 13, Some(6)),
            ("c", 2, 23, Some(10)),
            ("", 0, 11, None),
            ("<static>", 0, 11, None),
            ("ab", 0, 999, None),
            ("ab", 99, 11, None),
            ("ab", u32::MAX, u32::MAX, None),
        ] {
            let found = text.name(name, Place { line, column });
            assert_eq!(
                found,
                expected.map(|column| Place { line, column }),
                "{name}"
            );
        }
        let at = |line, column| Place { line, column };
        assert!(text.is_parenthesis(at(0, 11)));
        assert!(!text.is_parenthesis(at(0, 12)));
        assert!(text.is_parenthesis(at(2, 23)));
        assert!(!text.is_parenthesis(at(2, 999)));
        assert!(!text.is_parenthesis(at(0, u32::MAX)));
    }
}
