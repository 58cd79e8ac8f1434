//! A flame graph as SVG, drawn by inferno.

use std::io::{self, Write};

use inferno::flamegraph::{
    Options, TextTruncateDirection,
    color::{BackgroundColor, Color, PaletteMap},
};

use crate::profile::{FrameKind, Recording, Unit};

use super::{
    Selection, evidence,
    merged::{Label, LabelKind, Merged, Step},
    text::{clean, shorten},
};

/// Narrower frames are not drawn, in percent of the width: a tenth of a pixel
/// on most screens. Without a limit a browser takes minutes to open a large
/// graph.
const MIN_WIDTH_PERCENT: f64 = 0.01;

/// What fits over the graph, in characters.
const TITLE_LENGTH: usize = 110;
const SUBTITLE_LENGTH: usize = 160;

pub fn write(recording: &Recording, selection: Selection, out: &mut dyn Write) -> io::Result<()> {
    let merged = Merged::new(recording, selection.source);
    if merged.total() == 0 {
        return write_empty(recording, selection, out);
    }
    let lines = lines(&merged);
    let mut palette = PaletteMap::default();
    for label in &merged.labels {
        palette.insert(&label.text, color(label));
    }
    let mut options = Options::default();
    options.title = shorten(&evidence::title(recording, selection), TITLE_LENGTH).into_owned();
    options.subtitle = Some(shorten(&evidence::subtitle(recording), SUBTITLE_LENGTH).into_owned());
    options.notes = notes(recording, selection);
    // Microseconds: nanoseconds are hard to read, and milliseconds would round
    // narrow frames to nothing. Of bytes, likewise, KiB.
    let (unit, factor) = match selection.source.unit() {
        Unit::Nanoseconds => ("µs", 1e-3),
        Unit::Bytes => ("KiB", 1.0 / 1024.0),
    };
    options.count_name = format!("{unit} of {}", selection.source.measures());
    options.factor = factor;
    options.name_type = "Frame:".to_string();
    options.min_width = MIN_WIDTH_PERCENT;
    options.bgcolors = Some(BackgroundColor::Yellow);
    options.palette_map = Some(&mut palette);
    options.deterministic = true;
    options.text_truncate_direction = TextTruncateDirection::Right;
    inferno::flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), out)
}

/// Folded lines of what is wide enough to be drawn; the rest is part of its
/// caller, where a drawn graph has its gaps too. Inferno would leave it out
/// after having sorted and merged all of it.
fn lines(merged: &Merged) -> Vec<String> {
    let narrow = merged.total() as f64 * MIN_WIDTH_PERCENT / 100.0;
    let wide = |total: u64| total as f64 >= narrow;
    let mut own: Vec<u64> = merged.nodes.iter().map(|node| node.own).collect();
    let mut lines = Vec::new();
    for node in &merged.nodes {
        if let Some(parent) = node.parent
            && !wide(node.total)
            && wide(merged.nodes[parent as usize].total)
        {
            own[parent as usize] += node.total;
        }
    }
    let mut line = String::new();
    let mut ends = Vec::new();
    let walked = merged.walk::<std::convert::Infallible>(
        // Roots always: they have no caller to be part of.
        |node| node.parent.is_none() || wide(node.total),
        |step| {
            match step {
                Step::Enter(id) => {
                    ends.push(line.len());
                    if !line.is_empty() {
                        line.push(';');
                    }
                    line.push_str(merged.text(id));
                    // What is too narrow below a root that is too narrow.
                    let node = &merged.nodes[id as usize];
                    let own = if wide(node.total) {
                        own[id as usize]
                    } else {
                        node.total
                    };
                    if own > 0 {
                        lines.push(format!("{line} {own}"));
                    }
                }
                Step::Leave => line.truncate(ends.pop().unwrap_or_default()),
            }
            Ok(())
        },
    );
    match walked {
        Ok(()) => lines,
    }
}

/// All there is to say, for who reads the file: a comment at its start.
fn notes(recording: &Recording, selection: Selection) -> String {
    let mut text = format!(
        "\nThe width of a frame is its share of the {}; left to right is the alphabet, not the order in time. \
         Frames narrower than 0.01 % are not drawn.\n\
         Colours: orange kernel, red native, yellow C++ and Rust, aqua inlined, green JavaScript and JIT, blue Python, \
         grey what stands for frames that are not known, purple containers and processes.\n",
        selection.source.measures()
    );
    let lines = evidence::quality_lines(recording)
        .into_iter()
        .chain(evidence::cost_lines(recording));
    for line in lines {
        text += &format!("{}: {}\n", line.label, line.text);
    }
    for note in evidence::notes(recording, selection) {
        text += &format!("Note: {}\n", clean(&note.text));
    }
    // Two hyphens would end the comment, and the file would not be XML.
    while text.contains("--") {
        text = text.replace("--", "- -");
    }
    text
}

/// A graph without frames that says why.
fn write_empty(recording: &Recording, selection: Selection, out: &mut dyn Write) -> io::Result<()> {
    let escape = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
    };
    writeln!(
        out,
        r##"<?xml version="1.0" standalone="no"?>
<svg version="1.1" width="1200" height="110" viewBox="0 0 1200 110" xmlns="http://www.w3.org/2000/svg">
<!-- {notes} -->
<rect width="100%" height="100%" fill="#f8f8f8"/>
<g font-family="monospace" font-size="12" text-anchor="middle">
<text x="600" y="30" font-size="17">{title}</text>
<text x="600" y="55">{subtitle}</text>
<text x="600" y="85">{why}</text>
</g>
</svg>"##,
        notes = escape(&notes(recording, selection)),
        title = escape(&shorten(
            &evidence::title(recording, selection),
            TITLE_LENGTH
        )),
        subtitle = escape(&shorten(&evidence::subtitle(recording), SUBTITLE_LENGTH)),
        why = escape(&evidence::no_samples(recording, selection)),
    )
}

/// The colours that readers of flame graphs of mixed languages know: a hue for
/// the kind of code, a shade for the name, the same in every graph.
fn color(label: &Label) -> Color {
    let shade = shade(&label.text);
    let from = |low: u8, range: u8| low + (f32::from(range) * shade) as u8;
    let rgb = |r: u8, g: u8, b: u8| Color { r, g, b };
    match label.kind {
        LabelKind::Container | LabelKind::Process => {
            rgb(from(170, 30), from(150, 30), from(190, 30))
        }
        LabelKind::Inlined => rgb(from(50, 60), from(165, 55), from(165, 55)),
        LabelKind::Frame(FrameKind::Kernel) => rgb(from(190, 65), from(90, 65), 0),
        LabelKind::Frame(FrameKind::Python) => rgb(from(80, 60), from(130, 60), from(205, 50)),
        LabelKind::Frame(FrameKind::JavaScript | FrameKind::Jit) => {
            rgb(from(50, 60), from(200, 55), from(50, 60))
        }
        LabelKind::Frame(FrameKind::Synthetic) => {
            let grey = from(160, 40);
            rgb(grey, grey, grey)
        }
        LabelKind::Frame(FrameKind::Native) if label.text.contains("::") => {
            rgb(from(175, 55), from(175, 55), from(50, 20))
        }
        LabelKind::Frame(FrameKind::Native) => rgb(from(200, 55), from(50, 80), from(50, 80)),
    }
}

/// FNV-1a of a name, as a number from 0 to 1: without a library whose next
/// version hashes otherwise.
fn shade(name: &str) -> f32 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    (hash >> 8) as f32 / (1_u32 << 24) as f32
}
