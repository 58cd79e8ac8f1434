use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use hyper::{HeaderMap, Method, body::Bytes};
use serde_json::{Value, json};

use super::*;
use crate::probes::http::{
    connection::{Dialed, Dialer, Exchange, Protocol},
    drive::Driven,
    load::{Load, Pattern},
    measurements::Measurements,
    outcome::{Failure, FailureKind},
    plan::{Endpoint, Skipped, ValuesFrom},
    request::PreparedRequest,
    server::Server,
    target::{Resolved, Target},
    usage::Usage,
};

const NASTY: &str = "a`|\u{1b}[31m\n<script>";

fn server(target: &Target) -> Server {
    let addresses = vec!["127.0.0.1:80".parse().expect("an address")];
    Server {
        target: target.clone(),
        dialer: Dialer {
            addresses: addresses.clone(),
            tls: None,
            timeout: Duration::from_secs(1),
        },
        resolved: Resolved {
            addresses,
            dns: Some(Duration::from_millis(1)),
        },
        protocol: Protocol::Http1,
    }
}

fn usage() -> Option<Usage> {
    Some(Usage {
        processes: 2,
        cpu_ns: 5_000_000,
        run_queue_ns: 1_000,
        disk_read_bytes: Some(4096),
        ..Usage::default()
    })
}

fn load(pattern: Pattern) -> Load {
    Load {
        pattern,
        concurrent: 2,
        streams: 1,
        threads: 1,
        duration: Some(Duration::from_secs(10)),
        requests: None,
        warmup: Duration::from_secs(1),
        timeout: Duration::from_secs(10),
        body_bytes: 1000,
    }
}

/// 1000 responses of 1 to 1000 ms, each fourth a 500, and a failure.
fn measurements(open: bool) -> Measurements {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let sent = *BEGAN.get_or_init(Instant::now) + Duration::from_secs(1);
    let mut measurements = Measurements {
        started: 1002,
        complete_in_time: 1000,
        ..Measurements::default()
    };
    measurements.connected(Dialed {
        connect: Duration::from_micros(50),
        tls: Some(Duration::from_millis(2)),
    });
    for number in 1..=1000_u64 {
        let end = sent + Duration::from_millis(number);
        let exchange = Exchange {
            status: if number % 4 == 0 { 500 } else { 200 },
            sent,
            first_byte: end,
            end,
            body_bytes: number,
            wire_bytes: Some((number + 100, 50)),
        };
        let due = sent - Duration::from_millis(500);
        measurements.complete_one(&exchange, open.then_some(due));
    }
    measurements.fail(Failure::new(FailureKind::Reset, NASTY));
    measurements
}

fn report(pattern: Pattern, measurements: Measurements) -> LoadReport {
    let target = Target::parse("http://localhost").expect("a URL");
    let method = Method::GET;
    let request = PreparedRequest::new(&target, method, "/", HeaderMap::new(), Bytes::new());
    let endpoint = Endpoint {
        name: NASTY.to_owned(),
        sent: "GET /".to_owned(),
        values_from: ValuesFrom::Schema,
        request: request.expect("a request"),
    };
    let driven = Driven {
        measurements,
        measured: Duration::from_secs(10),
        cpu: Duration::from_millis(100),
        threads: 1,
        ran: Duration::from_secs(11),
        interrupted: true,
    };
    let load = load(pattern);
    let mut report = LoadReport::new(&server(&target), &load, "x".to_owned(), Duration::ZERO);
    report
        .endpoints
        .push(EndpointReport::new(&endpoint, &load, &driven, usage()));
    report.skipped.push(Skipped {
        endpoint: NASTY.to_owned(),
        reason: NASTY.to_owned(),
    });
    report
}

fn samples() -> [LoadReport; 4] {
    let open = Pattern::Open { rate: 100.0 };
    [
        report(Pattern::Closed, measurements(false)),
        report(open, measurements(true)),
        report(Pattern::Closed, Measurements::default()),
        report(open, Measurements::default()),
    ]
}

