//! `profiler load`: against servers whose answers are by construction, against
//! their own counts, and against wrk.
use std::{
    fs,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    http::{ANSWER, HEAD, Nginx, SLOW, SLOWER, STALL, Server, free_port},
    measurement::measured,
    process::{self, Process},
    profiler, threads,
    wrk::Wrk,
};

fn run(arguments: &[&str]) -> Result<Output> {
    profiler::run(&[&["load"], arguments].concat())
}

fn report(arguments: &[&str]) -> Result<Value> {
    let output = run(&[arguments, &["--format", "json"]].concat())?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{arguments:?}: {}", profiler::messages(&output)))
}

fn seconds(value: &Value) -> f64 {
    value.as_u64().unwrap_or_default() as f64 / 1e9
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn close_to(what: &str, found: f64, expected: f64, percent: f64) -> Result<()> {
    println!("{what}: {found:.4}, expected {expected:.4}");
    ensure!(
        (found / expected - 1.0).abs() <= percent / 100.0,
        "{what}: {found} instead of {expected}"
    );
    Ok(())
}

/// What was sent is what came, and the sizes are those of the bytes.
#[test]
fn counts_and_sizes_are_exact() -> Result<()> {
    let server = Server::start()?;
    let url = server.url("/answer");
    let report = report(&[&url, "--requests", "500", "--concurrent", "7"])?;
    let endpoint = &report["endpoints"][0];
    ensure!(server.count("GET /answer") == 500, "the server saw others");
    ensure!(endpoint["requests"]["complete"] == 500, "{endpoint}");
    ensure!(endpoint["statuses"]["200"] == 500, "{endpoint}");
    let bytes = &endpoint["bytes"];
    ensure!(
        number(&bytes["body"]) == 500 * ANSWER.len() as u64,
        "{bytes}"
    );
    let received = 500 * (HEAD.len() + ANSWER.len()) as u64;
    ensure!(number(&bytes["received"]) == received, "{bytes}");
    let sent = format!(
        "GET /answer HTTP/1.1\r\nuser-agent: profiler/{}\r\nhost: 127.0.0.1:{}\r\n\r\n",
        env!("CARGO_PKG_VERSION"),
        server.port
    );
    ensure!(number(&bytes["sent"]) == 500 * sent.len() as u64, "{bytes}");
    // Kept alive: one each, and the one that asked whether anybody is there.
    ensure!(endpoint["phases"]["connect"]["count"] == 7, "{endpoint}");
    Ok(())
}

#[test]
fn chunks_and_closed_connections() -> Result<()> {
    let server = Server::start()?;
    let chunks = report(&[&server.url("/chunks"), "-n", "20", "-c", "2"])?;
    let bytes = &chunks["endpoints"][0]["bytes"];
    ensure!(bytes["body_mean"] == 10, "{bytes}");
    let close = report(&[&server.url("/close"), "-n", "20", "-c", "2"])?;
    let endpoint = &close["endpoints"][0];
    ensure!(endpoint["requests"]["complete"] == 20, "{endpoint}");
    ensure!(
        number(&endpoint["phases"]["connect"]["count"]) >= 20,
        "{endpoint}"
    );
    Ok(())
}

/// A server that takes 20 ms, and 60 ms each tenth time.
#[test]
fn latencies_are_those_of_the_server() -> Result<()> {
    measured(|| {
        let server = Server::start()?;
        let url = server.url("/mixed");
        let report = report(&[&url, "--concurrent", "10", "--duration", "4"])?;
        let endpoint = &report["endpoints"][0];
        let latency = &endpoint["latency"]["all"];
        ensure!(
            seconds(&latency["min_ns"]) >= SLOW.as_secs_f64(),
            "{latency}"
        );
        close_to("p50", seconds(&latency["p50_ns"]), SLOW.as_secs_f64(), 20.0)?;
        close_to(
            "p95",
            seconds(&latency["p95_ns"]),
            SLOWER.as_secs_f64(),
            20.0,
        )?;
        // Little's law: those under way are the rate times the mean.
        let rate = endpoint["throughput_per_second"]
            .as_f64()
            .context("no rate")?;
        close_to("under way", rate * seconds(&latency["mean_ns"]), 10.0, 5.0)?;
        // The same as wrk finds, whose percentiles are corrected.
        let wrk = Wrk::run(&url, 1, 10, 4)?;
        let corrected = &endpoint["latency"]["corrected"];
        close_to(
            "p50 of wrk",
            seconds(&corrected["p50_ns"]),
            wrk.percentile("50%")?,
            25.0,
        )?;
        close_to(
            "p99 of wrk",
            seconds(&corrected["p99_ns"]),
            wrk.percentile("99%")?,
            25.0,
        )?;
        close_to("rate of wrk", rate, wrk.rate()?, 20.0)
    })
}

/// A stall of a second: by construction, of those that are due in 5 seconds a
/// fifth is due in it, and waits for what is left of it.
#[test]
fn an_open_loop_shows_a_stall() -> Result<()> {
    measured(|| {
        let server = Server::start()?;
        let url = server.url("/stall");
        let report = report(&[
            &url,
            "--rate",
            "100",
            "--concurrent",
            "4",
            "--duration",
            "5",
            "--warmup",
            "0",
        ])?;
        let endpoint = &report["endpoints"][0];
        ensure!(endpoint["requests"]["complete"] == 500, "{endpoint}");
        let stall = (STALL[1] - STALL[0]).as_secs_f64();
        let of = |name: &str| seconds(&endpoint["latency"]["all"][name]);
        close_to("p90", of("p90_ns"), 0.5 * stall, 15.0)?;
        close_to("p99", of("p99_ns"), 0.95 * stall, 10.0)?;
        ensure!(of("p50_ns") < 0.1, "{endpoint}");
        // Only four were under way: whoever measures from sending sees no stall.
        let sent = &endpoint["latency"]["from_sending"];
        ensure!(
            seconds(&sent["p99_ns"]) < 0.1 && seconds(&sent["max_ns"]) > 0.5,
            "{sent}"
        );
        ensure!(
            number(&endpoint["client"]["waited_for_connection"]) >= 80,
            "{endpoint}"
        );
        Ok(())
    })
}

/// The same in a closed loop: hidden in what was measured, not in what is
/// corrected. A second's worth of requests is added to five seconds' worth, a
/// sixth of all, evenly from none to a second; a hundredth of all is above 0.94.
#[test]
fn a_closed_loop_hides_a_stall_until_it_is_corrected() -> Result<()> {
    measured(|| {
        let server = Server::start()?;
        let url = server.url("/stall");
        let report = report(&[&url, "-c", "2", "--duration", "5", "--warmup", "0"])?;
        let latency = &report["endpoints"][0]["latency"];
        ensure!(seconds(&latency["all"]["p99_ns"]) < 0.1, "{latency}");
        close_to("p99", seconds(&latency["corrected"]["p99_ns"]), 0.94, 8.0)
    })
}

#[test]
fn each_failure_has_its_kind() -> Result<()> {
    let server = Server::start()?;
    for (path, kind) in [
        ("/hang", "timeout"),
        ("/garbage", "protocol"),
        ("/endless-head", "protocol"),
        ("/early", "closed_early"),
        ("/reset", "reset"),
        ("/endless", "body_too_large"),
    ] {
        let url = server.url(path);
        let started = Instant::now();
        let arguments = [
            &url,
            "-n",
            "6",
            "-c",
            "2",
            "--timeout",
            "1",
            "--max-body",
            "1000000",
            "--format",
            "json",
        ];
        let output = run(&arguments)?;
        ensure!(output.status.code() == Some(3), "{path}: {}", output.status);
        ensure!(
            started.elapsed() < Duration::from_secs(15),
            "{path} takes too long"
        );
        let messages = profiler::messages(&output);
        ensure!(messages.lines().count() == 1, "{path}: {messages}");
        let report: Value = serde_json::from_slice(&output.stdout)?;
        let failures = &report["endpoints"][0]["failures"];
        println!("{path}: {failures}");
        ensure!(
            failures[0]["kind"] == kind && failures[0]["count"] == 6,
            "{failures}"
        );
    }
    // Closed between two requests, which the client sees before the next or not.
    let drop = report(&[&server.url("/drop"), "-n", "50", "-c", "2"])?;
    let requests = &drop["endpoints"][0]["requests"];
    println!("/drop: {requests}");
    ensure!(
        requests["failed"] == requests["failed_on_reused_connection"],
        "{drop}"
    );
    ensure!(number(&requests["complete"]) >= 25, "{drop}");
    let broken = report(&[&server.url("/broken"), "-n", "5", "-c", "1"])?;
    let endpoint = &broken["endpoints"][0];
    ensure!(endpoint["statuses"]["503"] == 5, "{endpoint}");
    ensure!(
        endpoint["latency"]["error_statuses"]["count"] == 5,
        "{endpoint}"
    );
    Ok(())
}

/// Bodies are counted, not kept.
#[test]
fn ten_gigabytes_need_no_memory() -> Result<()> {
    let server = Server::start()?;
    let url = server.url("/endless");
    let load = profiler::start(&[
        "load",
        &url,
        "-c",
        "4",
        "-d",
        "3",
        "--timeout",
        "5",
        "--max-body",
        "10000000000000",
    ])?;
    let mut most = 0.0_f64;
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(100));
        most = most.max(profiler::resident(load.pid())?);
    }
    println!("{most:.0} MiB");
    ensure!(most < 60.0, "{most} MiB");
    Ok(())
}

