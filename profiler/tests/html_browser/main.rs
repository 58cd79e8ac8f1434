//! The HTML report in a real browser, cut off from the network.

mod devtools;
mod recordings;

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
};

use devtools::{Browser, Page};
use profiler::{
    profile::{Activity, FrameKind, LockUse, Recording, Sample, Source, Spent, ThreadAccount},
    report::{Selection, html},
};

/// Where pages and screenshots stay for a look.
fn output(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("html-report");
    std::fs::create_dir_all(&directory).expect("a directory for the pages");
    directory.join(name)
}

fn open(recording: &Recording, name: &str) -> Page {
    open_with(recording, Selection::default(), name)
}

fn open_with(recording: &Recording, selection: Selection, name: &str) -> Page {
    let browser = Browser::start();
    recording.check().expect("a sound recording");
    let mut bytes = Vec::new();
    html::write(recording, selection, &mut bytes).expect("written");
    let file = output(name);
    std::fs::write(&file, bytes).expect("the page is written");
    browser.open(&file)
}

// The same numbers, from the model.

/// As the page names a function where its lines are merged.
fn label(recording: &Recording, frame: u32) -> String {
    let function = recording.function_of(frame);
    let mut frame = *recording.frame(frame);
    frame.line = function.line;
    frame.label(function)
}

fn labels(recording: &Recording, sample: &Sample) -> Vec<String> {
    if sample.stack.is_none() {
        return vec!["[no stack]".into()];
    }
    recording
        .frames_of(sample.stack)
        .map(|frame| label(recording, frame))
        .collect()
}

fn weight_where(recording: &Recording, wanted: impl Fn(&Sample) -> bool) -> f64 {
    let samples = recording.samples.iter().filter(|sample| wanted(sample));
    samples.map(|sample| sample.weight as f64).sum()
}

/// Samples with a match in their frames, container or process.
fn matched(recording: &Recording, wanted: impl Fn(&str) -> bool) -> f64 {
    weight_where(recording, |sample| {
        labels(recording, sample).iter().any(|name| wanted(name))
            || wanted(&recording.container_of(sample).name)
            || wanted(&recording.process_of(sample).name)
    })
}

/// The heaviest function by self weight.
fn busiest(recording: &Recording) -> (String, f64) {
    let mut selfs: HashMap<String, f64> = HashMap::new();
    for sample in &recording.samples {
        *selfs
            .entry(labels(recording, sample)[0].clone())
            .or_default() += sample.weight as f64;
    }
    selfs
        .into_iter()
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .expect("a function")
}

fn search(page: &mut Page, text: &str) -> f64 {
    page.press("/");
    page.type_text(text);
    let weight = page.number("document.getElementById('search-share').dataset.weight");
    page.press("Escape");
    assert_eq!(page.text("document.getElementById('search').value"), "");
    weight
}

const ZOOM: &str = "document.querySelector('.zoom-share').dataset.weight";
const DETAILS: &str = "document.getElementById('details').dataset";

fn assert_clean(page: &Page) {
    assert_eq!(page.errors(), Vec::<String>::new());
    assert_eq!(page.requests(), Vec::<String>::new());
}

