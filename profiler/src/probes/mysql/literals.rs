//! Statements without their literals, which may be anyone's data, by the
//! lexical rules of MySQL and MariaDB (MySQL 8.4 Reference Manual, chapter 11).

use crate::probes::database::literals::number;

/// Replaces strings and numbers by `?` and leaves comments out. A string that
/// does not end, as in a statement that was cut off, goes to the end.
///
/// What `"` and `\` mean depends on the mode of the session (ANSI_QUOTES,
/// NO_BACKSLASH_ESCAPES). What could be a string is taken for one, and where a
/// string may or may not have ended, the rest is left out.
pub fn without_literals(statement: &str) -> String {
    let mut out = String::with_capacity(statement.len());
    let mut rest = statement;
    while let Some(first) = rest.chars().next() {
        let length = if let Some(length) = comment(rest) {
            if !out.ends_with([' ', '\n']) {
                out.push(' ');
            }
            length
        } else if matches!(first, '\'' | '"') {
            out.push('?');
            string(rest, first)
        } else if first == '`' {
            let length = name(rest);
            out.push_str(&rest[..length]);
            length
        } else if first.is_ascii_digit() {
            out.push('?');
            number(rest)
        } else if first == '_' || first == '$' || first == '@' || first.is_alphabetic() {
            let length = word(rest);
            // X'…' and the like are strings to the quote.
            let prefix = matches!(&rest[..length], "x" | "X" | "b" | "B" | "n" | "N");
            if !(prefix && rest[length..].starts_with('\'')) {
                out.push_str(&rest[..length]);
            }
            length
        } else {
            out.push(first);
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    out.trim().to_owned()
}

/// Also of the kind that the server executes, `/*! … */`.
fn comment(text: &str) -> Option<usize> {
    let dashes = text.strip_prefix("--");
    if text.starts_with('#')
        || dashes.is_some_and(|after| after.is_empty() || after.starts_with(char::is_whitespace))
    {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    let inside = text.strip_prefix("/*")?;
    Some(inside.find("*/").map_or(text.len(), |end| end + 4))
}

/// Length with both quotes; a doubled one is a part of it.
fn string(text: &str, quote: char) -> usize {
    let mut backslashes = 0;
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if character == quote {
            if backslashes % 2 == 1 {
                return text.len();
            }
            match characters.peek() {
                Some(&(_, next)) if next == quote => {
                    characters.next();
                }
                _ => return at + quote.len_utf8(),
            }
        }
        backslashes = if character == '\\' {
            backslashes + 1
        } else {
            0
        };
    }
    text.len()
}

fn name(text: &str) -> usize {
    let mut rest = 1;
    while let Some(end) = text[rest..].find('`') {
        rest += end + 1;
        if !text[rest..].starts_with('`') {
            return rest;
        }
        rest += 1;
    }
    text.len()
}

fn word(text: &str) -> usize {
    text.char_indices()
        .find(|&(at, c)| at > 0 && !(matches!(c, '_' | '$' | '@') || c.is_alphanumeric()))
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
            (
                "SELECT 'it''s', \"say \"\"x\"\"\", x'0F', N'n'",
                "SELECT ?, ?, ?, ?",
            ),
            (
                "SELECT `a 1`.`b``2` # secret\nFROM t",
                "SELECT `a 1`.`b``2` \nFROM t",
            ),
            ("SELECT 5--3 -- secret", "SELECT ?--?"),
            ("SELECT 1.5e-3, 0x1F, -7", "SELECT ?, ?, -?"),
            ("SELECT /* a */ x /*! , 'secret' */", "SELECT  x"),
            ("SELECT 'cut off by the ser", "SELECT ?"),
            ("SELECT `cut off by", "SELECT `cut off by"),
            ("SELECT 'C:\\\\', 'secret'", "SELECT ?, ?"),
            (
                "SELECT _utf8mb4'x', @@port, @a := 1",
                "SELECT _utf8mb4?, @@port, @a := ?",
            ),
            (
                "SELECT größe1 FROM é WHERE ü='ß'",
                "SELECT größe1 FROM é WHERE ü=?",
            ),
        ] {
            assert_eq!(without_literals(statement), expected);
        }
    }

    /// `'a\'` is a whole string with NO_BACKSLASH_ESCAPES, else it goes on.
    #[test]
    fn what_may_be_a_string_is_not_shown() {
        for statement in [
            "SELECT 'a\\', 'secret'",
            "SELECT 'it\\'s secret'",
            "SELECT \"secret\"",
        ] {
            assert_eq!(without_literals(statement), "SELECT ?");
        }
    }

    #[test]
    fn any_text_is_taken() {
        for text in crate::views::sample::NASTY {
            without_literals(text);
            for quote in ["'", "\"", "`", "/*"] {
                without_literals(&format!("{quote}{text}"));
            }
        }
    }
}
