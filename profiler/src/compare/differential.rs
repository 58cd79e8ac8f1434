//! The stacks of two sides: which vanished, which are new, and both as one
//! differential flame graph.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use inferno::{differential, flamegraph};
use rustc_hash::FxHashMap;

use super::input::Round;
use crate::{
    profile::{FrameKind, Recording, Source, Unit},
    report::{
        merged::{NO_STACK, fit},
        text::{base_name, clean, function_label, shorten},
    },
    views::Amount,
};

/// Narrower frames are not drawn, in percent of the width.
const MIN_WIDTH_PERCENT: f64 = 0.01;
const TITLE_LENGTH: usize = 110;

/// What a recording has of one source, by stack: folded, without lines, which
/// another build moves.
#[derive(Clone, Debug, PartialEq)]
pub struct Stacks {
    pub source: Source,
    seconds: f64,
    amounts: BTreeMap<String, Amount>,
}

impl Stacks {
    pub fn new(recording: &Recording, source: Source) -> Self {
        let mut labels: Vec<Option<String>> = vec![None; recording.frames.len()];
        let mut sums: FxHashMap<(u32, Option<u32>), Amount> = FxHashMap::default();
        for sample in recording
            .samples
            .iter()
            .filter(|it| source.shows(it.source))
        {
            let process = recording.threads[sample.thread as usize].process;
            *sums.entry((process, sample.stack)).or_default() += Amount {
                weight: sample.weight,
                count: sample.count,
            };
        }
        let mut amounts: BTreeMap<String, Amount> = BTreeMap::new();
        for ((process, stack), amount) in sums {
            let process = &recording.processes[process as usize];
            let container = &recording.containers[process.container as usize].name;
            let mut line = format!("{};{}", fit(container), fit(&process.name));
            let mut frames: Vec<_> = recording.frames_of(stack).collect();
            frames.reverse();
            for frame in frames {
                let label =
                    labels[frame as usize].get_or_insert_with(|| frame_name(recording, frame));
                line.push(';');
                line.push_str(label);
            }
            if stack.is_none() {
                line.push(';');
                line.push_str(NO_STACK);
            }
            *amounts.entry(line).or_default() += amount;
        }
        Self {
            source,
            seconds: recording.about.duration_ns as f64 / 1e9,
            amounts,
        }
    }
}

fn frame_name(recording: &Recording, id: u32) -> String {
    let (frame, function) = (recording.frame(id), recording.function_of(id));
    fit(&match function.kind {
        FrameKind::Python | FrameKind::JavaScript => {
            format!(
                "{} ({})",
                function_label(function),
                base_name(&function.file)
            )
        }
        _ => frame.label(function),
    })
}

/// The stacks of both sides, a second.
#[derive(Clone, Debug)]
pub struct Differential {
    pub source: Source,
    stacks: BTreeMap<String, [Amount; 2]>,
    seconds: [f64; 2],
    /// How many rounds of each side a stack is in.
    rounds: BTreeMap<String, [usize; 2]>,
    round_counts: [usize; 2],
}

/// A stack that one side has and the other has not.
#[derive(Clone, Debug, PartialEq)]
pub struct OneSidedStack {
    /// Folded.
    pub stack: String,
    /// A second, in the source's unit.
    pub rate: f64,
    /// Samples or events.
    pub events: u64,
}

/// Vanished or new stacks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OneSidedStacks {
    /// Largest first.
    pub stacks: Vec<OneSidedStack>,
    /// Others that are only in one side, in so few samples that it may be chance.
    pub by_chance: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Baseline,
    Candidate,
}

impl Differential {
    /// `None` if one side has no stacks.
    pub fn new(baseline: &[Round], candidate: &[Round]) -> Option<Self> {
        let mut stacks: BTreeMap<String, [Amount; 2]> = BTreeMap::new();
        let mut rounds: BTreeMap<String, [usize; 2]> = BTreeMap::new();
        let mut seconds = [0.0; 2];
        let mut round_counts = [0; 2];
        let mut source = None;
        for (side, list) in [baseline, candidate].into_iter().enumerate() {
            for of_round in list.iter().filter_map(|round| round.stacks.as_ref()) {
                source = Some(of_round.source);
                seconds[side] += of_round.seconds;
                round_counts[side] += 1;
                for (stack, amount) in &of_round.amounts {
                    stacks.entry(stack.clone()).or_default()[side] += *amount;
                    rounds.entry(stack.clone()).or_default()[side] += 1;
                }
            }
        }
        let whole = seconds.iter().all(|&seconds| seconds > 0.0);
        Some(Self {
            source: source.filter(|_| whole)?,
            stacks,
            seconds,
            rounds,
            round_counts,
        })
    }