#[test]
fn shows_what_the_model_says() {
    let recording = recordings::shop();
    let mut page = open(&recording, "shop.html");
    let total = recording.total(Source::OnCpu) as f64;
    assert_eq!(
        page.number("document.getElementById('filter-total').dataset.weight"),
        total
    );
    assert_eq!(
        page.text("document.title"),
        "shop-01.example · profiler report"
    );
    assert_eq!(
        page.number("document.querySelectorAll('main img, main b b').length"),
        0.0
    );

    // Search: each weight counts once.
    let text = search(&mut page, "json");
    assert_eq!(
        text,
        matched(&recording, |name| name.to_lowercase().contains("json"))
    );
    assert!(text > 0.0 && text < total);
    let regex = search(&mut page, "/^walk_tree|Exec(Sort|Hash)/");
    let wanted = |name: &str| {
        name.starts_with("walk_tree") || name.contains("ExecSort") || name.contains("ExecHash")
    };
    assert_eq!(regex, matched(&recording, wanted));
    let exact = search(&mut page, "ExecS");
    assert_eq!(exact, matched(&recording, |name| name.contains("ExecS")));
    let line = search(&mut page, "file:views.py:40");
    assert_eq!(
        line,
        matched(&recording, |name| name.contains("views.py:40"))
    );
    let hostile = search(&mut page, "</script>");
    assert_eq!(
        hostile,
        matched(&recording, |name| name.contains("</script>"))
    );
    page.press("/");
    page.type_text("/(/");
    assert_eq!(
        page.text("document.getElementById('search-share').textContent"),
        "not a regex yet"
    );
    page.press("Escape");

    // The heaviest box on each row above the root: container, then process.
    page.eval("document.getElementById('flame-canvas').focus()");
    page.press("ArrowUp");
    assert_eq!(page.text(&format!("{DETAILS}.name")), "all");
    page.press("ArrowUp");
    let name = page.text(&format!("{DETAILS}.name"));
    let weight = weight_where(&recording, |sample| {
        recording.container_of(sample).name == name
    });
    assert_eq!(page.number(&format!("{DETAILS}.total")), weight);
    page.press("Enter");
    assert_eq!(page.number(ZOOM), weight);
    page.press("ArrowUp");
    page.press("ArrowUp");
    page.press("Enter");
    let deeper = page.number(ZOOM);
    assert!(deeper < weight);
    // The breadcrumb leads back.
    page.click_on("#breadcrumb button:nth-child(2)");
    assert_eq!(page.number(ZOOM), weight);
    page.press("r");
    assert_eq!(page.number(ZOOM), total);

    // Inverted: the first row is self time.
    let (function, own) = busiest(&recording);
    page.press("i");
    page.eval("document.getElementById('flame-canvas').focus()");
    page.press("ArrowDown");
    page.press("ArrowDown");
    assert_eq!(page.text(&format!("{DETAILS}.name")), function);
    assert_eq!(page.number(&format!("{DETAILS}.total")), own);

    // Sandwich of it: its total, once per stack.
    page.press("s");
    let inside = weight_where(&recording, |sample| {
        labels(&recording, sample).contains(&function)
    });
    assert_eq!(page.number(ZOOM), inside);
    // A recursive function: its callers and callees both begin with its total.
    page.click_on("#tab-functions");
    let open_function = |page: &mut Page, name: &str| {
        let id = page.text(&format!(
            "[...document.querySelectorAll('#table-panel tr[data-id]')].find(row => row.textContent.includes('{name}')).dataset.id"
        ));
        page.click_on(&format!("#table-panel tr[data-id=\"{id}\"] .row-name"));
    };
    open_function(&mut page, "walk_tree");
    let walk = "walk_tree (shop/categories.py:10)";
    let inside = weight_where(&recording, |sample| {
        labels(&recording, sample).iter().any(|name| name == walk)
    });
    assert_eq!(page.number(ZOOM), inside);
    page.eval("document.getElementById('flame-canvas').focus()");
    page.press("ArrowUp");
    assert_eq!(page.text(&format!("{DETAILS}.name")), walk);
    page.press("ArrowUp");
    assert_eq!(
        page.number(&format!("{DETAILS}.total")),
        inside,
        "one caller has it all"
    );

    // The filter.
    page.click_on("#view-graph");
    let wanted = |sample: &Sample| recording.container_of(sample).name == "shop-db";
    page.choose_option("filter-container", "2");
    assert_eq!(
        page.number("document.getElementById('filter-total').dataset.weight"),
        weight_where(&recording, wanted)
    );
    assert_eq!(page.number(ZOOM), weight_where(&recording, wanted));
    page.click_on("#filter-clear");
    assert_eq!(page.number(ZOOM), total);
    page.click_on("#tab-processes");
    page.click_on("#table-panel tbody tr:nth-child(2) .row-name");
    let process = page.number("document.querySelector('#table-panel tr.chosen').dataset.weight");
    assert_eq!(page.number(ZOOM), process);
    page.click_on("#filter-clear");

    // Options keep the sum.
    for id in ["option-lines", "option-collapse"] {
        page.eval(&format!("document.getElementById('{id}').click()"));
        page.settle();
        assert_eq!(page.number(ZOOM), total, "{id}");
    }
    for (id, value) in [
        ("option-order", "name"),
        ("option-group", "none"),
        ("option-group", "thread"),
    ] {
        page.choose_option(id, value);
        assert_eq!(page.number(ZOOM), total, "{id} {value}");
    }
    assert_clean(&page);
}

