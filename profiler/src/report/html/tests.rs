//! What the page carries: safe, whole, and the same each time.

use std::io::Read;

use base64::{Engine, prelude::BASE64_STANDARD};
use flate2::read::GzDecoder;

use super::{SCRIPTS, STYLE, Selection, write};
use crate::profile::{
    Builder, Container, Frame, Function, Note, Process, Recording, Sample, Source, Thread,
};

const HOSTILE: &str = "</ScRiPt><!--<script><img src=x onerror=alert(1)>\u{2028}\"'&]]>";

fn hostile() -> Recording {
    let mut builder = Builder::default();
    let recording = &mut builder.recording;
    recording.about.host = HOSTILE.into();
    recording.about.command_line = HOSTILE.into();
    recording.containers.push(Container {
        name: HOSTILE.into(),
        ..Container::default()
    });
    recording.processes.push(Process {
        name: HOSTILE.into(),
        ..Process::default()
    });
    recording.threads.push(Thread {
        name: HOSTILE.into(),
        ..Thread::default()
    });
    recording.notes.push(Note {
        text: HOSTILE.into(),
        ..Note::default()
    });
    let function = builder.function(Function {
        name: HOSTILE.repeat(100),
        file: HOSTILE.into(),
        ..Function::default()
    });
    let frame = builder.frame(Frame {
        function,
        ..Frame::default()
    });
    let stack = builder.stack(None, frame);
    builder.sample(Sample {
        source: Source::OnCpu,
        thread: 0,
        stack: Some(stack),
        weight: u64::from(u32::MAX) * 3,
        count: 300,
    });
    builder.finish()
}

fn page(recording: &Recording) -> String {
    let mut bytes = Vec::new();
    write(recording, Selection::default(), &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Content of the script element with an id.
fn block<'a>(page: &'a str, id: &str) -> &'a str {
    let begin = page.find(&format!("id=\"{id}\">")).unwrap() + id.len() + 6;
    &page[begin..begin + page[begin..].find("</script").unwrap()]
}

#[test]
fn names_cannot_leave_their_block() {
    let page = page(&hostile());
    // One end tag for each of the three elements, no more.
    assert_eq!(page.to_lowercase().matches("</script").count(), 3);
    assert_eq!(page.to_lowercase().matches("<script").count(), 3);
    assert!(!page.contains("<img"));
    assert!(!page.contains("<!--"));
}

#[test]
fn facts_are_json_that_says_the_same() {
    let recording = hostile();
    let page = page(&recording);
    let facts: serde_json::Value = serde_json::from_str(block(&page, "facts")).unwrap();
    assert_eq!(facts["about"]["host"], HOSTILE);
    assert_eq!(facts["notes"][0]["text"], HOSTILE);
    assert_eq!(facts["sources"][0]["unit"], "nanoseconds");
}

#[test]
fn tables_unpack_to_what_they_were_made_from() {
    let page = page(&hostile());
    let packed = BASE64_STANDARD.decode(block(&page, "tables")).unwrap();
    let mut bytes = Vec::new();
    GzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
    let mut at = 0;
    let integer = |at: &mut usize| {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let byte = bytes[*at];
            *at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    };
    assert_eq!(integer(&mut at), 1, "layout");
    let lengths: Vec<u64> = (0..integer(&mut at)).map(|_| integer(&mut at)).collect();
    let size = integer(&mut at) as usize;
    let text = std::str::from_utf8(&bytes[at..at + size]).unwrap();
    at += size;
    let units: u64 = lengths.iter().sum();
    assert_eq!(units, text.encode_utf16().count() as u64);
    assert!(text.contains(HOSTILE));
    // Modules, functions, frames, processes, threads, stacks, samples.
    let columns: Vec<Vec<u64>> = (0..3 + 5 + 4 + 4 + 3 + 2 + 5)
        .map(|_| {
            let length = integer(&mut at);
            (0..length).map(|_| integer(&mut at)).collect()
        })
        .collect();
    assert_eq!(at, bytes.len(), "nothing is left");
    assert_eq!(columns[24], [u64::from(u32::MAX) * 3], "weights");
    assert_eq!(columns[25], [300], "counts");
}

#[test]
fn the_same_recording_makes_the_same_page() {
    assert_eq!(page(&hostile()), page(&hostile()));
}

#[test]
fn nothing_in_the_page_names_a_server() {
    let page = page(&Recording::default());
    assert!(page.contains("default-src 'none'"));
    assert!(!page.contains("unsafe-inline"));
    for needle in [
        "src=\"",
        "@import",
        "url(",
        "fetch(",
        "XMLHttpRequest",
        "import(",
    ] {
        assert!(!page.contains(needle), "{needle}");
    }
    // The namespace of SVG is a name, not a place.
    assert_eq!(
        page.matches("http://").count(),
        page.matches("http://www.w3.org/2000/svg").count()
    );
    assert_eq!(page.matches("https://").count(), 0);
}

#[test]
fn the_viewer_sets_no_markup_and_ends_no_script() {
    for file in SCRIPTS {
        for needle in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "</script",
            "<!--",
        ] {
            assert!(!file.contains(needle), "{needle}");
        }
    }
    assert!(!STYLE.contains("</style"));
}
