//! A recording whose result could not be written is saved elsewhere: it may
//! have taken an hour, and what it saw does not happen again.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{Owner, directory::Directory};
use crate::profile::{Recording, store};

/// Saves the recording where there is room, and says where.
pub fn rescue(recording: &Recording) -> Option<PathBuf> {
    rescue_into(recording, &places())
}

/// From where a user looks first to the last resort, which is memory.
fn places() -> Vec<PathBuf> {
    std::env::var_os("TMPDIR")
        .map(PathBuf::from)
        .into_iter()
        .chain(std::env::current_dir().ok())
        .chain(["/var/tmp", "/tmp"].map(PathBuf::from))
        .chain(std::env::var_os("HOME").map(PathBuf::from))
        .chain([PathBuf::from("/dev/shm")])
        .filter(|place| place.is_absolute() && place.is_dir())
        .collect()
}

fn rescue_into(recording: &Recording, places: &[PathBuf]) -> Option<PathBuf> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let name = OsString::from(format!("profiler-{now}-{}.profile", std::process::id()));
    places
        .iter()
        .find(|place| save(recording, place, &name).is_ok())
        .map(|place| place.join(&name))
}

fn save(recording: &Recording, place: &Path, name: &OsString) -> io::Result<()> {
    let directory = Directory::open(place, Owner::current())
        .map_err(|_| io::Error::from(io::ErrorKind::PermissionDenied))?;
    let file = directory.create(name)?;
    let saved = store::save(recording, io::BufWriter::new(&file))
        .map_err(io::Error::other)
        .and_then(|()| file.sync_all());
    if saved.is_err() {
        directory.remove(name);
    }
    saved
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::profile::{Container, FORMAT_VERSION};

    #[test]
    fn it_takes_the_first_place_that_works() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let recording = Recording {
            format_version: FORMAT_VERSION,
            containers: vec![Container::default()],
            ..Recording::default()
        };
        let places = [
            PathBuf::from("/proc/self"),
            PathBuf::from("/sys"),
            directory.path().to_path_buf(),
        ];
        let path = rescue_into(&recording, &places).expect("the third works");
        assert_eq!(path.parent(), Some(directory.path()));
        assert_eq!(path.metadata().expect("it is there").mode() & 0o777, 0o600);
        assert_eq!(store::load(&path).expect("it can be read"), recording);
        assert_eq!(rescue_into(&recording, &places[..2]), None);
    }
}
