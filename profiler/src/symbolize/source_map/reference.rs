//! Where the map of a script is: `//# sourceMappingURL=…` at its end.

use base64::{Engine, alphabet, engine::general_purpose::GeneralPurposeConfig};

/// The comment is the last line, or is followed by few: a licence, a debug ID.
const LAST_LINES: usize = 16;
/// Longest URL of a file, bytes.
const MAX_URL: usize = 4096;
/// The name of the comment and what precedes it; the second form is history.
const COMMENTS: [&[u8]; 3] = [
    b"//# sourceMappingURL=",
    b"//@ sourceMappingURL=",
    b"/*# sourceMappingURL=",
];

/// Where a map is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapReference {
    /// In the script.
    Inline(Vec<u8>),
    /// Relative to the script.
    File(String),
}

/// What the last lines of a script say of its map. Maps elsewhere than beside
/// or in the script are none: nothing is fetched.
pub fn reference(script: &[u8]) -> Option<MapReference> {
    let line = script
        .rsplit(|&byte| matches!(byte, b'\n' | b'\r'))
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
        .take(LAST_LINES)
        .find_map(comment)?;
    let url = std::str::from_utf8(line).ok()?;
    if let Some(data) = url.strip_prefix("data:") {
        return inline(data).map(MapReference::Inline);
    }
    let path = decoded(url)?;
    let elsewhere = path.is_empty()
        || path.len() > MAX_URL
        || path.starts_with('/')
        || path.contains('\0')
        || path
            .split(['/', '?'])
            .next()
            .is_some_and(|first| first.contains(':'));
    (!elsewhere).then_some(MapReference::File(path))
}

/// The URL of a comment on a line, which may have code in front.
fn comment(line: &[u8]) -> Option<&[u8]> {
    // A URL has no white space; text of the bundle that speaks of the comment
    // has what follows the quote.
    let start = COMMENTS
        .iter()
        .filter_map(|comment| {
            let at = line
                .windows(comment.len())
                .rposition(|window| window == *comment)?;
            Some(at + comment.len())
        })
        .max()?;
    let url = &line[start..];
    let end = url
        .iter()
        .position(|&byte| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'`'))
        .unwrap_or(url.len());
    let rest = url[end..].trim_ascii();
    let url = &url[..end];
    let url = url.strip_suffix(b"*/").unwrap_or(url);
    (rest.is_empty() || rest == b"*/").then_some(url)
}

/// What follows `data:`.
fn inline(data: &str) -> Option<Vec<u8>> {
    let (kind, data) = data.split_once(',')?;
    let mut kind = kind.split(';');
    if kind.next()? != "application/json" || kind.next_back()? != "base64" {
        return None;
    }
    let lenient = GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent);
    base64::engine::GeneralPurpose::new(&alphabet::STANDARD, lenient)
        .decode(data)
        .ok()
}

/// The path of a script as Node names it: a path or a `file:` URL. `None` for
/// what is no file: `node:fs`, `evalmachine.<anonymous>`, `webpack://…`.
pub fn file_path(script: &str) -> Option<String> {
    let path = match script.strip_prefix("file://") {
        Some(path) => {
            let end = path.find(['?', '#']).unwrap_or(path.len());
            decoded(&path[..end])?
        }
        None => script.to_owned(),
    };
    (path.starts_with('/') && !path.contains('\0')).then_some(path)
}

/// The path of a file that is named relative to the file `path`. URLs stay
/// as they are, but those of files.
pub fn beside(path: &str, relative: &str) -> String {
    if let Some(path) = file_path(relative) {
        return normal(&path);
    }
    if relative.contains("://") {
        return relative.to_owned();
    }
    let directory = path.rsplit_once('/').map_or("", |(before, _)| before);
    normal(&format!("{directory}/{relative}"))
}

/// Without `.` and `..`, as text: what it names is only shown, or opened by
/// a kernel that resolves links of its own.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Without `%20` and the like.
fn decoded(url: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(url.len());
    let mut parts = url.split('%');
    bytes.extend(parts.next()?.bytes());
    for part in parts {
        let digits = part.get(..2)?;
        // `from_str_radix` takes a sign.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(part.bytes().skip(2));
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Option<MapReference> {
        Some(MapReference::File(path.to_owned()))
    }

    #[test]
    fn comments_at_the_end() {
        for (script, expected) in [
            ("f();\n//# sourceMappingURL=x.js.map\n", file("x.js.map")),
            ("f();//# sourceMappingURL=x.js.map", file("x.js.map")),
            (
                "f();\r\n//@ sourceMappingURL=../m/x.map\r\n\r\n",
                file("../m/x.map"),
            ),
            ("f();\n/*# sourceMappingURL=x.map */", file("x.map")),
            ("f();\n/*# sourceMappingURL=x.map*/", file("x.map")),
            (
                "//# sourceMappingURL=%5Bid%5D.js.map\n//# debugId=1",
                file("[id].js.map"),
            ),
            (
                "//# sourceMappingURL=a\n//# sourceMappingURL=b\n",
                file("b"),
            ),
            ("//# sourceMappingURL=https://example.com/x.map", None),
            ("//# sourceMappingURL=/etc/passwd", None),
            ("//# sourceMappingURL=file:///etc/passwd", None),
            ("//# sourceMappingURL=%00", None),
            ("//# sourceMappingURL=", None),
            ("s = '//# sourceMappingURL=' + url;", None),
            (
                "//# sourceMappingURL=data:application/json;base64,????",
                None,
            ),
            ("//# sourceMappingURL=data:text/plain;base64,AAAA", None),
            ("", None),
        ] {
            assert_eq!(reference(script.as_bytes()), expected, "{script}");
        }
        for kind in ["", ";charset=utf-8"] {
            let script =
                format!("f();\n//# sourceMappingURL=data:application/json{kind};base64,e30=");
            assert_eq!(
                reference(script.as_bytes()),
                Some(MapReference::Inline(b"{}".to_vec()))
            );
        }
        let early = format!("//# sourceMappingURL=x.map\n{}", "f();\n".repeat(20));
        assert_eq!(reference(early.as_bytes()), None);
    }

    #[test]
    fn paths_of_scripts() {
        for (script, path) in [
            ("/srv/app.js", Some("/srv/app.js")),
            ("file:///srv/my%20app.mjs?v=2", Some("/srv/my app.mjs")),
            ("file://host/srv/app.mjs", None),
            ("file:///srv/%zz", None),
            ("node:internal/main", None),
            ("webpack://app/x.js", None),
            ("evalmachine.<anonymous>", None),
            ("", None),
        ] {
            assert_eq!(file_path(script).as_deref(), path, "{script}");
        }
    }

    #[test]
    fn paths_of_sources() {
        for (relative, path) in [
            ("../src/a.ts", "/srv/src/a.ts"),
            ("./a.ts", "/srv/dist/a.ts"),
            ("../../../../a.ts", "/a.ts"),
            ("/abs/a.ts", "/abs/a.ts"),
            ("file:///abs/a%20b.ts", "/abs/a b.ts"),
            ("webpack://app/./src/a.ts", "webpack://app/./src/a.ts"),
        ] {
            assert_eq!(beside("/srv/dist/x.js.map", relative), path, "{relative}");
        }
    }
}
