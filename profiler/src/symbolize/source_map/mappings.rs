//! The `mappings` of a source map: for each line of the generated text,
//! segments that begin at a column and say where that comes from.
//!
//! ECMA-426, "Source map format". They are gone through once, with all
//! positions that are asked for in hand, and nothing is kept of the others:
//! a bundle has millions of segments and a profile some hundred positions.

use thiserror::Error;

/// A place in a text, both from 0 on; columns count UTF-16 code units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

/// The segment that covers a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Column at which it begins, on the line of the place.
    pub start: u32,
    /// `None`: the place comes from no source.
    pub origin: Option<Origin>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Index in the map's `sources`.
    pub source: u32,
    pub place: Place,
    /// Index in the map's `names`.
    pub name: Option<u32>,
}

#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DamagedMappings {
    #[error("a digit that is none of Base64")]
    Digit,
    #[error("a number that is cut off or has more than 32 bits")]
    Number,
    #[error("a segment of {0} numbers")]
    Fields(usize),
    #[error("a position below 0 or above 32 bits")]
    Position,
}

/// Sums of what the segments so far say. Only the column begins anew on each
/// line.
#[derive(Default)]
struct Sums {
    column: u32,
    source: u32,
    line: u32,
    original_column: u32,
    name: u32,
}

/// The segment that covers each of `wanted`, which are in ascending order.
pub fn find(mappings: &str, wanted: &[Place]) -> Result<Vec<Option<Segment>>, DamagedMappings> {
    let mut found = vec![None; wanted.len()];
    let mut sums = Sums::default();
    let mut next = 0;
    for (line, segments) in (0_u32..).zip(mappings.as_bytes().split(|&byte| byte == b';')) {
        // What lies behind the last place need not be read.
        let Some(first) = wanted.get(next) else { break };
        sums.column = 0;
        let here = if first.line == line {
            wanted[next..].partition_point(|place| place.line == line)
        } else {
            0
        };
        let places = &wanted[next..next + here];
        let found = &mut found[next..next + here];
        for segment in segments.split(|&byte| byte == b',') {
            if let Some(segment) = sums.add(segment)? {
                cover(segment, places, found);
            }
        }
        // Between a place and the one before it no segment may begin: then
        // the same one covers both.
        let mut last: Option<Segment> = None;
        for segment in found {
            last = segment.or(last);
            *segment = last;
        }
        next += here;
    }
    Ok(found)
}

/// Notes a segment at the first place that it covers. The segments of a line
/// need not be in order.
fn cover(segment: Segment, places: &[Place], found: &mut [Option<Segment>]) {
    let first = places.partition_point(|place| place.column < segment.start);
    if let Some(known) = found.get_mut(first)
        && known.is_none_or(|known| known.start <= segment.start)
    {
        *known = Some(segment);
    }
}

impl Sums {
    /// Takes a segment in. `None` for an empty one, of which some tools write
    /// many.
    fn add(&mut self, segment: &[u8]) -> Result<Option<Segment>, DamagedMappings> {
        let mut fields = [0; 5];
        let mut count = 0;
        let mut rest = segment;
        while !rest.is_empty() {
            let field = fields
                .get_mut(count)
                .ok_or(DamagedMappings::Fields(count + 1))?;
            *field = number(&mut rest)?;
            count += 1;
        }
        let [column, source, line, original_column, name] = fields;
        if count == 0 {
            return Ok(None);
        }
        advance(&mut self.column, column)?;
        let origin = match count {
            1 => None,
            4 | 5 => {
                advance(&mut self.source, source)?;
                advance(&mut self.line, line)?;
                advance(&mut self.original_column, original_column)?;
                advance(&mut self.name, name)?;
                Some(Origin {
                    source: self.source,
                    place: Place {
                        line: self.line,
                        column: self.original_column,
                    },
                    name: (count == 5).then_some(self.name),
                })
            }
            _ => return Err(DamagedMappings::Fields(count)),
        };
        Ok(Some(Segment {
            start: self.column,
            origin,
        }))
    }
}

fn advance(sum: &mut u32, by: i64) -> Result<(), DamagedMappings> {
    // A number has 32 bits at most: this cannot overflow.
    *sum = u32::try_from(i64::from(*sum) + by).map_err(|_| DamagedMappings::Position)?;
    Ok(())
}

