//! Against other people's tools: addr2line, nm and the compilers.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::{fd::AsFd, unix::fs::symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::*;

const C: &str = r#"
static inline __attribute__((always_inline)) int twice(int x) {
    volatile int y = x;
    return y * 2;
}
static inline __attribute__((always_inline)) int four(int x) {
    return twice(x) + twice(x + 1);
}
__attribute__((noinline)) int work(int n) {
    int sum = 0;
    for (int i = 0; i < n; i++)
        sum += four(i);
    return sum;
}
__attribute__((noinline)) static int hidden(int n) { return work(n) + 1; }
int main(int argc, char **argv) {
    (void)argv;
    return hidden(argc) & 1;
}
"#;

const CPP: &str = r#"
#include <string>
#include <vector>
namespace shop {
template <class T> struct Basket {
    __attribute__((noipa)) int add(std::vector<T> const &items) { return int(items.size()); }
};
__attribute__((noipa)) int operator+(Basket<int> const &, std::string const &s) {
    return int(s.size());
}
}
int main() {
    shop::Basket<int> b;
    return b.add({1, 2}) + (b + std::string("x"));
}
"#;

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn compile(directory: &Path, compiler: &str, source: &str, flags: &[&str]) -> PathBuf {
    let extension = if compiler == "g++" { "cpp" } else { "c" };
    let file = directory.join(format!("program.{extension}"));
    let program = directory.join("program");
    fs::write(&file, source).unwrap();
    run(Command::new(compiler)
        .args(["-O2", "-g", "-Wl,--build-id"])
        .args(flags)
        .arg("-o")
        .args([&program, &file]));
    program
}

/// Functions in a table: start, size, name.
fn functions(file: &Path, flags: &[&str]) -> Vec<(u64, u64, String)> {
    let text = run(Command::new("nm").args(["-S"]).args(flags).arg(file));
    text.lines()
        .filter_map(|line| {
            let [start, size, kind, name] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
            "tTwWi".contains(kind).then(|| {
                let number = |text| u64::from_str_radix(text, 16).unwrap();
                // Of a dynamic symbol with its version: `read@@GLIBC_2.2.5`.
                let name = name.split('@').next().unwrap();
                (number(start), number(size), name.to_owned())
            })
        })
        .collect()
}

/// Function, file and line of each frame, as binutils see it.
fn addr2line(program: &Path, addresses: &[u64]) -> Vec<Vec<(String, String, u32)>> {
    let mut child = Command::new("addr2line")
        .args(["-afi", "-e"])
        .arg(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let text: String = addresses.iter().map(|a| format!("{a:#x}\n")).collect();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
    let mut output = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut output)
        .unwrap();
    writer.join().unwrap();
    assert!(child.wait().unwrap().success());
    let mut all: Vec<Vec<(String, String, u32)>> = Vec::new();
    let mut lines = output.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("0x") {
            all.push(Vec::new());
            continue;
        }
        let place = lines.next().unwrap().split(" (disc").next().unwrap();
        let (file, number) = place.rsplit_once(':').unwrap();
        let frame = (line.into(), file.into(), number.parse().unwrap_or(0));
        all.last_mut().unwrap().push(frame);
    }
    all
}

fn resolve(options: Options, path: &Path, addresses: &[u64]) -> Resolved {
    let file = File::open(path).unwrap();
    Symbolizer::new(options)
        .executable(
            &ExecutableFile {
                file: &file,
                path: path.to_str().unwrap(),
                root: None,
            },
            addresses,
        )
        .unwrap()
}

fn shown(frames: &[Symbol]) -> Vec<(String, String, u32)> {
    frames
        .iter()
        .map(|frame| (frame.name.clone(), frame.file.clone(), frame.line))
        .collect()
}

fn names(resolved: &Resolved) -> Vec<&str> {
    resolved
        .frames
        .iter()
        .map(|frames| frames.last().map_or("", |frame| frame.name.as_str()))
        .collect()
}

