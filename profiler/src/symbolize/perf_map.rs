//! `/tmp/perf-PID.map`: what a JIT compiler says about the code it made, one
//! line `START SIZE NAME` each, the numbers hexadecimal
//! (tools/perf/Documentation/jit-interface.txt in Linux).
//!
//! The file is the target's: any process of its container may write it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
};

use rustix::fs::ResolveFlags;

use super::{debug_file, names::printable};

/// A file longer than this is read up to here.
const MAX_FILE: u64 = 256 << 20;
const MAX_ENTRIES: usize = 4 << 20;
const MAX_NAME: usize = 4096;

/// A map, sorted for lookups. Reads nothing after it is made.
#[derive(Debug, Default)]
pub struct PerfMap {
    /// Disjoint, by their start.
    ranges: Vec<Range>,
    names: String,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    start: u64,
    end: u64,
    name: u32,
    length: u32,
}

/// Reads the map of a process, by the path and pid that the process itself
/// sees. `None` when it has none that can be trusted.
pub fn read(pid: u32) -> Option<PerfMap> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace())
    };
    // From the outermost namespace to the process's own.
    let inner: u32 = field("NSpid:")?.next_back()?.parse().ok()?;
    // Real, effective, saved, file system.
    let uid: u32 = field("Uid:")?.nth(1)?.parse().ok()?;
    read_from(Path::new(&format!("/proc/{pid}/root")), inner, uid)
}

fn read_from(root: &Path, pid: u32, uid: u32) -> Option<PerfMap> {
    let root = debug_file::open_root(root).ok()?;
    let path = format!("/tmp/perf-{pid}.map");
    let file: File =
        debug_file::open_in_root(root.as_fd(), &path, ResolveFlags::NO_SYMLINKS).ok()?;
    let owner = file.metadata().ok()?.uid();
    if owner != uid && owner != 0 {
        return None;
    }
    Some(PerfMap::parse(BufReader::new(file.take(MAX_FILE))))
}

impl PerfMap {
    /// Lines that do not fit the format are passed over: the last is often
    /// cut in the middle of being written.
    pub fn parse(mut text: impl BufRead) -> Self {
        let mut names = String::new();
        // Code is freed and its place used again: the later entry is right.
        let mut ranges: BTreeMap<u64, Range> = BTreeMap::new();
        let mut line = Vec::new();
        while ranges.len() < MAX_ENTRIES {
            line.clear();
            // What was read before an error is as good as without it.
            if !text.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                break;
            }
            let Some((start, end, name)) = parse_line(&line) else {
                continue;
            };
            let name = &name[..name.len().min(MAX_NAME)];
            let name = printable(String::from_utf8_lossy(name).into_owned());
            let (Ok(offset), Ok(length)) = (u32::try_from(names.len()), u32::try_from(name.len()))
            else {
                break;
            };
            make_room(&mut ranges, start, end);
            ranges.insert(
                start,
                Range {
                    start,
                    end,
                    name: offset,
                    length,
                },
            );
            names.push_str(&name);
        }
        Self {
            ranges: ranges.into_values().collect(),
            names,
        }
    }

    pub fn find(&self, address: u64) -> Option<&str> {
        let next = self.ranges.partition_point(|range| range.start <= address);
        let range = self.ranges.get(next.checked_sub(1)?)?;
        let name = range.name as usize;
        (address < range.end)
            .then(|| self.names.get(name..name + range.length as usize))
            .flatten()
    }

    /// How many ranges it names.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

fn parse_line(line: &[u8]) -> Option<(u64, u64, &[u8])> {
    fn number(text: &[u8]) -> Option<u64> {
        let text = std::str::from_utf8(text).ok()?;
        let text = text.strip_prefix("0x").unwrap_or(text);
        // `from_str_radix` takes a sign.
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u64::from_str_radix(text, 16).ok())?
    }
    let line = line.trim_ascii();
    let mut fields = line.splitn(3, |&byte| byte == b' ');
    let start = number(fields.next()?)?;
    let size = number(fields.next()?)?;
    let name = fields.next()?.trim_ascii();
    let end = start.checked_add(size)?;
    (size > 0 && !name.is_empty()).then_some((start, end, name))
}

