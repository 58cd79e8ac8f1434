//! Secrets inside one argument: `name=value`, `Name: value`, JSON fields,
//! credentials and parameters of URLs.

use super::{
    MASK,
    names::{self, Kind},
    shapes,
};

/// Longest name that is looked at, so that hostile text costs linear time.
const MAX_NAME: usize = 80;
/// Longest URL, and longest value that may turn out to be no secret, for the
/// same reason.
const MAX_VALUE: usize = 4096;

/// Masks the secrets in an argument. `whole`: an assignment at its start has
/// the rest of the argument as its value; not so in the text of a shell.
pub fn mask(text: &str, whole: bool) -> String {
    shapes::mask(&assignments(&urls(text), whole))
}

/// `scheme://user:secret@host` becomes `scheme://user:***@host`.
fn urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let after_start = &after[..after.floor_char_boundary(MAX_VALUE)];
        let end = after_start
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>'))
            .unwrap_or(after_start.len());
        let url = &after[..end];
        let authority = url.find(['/', '?', '#']).unwrap_or(url.len());
        // A secret with an unescaped slash in it: what looks like a port is
        // none, and the host is yet to come.
        let odd = !url[..authority].contains('@')
            && url[..authority]
                .split_once(':')
                .is_some_and(|(host, port)| {
                    !host.starts_with('[')
                        && port.is_empty() | !port.bytes().all(|b| b.is_ascii_digit())
                });
        let within = if odd { url } else { &url[..authority] };
        match within.rfind('@') {
            Some(host) => {
                let user_info = &url[..host];
                match user_info.split_once(':') {
                    Some((user, _)) => {
                        out.push_str(user);
                        out.push(':');
                        out.push_str(MASK);
                    }
                    None if names::looks_random(user_info) => out.push_str(MASK),
                    None => out.push_str(user_info),
                }
                rest = &after[host..];
            }
            None => rest = after,
        }
    }
    out.push_str(rest);
    out
}

fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// The name that ends at `end`, and where it starts.
fn name_before(text: &str, end: usize) -> (usize, &str) {
    let bytes = text.as_bytes();
    let length = bytes[..end]
        .iter()
        .rev()
        .take(MAX_NAME)
        .take_while(|&&b| in_name(b))
        .count();
    (end - length, &text[end - length..end])
}

fn assignments(text: &str, whole: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    let mut at = 0;
    while at < bytes.len() {
        let sign = bytes[at];
        if sign != b'=' && sign != b':' {
            at += 1;
            continue;
        }
        // JSON and YAML quote the name, some with a backslash before it.
        let name_end = text[..at].trim_end_matches(['"', '\'', '\\', ' ']).len();
        let quoted = text[name_end..at].contains(['"', '\'']);
        let (name_start, name) = name_before(text, if quoted { name_end } else { at });
        let kind = names::kind(name);
        if kind == Kind::Harmless {
            at += 1;
            continue;
        }
        let value = at + 1;
        let text = match kind {
            Kind::Secret => text,
            _ => &text[..text.floor_char_boundary(value + MAX_VALUE)],
        };
        let found = if sign == b'=' {
            let at_start = whole && name_start == 0 && !quoted;
            Some(equals_value(text, value, at_start))
        } else {
            colon_value(text, value, name, quoted, name_start)
        };
        if let Some((start, end)) = found
            && start < end
        {
            let secret = &text[start..end];
            let masked = match kind {
                Kind::Secret => !names::harmless_value(secret),
                _ => names::looks_random(secret),
            };
            if masked {
                out.push_str(&text[copied..start]);
                out.push_str(MASK);
                copied = end;
            }
            // A harmless value may hold an assignment of its own.
            at = if masked { end } else { start.max(at + 1) };
        } else {
            at += 1;
        }
    }
    out.push_str(&text[copied..]);
    out
}

/// The value behind `=`: the rest of the argument, up to the closing quote, or
/// up to a separator that another assignment follows.
fn equals_value(text: &str, start: usize, rest: bool) -> (usize, usize) {
    let value = &text[start..];
    if let Some(quoted) = quoted_value(text, start) {
        return quoted;
    }
    if rest {
        return (start, text.len());
    }
    let mut end = value.len();
    for (at, c) in value.char_indices() {
        let stop = match c {
            '"' | '\'' | '`' | '#' => true,
            c if c.is_whitespace() => true,
            '&' | ';' | ',' | ')' | '}' | '|' => ends_value(&value[at + 1..]),
            _ => false,
        };
        if stop {
            end = at;
            break;
        }
    }
    (start, start + end)
}

/// Whether nothing, or another assignment, follows a separator.
fn ends_value(after: &str) -> bool {
    let name = after
        .bytes()
        .take(MAX_NAME)
        .take_while(|&b| in_name(b) || b == b' ')
        .count();
    after.is_empty()
        || after.starts_with(|c: char| c.is_whitespace() || "&|;,)}\"'".contains(c))
        || after[name..].starts_with('=')
}

/// `"value"`, `'value'` and `\"value\"`, without the quotes.
fn quoted_value(text: &str, start: usize) -> Option<(usize, usize)> {
    let value = &text[start..];
    let open = ["\\\"", "\"", "'"]
        .into_iter()
        .find(|quote| value.starts_with(quote))?;
    let inner = start + open.len();
    let mut from = inner;
    let end = loop {
        let Some(found) = text[from..].find(open) else {
            break text.len();
        };
        let at = from + found;
        // A quote behind a backslash is part of the value.
        if open.len() == 1 && text[inner..at].ends_with('\\') {
            from = at + 1;
            continue;
        }
        break at;
    };
    Some((inner, end))
}

/// The value behind `:`. A colon has many uses, so it counts only before a
/// space or a quote (header, YAML, JSON) or in OpenSSL's `pass:secret`.
fn colon_value(
    text: &str,
    start: usize,
    name: &str,
    quoted: bool,
    name_start: usize,
) -> Option<(usize, usize)> {
    let value = &text[start..];
    let spaces = value.len() - value.trim_start_matches(' ').len();
    let begin = start + spaces;
    if let Some(found) = quoted_value(text, begin) {
        return Some(found);
    }
    let lower = name.to_ascii_lowercase();
    let header = lower.ends_with("authorization")
        || lower == "cookie"
        || lower == "set-cookie"
        || lower.starts_with("x-")
        || lower == "private-token";
    if header {
        let end = text[begin..]
            .find(['"', '\'', '\n'])
            .map_or(text.len(), |at| begin + at);
        // The scheme is no secret: `Bearer`, `Basic`.
        let scheme = text[begin..end].split(' ').next().unwrap_or_default();
        let is_scheme = scheme.len() < end - begin
            && ["bearer", "basic", "token", "digest", "negotiate", "apikey"]
                .contains(&scheme.to_ascii_lowercase().as_str());
        let skip = if is_scheme { scheme.len() + 1 } else { 0 };
        return Some((begin + skip, end));
    }
    if (lower == "pass" && name_start == 0) || (quoted && spaces == 0) {
        return Some((
            begin,
            text[begin..]
                .find([',', '}'])
                .map_or(text.len(), |at| begin + at),
        ));
    }
    (spaces > 0).then(|| {
        let end = text[begin..]
            .find(|c: char| c.is_whitespace() || matches!(c, ',' | '}' | '"' | '\''))
            .map_or(text.len(), |at| begin + at);
        (begin, end)
    })
}