#[test]
fn c_as_addr2line_sees_it() {
    let directory = tempfile::tempdir().unwrap();
    for flags in [
        ["-gdwarf-5", "-fPIE"].as_slice(),
        &["-gdwarf-4", "-no-pie"],
        &["-gz=zlib"],
    ] {
        let program = compile(directory.path(), "gcc", C, flags);
        let addresses: Vec<u64> = functions(&program, &[])
            .into_iter()
            .filter(|(_, _, name)| ["main", "work", "hidden"].contains(&name.as_str()))
            .flat_map(|(start, size, _)| start..start + size)
            .collect();
        assert!(addresses.len() > 40);
        let resolved = resolve(Options::default(), &program, &addresses);
        assert_eq!(resolved.symbols, "symtab, DWARF", "{flags:?}");
        assert!(resolved.notices.is_empty(), "{:?}", resolved.notices);
        let expected = addr2line(&program, &addresses);
        for ((address, frames), expected) in addresses.iter().zip(&resolved.frames).zip(&expected) {
            assert_eq!(&shown(frames), expected, "{address:x} {flags:?}");
        }
        let all = resolved.frames.iter().flatten();
        let definitions: HashSet<_> = all
            .map(|frame| (frame.name.as_str(), frame.inlined, frame.definition_line))
            .collect();
        for wanted in [
            ("twice", true, 2),
            ("four", true, 6),
            ("work", false, 9),
            ("main", false, 16),
        ] {
            assert!(definitions.contains(&wanted), "{definitions:?}");
        }
        assert!(resolved.frames.iter().any(|frames| frames.len() == 3));

        let lines_only = Options {
            inlined: false,
            ..Options::default()
        };
        let resolved = resolve(lines_only, &program, &addresses);
        for (frames, expected) in resolved.frames.iter().zip(&expected) {
            let [frame] = frames.as_slice() else {
                panic!("{frames:?}")
            };
            assert_eq!(frame.name, expected.last().unwrap().0);
            assert_eq!((&frame.file, frame.line), (&expected[0].1, expected[0].2));
        }
    }
}

#[test]
fn cpp_is_demangled() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), "g++", CPP, &[]);
    let functions = functions(&program, &[]);
    let (addresses, mangled): (Vec<u64>, Vec<&str>) = functions
        .iter()
        // Not the parts that the compiler split off: DWARF has no name for
        // `.isra.0`.
        .filter(|(_, _, name)| name.contains("shop") && !name.contains('.'))
        .map(|(start, _, name)| (*start, name.as_str()))
        .unzip();
    assert!(addresses.len() >= 2);
    for lines in [false, true] {
        let options = Options {
            lines,
            ..Options::default()
        };
        let resolved = resolve(options.clone(), &program, &addresses);
        for (name, mangled) in names(&resolved).into_iter().zip(&mangled) {
            let expected = run(Command::new("c++filt").arg(mangled));
            // cpp_demangle writes a name that is long in a shorter way.
            let short = |text: &str| {
                text.trim()
                    .replace("__cxx11::", "")
                    .replace(
                        "basic_string<char, std::char_traits<char>, std::allocator<char> >",
                        "string",
                    )
                    .replace(' ', "")
            };
            assert_eq!(short(name), short(&expected));
        }
        let raw = Options {
            demangle: false,
            ..options
        };
        assert_eq!(names(&resolve(raw, &program, &addresses)), mangled);
    }
}

const GO: &str = r#"package main

import (
	"fmt"
	"os"
	"sort"
)

type pair[T any] struct{ a, b T }

//go:noinline
func (p *pair[T]) swap() { p.a, p.b = p.b, p.a }

//go:noinline
func inner(values []int) int {
	sort.Ints(values)
	func() { defer fmt.Println(values) }()
	return values[0]
}

func main() {
	p := pair[string]{os.Args[0], "b"}
	p.swap()
	fmt.Println(p, inner([]int{3, 1, 2}))
}
"#;