#[test]
fn exports_what_it_shows() {
    let recording = recordings::shop();
    let mut page = open(&recording, "shop-export.html");
    page.eval(
        "URL.createObjectURL = blob => { globalThis.saved = blob; return '#saved'; };
         navigator.clipboard.writeText = async text => { globalThis.copied = text; };",
    );
    // Hostile names must leave a well-formed picture.
    page.eval("document.getElementById('export-svg').click()");
    page.settle();
    let svg = page.eval(
        "saved.text().then(text => {
            const parsed = new DOMParser().parseFromString(text, 'image/svg+xml');
            return [parsed.querySelectorAll('parsererror, script, img').length, parsed.querySelectorAll('rect').length];
        })",
    );
    assert_eq!(svg[0], 0);
    assert!(svg[1].as_f64().expect("a number") > 40.0);
    page.eval("document.getElementById('export-png').click()");
    page.settle();
    assert_eq!(page.text("saved.type"), "image/png");

    // Two rows in from the root of either view: the same line.
    let heaviest = |name: &str| {
        weight_where(&recording, |sample| {
            recording.process_of(sample).name == name
        })
    };
    page.eval("document.getElementById('flame-canvas').focus()");
    for _ in 0..3 {
        page.press("ArrowUp");
    }
    page.press("c");
    assert_eq!(
        page.text("copied"),
        format!("shop-api;gunicorn {}", heaviest("gunicorn"))
    );
    page.press("i");
    page.eval("document.getElementById('flame-canvas').focus()");
    for _ in 0..3 {
        page.press("ArrowDown");
    }
    page.press("c");
    let copied = page.text("copied");
    let (function, _) = busiest(&recording);
    assert!(
        copied
            .rsplit_once(' ')
            .expect("a weight")
            .0
            .ends_with(&format!(";{function}")),
        "{copied}"
    );
    assert_clean(&page);
}

#[test]
fn percentages_add_up() {
    let recording = recordings::shop();
    let mut page = open(&recording, "shop-tables.html");
    let total = recording.total(Source::OnCpu) as f64;
    for tab in ["containers", "processes", "threads", "functions"] {
        page.click_on(&format!("#tab-{tab}"));
        while page.eval("Boolean(document.querySelector('.table-foot button'))") == true {
            page.click_on(".table-foot button");
        }
        let sum = page.number("[...document.querySelectorAll('#table-panel tbody tr')].reduce((sum, row) => sum + Number(row.dataset.weight), 0)");
        assert_eq!(sum, total, "{tab}");
        let tenths = page.number(
            "[...document.querySelectorAll('#table-panel tbody td:nth-child(2) .share')]\
             .reduce((sum, cell) => sum + (cell.textContent.startsWith('<') ? 0 : Math.round(parseFloat(cell.textContent) * 10)), 0)",
        );
        assert_eq!(tenths, 1000.0, "{tab}");
        let functions: HashSet<String> = recording
            .samples
            .iter()
            .flat_map(|sample| labels(&recording, sample))
            .collect();
        if tab == "functions" {
            let rows = page.number("document.querySelectorAll('#table-panel tbody tr').length");
            assert_eq!(rows, functions.len() as f64);
        }
    }
    assert_clean(&page);
}

/// The shop, where a thread also waited for the GIL: 700 times in two stacks.
fn waiting_shop() -> Recording {
    let mut recording = recordings::shop();
    let python: Vec<Sample> = recording
        .samples
        .iter()
        .filter(|sample| {
            recording
                .frames_of(sample.stack)
                .any(|frame| recording.function_of(frame).kind == FrameKind::Python)
        })
        .take(2)
        .copied()
        .collect();
    for (sample, count) in python.iter().zip([400, 300]) {
        recording.samples.push(Sample {
            source: Source::GilWait,
            weight: count * 5_000_000,
            count,
            ..*sample
        });
    }
    let process = recording.threads[python[0].thread as usize].process;
    recording.locks.push(LockUse {
        process,
        known: 200,
        held: 150,
        measured_from_ns: Some(1_000_000_000),
    });
    let spent = |activity, ns, without_stack_ns| Spent {
        activity,
        ns,
        without_stack_ns,
        intervals: 10,
    };
    recording.accounts.push(ThreadAccount {
        thread: python[0].thread,
        spent: vec![
            spent(Activity::OnCpu, 6_000_000_000, 0),
            spent(Activity::Throttled, 3_000_000_000, 3_000_000_000),
            spent(Activity::NetworkRead, 15_000_000_000, 3_000_000_000),
            spent(Activity::Poll, 36_000_000_000, 0),
        ],
    });
    recording
}

