//! Against the interpreters of this machine: pyenv's, and the system's.

mod hostile;
mod lines;
mod live;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::elf::Elf;
use crate::process::{Image, Parts};

/// A Python that can be run.
struct Python {
    /// "/", or where the tree of another system lies: chroot(2).
    root: PathBuf,
    program: PathBuf,
}

impl Python {
    fn command(&self) -> Command {
        if self.root == Path::new("/") {
            return Command::new(&self.program);
        }
        let mut command = Command::new("chroot");
        command.arg(&self.root).arg(&self.program);
        command
    }
}

/// pyenv's from 3.8 on, Debian's, and those in the trees that the variable
/// `PYTHON_TREES` lists, separated by colons.
fn pythons() -> Vec<Python> {
    let mut found = Vec::new();
    let home = std::env::var_os("HOME").unwrap_or_default();
    let versions = Path::new(&home).join(".pyenv/versions");
    for entry in std::fs::read_dir(versions).into_iter().flatten().flatten() {
        for minor in 8..20 {
            found.push(Python {
                root: "/".into(),
                program: entry.path().join(format!("bin/python3.{minor}")),
            });
        }
    }
    let trees = std::env::var("PYTHON_TREES").unwrap_or_default();
    for tree in std::iter::once("/").chain(trees.split(':').filter(|tree| !tree.is_empty())) {
        for minor in 8..20 {
            found.push(Python {
                root: tree.into(),
                program: format!("/usr/bin/python3.{minor}").into(),
            });
        }
    }
    found.retain(|python| {
        let below = python.program.strip_prefix("/").expect("an absolute path");
        python.root.join(below).exists()
    });
    assert!(!found.is_empty(), "no Python on this machine");
    found.sort_by(|first, second| first.program.cmp(&second.program));
    found
}

/// As a worker sees it.
fn recognise_file(path: &Path) -> Option<Result<Interpreter, Unsupported>> {
    let file = File::open(path).expect("a readable file");
    let image = Image::read(&file, Parts::Unwinding).ok()?;
    let elf = Elf::parse(image.bytes()).ok()?;
    recognise(&file, &elf)
}

#[test]
fn other_programs_are_none() {
    for path in [
        "/proc/self/exe",
        "/bin/true",
        "/lib/x86_64-linux-gnu/libc.so.6",
    ] {
        if Path::new(path).exists() {
            assert_eq!(recognise_file(Path::new(path)), None, "{path}");
        }
    }
}

#[test]
fn versions_that_are_too_old_are_named() {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let library = Path::new(&home).join(".pyenv/versions/3.7.16/lib/libpython3.7m.so.1.0");
    if library.exists() {
        let version = Version {
            major: 3,
            minor: 7,
            micro: 16,
        };
        assert_eq!(
            recognise_file(&library),
            Some(Err(Unsupported::Version(version)))
        );
    }
}

#[test]
fn versions_in_text_and_number() {
    let version = |major, minor, micro| {
        Some(Version {
            major,
            minor,
            micro,
        })
    };
    assert_eq!(Version::from_text(b"3.9.2\0rest"), version(3, 9, 2));
    assert_eq!(Version::from_text(b"3.10.0rc1+\0"), version(3, 10, 0));
    assert_eq!(Version::from_text(b"3.9\0"), None);
    assert_eq!(Version::from_text(b"2.7.18\0"), None);
    assert_eq!(Version::from_text(b"%.80s (%.80s)\0"), None);
    assert_eq!(Version::from_text(b"3.9.2"), None);
    assert_eq!(Version::from_hex(0x030d_00f0), version(3, 13, 0));
    assert_eq!(Version::from_hex(0x3_030d_00f0), None);
}

/// What the symbols of builds that have some say of the evaluator's parts.
#[test]
fn the_evaluator_is_where_its_symbols_are() {
    for python in pythons() {
        let below = python.program.strip_prefix("/").expect("an absolute path");
        let program = python.root.join(below);
        let name = program.file_name().expect("a name").to_string_lossy();
        let library = program
            .with_file_name("../lib")
            .join(format!("lib{name}.so.1.0"));
        let path = if library.exists() { library } else { program };
        let Some(result) = recognise_file(&path) else {
            panic!("{}: not recognised", path.display());
        };
        let interpreter = result.expect("supported");
        eprintln!("{}: {interpreter:x?}", path.display());
        let Ok(output) = Command::new("nm").arg("-S").arg(&path).output() else {
            continue;
        };
        let symbols = String::from_utf8_lossy(&output.stdout).into_owned();
        let expected = |name: &str| {
            symbols.lines().find_map(|line| {
                let fields: Vec<_> = line.split(' ').collect();
                let &[address, size, _, this] = fields.as_slice() else {
                    return None;
                };
                let number = |text| u64::from_str_radix(text, 16).ok();
                (this == name).then_some((number(address)?, number(size)?))
            })
        };
        for (part, name) in interpreter
            .evaluator
            .iter()
            .zip(["_PyEval_EvalFrameDefault", "_PyEval_EvalFrameDefault.cold"])
        {
            // What only a table of jumps leads to is not found: it holds the
            // few bytes of what cannot be reached.
            let tiny = |&(_, size): &(u64, u64)| size < 16;
            if expected(name).is_some_and(|symbol| tiny(&symbol)) {
                continue;
            }
            if let Some((address, size)) = expected(name) {
                assert_eq!(
                    (part.start, part.end),
                    (address, address + size),
                    "{name} in {}",
                    path.display()
                );
            } else if !symbols.is_empty() {
                assert_eq!(part.start, part.end, "{name} in {}", path.display());
            }
        }
    }
}
