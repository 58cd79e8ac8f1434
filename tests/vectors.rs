//! The probe of vector databases, against numpy and the databases' own answers.
use std::{
    fs,
    io::Read as _,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{
    databases::{PASSWORD_IN_URL, finding},
    hostile, image,
    process::{self, Process},
    profiler,
    vectors::{KEY, Pgvector, Qdrant, command, pinecone},
};

/// What numpy says of the data set that it writes, all in one directory:
/// `data.npy`, `queries.npy`, and the ten nearest of each query in `nearest.json`.
const NUMPY: &str = "
import json, numpy, sys
random = numpy.random.default_rng(5)
data = random.standard_normal((1500, 24)).astype('<f4')
queries = random.standard_normal((60, 24))
numpy.save('data.npy', data)
numpy.save('queries.npy', queries)
numpy.save('many.npy', random.standard_normal((10000, 24)))
unit = lambda rows: rows / numpy.linalg.norm(rows, axis=1, keepdims=True)
scores = unit(queries) @ unit(data.astype('<f8')).T
nearest = numpy.argsort(-scores, axis=1)[:, :10]
json.dump({'nearest': nearest.tolist(), 'data': data.tolist(), 'queries': queries.tolist()}, open('numpy.json', 'w'))
";

struct Numpy {
    directory: tempfile::TempDir,
    told: Value,
}

impl Numpy {
    fn make() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let root = image::root_file_system()?;
        let script = format!(
            "mount --bind {} {root}/mnt && exec chroot {root} sh -c 'cd /mnt && exec python3 oracle.py'",
            directory.path().display(),
            root = root.display()
        );
        fs::write(directory.path().join("oracle.py"), NUMPY)?;
        process::output(Command::new("unshare").args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            &script,
        ]))?;
        let told = fs::read_to_string(directory.path().join("numpy.json"))?;
        let told = serde_json::from_str(&told)?;
        Ok(Self { directory, told })
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn data(&self) -> Result<Vec<Vec<f32>>> {
        Ok(serde_json::from_value(self.told["data"].clone())?)
    }
}

fn number(report: &Value, place: &str) -> Result<f64> {
    let value = report.pointer(place).and_then(Value::as_f64);
    value.with_context(|| format!("no {place}: {report:#}"))
}

fn operation<'r>(report: &'r Value, name: &str) -> Result<&'r Value> {
    let all = report["operations"].as_array().context("no operations")?;
    let found = all.iter().find(|it| it["name"] == name);
    let found = found.with_context(|| format!("no {name}: {report:#}"))?;
    found.get("data").with_context(|| format!("{found}"))
}

fn recall<'r>(report: &'r Value, of: &str, against: &str) -> Result<&'r Value> {
    let all = report["recalls"].as_array().context("no recall")?;
    let found = all
        .iter()
        .find(|it| it["of"] == of && it["against"] == against);
    let found =
        found.with_context(|| format!("no recall of {of} against {against}: {report:#}"))?;
    found.get("data").with_context(|| format!("{found}"))
}

