//! The stacks of real work in JavaScript, a Vite build, are whole from its
//! first moment on.
//!
//! Vite 7, not 8: it bundles with Rollup, whose modules, graph, tree shaking and
//! source maps are JavaScript, where Vite 8 does that in native threads of
//! Rolldown. So most of a build runs in V8, and everything that happens to code
//! there happens in it: thousands of functions that are compiled lazily, tiered
//! up, built into others, deoptimised and thrown away, generators, promises,
//! classes, WebAssembly, regular expressions, native addons and pipes to
//! esbuild.
use std::path::Path;

use anyhow::{Result, ensure};
use tests::{
    folded::Stack,
    interpreted::{Recorded, function, location, missing},
    measurement::measured,
    nodes::{self, Node},
    vite::Project,
};

/// The oldest that Vite 7 runs on, and the one that most run it on.
const LINES: [&str; 2] = ["20", "24"];
/// Percent of the stacks with JavaScript that must be whole.
const COMPLETE: f64 = 98.0;
/// Of the recording, the builds last longer: several of them, even where others
/// need the machine too.
const SECONDS: u32 = 12;

#[test]
fn stacks_of_builds_are_whole() -> Result<()> {
    let project = Project::generate()?;
    let mut wrong = Vec::new();
    for node in nodes::all()? {
        if !LINES.contains(&node.line) {
            continue;
        }
        println!("--- Node {}", node.line);
        if let Err(error) = measured(|| check(&node, &project)) {
            println!("{error:#}");
            wrong.push(format!("Node {}: {error:#}", node.line));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn check(node: &Node, project: &Project) -> Result<()> {
    // Recorded from the start: the first build is the one that compiles.
    let target = project.start(node, 5 * SECONDS)?;
    let recorded = Recorded::lasting(SECONDS, &["--pid", &target.pid().to_string()])?;
    let complete = recorded.complete("V8 ")?;
    println!("{complete:.2} % complete");
    ensure!(
        complete >= COMPLETE,
        "{complete:.2} % of the stacks are whole:{}",
        recorded.folded.examples(missing)
    );
    check_places(&recorded, project)
}

/// Where builds spend their time: a function and the file that it is in.
fn check_places(recorded: &Recorded, project: &Project) -> Result<()> {
    let places = [
        // Reads from the pipe of esbuild, which transforms TypeScript.
        ("readFromStdout", "esbuild/lib/main.js"),
        ("parse", "postcss/lib/parser.js"),
        ("hasEffects", "rollup/dist/es/shared/node-entry.js"),
        ("convertProgram", "rollup/dist/es/shared/node-entry.js"),
        ("handler", "vite/dist/node/chunks/config.js"),
    ];
    for (name, file) in places {
        let file = project.packages().join(file);
        find(recorded, name, |found| Path::new(found) == file)?;
    }
    // Vite makes a script of the configuration, and throws it away.
    let own = project.path().join("vite.config.mjs.timestamp-");
    let own = own.to_string_lossy();
    find(recorded, "walk", |found| found.starts_with(&*own))
}

fn find(recorded: &Recorded, name: &str, file: impl Fn(&str) -> bool) -> Result<()> {
    let wanted = |stack: &Stack| {
        stack.frames.iter().any(|frame| {
            function(frame) == name
                && location(frame).is_some_and(|(found, line)| {
                    file(found.strip_prefix("file://").unwrap_or(found)) && line > 0
                })
        })
    };
    let share = recorded.folded.share(wanted);
    println!("{share:>5.2} % in or below {name}");
    let named = |stack: &Stack| stack.has(name);
    ensure!(
        share > 0.0,
        "{name} is not there:{}",
        recorded.folded.examples(named)
    );
    Ok(())
}
