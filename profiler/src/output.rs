//! Writing a result: whole or not at all, readable by its owner only, and
//! never where somebody else's link points.

mod directory;
mod owner;
mod rescue;

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal as _, Write},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use thiserror::Error;

use directory::Directory;
pub use owner::Owner;
pub use rescue::rescue;

/// Where a result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Stdout,
    File(PathBuf),
}

#[derive(Debug, Error)]
pub enum OutputError {
    /// The reader of stdout went away. Not an error: `profiler … | head`.
    #[error("stdout was closed")]
    StdoutClosed,
    #[error("{format} is binary and stdout is a terminal; use --output FILE or a pipe")]
    BinaryToTerminal { format: &'static str },
    #[error("cannot write {}: {}", path.display(), explain(source))]
    File { path: PathBuf, source: io::Error },
    #[error("cannot write to stdout: {}", explain(source))]
    Stdout { source: io::Error },
    #[error(
        "{} is a link that another user put into a directory that everyone can write to; \
         choose another --output",
        path.display()
    )]
    ForeignLink { path: PathBuf },
    #[error("{} is a directory; name a file in it", path.display())]
    IsDirectory { path: PathBuf },
    /// The result could not be made, though it could have been written.
    #[error("{0:#}")]
    Render(anyhow::Error),
}

fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOSPC) => "the disk is full".to_string(),
        Some(libc::EDQUOT) => "the disk quota is used up".to_string(),
        Some(libc::EROFS) => "the file system is read-only".to_string(),
        Some(libc::EACCES | libc::EPERM) => "no permission".to_string(),
        Some(libc::EFBIG) => "the file would be larger than allowed (ulimit -f)".to_string(),
        _ => error.to_string(),
    }
}

/// How a result is written: it is given where to.
pub type Render<'a> = dyn Fn(&mut dyn Write) -> anyhow::Result<()> + 'a;

impl Target {
    /// `-` is stdout, as everywhere.
    pub fn new(path: Option<&Path>) -> Self {
        match path {
            None => Self::Stdout,
            Some(path) if path == Path::new("-") => Self::Stdout,
            Some(path) => Self::File(path.to_path_buf()),
        }
    }

    /// Whether it can be written to, asked before a recording is made. `binary`
    /// names the format when it is one.
    pub fn check(&self, binary: Option<&'static str>) -> Result<(), OutputError> {
        let path = match self {
            Self::Stdout => {
                return match binary {
                    Some(format) if io::stdout().is_terminal() => {
                        Err(OutputError::BinaryToTerminal { format })
                    }
                    _ => Ok(()),
                };
            }
            Self::File(path) => path,
        };
        match place(path)? {
            Place::Special(path) => {
                open_special(&path)?;
            }
            Place::Regular(path) => {
                let failed = |source| file_error(&path, source);
                let directory = Directory::open(parent(&path), Owner::current())
                    .map_err(|error| directory_error(&path, error))?;
                // Made and removed: that tells of permissions, quotas and
                // read-only file systems in one go.
                directory.temporary(file_name(&path)?).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Writes what `render` makes.
    pub fn write(&self, render: &Render<'_>) -> Result<(), OutputError> {
        match self {
            Self::Stdout => write_stdout(render),
            Self::File(path) => match place(path)? {
                Place::Special(path) => {
                    let file = open_special(&path)?;
                    through(file, render, |file| file.flush()).map_err(|error| error.at(&path))?;
                    Ok(())
                }
                Place::Regular(path) => write_file(&path, render),
            },
        }
    }
}

fn write_stdout(render: &Render<'_>) -> Result<(), OutputError> {
    let stdout = io::stdout().lock();
    match through(stdout, render, |stdout| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(Failure::Write(source)) if source.kind() == io::ErrorKind::BrokenPipe => {
            Err(OutputError::StdoutClosed)
        }
        Err(Failure::Write(source)) => Err(OutputError::Stdout { source }),
        Err(Failure::Render(error)) => Err(OutputError::Render(error)),
    }
}

fn write_file(path: &Path, render: &Render<'_>) -> Result<(), OutputError> {
    let directory = Directory::open(parent(path), Owner::current())
        .map_err(|error| directory_error(path, error))?;
    let name = file_name(path)?;
    let mut temporary = directory
        .temporary(name)
        .map_err(|source| file_error(path, source))?;
    // A full disk may only be noticed when the data goes to it.
    through(temporary.file(), render, |file| file.sync_all()).map_err(|error| error.at(path))?;
    temporary
        .rename()
        .map_err(|source| file_error(path, source))
}

/// Why a result was not written.
enum Failure {
    Write(io::Error),
    Render(anyhow::Error),
}

impl Failure {
    fn at(self, path: &Path) -> OutputError {
        match self {
            Self::Write(source) => file_error(path, source),
            Self::Render(error) => OutputError::Render(error),
        }
    }
}

/// Renders into a writer, and tells the writer's errors from the renderer's
/// own, however the renderer wraps them.
fn through<W: Write>(
    to: W,
    render: &Render<'_>,
    finish: impl FnOnce(&mut W) -> io::Result<()>,
) -> Result<(), Failure> {
    struct Watch<W> {
        inner: W,
        failed: Option<io::Error>,
    }
    impl<W: Write> Watch<W> {
        fn seen<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
            if let Err(error) = &result
                && error.kind() != io::ErrorKind::Interrupted
            {
                self.failed.get_or_insert(match error.raw_os_error() {
                    Some(code) => io::Error::from_raw_os_error(code),
                    None => io::Error::new(error.kind(), error.to_string()),
                });
            }
            result
        }
    }
    impl<W: Write> Write for Watch<W> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let result = self.inner.write(bytes);
            self.seen(result)
        }
        fn flush(&mut self) -> io::Result<()> {
            let result = self.inner.flush();
            self.seen(result)
        }
    }

