//! Addresses → names, files and lines.
//!
//! Names come from symbol tables, which are read with care in this process
//! (`elf`, `symbols`); lines and inlined functions from DWARF, which a child
//! process reads (`dwarf`, `isolate`). Where both say nothing of a Go
//! executable, the table of Go's runtime does (`go`). Scripts that were made
//! from other sources have source maps (`scripts`). Nothing is kept between
//! executables: each is asked for once, with all of its addresses.

mod debug_file;
mod debuginfod;
mod dwarf;
mod elf;
mod frames;
mod go;
mod isolate;
mod kernel;
mod minidebug;
mod names;
mod perf_map;
mod script_text;
mod scripts;
mod source_map;
mod symbols;
#[cfg(test)]
mod tests;
mod vdso;

use std::{
    env,
    fs::File,
    io,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
};

use thiserror::Error;

pub use debug_file::open_root;
pub use kernel::{KernelError, KernelSymbol};
pub use perf_map::{PerfMap, read as perf_map};
pub use scripts::{GeneratedFrame, OriginalFrame, Script, Translation, originals, path_of_script};
pub use source_map::Place;

use debuginfod::Debuginfod;
use elf::{Bytes, Elf, ElfError, SHT_DYNSYM, SHT_SYMTAB};
use frames::RawFrame;

/// One frame of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbol {
    pub name: String,
    /// Empty when unknown, as all below are 0.
    pub file: String,
    pub line: u32,
    pub column: u32,
    /// Inlined into the frame that follows.
    pub inlined: bool,
    pub definition_line: u32,
}

/// An executable or a library, as its process sees it.
#[derive(Clone, Copy, Debug)]
pub struct ExecutableFile<'a> {
    /// The file may be deleted, or in a container: this is what is read.
    pub file: &'a File,
    /// In its process's root. Debug files that lie beside it are looked for
    /// there.
    pub path: &'a str,
    /// Root of its process (see [`open_root`]), to look for separate debug
    /// files in before the host's. `None`: it is a path of the host.
    pub root: Option<BorrowedFd<'a>>,
}

/// What is known about the addresses of one executable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// For each address its frames, innermost first: the inlined ones, then
    /// the function. Empty when there is no symbol.
    pub frames: Vec<Vec<Symbol>>,
    /// Where they come from, such as `symtab, DWARF`; empty for nowhere.
    pub symbols: String,
    /// What could not be read, and why. One line each.
    pub notices: Vec<String>,
}

#[derive(Debug, Error)]
#[error("{path} has no readable symbols: {source}")]
pub struct SymbolizeError {
    path: String,
    source: ElfError,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub lines: bool,
    /// Only with `lines`.
    pub inlined: bool,
    pub demangle: bool,
    /// Servers to ask for debug files; usually none.
    pub debuginfod_urls: Vec<String>,
    /// Where downloaded debug files are kept, shared with elfutils and GDB.
    pub debuginfod_cache: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lines: true,
            inlined: true,
            demangle: true,
            debuginfod_urls: Vec::new(),
            debuginfod_cache: None,
        }
    }
}

impl Options {
    /// With the servers in `DEBUGINFOD_URLS` and the cache that debuginfod(7)
    /// describes.
    pub fn from_environment() -> Self {
        let urls = env::var("DEBUGINFOD_URLS").unwrap_or_default();
        let directory = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let cache = directory("DEBUGINFOD_CACHE_PATH")
            .map(PathBuf::from)
            .or_else(|| {
                let caches = directory("XDG_CACHE_HOME")
                    .map(PathBuf::from)
                    .or_else(|| Some(Path::new(&directory("HOME")?).join(".cache")))?;
                Some(caches.join("debuginfod_client"))
            });
        Self {
            debuginfod_urls: urls
                .split_whitespace()
                .filter(|url| url.starts_with("http://") || url.starts_with("https://"))
                .map(str::to_owned)
                .collect(),
            debuginfod_cache: cache,
            ..Self::default()
        }
    }
}

pub struct Symbolizer {
    options: Options,
    debuginfod: Option<Debuginfod>,
}

impl Symbolizer {
    pub fn new(options: Options) -> Self {
        let debuginfod = match &options.debuginfod_cache {
            Some(cache) if !options.debuginfod_urls.is_empty() => Some(Debuginfod::new(
                options.debuginfod_urls.clone(),
                cache.clone(),
            )),
            _ => None,
        };
        Self {
            options,
            debuginfod,
        }
    }