fn go(directory: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let (file, program) = (directory.join("main.go"), directory.join(name));
    fs::write(&file, GO).unwrap();
    run(Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .args(flags)
        .arg(&file)
        .current_dir(directory));
    program
}

/// As [`addr2line`]; Go's knows no inlined functions.
fn go_addr2line(program: &Path, addresses: &[u64]) -> Vec<(String, String, u32)> {
    let list = program.with_extension("addresses");
    let text: String = addresses.iter().map(|a| format!("{a:#x}\n")).collect();
    fs::write(&list, text).unwrap();
    let text = run(Command::new("go")
        .args(["tool", "addr2line"])
        .arg(program)
        .stdin(File::open(list).unwrap()));
    let lines: Vec<&str> = text.lines().collect();
    lines
        .chunks_exact(2)
        .map(|pair| {
            let (file, line) = pair[1].rsplit_once(':').unwrap();
            (pair[0].to_owned(), file.to_owned(), line.parse().unwrap())
        })
        .collect()
}

#[test]
fn stripped_go_as_its_own_addr2line_sees_the_whole() {
    let directory = tempfile::tempdir().unwrap();
    let whole = go(directory.path(), "whole", &[]);
    let functions = functions(&whole, &[]);
    // Without sizes nothing tells where hand-written assembly ends.
    let (own, library): (Vec<_>, Vec<_>) = functions
        .iter()
        .filter(|(_, size, _)| *size > 1)
        .partition(|(_, _, name)| name.starts_with("main."));
    assert!(own.len() >= 4, "{own:?}");
    let addresses: Vec<u64> = own
        .into_iter()
        .flat_map(|&(start, size, _)| start..start + size)
        .chain(
            library
                .into_iter()
                .flat_map(|&(start, size, _)| [start, start + size / 2, start + size - 1]),
        )
        .collect();
    assert!(addresses.len() > 3000);
    let expected = go_addr2line(&whole, &addresses);
    assert_eq!(expected.len(), addresses.len());

    for (name, flags, symbols) in [
        ("stripped", "-ldflags=-s -w", "gopclntab"),
        ("no-dwarf", "-ldflags=-w", "symtab, gopclntab"),
    ] {
        let program = go(directory.path(), name, &[flags]);
        let resolved = resolve(Options::default(), &program, &addresses);
        assert_eq!(resolved.symbols, symbols);
        assert!(resolved.notices.is_empty(), "{:?}", resolved.notices);
        for ((address, frames), expected) in addresses.iter().zip(&resolved.frames).zip(&expected) {
            let mut shown = shown(frames);
            if symbols.starts_with("symtab") {
                // The symbol table has its own spelling of generic functions
                // and of assembly.
                shown[0].0.clone_from(&expected.0);
            }
            assert_eq!(shown, std::slice::from_ref(expected), "{address:x} {name}");
        }
        let definition = |wanted: &str| {
            let frame = resolved.frames.iter().flatten();
            frame
                .clone()
                .find(|frame| frame.name == wanted)
                .map(|frame| frame.definition_line)
        };
        assert_eq!(definition("main.inner"), Some(15));
        let bare = Options {
            lines: false,
            ..Options::default()
        };
        let resolved = resolve(bare, &program, &addresses[..1]);
        let [frame] = resolved.frames[0].as_slice() else {
            panic!("{resolved:?}")
        };
        assert_eq!((&*frame.file, frame.line), ("", 0));
    }
    // What the debug information says stays.
    let resolved = resolve(Options::default(), &whole, &addresses);
    assert_eq!(resolved.symbols, "symtab, DWARF");
}