#[test]
fn what_cannot_run_says_so_in_one_line() -> Result<()> {
    let absent = format!("http://127.0.0.1:{}/", free_port()?);
    for (arguments, said) in [
        (&[absent.as_str()][..], "refused"),
        (&["http://192.0.2.1/"], "--allow-remote"),
        (&["http://name.invalid/"], "cannot resolve"),
        (&["ftp://localhost/"], "ftp"),
        (&["http://127.0.0.1:1/", "--rate", "0"], "requests a second"),
    ] {
        let output = run(arguments)?;
        let messages = profiler::messages(&output);
        ensure!(
            output.status.code() == Some(2),
            "{arguments:?}: {}",
            output.status
        );
        ensure!(
            messages.lines().count() == 1 && messages.contains(said),
            "{messages}"
        );
        ensure!(output.stdout.is_empty(), "{arguments:?} has a result");
    }
    Ok(())
}

#[test]
fn ctrl_c_keeps_what_was_measured() -> Result<()> {
    let server = Server::start()?;
    let directory = tempfile::tempdir()?;
    let result = directory.path().join("load.json");
    let mut load = Process::spawn(
        profiler::command()
            .args([
                "load",
                &server.url("/slow"),
                "-c",
                "2",
                "-d",
                "600",
                "--warmup",
                "0",
                "-o",
            ])
            .arg(&result)
            .stderr(Stdio::null()),
    )?;
    ensure!(
        process::until(Duration::from_secs(20), || server.count("GET /slow") > 20),
        "it sends nothing"
    );
    load.signal(libc::SIGINT);
    let status = load.wait(Duration::from_secs(10))?;
    ensure!(status.success(), "{status}");
    let report: Value = serde_json::from_str(&fs::read_to_string(&result)?)?;
    ensure!(report["interrupted"] == true, "{report}");
    let requests = &report["endpoints"][0]["requests"];
    let sum: u64 = ["complete", "failed", "abandoned"]
        .iter()
        .map(|name| number(&requests[name]))
        .sum();
    ensure!(
        number(&requests["complete"]) > 10 && number(&requests["started"]) == sum,
        "{requests}"
    );
    Ok(())
}

