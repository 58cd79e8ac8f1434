//! Event loops whose thread waits while it should go back to its loop: what
//! everyone else who is served by it waits for, too.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::{Finding, FindingKind, seconds};
use crate::profile::{Activity, FrameId, FrameKind, Function, Recording, Source, ThreadId};

/// What a callback waits for on purpose. That it gets no CPU, or not the GIL, is
/// another's fault.
const WAITS: [Activity; 17] = [
    Activity::Lock,
    Activity::Sleep,
    Activity::Signal,
    Activity::Poll,
    Activity::Accept,
    Activity::DiskRead,
    Activity::DiskWrite,
    Activity::Sync,
    Activity::FileSystem,
    Activity::NetworkRead,
    Activity::NetworkWrite,
    Activity::Connect,
    Activity::Pipe,
    Activity::Child,
    Activity::AsyncIo,
    Activity::Descriptor,
    Activity::Other,
];

/// Directories of what others wrote: a package's, and the standard library's.
const PACKAGES: &[&str] = &["/site-packages/", "/dist-packages/", "/node_modules/"];
const STANDARD: &[&str] = &["/lib/python3", "/lib64/python3"];

#[derive(Default)]
struct Stood {
    ns: u64,
    waits: u64,
    /// By what it waited for, and where.
    places: FxHashMap<(usize, FrameId), u64>,
}

pub fn blocked(recording: &Recording, least: u64, found: &mut Vec<Finding>) {
    // The workers of a service do the same: the worst stands for them.
    let mut alike: BTreeMap<_, Vec<(ThreadId, Stood)>> = BTreeMap::new();
    for (thread, stood) in threads(recording) {
        if stood.ns >= least {
            let process = recording.threads[thread as usize].process;
            let container = recording.processes[process as usize].container;
            let key = (container, stood.largest().map(|(place, _)| place));
            alike.entry(key).or_default().push((thread, stood));
        }
    }
    for loops in alike.values() {
        if let Some((thread, worst)) = loops.iter().max_by_key(|(_, stood)| stood.ns) {
            found.push(finding(recording, *thread, worst, loops.len() - 1));
        }
    }
}

impl Stood {
    /// What it waited for most, and where, with how long.
    fn largest(&self) -> Option<((usize, FrameId), u64)> {
        self.places
            .iter()
            .map(|(&place, &ns)| (place, ns))
            .max_by_key(|&(place, ns)| (ns, std::cmp::Reverse(place)))
    }
}

fn finding(recording: &Recording, thread: ThreadId, stood: &Stood, others: usize) -> Finding {
    let id = recording.threads[thread as usize].process;
    let process = &recording.processes[id as usize];
    let place = stood
        .largest()
        .map_or_else(String::new, |((what, frame), ns)| {
            let label = recording.frame(frame).label(recording.function_of(frame));
            // Not all of it, when more than a tenth is elsewhere.
            let most = if ns < stood.ns - stood.ns / 10 {
                "most by "
            } else {
                ""
            };
            format!(": {most}{} in {label}", WAITS[what].title())
        });
    let others = match others {
        0 => String::new(),
        1 => "; so does that of another thread".to_owned(),
        many => format!("; so do those of {many} other threads"),
    };
    let length = recording.about.duration_ns;
    Finding {
        kind: FindingKind::BlockedEventLoop,
        container: process.container,
        process: Some(id),
        text: format!(
            "the event loop of {} [{}] stands still for {:.0} % of the time{place}{others}",
            process.name,
            process.pid,
            100.0 * stood.ns as f64 / length.max(1) as f64,
        ),
        evidence: format!(
            "callbacks of its thread waited for {} of {}, in {}",
            seconds(stood.ns),
            seconds(length),
            match stood.waits {
                1 => "1 wait".to_owned(),
                many => format!("{many} waits"),
            }
        ),
        cost_ns: stood.ns,
    }
}

