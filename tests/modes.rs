//! Recordings that ask servers meanwhile: `--mode full|backend|database`.
use std::{
    fs,
    io::Read as _,
    net::TcpListener,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::{
    databases::{PASSWORD, PASSWORD_IN_URL, Postgres, Redis, finding},
    http::Server,
    image,
    process::{self, Process},
    profiler,
};

/// A recording of these processes in JSON, and how it ended.
fn record(pids: &[u32], options: &[&str]) -> Result<(Value, Output)> {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let output = process::any_output(
        profiler::command()
            .args(["--pid", &pids.join(","), "--format", "json"])
            .args(options)
            .env("PGPASSWORD", PASSWORD),
    )?;
    let report = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{}: {}", output.status, profiler::messages(&output)))?;
    Ok((report, output))
}

/// The probe of this kind.
fn probe<'r>(report: &'r Value, kind: &str) -> Result<&'r Value> {
    let probes = report["probes"].as_array().context("no probes")?;
    let found = probes.iter().find(|probe| probe["kind"] == kind);
    found.with_context(|| format!("no {kind} in {probes:#?}"))
}

fn is_as_its_schema_says(report: &Value) -> Result<()> {
    let text = fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../reports/schema.json"
    ))?;
    let schema = jsonschema::validator_for(&serde_json::from_str(&text)?)?;
    let errors: Vec<String> = schema
        .iter_errors(report)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    ensure!(errors.is_empty(), "{errors:#?}");
    Ok(())
}

/// Everything in one window and one report; what is asked is found by itself.
#[test]
fn full_has_all_parts() -> Result<()> {
    let database = Postgres::start(&[])?;
    database.sql("CREATE DATABASE shop")?;
    let cache = Redis::start(&[])?;
    let service = Server::start()?;
    // Sessions in `shop`, so that it is the one to look at.
    let mut session = Process::spawn(
        database
            .psql("shop-api")?
            .args(["-d", "shop", "-c", "SELECT pg_sleep(60)"])
            .stdout(Stdio::null()),
    )?;
    let saved = tempfile::Builder::new().suffix(".profile").tempfile()?;
    let path = saved.path().to_str().context("a path in UTF-8")?;
    let pids = [database.pid(), cache.pid(), std::process::id()].map(|pid| pid.to_string());
    let recorded = process::any_output(
        profiler::command()
            .args(["--mode", "full", "--endpoints", "all", "--load", "light"])
            .args([
                "--duration",
                "6",
                "--output",
                path,
                "--pid",
                &pids.join(","),
            ])
            .env("PGPASSWORD", PASSWORD),
    )?;
    session.signal(libc::SIGKILL);
    session.wait(Duration::from_secs(5))?;
    ensure!(recorded.status.success(), "{recorded:?}");

    let text = profiler::render(saved.path(), "json")?;
    let report: Value = serde_json::from_str(&text)?;
    is_as_its_schema_says(&report)?;
    let load = probe(&report, "load")?;
    ensure!(load["target"] == format!("http://127.0.0.1:{}", service.port));
    ensure!(load["pid"] == std::process::id(), "{load:#}");
    let endpoints = load["report"]["endpoints"]
        .as_array()
        .context("endpoints")?;
    // Those that do not write: each with half of the time, 10 times a second.
    ensure!(endpoints.len() == 2, "{endpoints:#?}");
    for (endpoint, path) in endpoints.iter().zip(["/answer", "/items/42"]) {
        let requests = &endpoint["requests"];
        let number = |what: &str| requests[what].as_u64().unwrap_or_default();
        let sent = number("complete") + number("failed") + number("warmup") + number("abandoned");
        let seen = service.count(&format!("GET {path}")) as u64;
        ensure!(
            sent == seen && number("complete") >= 20,
            "{seen}: {requests:#}"
        );
    }
    ensure!(
        !service
            .seen()
            .iter()
            .any(|seen| seen.line.starts_with("POST"))
    );
    let names: Vec<&str> = load["metrics"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|metric| metric["name"].as_str())
        .collect();
    ensure!(names.contains(&"GET /answer p99"), "{names:?}");

    let postgres = probe(&report, "postgres")?;
    ensure!(
        postgres["report"]["server"]["database"] == "shop",
        "{postgres:#}"
    );
    ensure!(postgres["pid"] == database.pid());
    let redis = probe(&report, "redis")?;
    ensure!(redis["status"] == "measured", "{redis:#}");
    // All in the recording's window.
    for probe in [postgres, redis] {
        let seconds = probe["report"]["window_seconds"]
            .as_f64()
            .context("no window")?;
        ensure!((5.0..7.5).contains(&seconds), "{seconds}");
    }
    let notes = report["notes"].to_string();
    ensure!(notes.contains("frontend: no section"), "{notes}");

    let markdown = profiler::render(saved.path(), "markdown")?;
    for words in [
        "### API of ",
        "### PostgreSQL of ",
        "### Redis of ",
        "GET /answer",
    ] {
        ensure!(markdown.contains(words), "no {words}: {markdown}");
    }
    let page = profiler::render(saved.path(), "html")?;
    for text in [&text, &markdown, &page] {
        ensure!(!text.contains(PASSWORD), "the password is in a report");
    }
    Ok(())
}