#[test]
fn a_damaged_go_table_is_a_notice() {
    let directory = tempfile::tempdir().unwrap();
    let program = go(directory.path(), "stripped", &["-ldflags=-s -w"]);
    let mut data = fs::read(&program).unwrap();
    let file = File::open(&program).unwrap();
    let elf = Elf::parse(&file).unwrap();
    let (table, text) = (go::table(&elf).unwrap(), elf.section(".text").unwrap());
    let addresses: Vec<u64> = (text.address..text.address + text.size)
        .step_by(997)
        .collect();
    let start = table.offset as usize;
    data[start + 64..start + table.size as usize].fill(0x01);
    fs::write(&program, &data).unwrap();
    let resolved = resolve(Options::default(), &program, &addresses);
    assert_eq!(resolved.frames.len(), addresses.len());
    data[start..start + 64].fill(0);
    fs::write(&program, &data).unwrap();
    let resolved = resolve(Options::default(), &program, &addresses);
    assert!(resolved.frames.iter().all(Vec::is_empty));
    let [notice] = resolved.notices.as_slice() else {
        panic!("{:?}", resolved.notices)
    };
    assert!(notice.contains(".gopclntab is not used"), "{notice}");
}

/// Address in the ELF file of an address in this process.
fn own_address(pointer: usize) -> u64 {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let exe = fs::read_link("/proc/self/exe").unwrap();
    let first = maps
        .lines()
        .find(|line| line.ends_with(exe.to_str().unwrap()));
    let base = first.unwrap().split_once('-').unwrap().0;
    pointer as u64 - u64::from_str_radix(base, 16).unwrap()
}

#[inline(never)]
fn a_rust_function(x: u32) -> u32 {
    std::hint::black_box(x) + 1
}

#[test]
fn rust_and_this_very_program() {
    assert_eq!(a_rust_function(1), 2);
    let address = own_address(a_rust_function as *const () as usize);
    let resolved = resolve(Options::default(), Path::new("/proc/self/exe"), &[address]);
    let frame = resolved.frames[0].last().unwrap();
    assert!(
        frame.name.ends_with("symbolize::tests::a_rust_function"),
        "{frame:?}"
    );
    assert!(frame.file.ends_with("symbolize/tests.rs"), "{frame:?}");
    let line = line!() - 12;
    assert!(frame.definition_line.abs_diff(line) < 4, "{frame:?} {line}");
}

#[test]
fn libc_as_nm_sees_it() {
    // Without its build ID, so that a debug file of the host is not found.
    let directory = tempfile::tempdir().unwrap();
    let path = &directory.path().join("libc.so.6");
    run(Command::new("objcopy")
        .args(["-R", ".note.gnu.build-id", "-R", ".gnu_debuglink"])
        .arg("/lib/x86_64-linux-gnu/libc.so.6")
        .arg(path));
    let mut aliases: HashMap<u64, HashSet<String>> = HashMap::new();
    for (start, _, name) in functions(path, &["-D"]) {
        aliases.entry(start).or_default().insert(name);
    }
    let addresses: Vec<u64> = aliases.keys().copied().collect();
    assert!(addresses.len() > 1000);
    let options = Options {
        lines: false,
        ..Options::default()
    };
    let resolved = resolve(options, path, &addresses);
    for (address, name) in addresses.iter().zip(names(&resolved)) {
        assert!(aliases[address].contains(name), "{address:x} {name}");
    }
    assert_eq!(resolved.symbols, "dynsym only");
}

/// Splits `program` as distributions do. The debug file's bytes.
fn strip(program: &Path) -> Vec<u8> {
    let debug = program.with_extension("debug");
    run(Command::new("objcopy")
        .arg("--only-keep-debug")
        .args([program, &debug]));
    run(Command::new("strip").arg(program));
    run(Command::new("objcopy")
        .arg(format!("--add-gnu-debuglink={}", debug.display()))
        .arg(program));
    let data = fs::read(&debug).unwrap();
    fs::remove_file(debug).unwrap();
    data
}

