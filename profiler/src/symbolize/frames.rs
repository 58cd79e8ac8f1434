//! What a child process that reads debug information sends back.

use super::names::printable;

/// One frame, before its name is made readable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawFrame {
    /// As the debug information spells it; empty when it has none.
    pub name: Vec<u8>,
    pub file: String,
    pub line: u32,
    pub column: u32,
    pub definition_line: u32,
}

/// Longest name or path that is sent.
const MAX_TEXT: usize = 64 << 10;

/// The frames of each address, one list an address.
pub fn encode(lists: &[Vec<RawFrame>]) -> Vec<u8> {
    let mut out = Vec::new();
    let number = |out: &mut Vec<u8>, value: u32| out.extend(value.to_ne_bytes());
    for list in lists {
        number(&mut out, list.len() as u32);
        for frame in list {
            for text in [frame.name.as_slice(), frame.file.as_bytes()] {
                let text = &text[..text.len().min(MAX_TEXT)];
                number(&mut out, text.len() as u32);
                out.extend_from_slice(text);
            }
            for value in [frame.line, frame.column, frame.definition_line] {
                number(&mut out, value);
            }
        }
    }
    out
}

/// `None` when it is cut short: the child is as little trusted as the file
/// that it read.
pub fn decode(mut bytes: &[u8], count: usize) -> Option<Vec<Vec<RawFrame>>> {
    fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
        let (head, tail) = bytes.split_at_checked(length)?;
        *bytes = tail;
        Some(head)
    }
    fn number(bytes: &mut &[u8]) -> Option<u32> {
        Some(u32::from_ne_bytes(take(bytes, 4)?.try_into().ok()?))
    }
    fn text<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        let length = number(bytes)? as usize;
        take(bytes, length)
    }
    (0..count)
        .map(|_| {
            let frames = number(&mut bytes)?;
            (0..frames)
                .map(|_| {
                    Some(RawFrame {
                        name: text(&mut bytes)?.to_vec(),
                        file: printable(String::from_utf8_lossy(text(&mut bytes)?).into_owned()),
                        line: number(&mut bytes)?,
                        column: number(&mut bytes)?,
                        definition_line: number(&mut bytes)?,
                    })
                })
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives_whole_or_not_at_all() {
        let lists = vec![
            vec![],
            vec![
                RawFrame {
                    name: b"a".to_vec(),
                    file: "/x.c".into(),
                    line: 1,
                    column: 2,
                    definition_line: 3,
                },
                RawFrame::default(),
            ],
        ];
        let sent = encode(&lists);
        assert_eq!(decode(&sent, 2), Some(lists));
        for length in 0..sent.len() {
            assert_eq!(decode(&sent[..length], 2), None);
        }
        assert_eq!(decode(&[0xff; 64], 1), None);
    }
}