#[test]
fn secrets_are_sent_and_not_shown() -> Result<()> {
    let server = Server::start()?;
    let output = process::any_output(
        profiler::command()
            .args([
                "load",
                &server.url("/answer?token=hunter2"),
                "-n",
                "1",
                "-c",
                "1",
            ])
            .args([
                "--bearer-env",
                "TOKEN",
                "-H",
                "X-Odd: hunter2",
                "--format",
                "json",
            ])
            .env("TOKEN", "hunter2"),
    )?;
    let said = format!("{output:?}");
    ensure!(
        output.status.success() && !said.contains("hunter2"),
        "{said}"
    );
    let seen = server.seen();
    let headers = seen[0].headers.join("\n");
    ensure!(
        headers.contains("authorization: Bearer hunter2"),
        "{headers}"
    );
    ensure!(headers.contains("x-odd: hunter2"), "{headers}");
    ensure!(seen[0].line.contains("token=hunter2"), "{seen:?}");
    Ok(())
}

#[test]
fn endpoints_of_the_description() -> Result<()> {
    let server = Server::start()?;
    let url = server.url("");
    let names = |report: &Value, table: &str, field: &str| -> Vec<String> {
        let rows = report[table].as_array().into_iter().flatten();
        rows.filter_map(|row| row[field].as_str().map(str::to_owned))
            .collect()
    };
    let report_of = |more: &[&str]| report(&[&[url.as_str(), "-n", "3", "-c", "1"], more].concat());
    let all = report_of(&["--endpoints", "all"])?;
    ensure!(
        names(&all, "endpoints", "name") == ["GET /answer", "GET /items/{item_id}"],
        "{all}"
    );
    ensure!(
        names(&all, "skipped", "endpoint") == ["POST /items", "DELETE /items/{item_id}"],
        "{all}"
    );
    ensure!(server.count("GET /items/42") == 3, "{:?}", server.seen());
    let globbed = report_of(&["--endpoints", "/items/*,POST /items", "--allow-writes"])?;
    ensure!(
        names(&globbed, "endpoints", "request")
            == ["GET /items/42", "DELETE /items/42", "POST /items"],
        "{globbed}"
    );
    let posts: Vec<_> = server
        .seen()
        .into_iter()
        .filter(|seen| seen.line == "POST /items")
        .collect();
    ensure!(
        posts.len() == 3 && posts[0].body == r#"{"name":"text"}"#,
        "{posts:?}"
    );
    Ok(())
}