    /// Looks up virtual addresses of an ELF file (not offsets in it). Of a
    /// caller's frame the address must lie inside of the call instruction.
    ///
    /// Blocks: it reads files, and may ask debuginfod servers.
    pub fn executable(
        &mut self,
        executable: &ExecutableFile<'_>,
        addresses: &[u64],
    ) -> Result<Resolved, SymbolizeError> {
        let failed = |source| SymbolizeError {
            path: executable.path.to_owned(),
            source,
        };
        let elf = Elf::parse(executable.file).map_err(failed)?;
        let mut batch = Batch::new(addresses);

        let table = elf.section_of(SHT_SYMTAB);
        let lines_here = dwarf::info(&elf).is_some();
        let wants_more = table.is_none() || (self.options.lines && !lines_here);
        let separate = wants_more
            .then(|| self.separate_file(&elf, executable))
            .flatten();
        let debug = separate
            .as_ref()
            .and_then(|(file, source)| Some((Elf::parse(file).ok()?, source.as_str())));

        if table.is_some() {
            batch.table(&elf, SHT_SYMTAB, "symtab");
        }
        if let Some((debug, source)) = &debug {
            batch.table(debug, SHT_SYMTAB, source);
        } else if table.is_none() && elf.section(minidebug::SECTION).is_some() {
            batch.minidebug(&elf);
        }
        batch.table(&elf, SHT_DYNSYM, "dynsym");

        if self.options.lines {
            let found = match &debug {
                _ if lines_here => Some((&elf, executable.path, "DWARF")),
                Some((debug, source)) if dwarf::info(debug).is_some() => {
                    Some((debug, *source, *source))
                }
                _ => None,
            };
            if let Some((elf, path, source)) = found {
                let alternate = debug_file::find_alternate(elf, path, executable.root);
                let alternate = alternate.as_ref().and_then(|file| Elf::parse(file).ok());
                let detail = if self.options.inlined {
                    dwarf::Detail::Inlined
                } else {
                    dwarf::Detail::Line
                };
                batch.lines(elf, alternate.as_ref(), detail, source);
            }
        }
        batch.go(&elf, self.options.lines);
        let mut resolved = batch.resolved(self.options.demangle);
        if let Some(debuginfod) = &mut self.debuginfod {
            resolved.notices.append(&mut debuginfod.notices);
        }
        for notice in &mut resolved.notices {
            *notice = format!("{}: {notice}", executable.path);
        }
        Ok(resolved)
    }

    /// Looks up addresses of the vDSO, as its ELF header counts them.
    pub fn vdso(&mut self, addresses: &[u64]) -> Result<Resolved, SymbolizeError> {
        let failed = |source| SymbolizeError {
            path: "[vdso]".into(),
            source,
        };
        let image = vdso::image().map_err(|error: io::Error| failed(error.into()))?;
        let elf = Elf::parse(image.as_slice()).map_err(failed)?;
        let mut batch = Batch::new(addresses);
        batch.table(&elf, SHT_SYMTAB, "symtab");
        batch.table(&elf, SHT_DYNSYM, "dynsym");
        Ok(batch.resolved(self.options.demangle))
    }

    /// Looks up addresses of the running kernel and its modules; `None` where
    /// there is no function.
    pub fn kernel(&mut self, addresses: &[u64]) -> Result<Vec<Option<KernelSymbol>>, KernelError> {
        kernel::look_up(addresses)
    }

    fn separate_file(
        &mut self,
        elf: &Elf<'_, File>,
        executable: &ExecutableFile<'_>,
    ) -> Option<(File, String)> {
        let build_id = elf.build_id();
        let link = elf.debug_link();
        let wanted = debug_file::Wanted {
            path: executable.path,
            build_id: &build_id,
            link: link.as_ref().map(|(name, crc)| (name.as_str(), *crc)),
        };
        debug_file::find(&wanted, executable.root)
            .map(|(file, path)| (file, format!("debug file {path}")))
            .or_else(|| {
                let file = self.debuginfod.as_mut()?.find(&build_id)?;
                Some((file, "debuginfod".to_owned()))
            })
    }
}

/// The addresses of one executable while their names are gathered.
struct Batch {
    /// Sorted, each once.
    addresses: Vec<u64>,
    /// Where each address that was asked for is in `addresses`.
    order: Vec<usize>,
    names: Vec<Option<Vec<u8>>>,
    frames: Vec<Vec<RawFrame>>,
    sources: Vec<String>,
    notices: Vec<String>,
}