#[test]
fn separate_debug_files() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), "gcc", C, &[]);
    let (start, ..) = functions(&program, &[])
        .into_iter()
        .find(|(_, _, name)| name == "hidden")
        .unwrap();
    let expected = addr2line(&program, &[start]);
    let debug = strip(&program);
    let root = tempfile::tempdir().unwrap();
    let file = File::open(&program).unwrap();
    let look = || {
        let root = open_root(root.path()).unwrap();
        Symbolizer::new(Options::default())
            .executable(
                &ExecutableFile {
                    file: &file,
                    path: "/opt/app/program",
                    root: Some(root.as_fd()),
                },
                &[start],
            )
            .unwrap()
    };
    assert_eq!(look().frames, [[]]);

    let build_id = Elf::parse(&file).unwrap().build_id();
    let by_id = debug_file::build_id_path(&build_id).unwrap();
    for path in [
        "/opt/app/program.debug",
        "/opt/app/.debug/program.debug",
        "/usr/lib/debug/opt/app/program.debug",
        &by_id,
    ] {
        let place = root.path().join(&path[1..]);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, &debug).unwrap();
        let resolved = look();
        assert_eq!(shown(&resolved.frames[0]), expected[0], "{path}");
        assert_eq!(resolved.symbols, format!("debug file {path}"));

        // Another program's: same name, other content.
        fs::copy("/proc/self/exe", &place).unwrap();
        assert_eq!(look().frames, [[]], "{path}");
        // A right one outside of the root, reached through a link.
        let outside = directory.path().join("outside");
        fs::write(&outside, &debug).unwrap();
        fs::remove_file(&place).unwrap();
        symlink(&outside, &place).unwrap();
        assert_eq!(look().frames, [[]], "{path}");
        // A link within the root leads on.
        fs::remove_file(&place).unwrap();
        fs::write(root.path().join("inside"), &debug).unwrap();
        symlink("/../inside", &place).unwrap();
        assert_eq!(shown(&look().frames[0]), expected[0], "{path}");
        fs::remove_file(&place).unwrap();
        if path != by_id {
            // The CRC decides when the build ID is right.
            let mut other = debug.clone();
            other.push(0);
            fs::write(&place, other).unwrap();
            assert_eq!(look().frames, [[]], "{path}");
            fs::remove_file(&place).unwrap();
        }
    }
}

#[test]
fn minidebuginfo_as_fedora_makes_it() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), "gcc", C, &[]);
    let (start, size, _) = functions(&program, &[])
        .into_iter()
        .find(|(_, _, name)| name == "hidden")
        .unwrap();
    // As find-debuginfo.sh of debugedit: the symbols without the DWARF.
    let mini = directory.path().join("mini");
    run(Command::new("objcopy")
        .args(["-S", "--keep-symbol=hidden", "--keep-symbol=work"])
        .args([&program, &mini]));
    run(Command::new("xz").arg(&mini));
    run(Command::new("strip").arg(&program));
    run(Command::new("objcopy")
        .arg(format!(
            "--add-section=.gnu_debugdata={}.xz",
            mini.display()
        ))
        .arg(&program));
    let addresses = [start, start + size - 1];
    let resolved = resolve(Options::default(), &program, &addresses);
    assert_eq!(names(&resolved), ["hidden"; 2]);
    assert_eq!(resolved.symbols, "gnu_debugdata");

    // A bomb: 1 GiB of zeroes in 150 KB.
    let bomb = directory.path().join("bomb.xz");
    let mut command = Command::new("sh");
    command
        .args(["-c", "head -c 1G /dev/zero | xz -0 -T2 > \"$0\""])
        .arg(&bomb);
    run(&mut command);
    run(Command::new("objcopy")
        .arg("--remove-section=.gnu_debugdata")
        .arg(&program));
    run(Command::new("objcopy")
        .arg(format!("--add-section=.gnu_debugdata={}", bomb.display()))
        .arg(&program));
    let resolved = resolve(Options::default(), &program, &addresses);
    assert_eq!(resolved.frames, [[], []]);
    assert_eq!(resolved.notices.len(), 1);
}

#[test]
fn a_deleted_file_by_its_descriptor() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), "gcc", C, &[]);
    let (start, ..) = functions(&program, &[])
        .into_iter()
        .find(|(_, _, name)| name == "work")
        .unwrap();
    let file = File::open(&program).unwrap();
    drop(directory);
    let resolved = Symbolizer::new(Options::default())
        .executable(
            &ExecutableFile {
                file: &file,
                path: "/gone",
                root: None,
            },
            &[start, u64::MAX, 0, start],
        )
        .unwrap();
    assert_eq!(names(&resolved), ["work", "", "", "work"]);
    assert_eq!(resolved.frames[0].last().unwrap().definition_line, 9);
}

