//! Real Nodes, stopped while they run known programs.
//!
//! The stacks are those that the programs have by construction. The walk is
//! the kernel side's: what it does with a frame is shared code, and here as
//! there only memory and registers are read.

mod hostile;
mod nodes;
mod walk;

use std::{
    collections::BTreeSet,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Engine, JavaScriptFrame, Reader, Tier, Unsupported, recognise};
use crate::{
    elf::Elf,
    process::{Image, Parts},
    runtimes::ProcessMemory,
};

/// `leaf` is too long to be built into `hot`; `hot` and `middle` are not.
fn program() -> String {
    let body = "    sum = (sum * 31 + i) % 1000003;\n".repeat(200);
    format!(
        "'use strict';
function leaf(n) {{
  let sum = 0;
  for (let i = 0; i < n; i++) {{
{body}  }}
  return sum;
}}
function hot(n) {{
  let sum = 1;
  return sum + leaf(n);
}}
function middle(n) {{ return 1 +
    hot(n);
}}
class Outer {{
  method(n) {{
    return middle(n) - 1;
  }}
}}
const outer = new Outer();
let total = 0;
for (;;) {{
  total += outer.method(200);
}}
"
    )
}

/// Function, line and column of the frames of [`program`] but the innermost.
/// Columns are those of the name that is called.
const CALLERS: [(&str, u32, u32); 4] = [
    ("hot", 210, 16),
    ("middle", 213, 5),
    ("method", 217, 12),
    ("(anonymous)", 223, 18),
];

/// Lines of `leaf`.
const LEAF: std::ops::RangeInclusive<u32> = 2..=207;

fn engine(path: &Path) -> Option<Result<Engine, Unsupported>> {
    let file = File::open(path).expect("the file");
    let image = Image::read(&file, Parts::Description).expect("its parts");
    recognise(&file, &Elf::parse(image.bytes()).expect("an ELF file"))
}

fn node(major: u32) -> (PathBuf, Arc<Engine>) {
    let path = nodes::binary(major);
    let engine = engine(&path).expect("V8").expect("a supported one");
    (path, Arc::new(engine))
}

/// A Node that runs a program until it is dropped.
struct Running {
    child: Child,
    script: PathBuf,
    _directory: tempfile::TempDir,
}

