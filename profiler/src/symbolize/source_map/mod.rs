//! Source maps: what a bundler or a compiler to JavaScript says of where its
//! output comes from (ECMA-426). A reader of the few positions of a profile.
//!
//! The crate `sourcemap` is not used: it keeps every segment, 28 bytes for
//! two of the file, adds up numbers of 64 bits without a check, and brings a
//! dozen crates for what is not asked for here.
//!
//! Maps are the target's: nothing in them is believed.

mod mappings;
mod reference;

use std::borrow::Cow;

use serde::Deserialize;
use thiserror::Error;

pub use mappings::{DamagedMappings, Place};
pub use reference::{MapReference, beside, file_path, reference};

/// Longest name or path of a source that is kept, bytes.
const MAX_TEXT: usize = 4096;

#[derive(Debug, Error)]
pub enum MapError {
    #[error("no source map: {0}")]
    Json(#[from] serde_json::Error),
    #[error("version {0} of source maps is not known")]
    Version(u32),
    #[error("its mappings are damaged: {0}")]
    Mappings(#[from] DamagedMappings),
    #[error("a section of it holds sections")]
    Nested,
}

/// Where a place of the generated text comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// As the map has it, with its `sourceRoot`: a path relative to the map,
    /// or a URL.
    pub source: String,
    pub place: Place,
}

/// What covers a place of the generated text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Covering {
    /// Column at which it begins, on the line of the place.
    pub start: u32,
    /// `None`: text that comes from no source.
    pub original: Option<Original>,
    /// What is called so there in the source.
    pub name: Option<String>,
}

/// A map in its text. What it contains of the sources is passed over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Text<'a> {
    version: u32,
    #[serde(default)]
    source_root: Option<String>,
    #[serde(default)]
    sources: Vec<Option<String>>,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default, borrow)]
    mappings: Cow<'a, str>,
    #[serde(default, borrow)]
    sections: Option<Vec<Section<'a>>>,
}

/// A part of an index map. One that only names a URL, which is history, has
/// no map: nothing is followed.
#[derive(Debug, Deserialize)]
struct Section<'a> {
    offset: Offset,
    #[serde(default, borrow)]
    map: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
struct Offset {
    line: u32,
    column: u32,
}

/// What the map in `text` says of `wanted`, in their order.
///
/// # Errors
/// When it is damaged: then nothing of it is to be believed.
pub fn look_up(text: &[u8], wanted: &[Place]) -> Result<Vec<Option<Covering>>, MapError> {
    let map: Text = serde_json::from_slice(without_guard(text))?;
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_unstable_by_key(|&index| wanted[index]);
    let sorted: Vec<Place> = order.iter().map(|&index| wanted[index]).collect();
    let sorted = match &map.sections {
        None => map.find(&sorted)?,
        Some(sections) => find_in_sections(sections, &sorted)?,
    };
    let mut found = vec![None; wanted.len()];
    for (index, covering) in order.into_iter().zip(sorted) {
        found[index] = covering;
    }
    Ok(found)
}

/// Some servers put a line in front that no script can contain.
fn without_guard(text: &[u8]) -> &[u8] {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if !text.starts_with(b")]}'") {
        return text;
    }
    let end = text.iter().position(|&byte| byte == b'\n');
    end.map_or(&[], |end| &text[end..])
}

impl Text<'_> {
    /// `wanted` are in ascending order.
    fn find(&self, wanted: &[Place]) -> Result<Vec<Option<Covering>>, MapError> {
        if self.version != 3 {
            return Err(MapError::Version(self.version));
        }
        let found = mappings::find(&self.mappings, wanted)?;
        Ok(found
            .into_iter()
            .map(|segment| {
                let segment = segment?;
                let origin = segment.origin;
                Some(Covering {
                    start: segment.start,
                    original: origin.and_then(|origin| self.original(origin)),
                    name: origin.and_then(|origin| {
                        let name = self.names.get(origin.name? as usize)?;
                        (!name.is_empty()).then(|| bounded(name))
                    }),
                })
            })
            .collect())
    }

    fn original(&self, origin: mappings::Origin) -> Option<Original> {
        // `null` for a source without a name.
        let source = self.sources.get(origin.source as usize)?.as_deref()?;
        let root = self.source_root.as_deref().unwrap_or_default();
        let source = match root {
            "" => bounded(source),
            _ if root.ends_with('/') => bounded(&format!("{root}{source}")),
            _ => bounded(&format!("{root}/{source}")),
        };
        Some(Original {
            source,
            place: origin.place,
        })
    }
}

fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}