/// What has targets is loaded, found by its operation or its alias, and judged.
#[test]
fn critical_endpoints_and_their_targets() -> Result<()> {
    let server = Server::start()?;
    let scratch = tempfile::tempdir()?;
    let targets = scratch.path().join("targets.yaml");
    let metrics = scratch.path().join("load.metrics.json");
    let (targets, metrics) = (targets.to_string_lossy(), metrics.to_string_lossy());
    fs::write(
        &*targets,
        "api_endpoints:\n  answer:\n    p50_latency: 10s\n    throughput: 1 req/s\n  \
         item:\n    p50_latency: 1ns\nfrontend:\n  bundle_size: 500KB\n",
    )?;
    let url = server.url("");
    let mut load = vec![url.as_str(), "-n", "200", "-c", "2", "--endpoints"];
    load.extend(["critical", "--targets", &targets]);
    let unknown = run(&load)?;
    ensure!(
        unknown.status.code() == Some(2)
            && profiler::messages(&unknown).contains("which endpoint `item` is"),
        "{unknown:?}"
    );
    load.extend(["--alias", "item=/items/{item_id}", "--output", &metrics]);
    let judged = run(&load)?;
    let said = profiler::messages(&judged);
    ensure!(judged.status.code() == Some(1), "{said}");
    ensure!(
        said.contains("api_endpoints.item.p50_latency") && !said.contains("bundle_size"),
        "{said}"
    );
    ensure!(server.count("GET /answer") == 200 && server.count("GET /items/42") == 200);

    // The same from the file; what a load does not measure is unknown there.
    let compare = |only: &str| -> Result<Output> {
        fs::write(&*targets, only)?;
        let alias = "answer=GET /answer";
        profiler::run(&["compare", &metrics, "--targets", &targets, "--alias", alias])
    };
    let met = compare("api_endpoints:\n  answer:\n    error_rate: 0%\n    p95_latency: 10s\n")?;
    ensure!(met.status.success(), "{met:?}");
    let not_there = compare("frontend:\n  bundle_size: 500KB\n")?;
    ensure!(not_there.status.code() == Some(3), "{not_there:?}");
    Ok(())
}

