//! Which files are PostgreSQL's server, and the hooks on their probes.

use std::{
    fs::{self, File},
    os::unix::{ffi::OsStrExt as _, fs::FileExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use profiler_ebpf::TextArgument;

use crate::{
    bpf::{Kernel, STATEMENT_HOOKS, STATEMENT_STATUS},
    elf::{
        Elf,
        usdt::{Argument, Probe},
    },
    process::{Image, Parts, read_maps},
};

const PROGRAMS: [&[u8]; 3] = [b"postgres", b"postmaster", b"edb-postgres"];
const PROVIDER: &str = "postgresql";
/// Most files that are hooked, …
const MAX_FILES: usize = 32;
/// … and places in each: PostgreSQL 15 has 17.
const MAX_SITES: usize = 64;

/// `nop`, on which a uprobe needs no single step, and what the kernel puts there.
const NOP: u8 = 0x90;
const BREAKPOINT: u8 = 0xcc;

/// What has been hooked.
#[derive(Default)]
pub struct Servers {
    /// Devices and inodes of the files that were looked at.
    seen: Vec<(u64, u64)>,
    hooked: Vec<Hooked>,
    /// Why others were not, in plain words.
    pub missing: Vec<String>,
}

struct Hooked {
    build_id: Vec<u8>,
    sites: Vec<Site>,
}

/// A place in a file that a program is hooked to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Site {
    program: &'static str,
    offset: u64,
    /// Of the one that says what a backend is at.
    text: Option<TextArgument>,
}

/// Whether a process runs PostgreSQL's server.
pub fn is_server(pid: u32) -> bool {
    fs::read_link(executable(pid)).is_ok_and(|path| {
        path.file_name().is_some_and(|name| {
            let name = name.as_bytes();
            let name = name.strip_suffix(b" (deleted)").unwrap_or(name);
            PROGRAMS.contains(&name)
        })
    })
}

/// The file itself, whatever root and mounts the process has, and though it was
/// replaced meanwhile.
fn executable(pid: u32) -> PathBuf {
    format!("/proc/{pid}/exe").into()
}

impl Servers {
    pub fn is_empty(&self) -> bool {
        self.hooked.is_empty()
    }

    /// Hooks the program that a process runs, unless it is already.
    pub fn hook(&mut self, pid: u32, kernel: &mut Kernel) {
        if !is_server(pid) {
            return;
        }
        let path = executable(pid);
        let Ok(file) = File::open(&path) else {
            return;
        };
        let Ok(facts) = file.metadata() else {
            return;
        };
        let key = (facts.dev(), facts.ino());
        if self.seen.contains(&key) {
            return;
        }
        self.seen.push(key);
        let shown = fs::read_link(&path).unwrap_or_else(|_| path.clone());
        if self.seen.len() > MAX_FILES {
            self.miss(&shown, format!("more than {MAX_FILES} such files"));
            return;
        }
        if let Err(why) = self.hook_file(pid, &path, &file, kernel) {
            self.miss(&shown, why);
        }
    }

    fn miss(&mut self, path: &Path, why: String) {
        let text = format!("{}: {why}", path.display());
        if !self.missing.contains(&text) {
            self.missing.push(text);
        }
    }

    fn hook_file(
        &mut self,
        pid: u32,
        path: &Path,
        file: &File,
        kernel: &mut Kernel,
    ) -> Result<(), String> {
        let image = Image::read(file, Parts::Description).map_err(|error| error.to_string())?;
        let elf = Elf::parse(image.bytes()).map_err(|error| error.to_string())?;
        let sites = sites(&elf, file)?;
        let build_id = elf.build_id().unwrap_or_default().to_vec();
        // One file of several containers looks like several, as each has its mount.
        let hooked = self
            .hooked
            .iter()
            .any(|other| other.build_id == build_id && other.sites == sites);
        if hooked && is_hooked(pid, &sites) {
            return Ok(());
        }
        for site in &sites {
            let Some(text) = site.text else { continue };
            match kernel.set_text_argument(site.offset, text) {
                Ok(true) => {}
                Ok(false) => {
                    return Err(
                        "another server's statements are at the same place, in another \
                         register"
                            .to_owned(),
                    );
                }
                Err(error) => return Err(error.brief()),
            }
        }
        for site in &sites {
            kernel
                .hook_probe(site.program, path, site.offset)
                .map_err(|error| format!("the kernel allows no uprobes: {}", error.brief()))?;
        }
        log::info!("{} places of {} are hooked", sites.len(), path.display());
        self.hooked.push(Hooked { build_id, sites });
        Ok(())
    }
}

/// The places that are wanted.
fn sites(elf: &Elf<'_>, file: &File) -> Result<Vec<Site>, String> {
    let probes: Vec<Probe> = elf
        .probes()
        .into_iter()
        .filter(|probe| probe.provider == PROVIDER)
        .collect();
    if probes.is_empty() {
        return Err(
            "it has no probes: it was built without --enable-dtrace, or stripped of them"
                .to_owned(),
        );
    }
    let mut sites = Vec::new();
    for (program, name) in STATEMENT_HOOKS {
        let before = sites.len();
        for probe in probes.iter().filter(|probe| probe.name == name) {
            let damaged = || format!("its probe {name} is not where it says");
            let offset = elf.code_offset(probe.address).ok_or_else(damaged)?;
            let mut instruction = [0];
            file.read_exact_at(&mut instruction, offset)
                .map_err(|error| error.to_string())?;
            if instruction != [NOP] {
                return Err(damaged());
            }
            let text = if program == STATEMENT_STATUS {
                let text = text_argument(probe)
                    .ok_or_else(|| format!("its probe {name} has no text that can be read"))?;
                Some(text)
            } else {
                None
            };
            sites.push(Site {
                program,
                offset,
                text,
            });
        }
        if sites.len() > MAX_SITES {
            return Err(format!("it has more than {MAX_SITES} probes of statements"));
        }
        if sites.len() == before {
            return Err(format!("it has no probe {name}"));
        }
    }
    Ok(sites)
}

/// Its first argument.
fn text_argument(probe: &Probe) -> Option<TextArgument> {
    let (register, indirect, offset) = match Argument::pointer(&probe.arguments, 0)? {
        Argument::Register(register) => (register, 0, 0),
        Argument::Memory { register, offset } => (register, 1, offset),
        Argument::Constant(_) => return None,
    };
    Some(TextArgument {
        register: register + 1,
        indirect,
        offset,
    })
}

/// Whether the kernel has put breakpoints at all places of the file in this process.
fn is_hooked(pid: u32, sites: &[Site]) -> bool {
    let (Ok(mappings), Ok(memory), Ok(path)) = (
        read_maps(pid),
        File::open(format!("/proc/{pid}/mem")),
        fs::read_link(executable(pid)),
    ) else {
        return false;
    };
    sites.iter().all(|site| {
        let there = mappings.iter().find_map(|mapping| {
            let inside = site.offset.checked_sub(mapping.offset)?;
            let length = mapping.end - mapping.start;
            (mapping.path == path && inside < length).then(|| mapping.start + inside)
        });
        let mut instruction = [0];
        there.is_some_and(|at| memory.read_exact_at(&mut instruction, at).is_ok())
            && instruction == [BREAKPOINT]
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::elf::{
        fixture::{Part, image},
        kind,
    };

    /// A server whose probes lie one after the other in a code of these bytes.
    fn server(code: u8, leave_out: &str, status: &str) -> File {
        server_with(1, code, leave_out, status)
    }

    /// The same with each probe so many times.
    fn server_with(times: usize, code: u8, leave_out: &str, status: &str) -> File {
        let mut notes = Vec::new();
        let hooks = (0..times).flat_map(|_| STATEMENT_HOOKS.iter().enumerate());
        for (at, (_, name)) in hooks {
            if *name == leave_out {
                continue;
            }
            let mut description = Vec::new();
            for word in [0x1000 + at as u64, 0, 0] {
                description.extend(u64::to_le_bytes(word));
            }
            description.extend(format!("{PROVIDER}\0{name}\0{status}\0").bytes());
            for word in [8, description.len() as u32, 3] {
                notes.extend(u32::to_le_bytes(word));
            }
            notes.extend(b"stapsdt\0");
            notes.extend(&description);
            notes.resize(notes.len().next_multiple_of(4), 0);
        }
        let parts = [
            (".text", 0x1000, true, &[code; 64][..]),
            (".note.stapsdt", 0, false, &notes),
        ];
        let parts = parts.map(|(name, address, executable, data)| Part {
            name,
            address,
            executable,
            data,
        });
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(&image(kind::SHARED, 0, &parts))
            .expect("written");
        file
    }

    fn sites_of(file: &File) -> Result<Vec<Site>, String> {
        let image = Image::read(file, Parts::Description).expect("an image");
        sites(&Elf::parse(image.bytes()).expect("an ELF file"), file)
    }

    #[test]
    fn each_probe_has_its_place() {
        let found = sites_of(&server(NOP, "", "8@-16(%rbp)")).expect("all are there");
        assert_eq!(found.len(), STATEMENT_HOOKS.len());
        let text = TextArgument {
            register: 5,
            indirect: 1,
            offset: -16,
        };
        assert_eq!(found[0].text, Some(text));
        assert_eq!(found[1].offset, found[0].offset + 1);
        assert!(found[1..].iter().all(|site| site.text.is_none()));
    }

    #[test]
    fn what_is_not_as_it_should_be_is_said() {
        for (file, says) in [
            (server(0xcc, "", "8@%rsi"), "not where it says"),
            (
                server(NOP, "statement__status", "8@%rsi"),
                "no probe statement",
            ),
            (server(NOP, "query__plan__done", "8@%rsi"), "no probe query"),
            (server(NOP, "", "4@%esi"), "no text"),
            (server_with(20, NOP, "", "8@%rsi"), "more than"),
            (server(NOP, "", "8@$0"), "no text"),
            (
                File::open("/proc/self/exe").expect("ourselves"),
                "no probes",
            ),
        ] {
            let why = sites_of(&file).expect_err(says);
            assert!(why.contains(says), "{why}");
        }
    }
}
