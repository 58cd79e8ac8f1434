//! Symbol names as people read them: demangled, bounded, printable.

use std::fmt::{self, Write};

/// Longest name that is kept. Templates nest without end, and a mangled name
/// of a hundred bytes can stand for gigabytes: each of its back references
/// may name what holds two others.
const MAX_NAME: usize = 4096;

struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_NAME.saturating_sub(self.0.len());
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        self.0.push('…');
        Err(fmt::Error)
    }
}

/// `raw` as it is shown.
pub fn readable(raw: &[u8], demangle: bool) -> String {
    // The longest mangled names in real C++ are some 100 KB.
    let raw = &raw[..raw.len().min(256 << 10)];
    let text = String::from_utf8_lossy(raw);
    let mut out = Bounded(String::new());
    if !(demangle && demangled(&text, &mut out)) {
        out.0.clear();
        // Cut at the bound: what is written so far is the result.
        let _ = out.write_str(&text);
    }
    printable(out.0)
}

/// False when the name is not mangled.
fn demangled(name: &str, out: &mut Bounded) -> bool {
    // `_ZN…17h<hash>E` and `_R…`; the alternate form leaves the hash away.
    if let Ok(symbol) = rustc_demangle::try_demangle(name) {
        return write!(out, "{symbol:#}").is_ok() || !out.0.is_empty();
    }
    // `cpp_demangle` takes names of types too; `i` is no function.
    if !name.starts_with("_Z") && !name.starts_with("__Z") && !name.starts_with("_GLOBAL_") {
        return false;
    }
    cpp_demangle::Symbol::new(name).is_ok_and(|symbol| {
        symbol
            .structured_demangle(out, &cpp_demangle::DemangleOptions::default())
            .is_ok()
            || out.0.len() >= MAX_NAME
    })
}

/// Without what could steer a terminal or break a line-based format.
pub fn printable(text: String) -> String {
    if text.chars().any(char::is_control) {
        return text
            .chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect();
    }
    text
}

/// How many leading underscores, for choosing among names of one address:
/// `write` says more than `__write`, and `perf` chooses so too
/// (tools/perf/util/symbol.c, `choose_best_symbol`).
pub fn underscores(name: &[u8]) -> usize {
    name.iter().take_while(|&&byte| byte == b'_').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_each_language() {
        for (raw, shown) in [
            ("main", "main"),
            ("i", "i"),
            ("_ZN3foo3barEi", "foo::bar(int)"),
            ("_ZN4core3fmt5write17h0123456789abcdefE", "core::fmt::write"),
            ("_RNvC6_123foo3bar", "123foo::bar"),
            ("_Znope", "_Znope"),
            ("\u{1b}[31m\n", "\u{fffd}[31m\u{fffd}"),
        ] {
            assert_eq!(readable(raw.as_bytes(), true), shown);
        }
        assert_eq!(readable(b"_ZN3foo3barEi", false), "_ZN3foo3barEi");
    }

    #[test]
    fn a_name_that_grows_without_end_is_cut() {
        // Each level holds the one before it twice.
        let mut name = String::from("_Z1fISt4pairIiiEE");
        name.truncate(4);
        name.push_str("1pIiiES_");
        let mut nested = String::from("_Z1f1pIiiE");
        for level in 0..40 {
            let seq = match level {
                0 => String::from("S0_"),
                n => format!("S{}_", base36(n)),
            };
            nested.push_str(&format!("S_I{seq}{seq}E"));
        }
        for name in [name, nested, format!("_Z{}f", "N".repeat(100_000))] {
            assert!(readable(name.as_bytes(), true).len() <= MAX_NAME + 3);
        }
        assert!(readable(&vec![b'x'; 1 << 20], true).len() <= MAX_NAME + 3);
    }

    fn base36(mut number: usize) -> String {
        let mut digits = Vec::new();
        loop {
            digits.push(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[number % 36]);
            number /= 36;
            if number == 0 {
                break;
            }
        }
        digits.reverse();
        String::from_utf8(digits).unwrap()
    }
}