#[test]
fn shows_where_wall_time_went() {
    let recording = waiting_shop();
    let mut page = open(&recording, "shop-time.html");
    let section = page.text("document.getElementById('waiting-body').textContent");
    for expected in [
        "60 s",
        "10.0 %",
        "5.0 %",
        "25.0 %",
        "60.0 %",
        "network read 15 s",
        "11.1 %",
    ] {
        assert!(section.contains(expected), "{expected}: {section}");
    }
    let widths = "[...document.querySelectorAll('#waiting-body tbody tr')].map((row) => [...row.querySelectorAll('.time-bar i')].reduce((sum, part) => sum + parseFloat(part.style.width), 0))";
    assert_eq!(page.text(&format!("JSON.stringify({widths})")), "[100,100]");
    page.eval("document.getElementById('waiting').scrollIntoView()");
    page.screenshot(&output("shop-time.png"));
    assert_clean(&page);

    let mut page = open(&recordings::shop(), "shop-no-time.html");
    assert_eq!(page.eval("document.getElementById('waiting').hidden"), true);
    assert_clean(&page);
}

/// What the page calls a source.
fn place(source: Source) -> String {
    let place = Source::ALL.iter().position(|&other| other == source);
    place.expect("ALL has all").to_string()
}

#[test]
fn switches_to_waits_for_the_gil() {
    let recording = waiting_shop();
    let mut page = open(&recording, "shop-gil.html");
    let total = recording.total(Source::OnCpu) as f64;
    let waited = recording.total(Source::GilWait) as f64;
    let shown = "document.getElementById('filter-total').dataset.weight";
    assert_eq!(page.number(shown), total);
    // Python functions add up to all time in stacks with one of them.
    page.click_on("#tab-python");
    while page.eval("Boolean(document.querySelector('.table-foot button'))") == true {
        page.click_on(".table-foot button");
    }
    let sum = "[...document.querySelectorAll('#table-panel tbody tr')].reduce((sum, row) => sum + Number(row.dataset.weight), 0)";
    let python = weight_where(&recording, |sample| {
        sample.source == Source::OnCpu
            && recording
                .frames_of(sample.stack)
                .any(|frame| recording.function_of(frame).kind == FrameKind::Python)
    });
    assert_eq!(page.number(sum), python);
    page.screenshot(&output("shop-python.png"));

    assert_eq!(
        page.eval("document.getElementById('source-field').hidden"),
        false
    );
    page.choose_option("filter-source", &place(Source::GilWait));
    assert_eq!(page.number(shown), waited);
    assert_eq!(page.number(ZOOM), waited);
    assert_eq!(page.number(sum), waited);
    assert!(
        page.text("document.getElementById('filter-total').textContent")
            .ends_with("700 waits")
    );
    let section = page.text("document.getElementById('gil-body').textContent");
    for expected in ["3.5 s", "75.0 %", "150 of 200 samples", "700"] {
        assert!(section.contains(expected), "{expected}: {section}");
    }
    page.screenshot(&output("shop-gil.png"));
    page.choose_option("filter-source", &place(Source::OnCpu));
    assert_eq!(page.number(shown), total);
    assert_clean(&page);

    let waits = Selection {
        source: Source::GilWait,
        ..Selection::default()
    };
    let mut page = open_with(&recording, waits, "shop-waits.html");
    assert_eq!(
        page.number(shown),
        waited,
        "it opens with what is asked for"
    );
    assert_clean(&page);
}

