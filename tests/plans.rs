//! Plans of PostgreSQL beside those of an earlier report, and the space in tables
//! and indexes that nothing needs beside what pgstattuple and REINDEX find.
use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::{
    databases::{PASSWORD, Postgres, finding},
    process, profiler,
};

/// Largest error of the estimate, in points.
const BLOAT_ERROR: f64 = 5.0;

const ORDERS: &str = "
    CREATE TABLE orders (id serial PRIMARY KEY, customer_id int, note text);
    INSERT INTO orders (customer_id, note)
      SELECT i % 5000, 'note ' || i FROM generate_series(1, 60000) i;
    CREATE INDEX orders_customer ON orders (customer_id);
    VACUUM ANALYZE orders;";

#[test]
fn a_plan_that_changed() -> Result<()> {
    let server = Postgres::start(&[])?;
    for statement in ORDERS.split_inclusive(';') {
        server.sql(statement)?;
    }
    let directory = tempfile::tempdir()?;
    let baseline = directory.path().join("baseline.json");
    let file = baseline.to_str().context("a path in UTF-8")?;
    let explain = |customer: u32, options: &[&str]| -> Result<Value> {
        let statement = format!("SELECT * FROM orders WHERE customer_id = {customer}");
        let all = [&["--duration", "1ms", "--explain", &statement], options].concat();
        server.probe(&all)
    };
    let first = explain(42, &[])?;
    ensure!(first["plans"][0].get("difference").is_none(), "{first:#}");
    fs::write(&baseline, first.to_string())?;

    // The same statement with another literal.
    let same = explain(43, &["--baseline", file])?;
    let difference = &same["plans"][0]["difference"]["data"];
    ensure!(
        difference["nodes"] == serde_json::json!([])
            && difference["tables"] == serde_json::json!([]),
        "{difference:#}"
    );

    server.sql("DROP INDEX orders_customer")?;
    let changed = explain(43, &["--baseline", file])?;
    let text = "orders is read by Seq Scan instead of Bitmap Heap Scan using orders_customer";
    let found = finding(&changed, "plan_changed", &[text])?;
    ensure!(found["severity"] == "problem", "{found:#}");
    let plan = &changed["plans"][0];
    let difference = &plan["difference"]["data"];
    let blocks = |plan: &Value| {
        let node = &plan["plan"]["data"]["nodes"][0];
        let of = |name: &str| node[name].as_u64().unwrap_or_default();
        of("cache_hit_blocks") + of("cache_missed_blocks")
    };
    ensure!(
        difference["baseline_blocks"] == blocks(&first["plans"][0])
            && difference["blocks"] == blocks(plan)
            && blocks(plan) > blocks(&first["plans"][0]),
        "{difference:#}"
    );
    let nodes = difference["nodes"].as_array().context("no nodes")?;
    let has = |change: &str, node: &str| {
        nodes
            .iter()
            .any(|it| it["change"] == change && it["node"] == node)
    };
    ensure!(
        has("added", "Seq Scan on orders")
            && has("removed", "Bitmap Heap Scan on orders")
            && has("removed", "Bitmap Index Scan using orders_customer"),
        "{nodes:#?}"
    );

    let other = [
        "--duration",
        "1ms",
        "--explain",
        "SELECT 1",
        "--baseline",
        file,
    ];
    let other = server.probe(&other)?;
    let reason = &other["plans"][0]["difference"]["reason"];
    ensure!(
        reason == "the baseline has no plan of this statement",
        "{reason}"
    );
    Ok(())
}

#[test]
fn a_baseline_that_is_none() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let baseline = directory.path().join("baseline.json");
    let file = baseline.to_str().context("a path in UTF-8")?;
    for (content, options, said) in [
        (None, &["--explain", "SELECT 1"][..], "No such file"),
        (
            Some("{\"plans\": 1}"),
            &["--explain", "SELECT 1"],
            "not a report of profiler postgres",
        ),
        (
            Some("{\"schema_version\": 99, \"plans\": []}"),
            &["--explain", "SELECT 1"],
            "version 99",
        ),
        (Some("{}"), &[], "add --explain"),
    ] {
        if let Some(content) = content {
            fs::write(&baseline, content)?;
        }
        let output = process::any_output(
            profiler::command()
                .args(["postgres", "postgres://127.0.0.1:1/x", "--baseline", file])
                .args(options)
                .env("PGPASSWORD", PASSWORD),
        )?;
        let messages = profiler::messages(&output);
        ensure!(
            output.status.code() == Some(2)
                && messages.contains(said)
                && messages.trim().lines().count() == 1,
            "{}: {messages}",
            output.status
        );
    }
    Ok(())
}

