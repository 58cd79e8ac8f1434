//! From places in scripts to those in the sources that they were made from,
//! by the source maps in or beside them.
//!
//! Scripts and maps are opened as their process would, and read in a child
//! (see `isolate`): they are the target's, as is the file system that they
//! are in.

use std::{
    fs::File,
    io::Read,
    os::{fd::BorrowedFd, unix::fs::MetadataExt},
    time::{Duration, Instant, SystemTime},
};

use rustix::fs::ResolveFlags;
use serde::{Deserialize, Serialize};

use super::{
    debug_file::open_in_root,
    isolate::{self, IsolateError, Limits},
    names::printable,
    script_text::ScriptText,
    source_map::{self, Covering, MapError, MapReference, Original, Place},
};

pub use super::source_map::file_path as path_of_script;

const MAX_SCRIPT: u64 = 64 << 20;
const MAX_MAP: u64 = 256 << 20;
const LIMITS: Limits = Limits {
    time: Duration::from_secs(20),
    // The longest script, twice more when a line of it is not ASCII, the
    // longest map, and what it says.
    memory: 1 << 30,
    output: 64 << 20,
};

/// A function of a script.
#[derive(Clone, Debug)]
pub struct GeneratedFrame<'a> {
    pub name: &'a str,
    /// Where it runs.
    pub place: Option<Place>,
    /// Where its parameters begin.
    pub parameters: Option<Place>,
}

/// A script of a process.
#[derive(Clone, Debug)]
pub struct Script<'a> {
    /// In the process's root: see [`path_of_script`].
    pub path: String,
    pub frames: Vec<GeneratedFrame<'a>>,
}

/// A frame in the source. Lines and columns are from 1 on, 0 when unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginalFrame {
    /// A path, as the process would see it, or a URL.
    pub file: String,
    pub line: u32,
    pub column: u32,
    /// `None`: the map does not say how the function is called there.
    pub name: Option<String>,
    /// 0 also when the function is defined in another file: bundlers build
    /// functions into each other.
    pub first_line: u32,
}

/// What became of a script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Translation {
    /// It has no map, or is no file.
    Untouched,
    /// It or its map was changed after the process started, which may run
    /// another text.
    Newer,
    /// There was no time left for it.
    OutOfTime,
    /// One line: why its map is not used.
    Failed(String),
    /// The frames that were asked for, in their order.
    Translated(Vec<Option<OriginalFrame>>),
}

