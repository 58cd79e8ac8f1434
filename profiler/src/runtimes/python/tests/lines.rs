//! Line tables, against what each interpreter itself makes of them.

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Expected {
    name: String,
    first_line: u32,
    table: String,
    /// Bytes of instructions.
    size: u32,
    /// Start and end in bytes, and a line.
    lines: Vec<(u32, u32, Option<u32>)>,
}

const SCRIPT: &str = r#"
import dis, importlib.util, json, sys

def describe(code):
    if hasattr(code, "co_lines"):
        lines = [list(entry) for entry in code.co_lines()]
    else:
        starts = list(dis.findlinestarts(code))
        ends = [start for start, _ in starts[1:]] + [len(code.co_code)]
        lines = [[start, end, line] for (start, line), end in zip(starts, ends)]
    table = code.co_linetable if hasattr(code, "co_linetable") else code.co_lnotab
    yield dict(name=code.co_name, first_line=code.co_firstlineno, table=table.hex(),
               size=len(code.co_code), lines=lines)
    for constant in code.co_consts:
        if hasattr(constant, "co_code"):
            yield from describe(constant)

everything = []
for name in sys.argv[1:]:
    specification = importlib.util.find_spec(name)
    if specification is None or not specification.origin.endswith(".py"):
        continue
    with open(specification.origin, encoding="utf-8") as file:
        everything += describe(compile(file.read(), name, "exec"))
# Far jumps between lines, in both directions.
text = "def f(a, b):\n" + "\n" * 500 + "  x = (a,\n" + "\n" * 300 + "   b)\n  return [\n x\n for\n y in x\n]\n"
everything += describe(compile(text, "text", "exec"))
print(json.dumps(everything))
"#;

#[test]
fn every_instruction_has_the_line_that_the_interpreter_gives() {
    let modules = [
        "argparse",
        "ast",
        "collections",
        "contextlib",
        "enum",
        "functools",
        "heapq",
        "inspect",
        "os",
        "threading",
        "traceback",
        "typing",
    ];
    for python in pythons() {
        let output = python
            .command()
            .arg("-c")
            .arg(SCRIPT)
            .args(modules)
            .output()
            .expect("it runs");
        assert!(
            output.status.success(),
            "{}: {}",
            python.program.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        let codes: Vec<Expected> = serde_json::from_slice(&output.stdout).expect("JSON");
        let program = python.program.to_string_lossy();
        let kind = match &program[program.len() - 3..] {
            "3.8" | "3.9" => LineTableKind::Lnotab,
            ".10" => LineTableKind::Ranges,
            _ => LineTableKind::Locations,
        };
        let unit = if kind == LineTableKind::Ranges { 2 } else { 1 };
        let mut compared = 0;
        for code in &codes {
            let bytes = (0..code.table.len() / 2)
                .map(|index| u8::from_str_radix(&code.table[2 * index..][..2], 16).expect("hex"))
                .collect();
            let table = LineTable {
                kind,
                first_line: code.first_line,
                bytes,
            };
            let mut ranges = code.lines.iter().peekable();
            for offset in (0..code.size).step_by(2) {
                while ranges.next_if(|(_, end, _)| *end <= offset).is_some() {}
                let expected = match ranges.peek() {
                    Some((start, _, line)) if *start <= offset => *line,
                    _ => None,
                };
                assert_eq!(
                    table.line(offset / unit),
                    expected,
                    "{program}: {} at {offset}",
                    code.name
                );
                compared += 1;
            }
            assert_eq!(table.line(u32::MAX), Some(code.first_line));
            if kind != LineTableKind::Lnotab {
                assert_eq!(table.line(code.size + 2), None);
            }
        }
        eprintln!(
            "{program}: {compared} instructions of {} functions",
            codes.len()
        );
        assert!(compared > 10_000);
    }
}
