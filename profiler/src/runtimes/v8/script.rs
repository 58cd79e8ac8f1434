//! Scripts: their names, and lines and columns in their text.

use super::heap::{Heap, ObjectError, is_small, pointer, small};
use crate::runtimes::Memory;

/// Largest script whose text is read to find its lines, in code units.
const MAX_SOURCE: usize = 32 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// A path, a `file:` URL or `node:internal/...`; empty for text that was
    /// evaluated.
    pub name: String,
    /// Where the text begins in its file: text within a page begins late.
    line_offset: u32,
    column_offset: u32,
    /// Offsets of the ends of lines; nothing when the text is not there.
    line_ends: Vec<u32>,
}

impl Script {
    /// Line and column of an offset in the text, both from 1 on.
    pub fn place(&self, offset: u32) -> Option<(u32, u32)> {
        let line = self.line_ends.partition_point(|&end| end < offset);
        if line >= self.line_ends.len() {
            return None;
        }
        let start = line
            .checked_sub(1)
            .map_or(0, |before| self.line_ends[before] + 1);
        let mut column = offset.checked_sub(start)?;
        if line == 0 {
            column = column.checked_add(self.column_offset)?;
        }
        let line = u32::try_from(line).ok()?.checked_add(self.line_offset)?;
        Some((line.checked_add(1)?, column.checked_add(1)?))
    }
}

impl<M: Memory> Heap<'_, M> {
    pub fn script(&self, address: u64) -> Result<Script, ObjectError> {
        let layout = self.layout;
        // Undefined for text without a name.
        let name = self
            .word(address, layout.script_name)
            .and_then(|word| self.name(word))
            .unwrap_or_default();
        let number = |offset| {
            self.word(address, offset)
                .ok()
                .and_then(small)
                .and_then(|value| u32::try_from(value).ok())
                .unwrap_or(0)
        };
        let line_ends = match self.line_ends(address) {
            Some(line_ends) => line_ends,
            None => self
                .word(address, layout.script_source)
                .and_then(|word| self.code_units(word, MAX_SOURCE))
                .map(|text| line_ends(&text))
                .unwrap_or_default(),
        };
        Ok(Script {
            name,
            line_offset: number(layout.script_line_offset),
            column_offset: number(layout.script_column_offset),
            line_ends,
        })
    }

    /// V8 finds them when it needs them: for an error's stack, for instance.
    fn line_ends(&self, address: u64) -> Option<Vec<u32>> {
        let word = self.word(address, self.layout.script_line_ends).ok()?;
        if is_small(word) {
            return None;
        }
        let ends: Option<Vec<u32>> = self
            .words(word)
            .ok()?
            .into_iter()
            .map(|end| small(end).and_then(|end| u32::try_from(end).ok()))
            .collect();
        ends.filter(|ends| !ends.is_empty() && ends.is_sorted())
    }
}

/// Code units before a function that may name it.
const BEFORE: u32 = 120;

impl<M: Memory> Heap<'_, M> {
    /// The name of a function without one, from the text in front of its
    /// parameters, which begin at `start`.
    pub fn name_from_text(&self, script: u64, start: u32) -> Option<String> {
        let word = self.word(script, self.layout.script_source).ok()?;
        let text = pointer(word, "a text").ok()?;
        let from = start.saturating_sub(BEFORE);
        let units = self
            .part_of_string(text, from as usize, (start - from) as usize)
            .ok()?;
        assigned_name(&String::from_utf16_lossy(&units))
    }
}

/// What a function is assigned to, by the text that ends before its
/// parameters: `a.b = function`, `b: async`, `b =`.
fn assigned_name(before: &str) -> Option<String> {
    let mut text = before.trim_end();
    text = text.strip_suffix('*').unwrap_or(text).trim_end();
    for word in ["function", "async"] {
        if let Some(rest) = text.strip_suffix(word)
            && !rest.ends_with(is_name)
        {
            text = rest.trim_end();
        }
    }
    let target = text
        .strip_suffix(['=', ':'])
        .filter(|rest| !rest.ends_with(['=', '!', '<', '>', ':', '?']))?
        .trim_end();
    let start = target
        .char_indices()
        .rev()
        .take_while(|&(_, character)| is_name(character) || character == '.')
        .last()?
        .0;
    let name = &target[start..];
    // A property, no other branch of a condition.
    let property = text.ends_with(':');
    if property && !target[..start].trim_end().ends_with(['{', ',']) {
        return None;
    }
    // At the start of what was read, a part of it may be cut off.
    let whole = start > 0 && name.starts_with(|first: char| is_name(first) && !first.is_numeric());
    (whole && !name.ends_with('.')).then(|| name.to_owned())
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '$' || character == '#'
}

/// ECMA-262 section 12.3, and the end of the text, as V8's
/// `String::CalculateLineEnds` has it.
fn line_ends(text: &[u16]) -> Vec<u32> {
    const RETURN: u16 = 0x0d;
    const FEED: u16 = 0x0a;
    let terminates = |index: usize| match text[index] {
        FEED | 0x2028 | 0x2029 => true,
        RETURN => text.get(index + 1) != Some(&FEED),
        _ => false,
    };
    (0..text.len())
        .filter(|&index| terminates(index))
        .chain([text.len()])
        .map(|index| index as u32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_what_functions_are_assigned_to() {
        for (text, name) in [
            (";\nModule._load = function", Some("Module._load")),
            ("\nconst f = async ", Some("f")),
            (" g = function*", Some("g")),
            ("{ close: async function", Some("close")),
            ("\n  #private = ", Some("#private")),
            ("if (a == ", None),
            ("call(function", None),
            ("x ? 1 : function", None),
            ("x ? y : function", None),
            ("cut.name = function", None),
            ("return ", None),
            ("", None),
        ] {
            assert_eq!(assigned_name(text).as_deref(), name, "{text}");
        }
    }

    #[test]
    fn lines_and_columns() {
        let text: Vec<u16> = "one\r\ntwo\nthree\u{2028}four".encode_utf16().collect();
        let script = Script {
            name: String::new(),
            line_offset: 10,
            column_offset: 5,
            line_ends: line_ends(&text),
        };
        assert_eq!(script.line_ends, [4, 8, 14, 19]);
        assert_eq!(script.place(0), Some((11, 6)));
        assert_eq!(script.place(5), Some((12, 1)));
        assert_eq!(script.place(9), Some((13, 1)));
        assert_eq!(script.place(18), Some((14, 4)));
        assert_eq!(script.place(20), None);
    }
}