/// As in a container of its own, that publishes no port.
#[test]
fn a_server_in_another_network_is_asked_there() -> Result<()> {
    let script = format!(
        "ip link set lo up && exec chroot {} redis-server --port 7777 --bind 127.0.0.1 --save ''",
        image::root_file_system()?.display()
    );
    let server = Process::spawn(
        Command::new("unshare")
            .args(["--net", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null()),
    )?;
    let cli = |words: &[&str]| {
        process::output(
            Command::new("nsenter")
                .arg(format!("--net=/proc/{}/ns/net", server.pid()))
                .arg("chroot")
                .arg(image::root_file_system()?)
                .args(["redis-cli", "-p", "7777"])
                .args(words),
        )
    };
    ensure!(
        process::until(Duration::from_secs(20), || cli(&["PING"]).is_ok()),
        "Redis does not start"
    );
    let recording = thread::spawn({
        let pid = server.pid();
        move || record(&[pid], &["--mode", "database", "--duration", "4"])
    });
    // Nine of ten questions are for keys that are not there.
    cli(&["SET", "key:1", "value"])?;
    while !recording.is_finished() {
        let asked = (0..10).map(|key| format!("EXISTS nothing:{key}\nGET key:{key}\n"));
        let mut client = Process::spawn(
            Command::new("nsenter")
                .arg(format!("--net=/proc/{}/ns/net", server.pid()))
                .arg("chroot")
                .arg(image::root_file_system()?)
                .args(["sh", "-c", "echo \"$0\" | redis-cli -p 7777"])
                .arg(asked.collect::<String>())
                .stdout(Stdio::null()),
        )?;
        client.wait(Duration::from_secs(10))?;
    }
    let (report, _) = recording.join().expect("it does not panic")?;
    is_as_its_schema_says(&report)?;
    let redis = probe(&report, "redis")?;
    ensure!(
        redis["status"] == "measured" && redis["target"] == "127.0.0.1:7777",
        "{redis:#}"
    );
    // At the top of the report, with who says it.
    let found = finding(&report, "cache_hit", &["redis", "127.0.0.1:7777"])?;
    ensure!(found["container"] == redis["container"], "{found:#}");
    // No service was asked for, and none was loaded.
    ensure!(report["probes"].as_array().map(Vec::len) == Some(1));
    Ok(())
}

/// Bounded time, a reason each, and the rest of the report.
#[test]
fn what_cannot_be_asked_says_why() -> Result<()> {
    let cache = Redis::start(&["--requirepass", PASSWORD])?;
    let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let garbage = TcpListener::bind("127.0.0.1:0")?;
    let garbage_port = garbage.local_addr()?.port();
    thread::spawn(move || {
        for mut stream in garbage.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut stream, &[0xff; 4096]);
            let _ = stream.read(&mut [0; 64]);
        }
    });
    let login = format!("postgres://me:{PASSWORD_IN_URL}@127.0.0.1");
    let silent_url = format!("{login}:{}/db", silent.local_addr()?.port());
    let garbage_url = format!("{login}:{garbage_port}/db");
    let closed_url = format!("http://127.0.0.1:{closed}/");
    let started = Instant::now();
    let (report, output) = record(
        &[cache.pid()],
        &[
            "--mode",
            "full",
            "--duration",
            "2",
            "--endpoints",
            "all",
            "--postgres",
            &silent_url,
            "--postgres",
            &garbage_url,
            "--url",
            &closed_url,
        ],
    )?;
    // The recording, the silence, and room for a slow machine.
    ensure!(
        started.elapsed() < Duration::from_secs(40),
        "{:?}",
        started.elapsed()
    );
    ensure!(output.status.success(), "{output:?}");
    is_as_its_schema_says(&report)?;
    let probes = report["probes"].as_array().context("no probes")?;
    let reasons: Vec<String> = probes
        .iter()
        .map(|probe| format!("{} {}: {}", probe["kind"], probe["target"], probe["reason"]))
        .collect();
    println!("{reasons:#?}");
    ensure!(probes.len() == 4, "{reasons:#?}");
    ensure!(probes.iter().all(|probe| probe["status"] == "not_measured"));
    for (kind, words) in [
        ("redis", "REDISCLI_AUTH"),
        ("redis", "NOAUTH"),
        ("load", "refused"),
        ("postgres", "no answer within 5 s"),
    ] {
        let told = reasons
            .iter()
            .any(|it| it.contains(kind) && it.contains(words));
        ensure!(told, "{kind} {words}: {reasons:#?}");
    }
    let everything = format!("{report}{}", profiler::messages(&output));
    ensure!(!everything.contains(PASSWORD) && !everything.contains(PASSWORD_IN_URL));
    ensure!(report["quality"]["samples"].is_u64(), "{report:#}");
    Ok(())
}