fn threads(recording: &Recording) -> BTreeMap<ThreadId, Stood> {
    let names = WAITS.map(Activity::frame);
    let mut threads: BTreeMap<ThreadId, Stood> = BTreeMap::new();
    for sample in &recording.samples {
        if !matches!(sample.source, Source::Blocked | Source::Idle) {
            continue;
        }
        let frames: Vec<FrameId> = recording.frames_of(sample.stack).collect();
        let Some(what) = frames.first().and_then(|&frame| {
            let name = &recording.function_of(frame).name;
            names.iter().position(|known| known == name)
        }) else {
            continue;
        };
        let Some((runtime, callback)) = callback(recording, &frames) else {
            continue;
        };
        let thread = &recording.threads[sample.thread as usize];
        // A worker thread of Node.js has a loop of its own, which may wait.
        if runtime == FrameKind::JavaScript && thread.tid != recording.process_of(sample).pid {
            continue;
        }
        let Some(place) = place(recording, callback) else {
            continue;
        };
        let stood = threads.entry(sample.thread).or_default();
        stood.ns = stood.ns.saturating_add(sample.weight);
        stood.waits = stood.waits.saturating_add(sample.count);
        let sum = stood.places.entry((what, place)).or_default();
        *sum = sum.saturating_add(sample.weight);
    }
    threads
}

/// The frames that an event loop called, innermost first, with the language of the
/// innermost; `None` when there is no loop, or it waits itself for what comes next.
/// A loop that no interpreted function was called by is one of those that a call
/// such as `execSync` runs for itself.
fn callback<'f>(
    recording: &Recording,
    frames: &'f [FrameId],
) -> Option<(FrameKind, &'f [FrameId])> {
    let mut innermost = None;
    for (at, &frame) in frames.iter().enumerate() {
        let function = recording.function_of(frame);
        if let Some(runtime) = innermost
            && is_loop(recording, function)
        {
            return Some((runtime, &frames[..at]));
        }
        innermost = innermost.or_else(|| language(recording, frame));
    }
    None
}

fn language(recording: &Recording, frame: FrameId) -> Option<FrameKind> {
    let kind = recording.function_of(frame).kind;
    matches!(kind, FrameKind::Python | FrameKind::JavaScript).then_some(kind)
}

/// What runs callbacks: `Handle._run` of asyncio, which waits for what comes next
/// outside of it; uvloop's module, which is one file of native code; and libuv's
/// `uv_run` of Node.js.
fn is_loop(recording: &Recording, function: &Function) -> bool {
    match function.kind {
        FrameKind::Python => {
            let name = function.name.rsplit('.').next().unwrap_or_default();
            name == "_run" && function.file.ends_with("asyncio/events.py")
        }
        FrameKind::Native => {
            function.name == "uv_run"
                || function.module.is_some_and(|module| {
                    recording.modules[module as usize]
                        .path
                        .contains("/uvloop/loop.")
                })
        }
        _ => false,
    }
}

/// The innermost function of the program's own code; of what it uses, when there
/// is none, but not of the language's.
fn place(recording: &Recording, callback: &[FrameId]) -> Option<FrameId> {
    let file = |frame: FrameId| recording.function_of(frame).file.as_str();
    let interpreted: Vec<FrameId> = callback
        .iter()
        .copied()
        .filter(|&frame| language(recording, frame).is_some())
        .collect();
    let of = |is_fit: &dyn Fn(&str) -> bool| {
        interpreted
            .iter()
            .copied()
            .find(|&frame| is_fit(file(frame)))
    };
    of(&|file| !is_standard(file) && !is_package(file))
        .or_else(|| of(&|file| !is_standard(file)))
        .or_else(|| interpreted.first().copied())
}

fn is_package(file: &str) -> bool {
    PACKAGES.iter().any(|part| file.contains(part))
}