#[test]
fn a_damaged_file_is_no_crash() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), "gcc", C, &[]);
    let addresses: Vec<u64> = functions(&program, &[]).iter().map(|f| f.0).collect();
    let good = fs::read(&program).unwrap();
    let mut random = 1u64;
    let mut next = || {
        random = random
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (random >> 33) as usize
    };
    for round in 0..150 {
        let mut bad = good.clone();
        for _ in 0..1 + next() % 200 {
            // Past the ELF header, or nothing is read at all.
            let place = 64 + next() % (bad.len() - 64);
            bad[place] = next() as u8;
        }
        if round % 3 == 0 {
            bad.truncate(next() % good.len());
        }
        fs::write(&program, bad).unwrap();
        let file = File::open(&program).unwrap();
        // Whatever it says, it says something.
        let _ = Symbolizer::new(Options::default()).executable(
            &ExecutableFile {
                file: &file,
                path: "/bad",
                root: None,
            },
            &addresses,
        );
    }
}

#[test]
fn a_file_overwritten_while_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), "gcc", C, &[]);
    let file = File::options()
        .read(true)
        .write(true)
        .open(&program)
        .unwrap();
    let elf = Elf::parse(&file).unwrap();
    let size = file.metadata().unwrap().len();
    file.set_len(0).unwrap();
    file.set_len(size).unwrap();
    let zeroes = dwarf::look_up(&elf, None, &[0x1000], dwarf::Detail::Inlined);
    assert_eq!(zeroes.unwrap(), [vec![]]);
}

#[test]
fn vdso_functions() {
    let image = vdso::image().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vdso.so");
    fs::write(&path, image).unwrap();
    let functions = functions(&path, &["-D"]);
    assert!(
        functions
            .iter()
            .any(|(_, _, name)| name.ends_with("clock_gettime"))
    );
    let addresses: Vec<u64> = functions.iter().map(|f| f.0 + f.1 - 1).collect();
    let resolved = Symbolizer::new(Options::default())
        .vdso(&addresses)
        .unwrap();
    for ((start, ..), name) in functions.iter().zip(names(&resolved)) {
        assert!(
            functions.iter().any(|f| f.0 == *start && f.2 == name),
            "{name}"
        );
    }
}

/// Answers each request with what `files` has for its path, or 404. Returns
/// its URL; paths asked for come through the channel.
fn serve(files: HashMap<String, Vec<u8>>) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = request.next().unwrap().unwrap();
            let path = first.split(' ').nth(1).unwrap().to_owned();
            while request.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let (status, body) = match files.get(&path) {
                Some(body) => ("200 OK", body.as_slice()),
                None => ("404 Not Found", [].as_slice()),
            };
            let header = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(header.as_bytes()).unwrap();
            stream.write_all(body).unwrap();
            if sender.send(path).is_err() {
                break;
            }
        }
    });
    (url, receiver)
}