#[test]
fn fits_phone_laptop_and_wide_screen() {
    let recording = waiting_shop();
    let mut page = open(&recording, "shop-sizes.html");
    for (name, width, height) in [
        ("phone", 390, 844),
        ("laptop", 1280, 800),
        ("wide", 1920, 1080),
    ] {
        page.resize(width, height);
        for scheme in ["light", "dark"] {
            page.scheme(scheme);
            page.eval("window.scrollTo(0, 0)");
            page.settle();
            page.screenshot(&output(&format!("{name}-{scheme}.png")));
            let wide = page.number("document.documentElement.scrollWidth");
            assert!(wide <= f64::from(width), "{name}: the page is {wide} wide");
        }
        page.eval("document.getElementById('graph').scrollIntoView()");
        let frame = page.eval("(() => { const r = document.getElementById('flame-canvas').getBoundingClientRect(); return [r.left, r.bottom]; })()");
        let at = |index: usize| frame[index].as_f64().expect("a coordinate");
        page.hover(at(0) + 60.0, at(1) - 70.0);
        page.screenshot(&output(&format!("{name}-hover.png")));
        // A chosen box, a search, and the functions beside it.
        page.click(at(0) + 60.0, at(1) - 180.0);
        page.eval("document.getElementById('tab-functions').click()");
        page.press("/");
        page.type_text("json");
        page.eval("document.getElementById('graph').scrollIntoView()");
        page.settle();
        page.screenshot(&output(&format!("{name}-chosen.png")));
        page.press("Escape");
        page.press("Escape");
        page.eval("document.getElementById('tables-card').scrollIntoView()");
        page.settle();
        page.screenshot(&output(&format!("{name}-functions.png")));
        page.eval("document.getElementById('tab-python').click()");
        page.settle();
        page.screenshot(&output(&format!("{name}-python.png")));
        page.eval("document.getElementById('gil').scrollIntoView()");
        page.settle();
        page.screenshot(&output(&format!("{name}-gil.png")));
        page.eval("document.getElementById('tab-containers').click()");
        page.eval("document.getElementById('quality').scrollIntoView()");
        page.settle();
        page.screenshot(&output(&format!("{name}-quality.png")));
        let wide = page.number("document.documentElement.scrollWidth");
        assert!(wide <= f64::from(width), "{name}: the page is {wide} wide");
    }
    assert_clean(&page);
}

#[test]
fn an_empty_recording_says_so() {
    let mut page = open(&Recording::default_with_host(), "empty.html");
    assert!(
        page.text("document.getElementById('sentence').textContent")
            .contains("Nothing was recorded")
    );
    page.screenshot(&output("empty.png"));
    assert_eq!(
        page.eval("document.getElementById('flame-empty').hidden"),
        false
    );
    for key in ["i", "s", "r", "ArrowUp", "Enter", "c", "f", "?", "Escape"] {
        page.press(key);
    }
    assert_clean(&page);
}

#[test]
fn an_old_browser_gets_the_facts_and_a_reason() {
    let mut page = open(&recordings::shop(), "shop-old.html");
    page.call(
        "Page.addScriptToEvaluateOnNewDocument",
        serde_json::json!({ "source": "delete globalThis.DecompressionStream" }),
    );
    page.call("Page.reload", serde_json::json!({}));
    page.wait("document.documentElement?.dataset.ready === 'failed'");
    let failure = page.text("document.getElementById('failure').textContent");
    assert!(failure.contains("DecompressionStream"), "{failure}");
    assert_eq!(
        page.text("document.getElementById('complete-share').textContent"),
        "98.0 %"
    );
    assert!(page.number("document.querySelectorAll('#usage tbody tr').length") >= 4.0);
    assert_clean(&page);
}

trait DefaultWithHost {
    fn default_with_host() -> Recording;
}

impl DefaultWithHost for Recording {
    /// What a recording holds at the least.
    fn default_with_host() -> Recording {
        Recording {
            containers: vec![Default::default()],
            ..Recording::default()
        }
    }
}

/// CPU time of the page's thread, seconds: other work on the machine is not in
/// it, unlike in time by the clock.
fn thread_time(page: &mut Page) -> f64 {
    let metrics = page.call("Performance.getMetrics", serde_json::json!({}));
    let metrics = metrics["metrics"].as_array().expect("metrics").clone();
    let task = metrics
        .iter()
        .find(|metric| metric["name"] == "TaskDuration");
    task.expect("TaskDuration")["value"]
        .as_f64()
        .expect("seconds")
}

/// Milliseconds that each of a number of steps takes until it is painted.
fn frame_times(page: &mut Page, step: &str, times: usize) -> Vec<f64> {
    let script = format!(
        "(async () => {{
            const canvas = document.getElementById('flame-canvas');
            const field = document.getElementById('search');
            const box = canvas.getBoundingClientRect();
            const times = [];
            for (let i = 0; i < {times}; i += 1) {{
                const begin = performance.now();
                {step}
                await new Promise(done => requestAnimationFrame(() => {{
                    const channel = new MessageChannel();
                    channel.port1.onmessage = done;
                    channel.port2.postMessage(0);
                }}));
                times.push(performance.now() - begin);
            }}
            return times;
        }})()"
    );
    let times = page.eval(&script);
    let mut times: Vec<f64> = times
        .as_array()
        .expect("times")
        .iter()
        .filter_map(|time| time.as_f64())
        .collect();
    times.sort_by(f64::total_cmp);
    times
}

