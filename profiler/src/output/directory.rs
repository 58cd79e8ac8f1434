//! A directory to write into, held open, so that what is checked is what is
//! written to.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, renameat, unlinkat};

use super::owner::{Owner, give_if_possible};

/// Directories that are made are for their owner alone, like the files.
const DIRECTORY_MODE: Mode = Mode::RWXU;

pub enum Error {
    Io(io::Error),
    /// A link on the way was put there by somebody else.
    ForeignLink(PathBuf),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

pub struct Directory {
    fd: OwnedFd,
    owner: Owner,
}

/// Whether everyone may make files in it, as in `/tmp`.
pub fn is_shared(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|directory| directory.mode() & 0o002 != 0)
}

impl Directory {
    /// Opens it, and makes it and its parents when they are not there.
    pub fn open(path: &Path, owner: Owner) -> Result<Self, Error> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let mut so_far = PathBuf::new();
        for component in path.components() {
            let within = if so_far.as_os_str().is_empty() {
                PathBuf::from(".")
            } else {
                so_far.clone()
            };
            so_far.push(component);
            let metadata = match so_far.symlink_metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    make(&so_far, &owner)?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if metadata.is_symlink() && is_shared(&within) && !owner.trusts(metadata.uid()) {
                return Err(Error::ForeignLink(so_far));
            }
        }
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let fd = openat(CWD, path, flags, Mode::empty()).map_err(io::Error::from)?;
        Ok(Self { fd, owner })
    }

    /// A new file in it that [`Temporary::rename`] turns into `name`.
    pub fn temporary(&self, name: &OsStr) -> io::Result<Temporary<'_>> {
        let mut short = name.as_bytes().to_vec();
        // Room for what is put around it, in the 255 bytes of a file name.
        short.truncate(200);
        for attempt in 0..100 {
            let mut temporary = OsString::from(".");
            temporary.push(OsStr::from_bytes(&short));
            temporary.push(format!(".{}-{attempt}.tmp", std::process::id()));
            match self.create(&temporary) {
                Ok(file) => {
                    let made = Temporary {
                        directory: self,
                        temporary,
                        name: name.to_os_string(),
                        file,
                        renamed: false,
                    };
                    return Ok(made);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// A file that was not there, for its owner alone.
    pub fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)?);
        if let Err(error) = give_if_possible(&self.owner, &file) {
            self.remove(name);
            return Err(error);
        }
        Ok(file)
    }

    pub fn remove(&self, name: &OsStr) {
        // There is nothing better to do when it fails.
        let _ = unlinkat(&self.fd, name, AtFlags::empty());
    }
}

fn make(path: &Path, owner: &Owner) -> io::Result<()> {
    match mkdirat(CWD, path, DIRECTORY_MODE) {
        Ok(()) => {}
        // Another process was faster.
        Err(rustix::io::Errno::EXIST) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let made = openat(CWD, path, flags, Mode::empty())?;
    give_if_possible(owner, &File::from(made.as_fd().try_clone_to_owned()?))
}

/// Removed when it is dropped before it got its name.
pub struct Temporary<'a> {
    directory: &'a Directory,
    temporary: OsString,
    name: OsString,
    file: File,
    renamed: bool,
}

impl Temporary<'_> {
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Replaces what had the name; a link is replaced, not followed.
    pub fn rename(mut self) -> io::Result<()> {
        let fd = &self.directory.fd;
        renameat(fd, &self.temporary, fd, &self.name)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.renamed {
            self.directory.remove(&self.temporary);
        }
    }
}