fn is_standard(file: &str) -> bool {
    file.starts_with("node:")
        || file.starts_with('<')
        || (!is_package(file) && STANDARD.iter().any(|part| file.contains(part)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Builder, Frame, Module, Process, Sample, Thread};

    const SECOND: u64 = 1_000_000_000;
    const RUN: (FrameKind, &str, &str) = (
        FrameKind::Python,
        "Handle._run",
        "/usr/lib/python3.11/asyncio/events.py",
    );
    const ONCE: (FrameKind, &str, &str) = (
        FrameKind::Python,
        "BaseEventLoop._run_once",
        "/usr/lib/python3.11/asyncio/base_events.py",
    );
    const HANDLER: (FrameKind, &str, &str) = (FrameKind::Python, "send", "/app/main.py");

    /// Ten seconds in which a thread waited for three with these frames, outermost
    /// first. Of native frames the file is the module's.
    fn waited(activity: Activity, tid: u32, frames: &[(FrameKind, &str, &str)]) -> Vec<String> {
        let mut builder = Builder::default();
        builder.recording.about.duration_ns = 10 * SECOND;
        builder.recording.containers.push(Default::default());
        builder.recording.processes.push(Process {
            pid: 7,
            name: "api".into(),
            ..Process::default()
        });
        builder.recording.threads.push(Thread {
            tid,
            ..Thread::default()
        });
        let what = activity.frame();
        let mut stack = None;
        for (kind, name, file) in
            frames
                .iter()
                .copied()
                .chain([(FrameKind::Synthetic, what.as_str(), "")])
        {
            let is_native = kind == FrameKind::Native;
            let module = is_native.then(|| {
                builder.module(Module {
                    path: file.into(),
                    ..Module::default()
                })
            });
            let function = builder.function(Function {
                name: name.into(),
                kind,
                module,
                file: if is_native { "" } else { file }.into(),
                line: 1,
            });
            let frame = builder.frame(Frame {
                function,
                line: 88,
                ..Frame::default()
            });
            stack = Some(builder.stack(stack, frame));
        }
        builder.sample(Sample {
            source: activity.source(),
            thread: 0,
            stack,
            weight: 3 * SECOND,
            count: 60,
        });
        let mut found = Vec::new();
        blocked(&builder.finish(), SECOND, &mut found);
        found
            .into_iter()
            .map(|finding| format!("{} ({})", finding.text, finding.evidence))
            .collect()
    }

    const SLEEPS: &str = "the event loop of api [7] stands still for 30 % of the time: sleep in send \
                          (/app/main.py:88) (callbacks of its thread waited for 3.0 s of 10.0 s, \
                          in 60 waits)";

    #[test]
    fn a_callback_of_asyncio() {
        assert_eq!(waited(Activity::Sleep, 7, &[ONCE, RUN, HANDLER]), [SLEEPS]);
        // A library's functions, and the language's, are not where it is mended.
        let library = (
            FrameKind::Python,
            "get",
            "/venv/lib/python3.11/site-packages/requests/api.py",
        );
        let standard = (
            FrameKind::Python,
            "readinto",
            "/usr/lib/python3.11/socket.py",
        );
        assert_eq!(
            waited(Activity::Sleep, 7, &[ONCE, RUN, HANDLER, library, standard]),
            [SLEEPS]
        );
        let found = waited(Activity::NetworkRead, 7, &[ONCE, RUN, library, standard]);
        assert!(found[0].contains("network read in get ("), "{found:?}");
    }

    #[test]
    fn what_blocks_no_loop() {
        let select = (
            FrameKind::Python,
            "EpollSelector.select",
            "/usr/lib/python3.11/selectors.py",
        );
        let worker = (
            FrameKind::Python,
            "_worker",
            "/usr/lib/python3.11/concurrent/futures/thread.py",
        );
        assert!(waited(Activity::Poll, 7, &[HANDLER, ONCE, select]).is_empty());
        assert!(waited(Activity::Sleep, 8, &[worker, HANDLER]).is_empty());
        for other in [Activity::RunQueue, Activity::Gil, Activity::PageFault] {
            assert!(waited(other, 7, &[ONCE, RUN, HANDLER]).is_empty());
        }
    }

    #[test]
    fn uvloop_and_node() {
        let uvloop = (
            FrameKind::Native,
            "loop.cpython-311-x86_64-linux-gnu.so+0x12345",
            "/venv/lib/python3.11/site-packages/uvloop/loop.cpython-311-x86_64-linux-gnu.so",
        );
        assert_eq!(
            waited(Activity::Sleep, 7, &[HANDLER, uvloop, HANDLER]),
            [SLEEPS]
        );
        assert!(waited(Activity::Poll, 7, &[HANDLER, uvloop]).is_empty());

        let run = (FrameKind::Native, "uv_run", "/usr/bin/node");
        let handler = (FrameKind::JavaScript, "send", "/app/main.js");
        let builtin = (FrameKind::JavaScript, "execSync", "node:child_process");
        // It waits in a loop of its own.
        let stack = [run, handler, builtin, run];
        let found = waited(Activity::Poll, 7, &stack);
        assert!(
            found.len() == 1 && found[0].contains("poll in send (/app/main.js:88)"),
            "{found:?}"
        );
        assert!(waited(Activity::Poll, 8, &stack).is_empty(), "a worker");
        assert!(waited(Activity::Poll, 7, &[run]).is_empty());
    }
}