#[test]
fn recall_is_what_numpy_says() -> Result<()> {
    let (server, numpy) = (Qdrant::start()?, Numpy::make()?);
    server.fill("mine", &numpy.data()?)?;
    let before = server.ask("GET", "/collections/mine", None)?;
    let queries = numpy.path("queries.npy");
    // A search that looks at few candidates misses some.
    let options = ["--query-data", &queries, "--search-ef", "10"];
    let report = server.probe(&options)?;
    let ours = recall(&report, "search", "brute_force")?;

    let asked: Vec<Vec<f64>> = serde_json::from_value(numpy.told["queries"].clone())?;
    let nearest: Vec<Vec<u64>> = serde_json::from_value(numpy.told["nearest"].clone())?;
    let mut shares = Vec::new();
    let searches: Vec<Value> = asked
        .iter()
        .map(|query| json!({ "query": query, "limit": 10, "params": { "hnsw_ef": 10 } }))
        .collect();
    let searches = json!({ "searches": searches });
    let answers = server.ask(
        "POST",
        "/collections/mine/points/query/batch",
        Some(&searches),
    )?;
    let answers = answers.as_array().context("no answers")?;
    for (found, nearest) in answers.iter().zip(&nearest) {
        let found = found["points"].as_array().context("no points")?;
        let hits = found
            .iter()
            .filter(|it| it["id"].as_u64().is_some_and(|id| nearest.contains(&id)));
        shares.push(hits.count() as f64 / 10.0);
    }
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    let worst = shares.iter().copied().fold(1.0, f64::min);
    println!("recall: ours {ours}, numpy's mean {mean} worst {worst}");
    ensure!(mean < 0.999, "the search is exact: nothing is shown");
    ensure!((number(ours, "/mean")? - mean).abs() < 1e-9, "{ours}");
    ensure!((number(ours, "/worst")? - worst).abs() < 1e-9, "{ours}");
    ensure!(ours["queries"] == 60);
    let servers = recall(&report, "search", "server_exact")?;
    ensure!(servers == ours, "{servers}");
    ensure!(operation(&report, "search")?["completed"] == 60);
    ensure!(
        before == server.ask("GET", "/collections/mine", None)?,
        "the probe changed something"
    );

    let better = server.probe(&["--query-data", &queries, "--search-ef", "1000"])?;
    let better = recall(&better, "search", "brute_force")?;
    ensure!(number(better, "/mean")? > mean, "{better}");
    Ok(())
}

#[test]
fn benchmark_inserts_what_numpy_has_and_cleans_up() -> Result<()> {
    let (server, numpy) = (Qdrant::start()?, Numpy::make()?);
    server.fill("others", &numpy.data()?[..20])?;
    let (data, queries) = (numpy.path("data.npy"), numpy.path("queries.npy"));
    let others = server.ask(
        "POST",
        "/collections/others/points/scroll",
        Some(&json!({})),
    )?;
    let mut options = vec!["--benchmark", "--data", &data, "--query-data", &queries];
    options.extend(["--queries", "60", "--concurrent", "3", "--batch-size", "64"]);
    // Without an index: all are compared, and nothing is missed.
    let report = server.probe(&options)?;
    for name in ["search", "filtered_search"] {
        let recall = recall(&report, name, "brute_force")?;
        ensure!(
            recall["mean"] == 1.0 && recall["queries"] == 60,
            "{name}: {recall}"
        );
    }
    let insert = operation(&report, "insert")?;
    ensure!(
        insert["completed"] == 24 && insert["failed"] == 0,
        "{insert}"
    );
    ensure!(number(insert, "/vectors_per_second")? > 0.0);
    ensure!(operation(&report, "update")?["completed"] == 60);
    ensure!(report["benchmark"]["data"]["vectors"] == 1500);
    ensure!(report["benchmark"]["deleted"] == true);
    finding(&report, "not_indexed", &["one by one", "1,500 of 1,500"])?;

    options.extend(["--always-index", "--search-ef", "10"]);
    let report = server.probe(&options)?;
    let indexed = recall(&report, "search", "brute_force")?;
    let mean = number(indexed, "/mean")?;
    println!("with an index: {indexed}");
    ensure!((0.2..0.999).contains(&mean), "{indexed}");
    ensure!(report["collection"]["data"]["indexed_vectors"] == 1500);
    let latency = &operation(&report, "search")?["latency"];
    let told = &operation(&report, "search")?["server_latency"];
    ensure!(
        number(latency, "/p50_ns")? > number(told, "/p50_ns")?,
        "{latency} {told}"
    );
    ensure!(server.collections()? == ["others"], "something is left");
    let now = server.ask(
        "POST",
        "/collections/others/points/scroll",
        Some(&json!({})),
    )?;
    ensure!(others == now, "another collection was changed");
    Ok(())
}