/// Each section reaches up to the start of the next.
fn find_in_sections(
    sections: &[Section],
    wanted: &[Place],
) -> Result<Vec<Option<Covering>>, MapError> {
    let start = |section: &Section| Place {
        line: section.offset.line,
        column: section.offset.column,
    };
    let mut found = vec![None; wanted.len()];
    let mut begin = 0;
    let mut last = Place::default();
    let mut current: Option<&Section> = None;
    // The end of the text, as the start of a section that holds nothing.
    for next in sections.iter().map(Some).chain([None]) {
        let next_start = next.map(start);
        if next_start.is_some_and(|next| next < last) {
            return Err(MapError::Mappings(DamagedMappings::Position));
        }
        let end = next_start.map_or(wanted.len(), |next| {
            wanted.partition_point(|place| *place < next)
        });
        if let Some(map) = current.and_then(|section| section.map.as_ref())
            && begin < end
        {
            if map.sections.is_some() {
                return Err(MapError::Nested);
            }
            // Only its first line does not begin at column 0.
            let shift = |place: &Place| {
                let line = place.line - last.line;
                let column = place.column - if line == 0 { last.column } else { 0 };
                Place { line, column }
            };
            let local: Vec<Place> = wanted[begin..end].iter().map(shift).collect();
            for ((covering, place), local) in map.find(&local)?.into_iter().zip(begin..).zip(&local)
            {
                let column = if local.line == 0 { last.column } else { 0 };
                found[place] = covering.map(|covering| Covering {
                    start: covering.start.saturating_add(column),
                    ..covering
                });
            }
        }
        begin = end;
        current = next;
        last = next_start.unwrap_or(last);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32, column: u32) -> Place {
        Place { line, column }
    }

    fn text(covering: &Option<Covering>) -> String {
        let Some(covering) = covering else {
            return "none".to_owned();
        };
        let original = covering.original.as_ref().map(|original| {
            let Place { line, column } = original.place;
            format!("{}:{line}:{column}", original.source)
        });
        format!(
            "{} {} {}",
            covering.start,
            original.unwrap_or_default(),
            covering.name.as_deref().unwrap_or_default()
        )
    }

    #[test]
    fn a_map_with_root_names_and_a_guard() {
        let map = br#")]}'
            {"version":3,"file":"x.js","sourceRoot":"../src","sources":["a.ts",null],
             "sourcesContent":["text",null],"names":["total",""],
             "mappings":"AACAA,IAAIC,ICAA,Q"}"#;
        let found = look_up(map, &[at(0, 9), at(0, 0), at(0, 5), at(0, 99), at(3, 0)]).unwrap();
        let found: Vec<_> = found.iter().map(text).collect();
        assert_eq!(
            found,
            [
                "8  ",
                "0 ../src/a.ts:1:0 total",
                "4 ../src/a.ts:1:4 ",
                "16  ",
                "none"
            ]
        );
    }

    #[test]
    fn sections_begin_where_they_say() {
        let map = br#"{"version":3,"sections":[
            {"offset":{"line":0,"column":10},"map":
                {"version":3,"sources":["a"],"names":[],"mappings":"AAAA,IAAI;AACA"}},
            {"offset":{"line":2,"column":5},"url":"http://127.0.0.1/x.js.map"},
            {"offset":{"line":3,"column":0},"map":
                {"version":3,"sources":["b"],"names":[],"mappings":"AAAA"}}]}"#;
        let wanted = [
            at(0, 9),
            at(0, 10),
            at(0, 15),
            at(1, 3),
            at(2, 9),
            at(3, 0),
            at(3, 7),
        ];
        let found: Vec<_> = look_up(map, &wanted).unwrap().iter().map(text).collect();
        assert_eq!(
            found,
            [
                "none",
                "10 a:0:0 ",
                "14 a:0:4 ",
                "0 a:1:4 ",
                "none",
                "0 b:0:0 ",
                "0 b:0:0 "
            ]
        );
    }

    #[test]
    fn damaged_maps_are_errors() {
        let section = |map: &str| {
            format!(
                r#"{{"version":3,"sections":[{{"offset":{{"line":0,"column":0}},"map":{map}}}]}}"#
            )
        };
        let deep = (0..1000).fold("null".to_owned(), |map, _| section(&map));
        let nested = section(&section(r#"{"version":3,"mappings":"AAAA"}"#));
        let backwards = r#"{"version":3,"sections":[
            {"offset":{"line":4294967295,"column":4294967295},"map":{"version":3,"mappings":"AAAA"}},
            {"offset":{"line":0,"column":0}}]}"#;
        for map in [
            "",
            "{}",
            "[]",
            ")]}'",
            r#"{"version":2,"mappings":"AAAA"}"#,
            r#"{"version":9223372036854775808,"mappings":""}"#,
            r#"{"version":3,"mappings":"AAAAAA"}"#,
            r#"{"version":3,"mappings":"ggggggggggggggggggggE"}"#,
            r#"{"version":3,"sections":[{"offset":{"line":-1,"column":0}}]}"#,
            deep.as_str(),
            nested.as_str(),
            backwards,
        ] {
            assert!(look_up(map.as_bytes(), &[at(0, 0)]).is_err(), "{map:.80}");
        }
        // Indices of nothing are no damage to the rest.
        let beyond =
            br#"{"version":3,"sources":["a"],"names":["n"],"mappings":"AAAA,CgggggEAAggggB"}"#;
        let found = look_up(beyond, &[at(0, 0), at(0, 1)]).unwrap();
        assert_eq!(text(&found[0]), "0 a:0:0 ");
        assert_eq!(text(&found[1]), "1  ");
    }

    #[test]
    fn a_section_at_the_end_of_all_lines() {
        let map = br#"{"version":3,"sections":[
            {"offset":{"line":4294967295,"column":4294967295},"map":
                {"version":3,"sources":["a"],"mappings":"AAAA,C"}}]}"#;
        let last = at(u32::MAX, u32::MAX);
        let found = look_up(map, &[last]).unwrap();
        assert_eq!(text(&found[0]), format!("{} a:0:0 ", u32::MAX));
    }
}