/// Base64 VLQ: five bits a digit, lowest first; the sixth says that there are
/// more. The lowest bit of the number is its sign.
fn number(rest: &mut &[u8]) -> Result<i64, DamagedMappings> {
    const MORE: u8 = 0x20;
    let mut value = 0_i64;
    for shift in (0..=30).step_by(5) {
        let (&first, after) = rest.split_first().ok_or(DamagedMappings::Number)?;
        *rest = after;
        let digit = digit(first).ok_or(DamagedMappings::Digit)?;
        value |= i64::from(digit & !MORE) << shift;
        if digit & MORE == 0 {
            let magnitude = value >> 1;
            return if magnitude > i64::from(u32::MAX) {
                Err(DamagedMappings::Number)
            } else if value & 1 == 0 {
                Ok(magnitude)
            } else {
                Ok(-magnitude)
            };
        }
    }
    Err(DamagedMappings::Number)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: u32, column: u32) -> Place {
        Place { line, column }
    }

    /// Start, source, line, column, name.
    type Found = (u32, u32, u32, u32, Option<u32>);

    fn found(mappings: &str, wanted: &[(u32, u32)]) -> Vec<Option<Found>> {
        let wanted: Vec<_> = wanted.iter().map(|&(l, c)| place(l, c)).collect();
        find(mappings, &wanted)
            .unwrap()
            .into_iter()
            .map(|segment| {
                let segment = segment?;
                let origin = segment.origin?;
                let Place { line, column } = origin.place;
                Some((segment.start, origin.source, line, column, origin.name))
            })
            .collect()
    }

    #[test]
    fn places_are_those_of_the_segment_before() {
        // Line 0: columns 0 and 4, the second with name 0; line 2: column 2,
        // from source 1, one line and three columns back, name 1; then text
        // of no source.
        let mappings = "AACA,IAAIA;;ECDHC,I";
        assert_eq!(
            found(
                mappings,
                &[
                    (0, 0),
                    (0, 3),
                    (0, 4),
                    (0, 999),
                    (1, 0),
                    (2, 1),
                    (2, 2),
                    (2, 5),
                    (2, 6),
                    (9, 9)
                ]
            ),
            [
                Some((0, 0, 1, 0, None)),
                Some((0, 0, 1, 0, None)),
                Some((4, 0, 1, 4, Some(0))),
                Some((4, 0, 1, 4, Some(0))),
                None,
                None,
                Some((2, 1, 0, 1, Some(1))),
                Some((2, 1, 0, 1, Some(1))),
                None,
                None,
            ]
        );
    }

    #[test]
    fn order_within_a_line_does_not_matter() {
        // Columns 8, 0, 4: lines 0, 1, 2.
        let mappings = "QAAA,RACA,IACA";
        assert_eq!(
            found(mappings, &[(0, 1), (0, 5), (0, 7), (0, 8), (0, 20)])
                .iter()
                .map(|found| found.unwrap().2)
                .collect::<Vec<_>>(),
            [1, 2, 2, 0, 0]
        );
    }

    #[test]
    fn numbers() {
        for (text, value) in [
            ("A", Ok(0)),
            ("B", Ok(0)),
            ("C", Ok(1)),
            ("D", Ok(-1)),
            ("2H", Ok(123)),
            ("g//////D", Err(DamagedMappings::Number)),
            ("+/////H", Ok(0xffff_ffff)),
            ("//////H", Ok(-0xffff_ffff)),
            ("+/////f", Err(DamagedMappings::Number)),
            ("+/////g", Err(DamagedMappings::Number)),
            ("g", Err(DamagedMappings::Number)),
            ("g?", Err(DamagedMappings::Digit)),
        ] {
            assert_eq!(number(&mut text.as_bytes()), value, "{text}");
        }
    }

    #[test]
    fn damage_is_an_error() {
        let at = |mappings: &str| find(mappings, &[place(0, 0), place(u32::MAX, u32::MAX)]);
        assert_eq!(at("D"), Err(DamagedMappings::Position));
        assert_eq!(at("AADA"), Err(DamagedMappings::Position));
        assert_eq!(at("+/////H,C"), Err(DamagedMappings::Position));
        assert_eq!(at("AA"), Err(DamagedMappings::Fields(2)));
        assert_eq!(at("AAAAAA"), Err(DamagedMappings::Fields(6)));
        assert_eq!(at("AAAA AAAA"), Err(DamagedMappings::Digit));
        assert_eq!(at(&";".repeat(1 << 20)), Ok(vec![None, None]));
        assert_eq!(at(&",".repeat(1 << 20)), Ok(vec![None, None]));
        assert_eq!(find("?", &[]), Ok(Vec::new()));
    }
}