/// What the server used, beside the kernel's account of its only thread.
#[test]
fn the_servers_own_use() -> Result<()> {
    let nginx = Nginx::start()?;
    let account = || threads::schedstat(nginx.process.pid(), nginx.process.pid());
    let url = format!("http://127.0.0.1:{}/file", nginx.ports[0]);
    let before = account()?;
    let report = report(&[&url, "--requests", "20000", "--concurrent", "8"])?;
    let [cpu, run_queue] = account()?;
    let server = &report["endpoints"][0]["server"];
    ensure!(server["processes"] == 1, "{server}");
    // Beside it there is one connection to see whether the server is there.
    close_to(
        "CPU, s",
        seconds(&server["cpu_ns"]),
        (cpu - before[0]) as f64 / 1e9,
        5.0,
    )?;
    let waited = (run_queue - before[1]) as f64 / 1e9;
    let found = seconds(&server["run_queue_ns"]);
    ensure!(
        found <= waited && found >= 0.8 * waited - 0.01,
        "{found} of {waited} s"
    );
    close_to(
        "CPU of a request, µs",
        number(&server["cpu_ns_per_request"]) as f64 / 1e3,
        number(&server["cpu_ns"]) as f64 / 20_000.0 / 1e3,
        1.0,
    )
}

/// nginx, with each protocol and with TLS: all requests are answered.
#[test]
fn protocols() -> Result<()> {
    let nginx = Nginx::start()?;
    let [plain, http2, tls] = nginx.ports;
    let authority = nginx.directory.path().join("certificate.pem");
    let authority = authority.to_str().context("a path in UTF-8")?;
    let plain = format!("http://127.0.0.1:{plain}/file");
    let http2 = format!("http://127.0.0.1:{http2}/file");
    let tls = format!("https://localhost:{tls}/file");
    for (arguments, protocol) in [
        (&[plain.as_str()][..], "HTTP/1.1"),
        (&[&http2, "--http", "2"], "HTTP/2"),
        (&[&http2, "--http", "2", "--streams", "10"], "HTTP/2"),
        (&[&tls, "--ca", authority], "HTTP/2"),
        (&[&tls, "--ca", authority, "--http", "1.1"], "HTTP/1.1"),
        (&[&tls, "--insecure"], "HTTP/2"),
    ] {
        let report = report(&[arguments, &["-n", "300", "-c", "10"]].concat())?;
        let endpoint = &report["endpoints"][0];
        println!("{arguments:?}: {}", endpoint["throughput_per_second"]);
        ensure!(report["target"]["protocol"] == protocol, "{report}");
        ensure!(endpoint["statuses"]["200"] == 300, "{endpoint}");
        ensure!(endpoint["bytes"]["body"] == 300 * 1024, "{endpoint}");
        let handshakes = number(&endpoint["phases"]["tls"]["count"]);
        let connections = number(&endpoint["phases"]["connect"]["count"]);
        ensure!(
            (handshakes > 0) == arguments[0].starts_with("https"),
            "{endpoint}"
        );
        // Lanes are shared out among threads, each with its own connections.
        let most = if arguments.contains(&"--streams") {
            8
        } else {
            10
        };
        ensure!(connections <= most, "{connections} connections");
    }
    let output = run(&[&tls, "-n", "1"])?;
    let messages = profiler::messages(&output);
    ensure!(
        output.status.code() == Some(2) && messages.contains("TLS"),
        "{messages}"
    );
    Ok(())
}