/// Half of a table is deleted, a third of another, and nothing of a third one.
#[test]
fn space_that_no_row_needs() -> Result<()> {
    let server = Postgres::start(&["autovacuum=off"])?;
    server.sql("CREATE EXTENSION pgstattuple")?;
    for statement in [
        "CREATE TABLE halved (id int, note text, at timestamptz, flag boolean)",
        "INSERT INTO halved SELECT i, repeat('x', i % 90), now(), NULL
           FROM generate_series(1, 200000) i",
        "DELETE FROM halved WHERE id % 2 = 0",
        "CREATE TABLE thinned (flag boolean, id bigint, code smallint, price numeric)
           WITH (fillfactor = 80)",
        "INSERT INTO thinned SELECT i % 2 = 0, i, 7, i / 7.0 FROM generate_series(1, 200000) i",
        "DELETE FROM thinned WHERE id % 3 = 0",
        "CREATE TABLE whole (id int, note text)",
        "INSERT INTO whole SELECT i, 'note ' || i FROM generate_series(1, 100000) i",
        "CREATE TABLE unknown (id int)",
        "INSERT INTO unknown SELECT i FROM generate_series(1, 100000) i",
        "VACUUM",
        "ANALYZE halved, thinned, whole",
    ] {
        server.sql(statement)?;
    }
    // Statistics of a session are written when it ends, at the latest.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let report = server.probe(&["--duration", "1ms"])?;
    let bloat = &report["bloat"]["data"];
    for (table, fill) in [("halved", 100.0), ("thinned", 80.0), ("whole", 100.0)] {
        let measured: f64 = server
            .sql(&format!(
                "SELECT free_percent + dead_tuple_percent FROM pgstattuple('{table}')"
            ))?
            .parse()?;
        // What the fill factor leaves is meant to be free, in the pages that would
        // be needed too.
        let measured = (measured - (100.0 - fill)).max(0.0) * 100.0 / fill;
        let found = bloat["tables"]
            .as_array()
            .and_then(|tables| tables.iter().find(|row| row["table"] == table))
            .and_then(|row| row["estimated_bloat_percent"].as_f64())
            .unwrap_or_default();
        println!("{table}: {found:.1} % estimated, {measured:.1} % by pgstattuple");
        ensure!(
            (found - measured).abs() <= BLOAT_ERROR,
            "{table}: {found:.1} % instead of {measured:.1} %"
        );
    }
    ensure!(bloat["tables_without_statistics"] == 1, "{bloat:#}");
    Ok(())
}

/// Indexes of every kind of key whose entries half went, or that grew in no order,
/// beside what they have when they are built anew.
#[test]
fn space_that_no_entry_needs() -> Result<()> {
    let server = Postgres::start(&["autovacuum=off"])?;
    for statement in [
        "CREATE TABLE keys (id int, class int, name text, price numeric, at timestamptz)",
        "CREATE INDEX by_id ON keys (id)",
        "CREATE INDEX by_class ON keys (class)",
        "CREATE INDEX by_class_and_name ON keys (class, name)",
        "CREATE INDEX by_price ON keys (price) WITH (fillfactor = 70)",
        "CREATE INDEX by_lower_name ON keys (lower(name))",
        "CREATE UNIQUE INDEX by_id_and_time ON keys (id) INCLUDE (at)",
        "CREATE INDEX of_some ON keys (id) WHERE class < 100",
        "INSERT INTO keys SELECT (i * 7919::bigint % 300007)::int, i % 200, nullif('name ' || i % 7777, 'name 0'),
           (i % 1000) / 7.0, now() FROM generate_series(1, 300000) i",
        "DELETE FROM keys WHERE id % 2 = 0 AND class > 20",
        "VACUUM ANALYZE keys",
    ] {
        server.sql(statement)?;
    }
    std::thread::sleep(std::time::Duration::from_secs(1));
    let report = server.probe(&["--duration", "1ms"])?;
    let bloat = &report["index_bloat"]["data"];
    ensure!(bloat["indexes_without_statistics"] == 1, "{bloat:#}");
    let indexes = bloat["indexes"].as_array().context("no indexes")?;
    for name in [
        "by_id",
        "by_class",
        "by_class_and_name",
        "by_price",
        "by_lower_name",
        "by_id_and_time",
    ] {
        let size = || -> Result<f64> {
            let size = server.sql(&format!("SELECT pg_relation_size('{name}')"))?;
            Ok(size.parse()?)
        };
        let before = size()?;
        server.sql(&format!("REINDEX INDEX {name}"))?;
        let measured = 100.0 * (1.0 - size()? / before);
        let row = indexes.iter().find(|row| row["index"] == name);
        let found = row.and_then(|row| row["estimated_bloat_percent"].as_f64());
        let found = found.with_context(|| format!("{name} is not in {bloat:#}"))?;
        println!("{name}: {found:.1} % estimated, {measured:.1} % given back by REINDEX");
        ensure!(
            (found - measured).abs() <= BLOAT_ERROR && measured > 15.0,
            "{name}: {found:.1} % instead of {measured:.1} %"
        );
    }
    Ok(())
}
