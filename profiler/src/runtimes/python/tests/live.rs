//! Frames of processes that run, against what they say of themselves and, if
//! it is installed, against py-spy.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use profiler_ebpf::{ThreadSpecific, shape};
use serde::Deserialize;

use super::super::walk;
use super::*;
use crate::process::read_maps;
use crate::runtimes::ProcessMemory;

/// The main thread sleeps below calls from Python and from C, one spins, and
/// one tells what the main one does.
const SCRIPT: &str = r#"
import sys, threading, time

class Größe:
    def methode(self, tiefe):
        if tiefe:
            return self.methode(
                tiefe - 1,
            )
        return list(map(
            self.rückruf, [1]))

    def rückruf(self, wert):
        return next(erzeuger())

def erzeuger():
    def 内側():
        time.sleep(
            1000
        )
    yield 内側()

def main():
    Größe().methode(2)

def spin():
    value = 0
    while True:
        for number in range(1000):
            value = (value
                     + number)
        value = spun(value)

def spun(value):
    return value % 7

def report(main):
    while True:
        frame = sys._current_frames()[main]
        if frame.f_code.co_name == "内側":
            break
        time.sleep(0.01)
    time.sleep(0.2)
    lines = []
    frame = sys._current_frames()[main]
    while frame is not None:
        code = frame.f_code
        name = getattr(code, "co_qualname", code.co_name)
        lines.append("\t".join([name, code.co_filename, str(frame.f_lineno)]))
        frame = frame.f_back
    lines.append("threads\t%d\t%d" % (main, spinning.ident))
    sys.stdout.buffer.write(("\n".join(lines) + "\n").encode())
    sys.stdout.buffer.flush()
    time.sleep(1000)

spinning = threading.Thread(target=spin, daemon=True)
spinning.start()
threading.Thread(target=report, args=[threading.get_ident()], daemon=True).start()
main()
"#;

