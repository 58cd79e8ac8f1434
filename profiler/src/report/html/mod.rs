//! The HTML report: one file with everything in it, for any browser, offline.
//!
//! The page is assembled, not templated: nothing of a recording is ever
//! written as markup. Names go into two inert data blocks ([`embed`]) and reach
//! the page through `textContent` alone. The content security policy allows
//! exactly the script and the style below, by hash, and no request at all.

mod embed;

#[cfg(test)]
mod tests;

use std::io::{self, Write};

use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

use crate::profile::Recording;

use super::Selection;

const STYLE: &str = concat!(
    include_str!("viewer/page.css"),
    include_str!("viewer/flame.css"),
    include_str!("viewer/tables.css"),
);

/// The viewer, one job a file. They share one scope; the order only matters
/// for what runs at once, so `start.js` is last.
const SCRIPTS: [&str; 29] = [
    include_str!("viewer/dom.js"),
    include_str!("viewer/format.js"),
    include_str!("viewer/data.js"),
    include_str!("viewer/keys.js"),
    include_str!("viewer/selection.js"),
    include_str!("viewer/paths.js"),
    include_str!("viewer/tree.js"),
    include_str!("viewer/search.js"),
    include_str!("viewer/colors.js"),
    include_str!("viewer/layout.js"),
    include_str!("viewer/flame.js"),
    include_str!("viewer/details.js"),
    include_str!("viewer/export.js"),
    include_str!("viewer/tables.js"),
    include_str!("viewer/header.js"),
    include_str!("viewer/gil.js"),
    include_str!("viewer/waiting.js"),
    include_str!("viewer/syscalls.js"),
    include_str!("viewer/memory.js"),
    include_str!("viewer/network.js"),
    include_str!("viewer/pools.js"),
    include_str!("viewer/disk.js"),
    include_str!("viewer/probes.js"),
    include_str!("viewer/statements.js"),
    include_str!("viewer/quality.js"),
    include_str!("viewer/keyboard.js"),
    include_str!("viewer/events.js"),
    include_str!("viewer/app.js"),
    include_str!("viewer/start.js"),
];

const BODY: &str = include_str!("viewer/body.html");

/// Writes the report of a recording.
pub fn write(recording: &Recording, selection: Selection, out: &mut dyn Write) -> io::Result<()> {
    let script = script();
    write!(
        out,
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
{BODY}
<script type="application/json" id="facts">"#,
        policy = policy(&script),
        title = escape(&title(recording)),
    )?;
    embed::facts(recording, selection, out)?;
    write!(out, "</script>\n<script type=\"text/plain\" id=\"tables\">")?;
    embed::tables(recording, out)?;
    write!(
        out,
        "</script>\n<script>{script}</script>\n</body>\n</html>\n"
    )
}

/// The files as one script: a scope of its own, so that nothing in the page
/// can be named over.
fn script() -> String {
    let mut script = String::from("(() => {\n\"use strict\";\n");
    for file in SCRIPTS {
        script.push_str(file);
    }
    script.push_str("})();\n");
    script
}

/// No request of any kind leaves the page, and only its own code runs, even
/// if a name found a way into the markup.
fn policy(script: &str) -> String {
    let hash = |text: &str| BASE64_STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; \
         base-uri 'none'; form-action 'none'",
        hash(script),
        hash(STYLE)
    )
}

fn title(recording: &Recording) -> String {
    let about = &recording.about;
    if about.host.is_empty() {
        "profiler report".to_string()
    } else {
        // Host names are short; one that is not is none.
        let host: String = about.host.chars().take(80).collect();
        format!("{host} · profiler report")
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
