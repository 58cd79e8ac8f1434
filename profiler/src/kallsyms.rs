//! The kernel's own symbols, from `/proc/kallsyms`.
//!
//! The kernel puts the file together anew for each reader, which takes 50 ms and more.
//! What it says of the kernel itself stays the same while that runs, so it is kept.

use std::{
    fs::File,
    io::{self, Read},
    sync::OnceLock,
};

use memchr::{memchr, memmem, memrchr};

pub const PATH: &str = "/proc/kallsyms";

/// Behind the name of a symbol that is not the kernel's own: of a module, or of a
/// program of BPF.
const OTHERS: &[u8] = b"\t[";

/// A line of it.
pub struct Line<'a> {
    /// 0 where the kernel hides its addresses.
    pub start: u64,
    /// As nm(1) tells it.
    pub kind: u8,
    pub name: &'a [u8],
    /// The module it is in; empty for the kernel itself.
    pub module: &'a [u8],
}

impl<'a> Line<'a> {
    /// `ffffffff81000000 T _stext`; behind a module's, a tab and `[module]`.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line
            .split(|byte| byte.is_ascii_whitespace())
            .filter(|field| !field.is_empty());
        let mut start = 0u64;
        for &digit in fields.next()? {
            start = start << 4 | u64::from((digit as char).to_digit(16)?);
        }
        let &[kind] = fields.next()? else {
            return None;
        };
        let name = fields.next()?;
        let module = fields.next().unwrap_or_default();
        let module = module.strip_prefix(b"[").unwrap_or(module);
        Some(Self {
            start,
            kind,
            name,
            module: module.strip_suffix(b"]").unwrap_or(module),
        })
    }
}

/// The address of the symbol of this name in `text`; `None` if there is none, or it
/// is hidden.
pub fn address(text: &[u8], name: &str) -> Option<u64> {
    let end = format!(" {name}\n");
    let at = memmem::find(text, end.as_bytes())?;
    let start = memrchr(b'\n', &text[..at]).map_or(0, |newline| newline + 1);
    let line = Line::parse(&text[start..at + end.len()])?;
    (line.start != 0).then_some(line.start)
}

/// The lines of `text` that are not behind `address`, the last one first: `text` has
/// nothing but lines, ordered by address.
pub fn until(text: &[u8], address: u64) -> impl Iterator<Item = Line<'_>> {
    let (mut low, mut high) = (0, text.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let start = memrchr(b'\n', &text[low..middle]).map_or(low, |at| low + at + 1);
        let end = memchr(b'\n', &text[middle..high]).map_or(high, |at| middle + at + 1);
        if Line::parse(&text[start..end]).is_some_and(|line| line.start > address) {
            high = start;
        } else {
            low = end;
        }
    }
    let lines = text[..low].split(|&byte| byte == b'\n');
    lines.rev().filter_map(Line::parse)
}

/// Its first lines, those of the kernel itself, ordered by address. Who comes while
/// they are being read waits for them.
pub fn core() -> io::Result<&'static [u8]> {
    static CORE: OnceLock<io::Result<Vec<u8>>> = OnceLock::new();
    match CORE.get_or_init(|| read_core(File::open(PATH)?)) {
        Ok(core) => Ok(core),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    }
}

fn read_core(mut file: impl Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        let before = text.len();
        if file.by_ref().take(1 << 18).read_to_end(&mut text)? == 0 {
            break;
        }
        // It may have begun in the piece before.
        let from = before.saturating_sub(OTHERS.len());
        if let Some(at) = memmem::find(&text[from..], OTHERS) {
            let line = memrchr(b'\n', &text[..from + at]);
            text.truncate(line.map_or(0, |newline| newline + 1));
            break;
        }
    }
    text.shrink_to_fit();
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_by_their_names() {
        let text = b"0000000000001000 T _stext\n1800 T return_to_handler\nrubbish\n\
                     2000 T _etext\n0000000000000000 T hidden\n";
        assert_eq!(address(text, "_stext"), Some(0x1000));
        assert_eq!(address(text, "_etext"), Some(0x2000));
        assert_eq!(address(text, "return_to_handler"), Some(0x1800));
        assert_eq!(address(text, "__start_orc_unwind"), None);
        assert_eq!(address(text, "hidden"), None);
    }

    #[test]
    fn lines_until_an_address() {
        let text = b"10 T a\n20 t b\n20 T c\n30 D d\n";
        let names =
            |address| -> Vec<&[u8]> { until(text, address).map(|line| line.name).collect() };
        assert_eq!(names(0xf), [b""; 0]);
        assert_eq!(names(0x10), [b"a"]);
        assert_eq!(names(0x1f), [b"a"]);
        assert_eq!(names(0x20), [b"c", b"b", b"a"]);
        assert_eq!(names(u64::MAX), [b"d", b"c", b"b", b"a"]);
        assert_eq!(until(b"", 1).count(), 0);
    }

    #[test]
    fn ends_before_the_first_module() {
        let text = b"1 T a\n2 t b\n3 t c\t[m]\n1 T d\n";
        assert_eq!(read_core(&text[..]).unwrap(), b"1 T a\n2 t b\n");
        assert_eq!(read_core(&text[..12]).unwrap(), b"1 T a\n2 t b\n");
        assert_eq!(read_core(&text[12..]).unwrap(), b"");
    }

    #[test]
    fn whatever_piece_it_begins_in() {
        let line = b"ffffffff81000000 T name\n";
        for more in 0..4 {
            let mut text = line.repeat((1 << 18) / line.len());
            text.resize((1 << 18) - 1 - more, b'x');
            let core = text.len() - text.iter().rev().position(|&b| b == b'\n').unwrap();
            text.extend(b"\t[m]\n");
            assert_eq!(read_core(&text[..]).unwrap().len(), core);
        }
    }
}