/// The first line of the script that holds `text`.
fn line_of(text: &str) -> u32 {
    let position = SCRIPT.find(text).expect("a line of the script");
    1 + SCRIPT[..position].matches('\n').count() as u32
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the mappings of a process hold.
fn look(tgid: u32) -> (Interpreter, u64, ThreadSpecific) {
    let mut interpreter = None;
    let mut values = None;
    for entry in read_maps(tgid).expect("mappings") {
        let path = format!("/proc/{tgid}/root{}", entry.path.display());
        let Ok(file) = File::open(&path) else {
            continue;
        };
        let Ok(image) = Image::read(&file, Parts::Unwinding) else {
            continue;
        };
        let elf = Elf::parse(image.bytes()).expect("an ELF file");
        if let Some(found) = recognise(&file, &elf) {
            let bias = elf.bias(entry.start, entry.offset).expect("a segment");
            interpreter = Some((found.expect("supported"), bias));
        }
        values = values.or_else(|| find_thread_specific(&file, &elf));
    }
    let (interpreter, bias) = interpreter.expect("an interpreter");
    (interpreter, bias, values.expect("a C library"))
}

#[test]
fn frames_are_those_of_the_process() {
    for python in pythons() {
        one_process(&python);
    }
}

fn one_process(python: &Python) {
    let mut command = python.command();
    command.args(["-c", SCRIPT]).stdout(Stdio::piped());
    let mut child = Running(command.spawn().expect("it runs"));
    let output = child.0.stdout.take().expect("a pipe");
    let mut lines = Vec::new();
    for line in BufReader::new(output).lines() {
        lines.push(line.expect("text"));
        if lines
            .last()
            .is_some_and(|line| line.starts_with("threads\t"))
        {
            break;
        }
    }
    let program = python.program.display().to_string();
    let (threads, expected) = lines.split_last().expect("a report");
    let identifiers: Vec<u64> = threads
        .split('\t')
        .skip(1)
        .map(|number| number.parse().expect("a number"))
        .collect();
    let tgid = child.0.id();
    let (interpreter, bias, values) = look(tgid);
    let runtime = &interpreter.runtime;
    let memory = ProcessMemory::new(tgid).expect("a pid");
    let states = walk::thread_states(&memory, &interpreter, bias).expect("thread states");
    assert_eq!(states.len(), 3, "{program}");
    for state in &states {
        let found = walk::by_key(&memory, runtime, bias, state.thread_pointer, values);
        assert_eq!(found, Ok(state.address), "{program}: key");
    }
    let state_of = |thread: u64| {
        states
            .iter()
            .find(|state| state.thread_pointer == thread)
            .expect("its state")
            .address
    };

    // The one that sleeps.
    let frames = walk::frames(&memory, runtime, state_of(identifiers[0])).expect("frames");
    let code_type = interpreter.code_type.map(|address| address + bias);
    assert!(code_type.is_some());
    let read = |frame: &walk::Walked| {
        read_code(&memory, &interpreter, frame.code, frame.checksum, code_type).map(|code| {
            let line = code.line(frame.instruction).map_or(0, |line| line);
            format!("{}\t{}\t{line}", code.name, code.file)
        })
    };
    let found: Vec<_> = frames
        .iter()
        .map(|frame| read(frame).expect("a code object"))
        .collect();
    assert_eq!(found, expected, "{program}");
    let mut activations = vec![0; 8];
    for frame in &frames {
        activations[frame.activation as usize] += 1;
    }
    activations.retain(|&count| count > 0);
    if runtime.shape == shape::FRAME_OBJECTS {
        assert_eq!(activations, [1; 8]);
    } else {
        // `next` and `map` call from C; all other calls stay in one evaluator.
        assert_eq!(activations, [2, 1, 5], "{program}");
    }
    assert_eq!(
        read_code(&memory, &interpreter, frames[0].code, 1, code_type),
        Err(CodeError::Changed)
    );
    assert_eq!(
        read_code(
            &memory,
            &interpreter,
            frames[0].code,
            frames[0].checksum,
            Some(8)
        ),
        Err(CodeError::Changed)
    );

    // The one that spins: it is read while it runs, so now and then in vain.
    let spinning = state_of(identifiers[1]);
    let (mut good, mut held, mut seen) = (0, 0, std::collections::BTreeMap::new());
    const ROUNDS: usize = 300;
    for _ in 0..ROUNDS {
        let gil = walk::gil(&memory, runtime, bias, spinning).expect("the GIL");
        assert!(gil.locked <= 1, "{program}: {gil:?}");
        held += usize::from(gil.locked == 1 && gil.last_holder == spinning);
        if let Ok(frames) = walk::frames(&memory, runtime, spinning)
            && let Some(first) = frames.first()
            && let Ok(code) =
                read_code(&memory, &interpreter, first.code, first.checksum, code_type)
            && let Some(line) = code.line(first.instruction)
        {
            let expected = match code.name.as_str() {
                "spin" => line_of("value = 0")..=line_of("value = spun"),
                "spun" => line_of("def spun")..=line_of("return value % 7"),
                _ => panic!("{program}: {code:?}"),
            };
            assert!(expected.contains(&line), "{program}: {} {line}", code.name);
            *seen.entry((code.name, line)).or_insert(0) += 1;
            good += 1;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    eprintln!("{program}: {values:?}, {good} read, {held} held, {seen:?}");
    assert!(good > ROUNDS / 2, "{program}: {good}");
    assert!(held > ROUNDS / 2, "{program}: {held}");
    by_py_spy(tgid, &program, expected);
}

#[derive(Deserialize)]
struct SpiedThread {
    frames: Vec<SpiedFrame>,
}

#[derive(Deserialize)]
struct SpiedFrame {
    name: String,
    filename: String,
    line: u32,
}

fn by_py_spy(tgid: u32, program: &str, expected: &[String]) {
    let Ok(output) = Command::new("py-spy")
        .args([
            "dump",
            "--json",
            "--nonblocking",
            "--pid",
            &tgid.to_string(),
        ])
        .output()
    else {
        eprintln!("{program}: no py-spy to compare with");
        return;
    };
    if !output.status.success() {
        eprintln!(
            "{program}: py-spy cannot read it: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        return;
    }
    let threads: Vec<SpiedThread> = serde_json::from_slice(&output.stdout).expect("JSON");
    let spied = threads
        .iter()
        .find(|thread| {
            thread
                .frames
                .iter()
                .any(|frame| frame.name.contains("main"))
        })
        .expect("the main thread");
    let short = |name: &str| name.rsplit('.').next().map(str::to_owned);
    let spied: Vec<_> = spied
        .frames
        .iter()
        .map(|frame| (short(&frame.name), frame.filename.clone(), frame.line))
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|line| {
            let fields: Vec<_> = line.split('\t').collect();
            (
                short(fields[0]),
                fields[1].to_owned(),
                fields[2].parse().expect("a line"),
            )
        })
        .collect();
    assert_eq!(spied, expected, "{program}: py-spy");
    eprintln!("{program}: py-spy agrees");
}