impl Batch {
    fn new(asked: &[u64]) -> Self {
        let mut addresses = asked.to_vec();
        addresses.sort_unstable();
        addresses.dedup();
        let order = asked
            .iter()
            .map(|address| addresses.partition_point(|sorted| sorted < address))
            .collect();
        Self {
            order,
            names: vec![None; addresses.len()],
            frames: vec![Vec::new(); addresses.len()],
            addresses,
            sources: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// Places and addresses that have no name yet.
    fn unnamed(&self) -> (Vec<usize>, Vec<u64>) {
        self.names
            .iter()
            .enumerate()
            .filter(|(_, name)| name.is_none())
            .map(|(index, _)| (index, self.addresses[index]))
            .unzip()
    }

    fn add(&mut self, places: Vec<usize>, names: Vec<Option<Vec<u8>>>, source: &str) {
        let mut any = false;
        for (place, name) in places.into_iter().zip(names) {
            any |= name.is_some();
            self.names[place] = name;
        }
        if any {
            self.source(source);
        }
    }

    fn source(&mut self, source: &str) {
        if !self.sources.iter().any(|known| known == source) {
            self.sources.push(source.to_owned());
        }
    }

    fn table<B: Bytes + ?Sized>(&mut self, elf: &Elf<'_, B>, kind: u32, source: &str) {
        let Some(table) = elf.section_of(kind) else {
            return;
        };
        let (places, addresses) = self.unnamed();
        if addresses.is_empty() {
            return;
        }
        match symbols::look_up(elf, table, &addresses, kind == SHT_DYNSYM) {
            Ok(names) => self.add(places, names, source),
            Err(error) => self.notices.push(format!("{source} is not used: {error}")),
        }
    }

    fn minidebug(&mut self, elf: &Elf<'_, File>) {
        let (places, addresses) = self.unnamed();
        if addresses.is_empty() {
            return;
        }
        match minidebug::look_up(elf, &addresses) {
            Ok(names) => self.add(places, names, "gnu_debugdata"),
            Err(error) => self
                .notices
                .push(format!("{} is not used: {error}", minidebug::SECTION)),
        }
    }

    fn lines(
        &mut self,
        elf: &Elf<'_, File>,
        alternate: Option<&Elf<'_, File>>,
        detail: dwarf::Detail,
        source: &str,
    ) {
        let size = dwarf::info(elf).map_or(0, |section| section.size);
        if size > dwarf::MAX_INFO {
            self.notices.push(format!(
                "no lines: its debug information ({} MB) is larger than {} MB",
                size >> 20,
                dwarf::MAX_INFO >> 20
            ));
            return;
        }
        match dwarf::look_up(elf, alternate, &self.addresses, detail) {
            Ok(frames) => {
                if frames.iter().any(|frames| !frames.is_empty()) {
                    self.source(source);
                }
                self.frames = frames;
            }
            Err(error) => self
                .notices
                .push(format!("no lines from its debug information: {error}")),
        }
    }

    /// Names, and lines if they are wanted, of what has none yet.
    fn go(&mut self, elf: &Elf<'_, File>, lines: bool) {
        let Some(section) = go::table(elf) else {
            return;
        };
        let (places, addresses): (Vec<usize>, Vec<u64>) = self
            .addresses
            .iter()
            .enumerate()
            .filter(|&(place, _)| {
                self.names[place].is_none() || (lines && self.frames[place].is_empty())
            })
            .unzip();
        if addresses.is_empty() {
            return;
        }
        match go::look_up(elf, section, &addresses) {
            Ok(found) => {
                let mut any = false;
                for (place, frame) in places.into_iter().zip(found) {
                    let Some(mut frame) = frame else {
                        continue;
                    };
                    any = true;
                    self.names[place].get_or_insert(std::mem::take(&mut frame.name));
                    if lines && self.frames[place].is_empty() {
                        self.frames[place].push(frame);
                    }
                }
                if any {
                    self.source(go::SOURCE);
                }
            }
            Err(error) => self
                .notices
                .push(format!("{} is not used: {error}", section.name)),
        }
    }

    fn resolved(mut self, demangle: bool) -> Resolved {
        let places = self.names.iter_mut().zip(&mut self.frames);
        let symbols: Vec<Vec<Symbol>> = places
            .map(|(name, frames)| compose(name.take(), std::mem::take(frames), demangle))
            .collect();
        let frames = self
            .order
            .iter()
            .map(|&place| symbols[place].clone())
            .collect();
        let symbols = match self.sources.as_slice() {
            [only] if only == "dynsym" => "dynsym only".to_owned(),
            sources => sources.join(", "),
        };
        Resolved {
            frames,
            symbols,
            notices: self.notices,
        }
    }
}

/// One address: what the symbol tables call it, and what DWARF says.
fn compose(name: Option<Vec<u8>>, mut frames: Vec<RawFrame>, demangle: bool) -> Vec<Symbol> {
    if frames.is_empty() {
        frames.extend(name.is_some().then(RawFrame::default));
    }
    // The outermost frame is the function that the symbol names. DWARF's name
    // of it is better, unless it is only the last part of a mangled one.
    if let (Some(function), Some(name)) = (frames.last_mut(), name)
        && (function.name.is_empty() || (is_mangled(&name) && !is_mangled(&function.name)))
    {
        function.name = name;
    }
    let outermost = frames.len().saturating_sub(1);
    frames
        .into_iter()
        .enumerate()
        .filter(|(_, frame)| !frame.name.is_empty())
        .map(|(index, frame)| Symbol {
            name: names::readable(&frame.name, demangle),
            file: frame.file,
            line: frame.line,
            column: frame.column,
            inlined: index < outermost,
            definition_line: frame.definition_line,
        })
        .collect()
}

fn is_mangled(name: &[u8]) -> bool {
    name.starts_with(b"_Z") || name.starts_with(b"_R")
}