/// Anyone may call his program as a database is called.
#[test]
fn passwords_go_to_those_who_were_chosen() -> Result<()> {
    let cache = Redis::start(&["--requirepass", PASSWORD])?;
    let asked = |scope: &[&str]| -> Result<Value> {
        let output = process::any_output(
            profiler::command()
                .args(["--mode", "database", "--duration", "1", "--format", "json"])
                .args(scope)
                .env("REDISCLI_AUTH", PASSWORD),
        )?;
        let report: Value =
            serde_json::from_slice(&output.stdout).with_context(|| profiler::messages(&output))?;
        let probes = report["probes"].as_array().context("no probes")?;
        let own = probes.iter().find(|probe| probe["pid"] == cache.pid());
        Ok(own.context("it is not found")?.clone())
    };
    let host = asked(&[])?;
    let reason = host["reason"].as_str().unwrap_or_default();
    ensure!(
        reason.contains("NOAUTH") && reason.contains("--containers or --pid"),
        "{host:#}"
    );
    let chosen = asked(&["--pid", &cache.pid().to_string()])?;
    ensure!(chosen["status"] == "measured", "{chosen:#}");
    Ok(())
}

/// What has targets is loaded, and judged.
#[test]
fn targets_say_what_is_critical() -> Result<()> {
    let service = Server::start()?;
    let targets = tempfile::NamedTempFile::with_suffix(".yaml")?;
    let file = targets.path().to_str().context("a path in UTF-8")?;
    let us = [std::process::id()];
    let judged = |text: &str, more: &[&str]| {
        fs::write(targets.path(), text)?;
        let options = ["--mode", "backend", "--duration", "3", "--load", "light"];
        let url = service.url("");
        let options = [&options[..], &["--targets", file, "--url", &url], more].concat();
        record(&us, &options)
    };
    let (report, met) = judged("api_endpoints:\n  answer:\n    p50_latency: 10s\n", &[])?;
    ensure!(met.status.success(), "{}", profiler::messages(&met));
    let endpoints = &probe(&report, "load")?["report"]["endpoints"];
    ensure!(
        endpoints.as_array().map(Vec::len) == Some(1) && endpoints[0]["name"] == "GET /answer",
        "{endpoints:#}"
    );
    let (_, missed) = judged("api_endpoints:\n  answer:\n    p50_latency: 1ns\n", &[])?;
    ensure!(
        missed.status.code() == Some(1),
        "{}",
        profiler::messages(&missed)
    );
    let item = ["--alias", "item=GET /items/{item_id}"];
    let (_, met) = judged("api_endpoints:\n  item:\n    p50_latency: 10s\n", &item)?;
    ensure!(met.status.success(), "{}", profiler::messages(&met));
    // Nothing says which endpoint it is: not measured is not met.
    let (_, unknown) = judged("api_endpoints:\n  item:\n    p50_latency: 10s\n", &[])?;
    ensure!(
        unknown.status.code() == Some(3),
        "{}",
        profiler::messages(&unknown)
    );

    // Without targets nothing is critical, and nothing is sent.
    let before = service.seen().len();
    let (report, _) = record(&us, &["--mode", "backend", "--duration", "1"])?;
    ensure!(service.seen().len() == before, "requests were sent");
    let notes = report["notes"].to_string();
    ensure!(notes.contains("backend: no load was sent"), "{notes}");
    Ok(())
}