#[test]
fn a_benchmark_that_is_ended_cleans_up() -> Result<()> {
    let server = Qdrant::start()?;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut options = vec!["--benchmark", "--vectors", "200000", "--dimensions", "64"];
        options.extend(["--batch-size", "50"]);
        let mut probe = Process::spawn(server.command(&options).stdout(Stdio::piped()))?;
        let has_begun = || server.collections().is_ok_and(|it| !it.is_empty());
        ensure!(
            process::until(Duration::from_secs(30), has_begun),
            "nothing begins"
        );
        probe.signal(signal);
        let mut out = String::new();
        let stdout = probe.child().stdout.as_mut().context("no output")?;
        stdout.read_to_string(&mut out)?;
        let status = probe.wait(Duration::from_secs(60))?;
        ensure!(status.code() == Some(2), "{status}");
        let report: Value = serde_json::from_str(&out)?;
        ensure!(report["interrupted"] == true && report["benchmark"]["deleted"] == true);
        ensure!(server.collections()?.is_empty(), "something is left");
    }
    Ok(())
}

#[test]
fn filters_and_findings() -> Result<()> {
    let (server, numpy) = (Qdrant::start()?, Numpy::make()?);
    server.fill("mine", &numpy.data()?)?;
    let filter = r#"{"must": [{"key": "part", "match": {"value": 3}}]}"#;
    let report = server.probe(&["--filter", filter, "--queries", "50"])?;
    let filtered = recall(&report, "filtered_search", "server_exact")?;
    ensure!(filtered["queries"] == 50, "{filtered}");
    ensure!(report["queries"]["data"]["in_collection"] == true);
    finding(&report, "filter_without_index", &["part"])?;
    let index = json!({ "field_name": "part", "field_schema": "integer" });
    server.ask("PUT", "/collections/mine/index?wait=true", Some(&index))?;
    let report = server.probe(&["--filter", filter, "--queries", "50"])?;
    ensure!(finding(&report, "filter_without_index", &[]).is_err());
    let nothing = r#"{"must": [{"key": "part", "match": {"value": 9}}]}"#;
    let report = server.probe(&["--filter", nothing, "--queries", "50"])?;
    let all = report["recalls"].to_string();
    ensure!(all.contains("nothing to be found"), "{all}");
    let low = server.probe(&[
        "--search-ef",
        "1",
        "--top",
        "1",
        "--query-data",
        &numpy.path("queries.npy"),
    ])?;
    let mean = number(recall(&low, "search", "brute_force")?, "/mean")?;
    ensure!(mean >= 0.9 || finding(&low, "low_recall", &["recall@1"]).is_ok());
    Ok(())
}

#[test]
fn pgvector_is_exact_without_an_index_and_not_with_one() -> Result<()> {
    let (server, numpy) = (Pgvector::start()?, Numpy::make()?);
    let (data, queries) = (numpy.path("data.npy"), numpy.path("queries.npy"));
    let mut options = vec!["--benchmark", "--data", &data, "--query-data", &queries];
    options.extend(["--queries", "60", "--search-ef", "10"]);
    let report = server.probe(&options)?;
    let mean = number(recall(&report, "search", "brute_force")?, "/mean")?;
    println!("pgvector's HNSW, 10 candidates: {mean}");
    ensure!((0.2..=1.0).contains(&mean));
    ensure!(operation(&report, "update")?["completed"] == 60);
    ensure!(report["benchmark"]["deleted"] == true);
    let tables = "SELECT count(*) FROM pg_class WHERE relname LIKE 'profiler%'";
    ensure!(server.sql(tables)? == "0", "a table is left");

    server.sql("CREATE TABLE items (id int PRIMARY KEY, part int, place vector(24))")?;
    for (at, rows) in numpy.data()?.chunks(100).enumerate() {
        let rows = rows
            .iter()
            .zip(at * 100..)
            .map(|(row, id)| format!("({id}, {}, '{row:?}')", id % 4));
        let rows = rows.collect::<Vec<_>>().join(", ");
        server.sql(&format!("INSERT INTO items VALUES {rows}"))?;
    }
    let sum = "SELECT md5(string_agg(t::text, '' ORDER BY id)) FROM items t";
    let before = server.sql(sum)?;
    let options = [
        "--query-data",
        &queries,
        "--metric",
        "cosine",
        "--filter",
        "part = 3",
    ];
    let report = server.probe(&options)?;
    for (of, against) in [
        ("search", "brute_force"),
        ("search", "server_exact"),
        ("filtered_search", "server_exact"),
    ] {
        let recall = recall(&report, of, against)?;
        ensure!(
            recall["mean"] == 1.0 && recall["queries"] == 60,
            "{of}: {recall}"
        );
    }
    ensure!(report["collection"]["data"]["vectors"] == 1500);
    finding(&report, "not_indexed", &["1,500 of 1,500"])?;
    let written = ["--filter", "part = 3) LIMIT 1; DROP TABLE items; --"];
    let output = process::any_output(&mut command(
        &server.url(),
        &[&options[..4], &written].concat(),
    ))?;
    ensure!(output.status.code() == Some(2), "{}", output.status);
    ensure!(before == server.sql(sum)?, "the table was changed");
    Ok(())
}