    /// Stacks that only `side` has. Those are told that would have been sampled
    /// on the other side too at the same rate, but for a chance of `alpha` for all
    /// of them together: of none seen where n are expected, that is exp(-n).
    pub fn only_in(&self, side: Side, alpha: f64) -> OneSidedStacks {
        let (own, other) = match side {
            Side::Baseline => (0, 1),
            Side::Candidate => (1, 0),
        };
        let mine = |amounts: &[Amount; 2]| amounts[own].count > 0 && amounts[other].count == 0;
        let tested = self.stacks.values().filter(|it| mine(it)).count();
        let enough = (tested as f64 / alpha).max(1.0).ln();
        let mut found = OneSidedStacks::default();
        for (stack, amounts) in self.stacks.iter().filter(|(_, it)| mine(it)) {
            let amount = amounts[own];
            let expected = amount.count as f64 * self.seconds[other] / self.seconds[own];
            // What is in one round only may be a disturbance of that round.
            let lasting = self.rounds[stack][own] > 1 || self.round_counts[own] == 1;
            if expected < enough || !lasting {
                found.by_chance += 1;
                continue;
            }
            found.stacks.push(OneSidedStack {
                stack: stack.clone(),
                rate: amount.weight as f64 / self.seconds[own],
                events: amount.count,
            });
        }
        found.stacks.sort_by(|a, b| b.rate.total_cmp(&a.rate));
        found
    }

    /// Folded lines with two numbers, baseline and candidate: weight in
    /// nanoseconds (or bytes) a second. What `flamegraph.pl` reads, too.
    pub fn folded(&self) -> io::Result<Vec<u8>> {
        let of = |side: usize| {
            let mut text = String::new();
            for (stack, amounts) in &self.stacks {
                let rate = amounts[side].weight as f64 / self.seconds[side];
                text.push_str(&format!("{stack} {rate:.0}\n"));
            }
            text
        };
        let (before, after) = (of(0), of(1));
        let mut lines = Vec::new();
        let options = differential::Options::default();
        differential::from_readers(options, before.as_bytes(), after.as_bytes(), &mut lines)?;
        // From a hash map: sorted, the same comparison gives the same file.
        let mut sorted: Vec<&[u8]> = lines.split_inclusive(|&byte| byte == b'\n').collect();
        sorted.sort_unstable();
        Ok(sorted.concat())
    }

    /// The flame graph: as wide as `shown` has it, red where the candidate has
    /// more, blue where it has less. Vanished stacks are in the baseline's only.
    pub fn write_svg(&self, shown: Side, out: &mut dyn Write) -> io::Result<()> {
        let folded = self.folded()?;
        let text = String::from_utf8_lossy(&folded);
        let lines = text.lines().filter_map(|line| match shown {
            Side::Candidate => Some(line.to_owned()),
            Side::Baseline => swapped(line),
        });
        let lines: Vec<String> = lines.filter(|line| !line.ends_with(" 0")).collect();
        let mut options = flamegraph::Options::default();
        let (unit, factor) = match self.source.unit() {
            Unit::Nanoseconds => ("µs", 1e-3),
            Unit::Bytes => ("KiB", 1.0 / 1024.0),
        };
        options.count_name = format!("{unit} of {} a second", self.source.measures());
        options.factor = factor;
        options.name_type = "Frame:".to_owned();
        options.min_width = MIN_WIDTH_PERCENT;
        options.deterministic = true;
        options.negate_differentials = shown == Side::Baseline;
        let title = match shown {
            Side::Candidate => "as the candidate has it",
            Side::Baseline => "as the baseline had it",
        };
        options.title = shorten(
            &clean(&format!("Change of {}, {title}", self.source.measures())),
            TITLE_LENGTH,
        )
        .into_owned();
        options.subtitle = Some("red: more than in the baseline, blue: less".to_owned());
        if lines.is_empty() {
            return writeln!(
                out,
                "<svg version=\"1.1\" width=\"1200\" height=\"60\" \
                 xmlns=\"http://www.w3.org/2000/svg\"><text x=\"20\" y=\"35\">No {} was recorded \
                 on this side</text></svg>",
                self.source.measures()
            );
        }
        flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), out)
    }
}

/// A line with its two numbers in the other order.
fn swapped(line: &str) -> Option<String> {
    let (rest, after) = line.rsplit_once(' ')?;
    let (stack, before) = rest.rsplit_once(' ')?;
    Some(format!("{stack} {after} {before}"))
}
