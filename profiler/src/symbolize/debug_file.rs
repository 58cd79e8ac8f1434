//! Finds the separate file that has a stripped executable's symbols.
//!
//! Where to look follows GDB ("Debugging Information in Separate Files"):
//! by build ID below `/usr/lib/debug/.build-id`, then by the name in
//! `.gnu_debuglink`. First in the root that the process sees, then in the
//! host's, since a host may keep debug files for its containers.

use std::{
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Component, Path},
};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags, openat, openat2},
    io::Errno,
};

use super::elf::Elf;

const DEBUG_DIRECTORY: &str = "/usr/lib/debug";
/// A debug link's CRC covers all of the file.
const MAX_CRC_FILE: u64 = 2 << 30;

/// What a separate file must match.
pub struct Wanted<'a> {
    /// Path of the executable in its process's root.
    pub path: &'a str,
    pub build_id: &'a [u8],
    /// Name and CRC.
    pub link: Option<(&'a str, u32)>,
}

/// Opens a directory that is to be looked in as `/`, such as `/proc/PID/root`.
pub fn open_root(path: &Path) -> io::Result<OwnedFd> {
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC).bits() as i32)
        .open(path)
        .map(OwnedFd::from)
}

/// Opens a regular file at `path` as a process would whose root is `root`:
/// neither `..` nor a symbolic link leads out of it.
pub fn open_in_root(root: BorrowedFd<'_>, path: &str, also: ResolveFlags) -> Result<File, Errno> {
    // Not to wait for the writer of a FIFO.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | also;
    let file = match openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(file) => file,
        // Linux before 5.6, or a seccomp filter that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => open_without_links(root, path, flags)?,
        Err(error) => return Err(error),
    };
    let file = File::from(file);
    let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
    if regular { Ok(file) } else { Err(Errno::INVAL) }
}

/// Component by component, through no link at all.
fn open_without_links(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut at = openat(root, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let mut names = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(Errno::XDEV),
        }
    }
    let last = names.pop().ok_or(Errno::INVAL)?;
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for name in names {
        at = openat(&at, name, step, Mode::empty())?;
    }
    openat(&at, last, flags | OFlags::NOFOLLOW, Mode::empty())
}

/// Path below a debug directory.
pub fn build_id_path(build_id: &[u8]) -> Option<String> {
    // Of one byte nothing is left for the file's name.
    let (first, rest) = build_id
        .split_first()
        .filter(|(_, rest)| !rest.is_empty())?;
    let hex: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!(
        "{DEBUG_DIRECTORY}/.build-id/{first:02x}/{hex}.debug"
    ))
}

/// The file, and where it was: `/usr/lib/debug/…`.
pub fn find(wanted: &Wanted<'_>, root: Option<BorrowedFd<'_>>) -> Option<(File, String)> {
    let host = open_root(Path::new("/")).ok();
    let mut roots: Vec<_> = root.into_iter().collect();
    roots.extend(host.as_ref().map(AsFd::as_fd));
    let by_id = build_id_path(wanted.build_id);
    for &root in &roots {
        if let Some(found) = by_id
            .as_deref()
            .and_then(|path| matching(root, path, wanted, None))
        {
            return Some(found);
        }
    }
    let (name, crc) = wanted.link?;
    // A name is asked for, not a path.
    if name.is_empty() || name.contains('/') {
        return None;
    }
    let directory = wanted
        .path
        .rsplit_once('/')
        .map_or("", |(before, _)| before);
    // Without a root of its own, `path` is a path of the host.
    let root = *roots.first()?;
    [
        format!("{directory}/{name}"),
        format!("{directory}/.debug/{name}"),
        format!("{DEBUG_DIRECTORY}{directory}/{name}"),
    ]
    .into_iter()
    .filter(|path| path != wanted.path)
    .find_map(|path| matching(root, &path, wanted, Some(crc)))
}

/// The file that `dwz` moved common parts of `of` to.
pub fn find_alternate(
    of: &Elf<'_, File>,
    of_path: &str,
    root: Option<BorrowedFd<'_>>,
) -> Option<File> {
    let (path, build_id) = of.alternate_link()?;
    let wanted = Wanted {
        path: "",
        build_id: &build_id,
        link: None,
    };
    if let Some((file, _)) = find(&wanted, root) {
        return Some(file);
    }
    let path = match of_path.rsplit_once('/') {
        Some((directory, _)) if !path.starts_with('/') => format!("{directory}/{path}"),
        _ => path,
    };
    let host = open_root(Path::new("/")).ok()?;
    [root, Some(host.as_fd())]
        .into_iter()
        .flatten()
        .find_map(|root| matching(root, &path, &wanted, None))
        .map(|(file, _)| file)
}

/// Opens it if it belongs to the executable. A build ID decides; the CRC does
/// where there is none, since it takes reading all of the file.
fn matching(
    root: BorrowedFd<'_>,
    path: &str,
    wanted: &Wanted<'_>,
    crc: Option<u32>,
) -> Option<(File, String)> {
    let file = open_in_root(root, path, ResolveFlags::empty()).ok()?;
    let id = Elf::parse(&file).ok()?.build_id();
    let matches = match crc {
        _ if id != wanted.build_id => false,
        None => !id.is_empty(),
        Some(crc) => crc_of(&file).is_some_and(|found| found == crc),
    };
    matches.then(|| (file, path.to_owned()))
}

fn crc_of(file: &File) -> Option<u32> {
    if file.metadata().ok()?.len() > MAX_CRC_FILE {
        return None;
    }
    let mut crc = flate2::Crc::new();
    let mut file = file;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer).ok()? {
            0 => return Some(crc.sum()),
            length => crc.update(&buffer[..length]),
        }
    }
}