fn report(what: &str, times: &[f64]) {
    let middle = times[times.len() / 2];
    let most = times[times.len() - 1];
    println!("{what:<28} median {middle:7.1} ms, most {most:7.1} ms");
}

#[test]
fn stays_fluid_at_100_000_stacks() {
    let recording = recordings::large();
    let mut page = open(&recording, "large.html");
    let size = std::fs::metadata(output("large.html"))
        .expect("the page")
        .len();
    let stacks: HashSet<_> = recording
        .samples
        .iter()
        .map(|sample| sample.stack)
        .collect();
    println!(
        "{} stacks, {} nodes, {:.1} MB",
        stacks.len(),
        recording.stacks.len(),
        size as f64 / 1e6
    );
    assert!(stacks.len() >= 100_000);
    assert!(size < 16_000_000, "the page has {size} bytes");
    println!(
        "ready {} ms after navigation",
        page.text("document.documentElement.dataset.ready")
    );
    let total = recording.total(Source::OnCpu) as f64;
    assert_eq!(page.number(ZOOM), total);
    assert_eq!(
        search(&mut page, "parse_11"),
        matched(&recording, |name| name.contains("parse_11"))
    );
    page.resize(1920, 1080);
    page.settle();

    let wheel = |options: &str| {
        format!(
            "canvas.dispatchEvent(new WheelEvent('wheel', {{ bubbles: true, cancelable: true, clientX: box.left + 500, clientY: box.bottom - 40, {options} }}));"
        )
    };
    let mut steps = Vec::new();
    let mut measure = |page: &mut Page, what: &str, step: &str, times: usize| {
        let begin = thread_time(page);
        let times = frame_times(page, step, times);
        let cpu = (thread_time(page) - begin) * 1e3 / times.len() as f64;
        let boxes = page.text("document.getElementById('flame-canvas').dataset.boxes");
        report(what, &times);
        println!("{:<28} CPU {cpu:7.1} ms a step, {boxes} boxes", "");
        steps.push((what.to_string(), cpu));
    };
    page.call(
        "Performance.enable",
        serde_json::json!({ "timeDomain": "threadTicks" }),
    );
    measure(
        &mut page,
        "zoom",
        &wheel("deltaY: i < 20 ? -12 : 12, ctrlKey: true"),
        40,
    );
    measure(
        &mut page,
        "pan",
        &wheel("deltaX: i < 20 ? 30 : -30, deltaY: 0"),
        40,
    );
    measure(
        &mut page,
        "search",
        "field.value = 'parse_' + i; field.dispatchEvent(new Event('input'));",
        20,
    );
    page.eval("document.getElementById('search').value = ''; document.getElementById('search').dispatchEvent(new Event('input'))");
    page.settle();
    page.screenshot(&output("large-wide.png"));
    measure(
        &mut page,
        "view: inverted and back",
        "document.getElementById(i % 2 ? 'view-graph' : 'view-inverted').click();",
        8,
    );
    page.click_on("#view-inverted");
    page.screenshot(&output("large-inverted.png"));
    measure(
        &mut page,
        "zoom, inverted",
        &wheel("deltaY: i < 20 ? -12 : 12, ctrlKey: true"),
        40,
    );
    measure(
        &mut page,
        "pan, inverted",
        &wheel("deltaX: i < 20 ? 30 : -30, deltaY: 0"),
        40,
    );
    measure(
        &mut page,
        "sandwich",
        "document.getElementById('view-sandwich').click();",
        5,
    );
    page.screenshot(&output("large-sandwich.png"));
    page.click_on("#view-graph");
    measure(
        &mut page,
        "filter",
        "{ const s = document.getElementById('filter-container'); s.selectedIndex = i % 2; s.dispatchEvent(new Event('change')); }",
        8,
    );
    // Loose: caches are shared with whatever else this machine does.
    for (what, cpu) in steps {
        let frame = ["zoom", "pan", "search"]
            .iter()
            .any(|step| what.starts_with(step));
        let limit = if frame { 150.0 } else { 1500.0 };
        assert!(cpu < limit, "{what} takes {cpu} ms of CPU");
    }
    assert_clean(&page);
}

/// Kinds that the fixture must keep, so that every colour is looked at.
#[test]
fn the_fixture_has_every_kind() {
    let recording = recordings::shop();
    let kinds: HashSet<FrameKind> = recording
        .functions
        .iter()
        .map(|function| function.kind)
        .collect();
    assert_eq!(kinds.len(), 6);
}
