//! Masks secrets in command lines before they are recorded.
//!
//! Three layers, each on the result of the one before: assignments, headers
//! and URLs inside an argument ([`text`]); tokens that are known by their shape
//! ([`shapes`]); options whose value is the next argument, and the short
//! options of well-known tools ([`words`]). When in doubt a value is masked: a
//! report is passed on more readily than a shell history.

mod names;
mod shapes;
mod text;
mod words;

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// Longest command line that is recorded, bytes.
const MAX_LENGTH: usize = 4096;
/// How much of a command line is looked at. More than is kept, since masking
/// shortens it.
const MAX_INPUT: usize = 32 * 1024;

/// A command line in one line, with its secrets masked, at most 4 KiB.
pub fn command_line(argv: &[String]) -> String {
    let mut left = MAX_INPUT;
    let mut cut = false;
    let mut arguments = Vec::with_capacity(argv.len().min(256));
    for argument in argv {
        // An argument that does not fit is left out whole: half a token has
        // no shape to know it by.
        let Some(rest) = left.checked_sub(argument.len() + 1) else {
            cut = true;
            break;
        };
        left = rest;
        arguments.push(argument.clone());
    }
    let masked = words::mask_argv(arguments);
    let mut line = String::new();
    for argument in &masked {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(argument.chars().map(printable));
        if line.len() > MAX_LENGTH {
            break;
        }
    }
    if line.len() > MAX_LENGTH {
        line.truncate(line.floor_char_boundary(MAX_LENGTH - '…'.len_utf8()));
        cut = true;
    }
    if cut {
        line.push('…');
    }
    line
}

/// Control characters and changes of direction could rewrite the terminal or
/// the report that shows them.
fn printable(c: char) -> char {
    match c {
        '\n' | '\t' | '\r' => ' ',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

#[cfg(test)]
mod tests;
