//! What `py-spy record --format raw` writes: `frame;frame;… samples`, frames
//! as `function (file:line)`, outermost first, functions of interpreters only.
//!
//! As with py-spy, stacks of different processes begin with a frame of the
//! process (`process 42:"python app.py"`, there with `--subprocesses`), and
//! those of a single process do not. Files are not shortened, as with
//! `--full-filenames`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use crate::{
    profile::{ProcessId, Recording, StackId},
    views::{Kept, ending, interpreted},
};

use super::{Selection, evidence, merged::fit};

pub fn write(recording: &Recording, selection: Selection, out: &mut dyn Write) -> io::Result<()> {
    let recording = &interpreted(recording, Kept::Interpreted);
    let mut counts = BTreeMap::<(ProcessId, StackId), u64>::new();
    for sample in &recording.samples {
        if let Some(stack) = sample.stack
            && selection.source.shows(sample.source)
            && sample.count > 0
        {
            let process = recording.threads[sample.thread as usize].process;
            *counts.entry((process, stack)).or_default() += sample.count;
        }
    }
    if counts.is_empty() {
        return writeln!(
            out,
            "# No functions of Python: {}",
            evidence::no_samples(recording, selection)
        );
    }
    let processes: BTreeSet<ProcessId> = counts.keys().map(|&(process, _)| process).collect();
    let mut labels: Vec<Option<String>> = vec![None; recording.frames.len()];
    // Different frames can have the same text; a line is there once.
    let mut lines = BTreeMap::<String, u64>::new();
    for ((process, stack), count) in counts {
        let mut frames: Vec<String> = ending(selection.source)
            .map(str::to_string)
            .into_iter()
            .chain(recording.frames_of(Some(stack)).map(|frame| {
                let label = labels[frame as usize].get_or_insert_with(|| {
                    fit(&recording.frame(frame).label(recording.function_of(frame)))
                });
                label.clone()
            }))
            .collect();
        if processes.len() > 1 {
            let process = &recording.processes[process as usize];
            let command = if process.command_line.is_empty() {
                &process.name
            } else {
                &process.command_line
            };
            frames.push(fit(&format!("process {}:\"{command}\"", process.pid)));
        }
        frames.reverse();
        *lines.entry(frames.join(";")).or_default() += count;
    }
    for (line, count) in lines {
        writeln!(out, "{line} {count}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{profile::Source, views::sample};

    fn text(recording: &Recording, selection: Selection) -> String {
        let mut out = Vec::new();
        write(recording, selection, &mut out).expect("it can be written");
        String::from_utf8(out).expect("it is text")
    }

    #[test]
    fn frames_of_interpreters_counted_in_samples() {
        let module = "<module> (/app/app.py:30)";
        let walk = "walk (/app/app.py:12)";
        let deep = format!("{module};{walk};walk (/app/app.py:13);{walk}");
        assert_eq!(
            text(&sample::plain(), Selection::default()),
            format!("{module} 60\n{module};{walk} 40\n{deep} 50\nhandler (/app/server.js:7) 20\n")
        );
        let waits = Selection {
            source: Source::GilWait,
            ..Selection::default()
        };
        assert_eq!(
            text(&sample::plain(), waits),
            format!("{module};[gil wait] 200\n{module};{walk};[gil wait] 800\n")
        );
    }

    #[test]
    fn several_processes_are_told_apart_as_by_py_spy() {
        let mut recording = sample::plain();
        recording.threads[sample::API_WORKER as usize].process = 1;
        let text = text(&recording, Selection::default());
        assert!(
            text.contains("process 4242:\"python3 app.py\";<module> (/app/app.py:30) 60\n"),
            "{text}"
        );
        assert!(text.contains("process 77:\"bash\";<module> "), "{text}");
    }

    #[test]
    fn lines_can_be_read_whatever_the_names() {
        for seed in 0..20 {
            for line in text(&sample::nasty(seed), Selection::default()).lines() {
                if line.starts_with("# ") {
                    continue;
                }
                let (stack, count) = line.rsplit_once(' ').expect("a count");
                assert!(count.parse::<u64>().is_ok(), "{line}");
                assert!(stack.split(';').all(|frame| !frame.trim().is_empty()));
            }
        }
        let empty = text(&sample::empty(), Selection::default());
        assert!(empty.starts_with("# No functions of Python"));
    }
}