#[test]
fn pinecones_api_is_spoken_as_documented() -> Result<()> {
    let (_server, _directory, url) = pinecone(16)?;
    let mut options = vec!["--provider", "pinecone", "--benchmark", "--vectors", "300"];
    options.extend(["--dimensions", "16", "--queries", "20"]);
    let probe = |options: &[&str]| {
        tests::databases::json(
            &process::any_output(&mut command(&url, options))?,
            "vectors",
        )
    };
    let report = probe(&options)?;
    // It searches exactly; so must what is counted.
    for name in ["search", "filtered_search"] {
        let recall = recall(&report, name, "brute_force")?;
        ensure!(recall["mean"] == 1.0 && recall["queries"] == 20, "{recall}");
    }
    ensure!(report["benchmark"]["deleted"] == true);
    options[6] = "17";
    let output = process::any_output(&mut command(&url, &options))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.code() == Some(2) && text.contains("dimension 16"),
        "{text}"
    );
    // Whoever reads such a report knows what the probe was tested against.
    let mut shown = profiler::command();
    shown.args(["vectors", &url, "--format", "markdown"]);
    options[6] = "16";
    let shown = process::output(shown.args(&options).env("PINECONE_API_KEY", KEY))?;
    ensure!(shown.contains("never against Pinecone itself"), "{shown}");
    Ok(())
}

#[test]
fn servers_that_are_not_what_they_should_be() -> Result<()> {
    hostile::vector_probes_end("qdrant", |port| {
        format!("http://:{PASSWORD_IN_URL}@127.0.0.1:{port}")
    })?;
    hostile::vector_probes_end("pinecone", |port| {
        format!("http://:{PASSWORD_IN_URL}@127.0.0.1:{port}")
    })?;
    let remote = profiler::run(&["vectors", "http://192.0.2.1:6333"])?;
    let said = profiler::messages(&remote);
    ensure!(
        remote.status.code() == Some(2) && said.contains("--allow-remote"),
        "{said}"
    );
    Ok(())
}

/// It stands still in the middle for longer than the probe waits for an answer.
#[test]
fn a_stall_is_an_error_of_its_kind_and_not_the_end() -> Result<()> {
    let (server, numpy) = (Qdrant::start()?, Numpy::make()?);
    server.fill("mine", &numpy.data()?)?;
    // Enough to search for that the stall falls into it, whatever the machine.
    let queries = numpy.path("many.npy");
    let mut options = vec!["--query-data", &queries, "--queries", "10000"];
    options.extend(["--top", "100", "--recall-queries", "20", "--timeout", "1"]);
    let started = Instant::now();
    let mut probe = Process::spawn(server.command(&options).stdout(Stdio::piped()))?;
    thread::sleep(Duration::from_secs(1));
    server.signal(libc::SIGSTOP);
    thread::sleep(Duration::from_millis(1500));
    server.signal(libc::SIGCONT);
    let mut out = String::new();
    let stdout = probe.child().stdout.as_mut().context("no output")?;
    stdout.read_to_string(&mut out)?;
    probe.wait(Duration::from_secs(60))?;
    let report: Value = serde_json::from_str(&out)?;
    let search = operation(&report, "search")?;
    println!(
        "{:.1} s: {}",
        started.elapsed().as_secs_f64(),
        search["failures"]
    );
    ensure!(search["failures"][0]["kind"] == "timeout", "{search}");
    finding(&report, "failed_operations", &["timeout"])?;
    recall(&report, "search", "server_exact")?;
    Ok(())
}