    let mut buffered = BufWriter::with_capacity(
        1 << 16,
        Watch {
            inner: to,
            failed: None,
        },
    );
    let rendered = render(&mut buffered);
    let flushed = match &rendered {
        Ok(()) => buffered.flush(),
        Err(_) => Ok(()),
    };
    // Not to be written again when it is dropped.
    let (mut watch, _) = buffered.into_parts();
    if let Some(error) = watch.failed.take() {
        return Err(Failure::Write(error));
    }
    flushed.map_err(Failure::Write)?;
    rendered.map_err(Failure::Render)?;
    finish(&mut watch.inner).map_err(Failure::Write)
}

/// What is at a path.
enum Place {
    /// A regular file, or nothing yet.
    Regular(PathBuf),
    /// A pipe, a terminal, `/dev/null`: written into, never replaced.
    Special(PathBuf),
}

fn place(path: &Path) -> Result<Place, OutputError> {
    let link = match path.symlink_metadata() {
        Ok(link) => link,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Place::Regular(path.to_path_buf()));
        }
        Err(source) => return Err(file_error(path, source)),
    };
    let owner = Owner::current();
    if link.is_symlink() && !owner.trusts(link.uid()) {
        // Replaced by the rename rather than followed, if it may be.
        return if directory::is_shared(parent(path)) {
            Err(OutputError::ForeignLink {
                path: path.to_path_buf(),
            })
        } else {
            Ok(Place::Regular(path.to_path_buf()))
        };
    }
    let Ok(target) = path.metadata() else {
        // A link of our own to nothing.
        return Ok(Place::Regular(path.to_path_buf()));
    };
    if target.is_dir() {
        return Err(OutputError::IsDirectory {
            path: path.to_path_buf(),
        });
    }
    if target.is_file() {
        // Beside the file that a link of our own points to. What lies under
        // /proc (`/dev/stdout`) cannot be renamed to.
        return match path.canonicalize() {
            Ok(real) if link.is_symlink() && !path.starts_with("/dev") => Ok(Place::Regular(real)),
            _ if link.is_symlink() => Ok(Place::Special(path.to_path_buf())),
            _ => Ok(Place::Regular(path.to_path_buf())),
        };
    }
    if target.file_type().is_fifo()
        && directory::is_shared(parent(path))
        && !owner.trusts(target.uid())
    {
        return Err(OutputError::ForeignLink {
            path: path.to_path_buf(),
        });
    }
    Ok(Place::Special(path.to_path_buf()))
}

fn open_special(path: &Path) -> Result<File, OutputError> {
    File::options()
        .write(true)
        .custom_flags(libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(path)
        .map_err(|source| file_error(path, source))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn file_name(path: &Path) -> Result<&std::ffi::OsStr, OutputError> {
    // None for `..` and `/`.
    path.file_name().ok_or_else(|| OutputError::IsDirectory {
        path: path.to_path_buf(),
    })
}

fn file_error(path: &Path, source: io::Error) -> OutputError {
    OutputError::File {
        path: path.to_path_buf(),
        source,
    }
}

fn directory_error(path: &Path, error: directory::Error) -> OutputError {
    match error {
        directory::Error::Io(source) => file_error(path, source),
        directory::Error::ForeignLink(path) => OutputError::ForeignLink { path },
    }
}

#[cfg(test)]
mod tests;