/// Looks the frames of scripts up in their maps. `root` is that of their
/// process (see [`open_root`](super::open_root)), `started` when that began.
///
/// Blocks until all is read, at most for `time`; one half of that is for
/// reading, what is not reached by then is [`Translation::OutOfTime`].
///
/// # Errors
/// When a file is such that reading it fails altogether: nothing is known
/// then of any of the scripts.
pub fn originals(
    root: BorrowedFd<'_>,
    started: SystemTime,
    time: Duration,
    scripts: &[Script<'_>],
) -> Result<Vec<Translation>, IsolateError> {
    let time = time.min(LIMITS.time);
    let output = isolate::run(Limits { time, ..LIMITS }, || {
        let end = Instant::now() + time / 2;
        let translations: Vec<Translation> = scripts
            .iter()
            .map(|script| {
                if Instant::now() < end {
                    original(root, started, script)
                } else {
                    Translation::OutOfTime
                }
            })
            .collect();
        serde_json::to_vec(&translations).unwrap_or_default()
    })?;
    let cut = || IsolateError::Died("its answer is cut short".into());
    let translations: Vec<Translation> = serde_json::from_slice(&output).map_err(|_| cut())?;
    if translations.len() == scripts.len() {
        Ok(translations)
    } else {
        Err(cut())
    }
}

fn original(root: BorrowedFd<'_>, started: SystemTime, script: &Script) -> Translation {
    let Some(file) = open(root, &script.path) else {
        return Translation::Untouched;
    };
    let Some(text) = read(&file, MAX_SCRIPT) else {
        return Translation::Untouched;
    };
    let (map, map_path) = match source_map::reference(&text) {
        None => return Translation::Untouched,
        Some(MapReference::Inline(map)) => (map, script.path.clone()),
        Some(MapReference::File(relative)) => {
            let path = source_map::beside(&script.path, &relative);
            // Published without their maps, as most of what npm installs.
            let Some(map) = open(root, &path) else {
                return Translation::Untouched;
            };
            // In a directory that all may write to, such as /tmp, others
            // could say what they like of it.
            let owner = |file: &File| file.metadata().ok().map(|metadata| metadata.uid());
            if owner(&map) != owner(&file) && owner(&map) != Some(0) {
                return Translation::Failed("its source map is another user's".to_owned());
            }
            if is_newer(&map, started) {
                return Translation::Newer;
            }
            let Some(text) = read(&map, MAX_MAP) else {
                return Translation::Failed(format!(
                    "its source map cannot be read, or is longer than {} MB",
                    MAX_MAP >> 20
                ));
            };
            (text, path)
        }
    };
    if is_newer(&file, started) {
        return Translation::Newer;
    }
    match translate(&text, &map, &map_path, &script.frames) {
        Ok(frames) => Translation::Translated(frames),
        Err(error) => Translation::Failed(printable(error.to_string())),
    }
}

fn open(root: BorrowedFd<'_>, path: &str) -> Option<File> {
    open_in_root(root, path, ResolveFlags::empty()).ok()
}

/// A file that says nothing of when it was changed is as good as new.
fn is_newer(file: &File, started: SystemTime) -> bool {
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    !modified.is_ok_and(|modified| modified <= started)
}

/// All of a file. `None` for one that is longer than `limit`.
fn read(file: &File, limit: u64) -> Option<Vec<u8>> {
    let length = file.metadata().ok()?.len();
    // Most files of /proc say that they are empty.
    if length == 0 || length > limit {
        return None;
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).ok()?);
    file.take(length).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// What a frame asks the map for: indices of places.
struct Asked {
    place: Option<usize>,
    parameters: Option<usize>,
    name: Option<usize>,
    parenthesis: bool,
}

/// The frames in the sources, by a map that lies at `map_path`.
pub(super) fn translate(
    script: &[u8],
    map: &[u8],
    map_path: &str,
    frames: &[GeneratedFrame],
) -> Result<Vec<Option<OriginalFrame>>, MapError> {
    let mut text = ScriptText::new(script);
    let mut places = Vec::new();
    let mut ask = |place: Option<Place>| {
        place.map(|place| {
            places.push(place);
            places.len() - 1
        })
    };
    let asked: Vec<Asked> = frames
        .iter()
        .map(|frame| Asked {
            place: ask(frame.place),
            parameters: ask(frame.parameters),
            name: ask(frame
                .parameters
                .and_then(|parameters| text.name(frame.name, parameters))),
            parenthesis: frame
                .parameters
                .is_some_and(|parameters| text.is_parenthesis(parameters)),
        })
        .collect();
    let found = source_map::look_up(map, &places)?;
    let at = |index: Option<usize>| found.get(index?)?.as_ref();
    // A segment names what begins where it does, not all that it covers.
    let name_at = |index: Option<usize>| {
        let covering = at(index)?;
        let begins = covering.start == places.get(index?)?.column;
        covering.name.as_ref().filter(|_| begins)
    };
    Ok(asked
        .into_iter()
        .map(|asked| {
            let name = name_at(asked.name).or_else(|| {
                // Babel puts the name there, as tools for developers want it.
                name_at(asked.parameters).filter(|_| asked.parenthesis)
            });
            compose(at(asked.place), at(asked.parameters), name, map_path)
        })
        .collect())
}

fn compose(
    place: Option<&Covering>,
    parameters: Option<&Covering>,
    name: Option<&String>,
    map_path: &str,
) -> Option<OriginalFrame> {
    fn original(covering: Option<&Covering>) -> Option<&Original> {
        covering?.original.as_ref()
    }
    let definition = original(parameters);
    let here = original(place).or(definition)?;
    let definition = definition.filter(|definition| definition.source == here.source);
    let count = |value: u32| value.saturating_add(1);
    Some(OriginalFrame {
        file: printable(source_map::beside(map_path, &here.source)),
        line: count(here.place.line),
        column: count(here.place.column),
        name: name.map(|name| printable(name.clone())),
        first_line: definition.map_or(0, |definition| count(definition.place.line)),
    })
}

#[cfg(test)]
mod tests;
