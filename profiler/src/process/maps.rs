//! `/proc/PID/maps`, executable mappings only.
//!
//! Read as bytes: a path may hold anything but a newline, and a hostile
//! process must not hide its other mappings behind one odd name.
//!
//! Compilers in a process reserve room for code and open a part of it when it
//! is needed: V8 makes that part executable where other memory cannot come to
//! lie (src/heap/code-range.cc, 10.2 to 14.6). New code runs before we could
//! read that it is there, so the room counts as code from the beginning.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStringExt,
    path::PathBuf,
};

/// Longest file that is read. A process may have 65,530 mappings
/// (`vm.max_map_count`) and more where that was raised.
const MAX_BYTES: u64 = 64 << 20;

/// A mapping that can hold code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapsEntry {
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// Offset in the file, bytes.
    pub offset: u64,
    pub device: (u32, u32),
    /// 0 for anonymous mappings.
    pub inode: u64,
    /// Empty for anonymous mappings without a name.
    pub path: PathBuf,
    /// The file has been unlinked.
    pub deleted: bool,
}

impl MapsEntry {
    fn is_anonymous(&self) -> bool {
        self.inode == 0 && self.path.as_os_str().is_empty()
    }

    pub fn is_vdso(&self) -> bool {
        self.inode == 0 && self.path.as_os_str() == "[vdso]"
    }
}

/// The executable mappings of a process, ordered by address, those of compilers
/// with the room behind them.
///
/// # Errors
///
/// Those of reading the file: the process is gone, or it is not ours to read.
pub fn read_maps(tgid: u32) -> io::Result<Vec<MapsEntry>> {
    let mut text = Vec::new();
    File::open(format!("/proc/{tgid}/maps"))?
        .take(MAX_BYTES)
        .read_to_end(&mut text)?;
    Ok(executable(&text))
}

fn executable(text: &[u8]) -> Vec<MapsEntry> {
    let mut found: Vec<MapsEntry> = Vec::new();
    for (permissions, entry) in text.split(|&byte| byte == b'\n').filter_map(parse) {
        if permissions.get(2) == Some(&b'x') {
            found.push(entry);
        } else if permissions.starts_with(b"---")
            && entry.is_anonymous()
            && let Some(last) = found.last_mut()
            && last.is_anonymous()
            && last.end == entry.start
        {
            last.end = entry.end;
        }
    }
    found
}

/// Permissions and the rest of a line.
fn parse(line: &[u8]) -> Option<(&[u8], MapsEntry)> {
    let (range, rest) = field(line)?;
    let (permissions, rest) = field(rest)?;
    let (offset, rest) = field(rest)?;
    let (device, rest) = field(rest)?;
    let (inode, rest) = field(rest)?;
    let (start, end) = pair(range, b'-')?;
    let (major, minor) = pair(device, b':')?;
    let path = rest.trim_ascii_start();
    let (path, deleted) = match path.strip_suffix(b" (deleted)") {
        Some(path) => (path, true),
        None => (path, false),
    };
    let entry = MapsEntry {
        start,
        end,
        offset: hexadecimal(offset)?,
        device: (major as u32, minor as u32),
        inode: std::str::from_utf8(inode).ok()?.parse().ok()?,
        path: std::ffi::OsString::from_vec(path.to_vec()).into(),
        deleted,
    };
    Some((permissions, entry))
}

fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = line
        .iter()
        .position(|&byte| byte == b' ')
        .unwrap_or(line.len());
    (end > 0).then(|| (&line[..end], line.get(end + 1..).unwrap_or_default()))
}

fn pair(text: &[u8], separator: u8) -> Option<(u64, u64)> {
    let at = text.iter().position(|&byte| byte == separator)?;
    Some((hexadecimal(&text[..at])?, hexadecimal(&text[at + 1..])?))
}

fn hexadecimal(text: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_the_kernel_writes_them() {
        let line = b"7f0e1c028000-7f0e1c1bd000 r-xp 00028000 fd:00 1835 /usr/lib/a b.so (deleted)";
        let (permissions, entry) = parse(line).expect("a mapping");
        assert_eq!(permissions, b"r-xp");
        assert_eq!(entry.start, 0x7f0e_1c02_8000);
        assert_eq!(entry.end, 0x7f0e_1c1b_d000);
        assert_eq!(entry.offset, 0x28000);
        assert_eq!(entry.device, (0xfd, 0));
        assert_eq!(entry.inode, 1835);
        assert_eq!(entry.path, PathBuf::from("/usr/lib/a b.so"));
        assert!(entry.deleted);
        let (_, anonymous) = parse(b"7f00-7f10 rwxp 00000000 00:00 0 ").expect("JIT code");
        assert!(anonymous.is_anonymous());
    }

    #[test]
    fn room_for_code_is_code() {
        let text = b"1000-2000 rw-p 00000000 00:00 0 \n\
            2000-3000 r-xp 00000000 00:00 0 \n\
            3000-9000 ---p 00000000 00:00 0 \n\
            9000-a000 ---p 00000000 00:00 0 [stack]\n\
            b000-c000 r-xp 00000000 08:01 7 /usr/bin/node\n\
            c000-d000 ---p 00000000 00:00 0 \n\
            e000-f000 ---p 00000000 00:00 0 \n";
        let found: Vec<_> = executable(text)
            .iter()
            .map(|entry| (entry.start, entry.end))
            .collect();
        assert_eq!(found, [(0x2000, 0x9000), (0xb000, 0xc000)]);
    }

    #[test]
    fn odd_bytes_hide_nothing() {
        for line in [&b""[..], b" ", b"x", b"1-2 r-xp", b"zz-1 r-xp 0 0:0 0 a"] {
            assert!(parse(line).is_none());
        }
        let (_, entry) = parse(b"1000-2000 r-xp 00000000 08:01 7 /tmp/\xff\xfe").expect("odd path");
        assert_eq!(entry.inode, 7);
    }

    #[test]
    fn own_mappings_agree_with_procfs() {
        let ours = read_maps(std::process::id()).expect("own maps");
        let theirs: Vec<_> = procfs::process::Process::myself()
            .and_then(|process| process.maps())
            .expect("procfs reads them too")
            .into_iter()
            .filter(|map| map.perms.contains(procfs::process::MMPermissions::EXECUTE))
            .map(|map| (map.address.0, map.address.1, map.offset, map.inode))
            .collect();
        let ours: Vec<_> = ours
            .iter()
            .map(|entry| (entry.start, entry.end, entry.offset, entry.inode))
            .collect();
        assert_eq!(ours, theirs);
    }
}