fn rendered(report: &LoadReport, format: LoadFormat) -> String {
    let mut out = Vec::new();
    write(report, format, &mut out).expect("it can be written");
    String::from_utf8(out).expect("it is UTF-8")
}

fn json_of(report: &LoadReport) -> Value {
    serde_json::from_str(&rendered(report, LoadFormat::Json)).expect("it is JSON")
}

#[test]
fn every_report_is_as_the_schema_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../reports/load.schema.json");
    let text = std::fs::read_to_string(path).expect("the schema is there");
    let schema: Value = serde_json::from_str(&text).expect("the schema is JSON");
    jsonschema::draft202012::meta::validate(&schema).expect("the schema is a schema");
    let schema = jsonschema::draft202012::new(&schema).expect("the schema can be used");
    for sample in samples() {
        let report = json_of(&sample);
        let errors: Vec<_> = schema
            .iter_errors(&report)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
    let good = json_of(&samples()[0]);
    for (place, value) in [
        ("/schema_version", json!(2)),
        ("/endpoints/0/latency/all", json!(null)),
        ("/endpoints/0/statuses", json!({"0": 1})),
        ("/endpoints/0/failures/0/kind", json!("odd")),
        ("/load/pattern", json!("half open")),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(place).expect(place) = value;
        assert!(!schema.is_valid(&bad), "{place}");
    }
}

#[test]
fn numbers_are_those_of_the_construction() {
    let close = |value: &Value, milliseconds: f64| {
        let found = value.as_f64().expect("a number") / 1e6;
        assert!(
            (found / milliseconds - 1.0).abs() < 0.002,
            "{found} {milliseconds}"
        );
    };
    let closed = &json_of(&samples()[0])["endpoints"][0];
    let all = &closed["latency"]["all"];
    for (name, milliseconds) in [("p50_ns", 500.0), ("p99_ns", 990.0), ("p99_9_ns", 999.0)] {
        close(&all[name], milliseconds);
    }
    assert_eq!(all["max_ns"], 1_000_000_000);
    assert_eq!(closed["latency"]["error_statuses"]["count"], 250);
    assert_eq!(closed["throughput_per_second"], 100.0);
    assert_eq!(closed["latency"]["corrected_interval_ns"], 20_000_000);
    assert_eq!(closed["bytes"]["head_mean"], 100);
    assert_eq!(closed["requests"]["abandoned"], 1);
    let open = &json_of(&samples()[1])["endpoints"][0]["latency"];
    close(&open["all"]["p50_ns"], 1000.0);
    close(&open["from_sending"]["p50_ns"], 500.0);
    let nothing = &json_of(&samples()[2])["endpoints"][0];
    assert_eq!(nothing["latency"]["all"]["p50_ns"], Value::Null);
}

/// `corrected` is the histogram that a client at a constant rate would have
/// had: one wait of a second among waits of 10 ms is a hundred waits.
#[test]
fn correction_adds_what_was_not_sent() {
    let mut durations = crate::probes::http::measurements::Durations::default();
    for _ in 0..99 {
        durations.add(Duration::from_millis(10));
    }
    durations.add(Duration::from_secs(1));
    let corrected = durations.corrected(Duration::from_millis(10));
    assert_eq!(corrected.count(), 199);
    let p75 = corrected.percentile_ns(75.0).expect("enough");
    assert!((p75 as f64 / 510e6 - 1.0).abs() < 0.03, "{p75}");
    assert_eq!(durations.percentile_ns(99.9), None);
}

#[test]
fn text_is_harmless() {
    for sample in samples() {
        for format in [LoadFormat::Text, LoadFormat::Markdown] {
            let text = rendered(&sample, format);
            assert!(!text.contains('\u{1b}'), "{text}");
            assert!(text.contains("localhost"), "{text}");
        }
        let text = rendered(&sample, LoadFormat::Markdown);
        assert!(!text.contains("\n<script>"), "{text}");
    }
}