/// Cuts away what lies in `start..end`.
fn make_room(ranges: &mut BTreeMap<u64, Range>, start: u64, end: u64) {
    if let Some((_, before)) = ranges.range_mut(..start).next_back()
        && before.end > start
    {
        let rest = Range {
            start: end,
            ..*before
        };
        before.end = start;
        if rest.start < rest.end {
            ranges.insert(rest.start, rest);
        }
    }
    while let Some((&key, &covered)) = ranges.range(start..end).next() {
        ranges.remove(&key);
        if covered.end > end {
            ranges.insert(
                end,
                Range {
                    start: end,
                    ..covered
                },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn later_entries_win() {
        let map =
            PerfMap::parse(&b"1000 100 old\n1040 20 middle\n2000 10 last\n0x1050 0x8 tip\n"[..]);
        for (address, name) in [
            (0xfff, None),
            (0x1000, Some("old")),
            (0x103f, Some("old")),
            (0x1040, Some("middle")),
            (0x1050, Some("tip")),
            (0x1058, Some("middle")),
            (0x1060, Some("old")),
            (0x10ff, Some("old")),
            (0x1100, None),
            (0x200f, Some("last")),
            (u64::MAX, None),
        ] {
            assert_eq!(map.find(address), name, "{address:x}");
        }
        let map = PerfMap::parse(&b"1000 10 a\n1010 10 b\n1020 10 c\n1008 20 d\n"[..]);
        assert_eq!(map.find(0x1007), Some("a"));
        assert_eq!(map.find(0x1027), Some("d"));
        assert_eq!(map.find(0x1028), Some("c"));
        assert_eq!(map.len(), 3);
    }

    #[test]
    fn rubbish_is_passed_over() {
        let mut text =
            b"\xff\xfe\n\n1 \nzz 1 a\n-1 5 a\n10 0 empty\nffffffffffffffff 2 over\n".to_vec();
        text.extend(b"40 10 LazyCompile:*f /srv/app.js:3\x1b[2J\r\n50 10 \xff\n60 1");
        let map = PerfMap::parse(text.as_slice());
        assert_eq!(
            map.find(0x44),
            Some("LazyCompile:*f /srv/app.js:3\u{fffd}[2J")
        );
        assert_eq!(map.find(0x50), Some("\u{fffd}"));
        assert_eq!(map.len(), 2);
        assert!(PerfMap::parse(vec![b'a'; 1 << 20].as_slice()).is_empty());
    }

    #[test]
    fn only_a_file_of_the_process_or_root_is_read() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("tmp")).unwrap();
        let path = root.path().join("tmp/perf-7.map");
        let read_as = |uid| read_from(root.path(), 7, uid).map(|map| map.len());
        assert_eq!(read_as(1000), None);
        fs::write(&path, "10 10 a\n").unwrap();
        assert_eq!(read_as(1000), Some(1), "root's");
        chown(&path, Some(1000), None).unwrap();
        assert_eq!(read_as(1000), Some(1), "its own");
        assert_eq!(read_as(1001), None, "another user's");

        let other = root.path().join("tmp/other");
        fs::rename(&path, &other).unwrap();
        symlink("other", &path).unwrap();
        assert_eq!(read_as(1000), None, "a link");
        fs::remove_file(&path).unwrap();
        symlink("/etc/passwd", &path).unwrap();
        assert_eq!(read_as(0), None, "a link out of the root");
        fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert_eq!(read_as(0), None, "a FIFO, without waiting for a writer");
    }

    #[test]
    fn our_own_map() {
        let path = format!("/tmp/perf-{}.map", std::process::id());
        fs::write(&path, "1000 10 mine\n").unwrap();
        let map = read(std::process::id());
        fs::remove_file(&path).unwrap();
        assert_eq!(map.unwrap().find(0x1000), Some("mine"));
    }
}
