//! Statements without their literals, which may be anyone's data.

/// Replaces strings and numbers by `?` and leaves comments out. A string that
/// does not end, as in a statement that the server cut off, goes to the end.
///
/// The lexical rules are those of PostgreSQL (documentation, chapter 4.1) with
/// `standard_conforming_strings` on, its default since 9.1.
pub fn without_literals(statement: &str) -> String {
    let mut out = String::with_capacity(statement.len());
    let mut rest = statement;
    while let Some(first) = rest.chars().next() {
        let length = if let Some(length) = comment(rest) {
            if !out.ends_with([' ', '\n']) {
                out.push(' ');
            }
            length
        } else if let Some(length) = string(rest) {
            out.push('?');
            length
        } else if first == '"' {
            let length = quoted(&rest[1..], '"', false) + 1;
            out.push_str(&rest[..length]);
            length
        } else if first.is_ascii_digit() {
            out.push('?');
            number(rest)
        } else if first == '$' || first == '_' || first.is_alphabetic() {
            let length = word(rest);
            out.push_str(&rest[..length]);
            length
        } else {
            out.push(first);
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    out.trim().to_owned()
}

fn comment(text: &str) -> Option<usize> {
    if text.starts_with("--") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    // They nest.
    let mut depth = 0;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match &bytes[at..bytes.len().min(at + 2)] {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return Some(at);
        }
    }
    Some(text.len())
}

/// Length of the string that the text begins with: `'…'`, `E'…'`, `B'…'`,
/// `X'…'`, `N'…'`, `U&'…'`, `$tag$…$tag$`.
fn string(text: &str) -> Option<usize> {
    if let Some(after) = text.strip_prefix('$') {
        let tag_end = after.find('$')? + 2;
        let tag = &text[..tag_end];
        let inner = &tag[1..tag.len() - 1];
        let is_tag = inner.chars().all(|c| c == '_' || c.is_alphanumeric())
            && !inner.starts_with(|c: char| c.is_ascii_digit());
        if !is_tag {
            return None;
        }
        let end = text[tag_end..].find(tag);
        return Some(end.map_or(text.len(), |end| tag_end + end + tag.len()));
    }
    let prefix = ["", "E", "B", "X", "N", "U&"].into_iter().find(|prefix| {
        text.get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
            && text[prefix.len()..].starts_with('\'')
    })?;
    let start = prefix.len() + 1;
    let escapes = prefix == "E";
    Some(start + quoted(&text[start..], '\'', escapes))
}

/// Length up to and with the closing quote; a doubled one is a part of it.
fn quoted(text: &str, quote: char, escapes: bool) -> usize {
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if escapes && character == '\\' {
            characters.next();
        } else if character == quote {
            match characters.peek() {
                Some(&(_, next)) if next == quote => {
                    characters.next();
                }
                _ => return at + quote.len_utf8(),
            }
        }
    }
    text.len()
}

/// Bytes of the number that the text begins with.
pub fn number(text: &str) -> usize {
    let mut before = ' ';
    for (at, character) in text.char_indices() {
        let sign = matches!(character, '+' | '-') && matches!(before, 'e' | 'E');
        if !(sign || character.is_ascii_alphanumeric() || matches!(character, '.' | '_')) {
            return at;
        }
        before = character;
    }
    text.len()
}

fn word(text: &str) -> usize {
    text.char_indices()
        .find(|&(at, c)| at > 0 && !(c == '_' || c == '$' || c.is_alphanumeric()))
        .map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_go_and_names_stay() {
        for (statement, expected) in [
            (
                "SELECT * FROM t1 WHERE a = 42",
                "SELECT * FROM t1 WHERE a = ?",
            ),
            ("SELECT 'it''s', E'a\\'b', b'01'", "SELECT ?, ?, ?"),
            (
                "SELECT $1, $tag$ secret $ ' $tag$, $$x$$",
                "SELECT $1, ?, ?",
            ),
            (
                "SELECT \"a 1\".\"b\"\"2\" -- secret",
                "SELECT \"a 1\".\"b\"\"2\"",
            ),
            ("SELECT 1.5e-3, 0x1F, -7", "SELECT ?, ?, -?"),
            ("SELECT /* a /* b */ c */ x", "SELECT  x"),
            ("SELECT 'cut off by the ser", "SELECT ?"),
            ("SELECT $tag$ cut", "SELECT ?"),
            ("SELECT /* cut", "SELECT"),
            ("SELECT U&'\\0061' || n'x'", "SELECT ? || ?"),
            (
                "SELECT größe1 FROM é WHERE ü='ß'",
                "SELECT größe1 FROM é WHERE ü=?",
            ),
        ] {
            assert_eq!(without_literals(statement), expected);
        }
    }

    #[test]
    fn any_text_is_taken() {
        for text in crate::views::sample::NASTY {
            without_literals(text);
            without_literals(&format!("E'{text}"));
            without_literals(&format!("${text}$"));
        }
    }
}