impl Running {
    fn start(node: &Path, flags: &[&str], program: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let script = directory.path().join("program.js");
        std::fs::write(&script, program).expect("the program");
        let child = Command::new(node)
            .args(flags)
            .arg(&script)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("node");
        Self {
            child,
            script,
            _directory: directory,
        }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Frames of the program itself, while it is stopped.
    fn stack(&self, reader: &mut Reader, path: &Path) -> Option<Vec<JavaScriptFrame>> {
        let stopped = walk::Stopped::new(self.pid());
        let memory = ProcessMemory::new(self.pid()).expect("a pid");
        let walked = stopped.walk(&memory, reader.engine(), path)?;
        let script = self.script.to_str().expect("a path");
        let mut frames = Vec::new();
        for (kind, object, detail) in walked {
            match reader.resolve(&memory, kind, object, detail) {
                Ok(resolved) => frames.extend(resolved),
                Err(error) => panic!("kind {kind}, {object:#x}, {detail:#x}: {error}"),
            }
        }
        frames.retain(|frame| &*frame.script == script);
        Some(frames)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn place(frame: &JavaScriptFrame) -> (&str, u32, u32) {
    (frame.function.as_str(), frame.line, frame.column)
}

/// Takes stacks of [`program`] and compares them with what they must be.
/// Returns the tiers seen, and how often which stack was complete.
fn check(major: u32, flags: &[&str]) -> BTreeSet<String> {
    let (path, engine) = node(major);
    let running = Running::start(&path, flags, &program());
    std::thread::sleep(Duration::from_millis(1500));
    let mut reader = Reader::new(engine);
    let mut tiers = BTreeSet::new();
    // Maglev keeps the position of the statement that it last began for what
    // it built into a loop that it took over.
    let coarse = [CALLERS[0], CALLERS[1], CALLERS[2], ("(anonymous)", 222, 1)];
    let (mut taken, mut whole) = (0, 0);
    let end = Instant::now() + Duration::from_secs(120);
    while taken < 200 {
        assert!(
            Instant::now() < end,
            "{major} {flags:?}: only {taken} stacks"
        );
        std::thread::sleep(Duration::from_millis(3));
        let Some(frames) = running.stack(&mut reader, &path) else {
            continue;
        };
        taken += 1;
        let places: Vec<_> = frames.iter().map(place).collect();
        // A thread may stop anywhere, but is nearly always in `leaf`.
        let callers = match places.split_first() {
            Some((first, callers)) if first.0 == "leaf" => {
                assert!(LEAF.contains(&first.1), "{major} {flags:?}: {places:?}");
                callers
            }
            _ => &places[..],
        };
        if callers == CALLERS || callers == coarse {
            whole += 1;
        } else {
            let tiers: Vec<_> = frames
                .iter()
                .map(|frame| (frame.tier, frame.inlined))
                .collect();
            println!("node {major} {flags:?}: {places:?} {tiers:?}");
        }
        let names: Vec<_> = callers.iter().map(|place| place.0).collect();
        let expected: Vec<_> = CALLERS.iter().map(|place| place.0).collect();
        assert!(expected.ends_with(&names), "{major} {flags:?}: {places:?}");
        tiers.extend(frames.iter().map(|frame| format!("{:?}", frame.tier)));
    }
    println!("node {major} {flags:?}: {whole} of {taken} whole, tiers {tiers:?}");
    assert!(
        whole * 100 >= taken * 95,
        "{major} {flags:?}: {whole} of {taken}"
    );
    tiers
}

/// Node 18 has no Maglev, nor the flag.
fn without_optimisation(major: u32) -> &'static [&'static str] {
    if major < 20 {
        &["--no-opt"]
    } else {
        &["--no-opt", "--no-maglev"]
    }
}

fn interpreted(major: u32) {
    let tiers = check(
        major,
        &[without_optimisation(major), &["--no-sparkplug"]].concat(),
    );
    let only = format!("{:?}", Some(Tier::Interpreted));
    assert_eq!(tiers, BTreeSet::from([only]));
}

fn baseline(major: u32) {
    let tiers = check(
        major,
        &[without_optimisation(major), &["--always-sparkplug"]].concat(),
    );
    assert!(tiers.contains(&format!("{:?}", Some(Tier::Baseline))));
}

fn maglev(major: u32) {
    let tiers = check(major, &["--maglev", "--no-turbofan"]);
    assert!(
        tiers.contains(&format!("{:?}", Some(Tier::Maglev))),
        "{tiers:?}"
    );
}

fn optimised(major: u32) {
    let tiers = check(major, &[]);
    assert!(
        tiers.contains(&format!("{:?}", Some(Tier::TurboFan))),
        "{tiers:?}"
    );
}

macro_rules! versions {
    ($($name:ident: $check:ident $major:literal;)*) => {
        $(#[test] fn $name() { $check($major); })*
    };
}

versions! {
    node_18_interpreted: interpreted 18;
    node_20_interpreted: interpreted 20;
    node_22_interpreted: interpreted 22;
    node_24_interpreted: interpreted 24;
    node_26_interpreted: interpreted 26;
    node_18_baseline: baseline 18;
    node_20_baseline: baseline 20;
    node_22_baseline: baseline 22;
    node_24_baseline: baseline 24;
    node_26_baseline: baseline 26;
    node_24_maglev: maglev 24;
    node_26_maglev: maglev 26;
    node_18_optimised: optimised 18;
    node_20_optimised: optimised 20;
    node_22_optimised: optimised 22;
    node_24_optimised: optimised 24;
    node_26_optimised: optimised 26;
}

/// Without symbols of its own, the builtins are where no unwind information
/// is. Linkers keep some code without any beside them.
#[test]
fn a_stripped_node_has_its_builtins() {
    const ROOM: u64 = 64 << 10;
    for major in [20, 24] {
        let (path, engine_of_all) = node(major);
        let directory = tempfile::tempdir().expect("a directory");
        let stripped = directory.path().join("node");
        let status = Command::new("strip")
            .arg("-o")
            .args([&stripped, &path])
            .status();
        assert!(status.expect("strip").success());
        let found = engine(&stripped).expect("V8").expect("a supported one");
        let (found, known) = (found.builtins, engine_of_all.builtins);
        assert!(found.start <= known.start && known.start - found.start < ROOM);
        assert!(found.end >= known.end && found.end - known.end < ROOM);
    }
}

#[test]
fn other_executables_hold_no_v8() {
    for path in ["/bin/sh", "/usr/bin/python3"] {
        assert!(engine(Path::new(path)).is_none(), "{path}");
    }
    let own = std::env::current_exe().expect("this test");
    assert!(engine(&own).is_none());
}