#[test]
fn debuginfod_is_asked_once() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), "gcc", C, &[]);
    let (start, ..) = functions(&program, &[])
        .into_iter()
        .find(|(_, _, name)| name == "hidden")
        .unwrap();
    let expected = addr2line(&program, &[start]);
    let debug = strip(&program);
    let build_id = Elf::parse(&File::open(&program).unwrap())
        .unwrap()
        .build_id();
    let hex: String = build_id.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = format!("/buildid/{hex}/debuginfo");

    let (empty, empty_asked) = serve(HashMap::new());
    let (wrong, _wrong_asked) = serve(HashMap::from([(path.clone(), b"rubbish".to_vec())]));
    let (full, full_asked) = serve(HashMap::from([(path.clone(), debug)]));
    let cache = tempfile::tempdir().unwrap();
    let options = |urls: &[&String]| Options {
        debuginfod_urls: urls.iter().map(|url| (*url).clone()).collect(),
        debuginfod_cache: Some(cache.path().join("new")),
        ..Options::default()
    };

    let resolved = resolve(options(&[&wrong, &empty, &full]), &program, &[start]);
    assert_eq!(shown(&resolved.frames[0]), expected[0]);
    assert_eq!(resolved.symbols, "debuginfod");
    assert_eq!(resolved.notices.len(), 1, "{:?}", resolved.notices);
    assert!(resolved.notices[0].contains("not asked for"));
    assert_eq!(empty_asked.recv().unwrap(), path);
    assert_eq!(full_asked.recv().unwrap(), path);

    // From the cache.
    let resolved = resolve(options(&[&full]), &program, &[start]);
    assert_eq!(shown(&resolved.frames[0]), expected[0]);
    assert!(full_asked.try_recv().is_err());

    // That nobody has it is kept too.
    fs::remove_dir_all(cache.path().join("new")).unwrap();
    for _ in 0..2 {
        assert_eq!(resolve(options(&[&empty]), &program, &[start]).frames, [[]]);
    }
    assert_eq!(empty_asked.recv().unwrap(), path);
    assert!(empty_asked.try_recv().is_err());
}

/// What a batch costs: `cargo test -p profiler symbolize::tests::measure -- --ignored --nocapture`.
#[test]
#[ignore = "prints times, checks nothing"]
fn measure() {
    fn times() -> (f64, i64) {
        let usage = |who| {
            // SAFETY: a plain structure that the call fills.
            unsafe {
                let mut usage: libc::rusage = std::mem::zeroed();
                libc::getrusage(who, &mut usage);
                usage
            }
        };
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        let (own, children) = (usage(libc::RUSAGE_SELF), usage(libc::RUSAGE_CHILDREN));
        let cpu = [&own, &children].map(|usage| seconds(usage.ru_utime) + seconds(usage.ru_stime));
        (cpu.iter().sum::<f64>() * 1e3, children.ru_maxrss)
    }
    let anonymous = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = |name| {
            status
                .lines()
                .find(|line| line.starts_with(name))
                .unwrap()
                .to_owned()
        };
        (line("VmHWM"), line("RssAnon"))
    };
    let sample = |path: &str, flags: &[&str]| -> Vec<u64> {
        let functions = functions(Path::new(path), flags);
        let step = (functions.len() / 500).max(1);
        functions
            .iter()
            .step_by(step)
            .map(|f| f.0 + f.1 / 2)
            .collect()
    };
    let own = fs::read_link("/proc/self/exe").unwrap();
    let own = own.to_str().unwrap();
    for (path, flags) in [
        ("/usr/bin/node", [].as_slice()),
        ("/lib/x86_64-linux-gnu/libc.so.6", &["-D"]),
        (own, &[]),
    ] {
        let addresses = sample(path, flags);
        for lines in [false, true] {
            let options = Options {
                lines,
                ..Options::default()
            };
            let before = times().0;
            let resolved = resolve(options, Path::new(path), &addresses);
            let (after, child) = times();
            let named = resolved
                .frames
                .iter()
                .filter(|frames| !frames.is_empty())
                .count();
            println!(
                "{path} lines={lines}: {named} of {} named ({}), {:.1} ms of CPU, child at most {child} KB, {:?} {:?}",
                addresses.len(),
                resolved.symbols,
                after - before,
                anonymous(),
                resolved.notices,
            );
        }
    }
    let kernel: Vec<u64> = fs::read_to_string("/proc/kallsyms")
        .unwrap()
        .lines()
        .filter_map(|line| u64::from_str_radix(line.split(' ').next()?, 16).ok())
        .step_by(250)
        .collect();
    let before = times().0;
    let found = kernel::look_up(&kernel).unwrap();
    println!(
        "kernel: {} of {} named, {:.1} ms of CPU",
        found.iter().flatten().count(),
        kernel.len(),
        times().0 - before
    );
}
