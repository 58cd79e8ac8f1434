//! The probe of PostgreSQL, against psql on the same server.
use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    process::{ChildStdin, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::{
    databases::{Certificate, PASSWORD, PASSWORD_IN_URL, Postgres, finding, json},
    hostile, process,
    process::Process,
    profiler,
};

const ORDERS: &str = "
    CREATE TABLE orders (id serial PRIMARY KEY, customer_id int, note text);
    INSERT INTO orders (customer_id, note)
      SELECT i % 5000, 'note ' || i FROM generate_series(1, 60000) i;
    CREATE INDEX orders_note ON orders (note);
    CREATE INDEX orders_id_again ON orders (id);
    VACUUM ANALYZE orders;";

fn list<'r>(report: &'r Value, place: &str) -> Result<&'r Vec<Value>> {
    let found = report.pointer(place).and_then(Value::as_array);
    found.with_context(|| format!("no {place}: {report:#}"))
}

#[test]
fn numbers_are_those_of_psql() -> Result<()> {
    let server = Postgres::start(&[])?;
    for statement in ORDERS.split_inclusive(';') {
        server.sql(statement)?;
    }
    for customer in 0..7 {
        server.sql(&format!(
            "SELECT count(*) FROM orders WHERE customer_id = {customer}"
        ))?;
    }
    // Statistics of a session are written when it ends, at the latest.
    thread::sleep(Duration::from_secs(1));
    let report = server.probe(&["--duration", "1"])?;

    ensure!(report["server"]["version"] == server.sql("SHOW server_version")?.as_str());
    let statements = list(&report, "/statements/data/totals")?;
    let mut compared = 0;
    for row in statements {
        let id = row["query_id"].as_str().context("no id")?;
        let expected = server.sql(&format!(
            "SELECT sum(calls), sum(rows), sum(shared_blks_hit) FROM pg_stat_statements
             WHERE queryid = {id}"
        ))?;
        let found = format!(
            "{}|{}|{}",
            row["calls"], row["rows"], row["cache_hit_blocks"]
        );
        // What psql asked for since is counted too, but not among these.
        if row["query"]
            .as_str()
            .is_some_and(|query| query.contains("orders"))
        {
            ensure!(found == expected, "{row} is {expected}");
            compared += 1;
        }
    }
    ensure!(compared >= 4, "only {compared} statements: {statements:#?}");
    let seven = statements
        .iter()
        .find(|row| row["query"] == "SELECT count(*) FROM orders WHERE customer_id = $1");
    ensure!(seven.context("no statement on customers")?["calls"] == 7);

    let expected = server.sql(
        "SELECT seq_scan, seq_tup_read, n_live_tup, pg_table_size(relid)
         FROM pg_stat_user_tables WHERE relname = 'orders'",
    )?;
    let reads = &list(&report, "/tables/data/sequential_reads")?[0]["table"];
    let found = format!(
        "{}|{}|{}|{}",
        reads["sequential_scans"],
        reads["sequentially_read_rows"],
        reads["live_rows"],
        reads["bytes"]
    );
    ensure!(found == expected, "{found} is {expected}");

    let unused: Vec<&str> = list(&report, "/indexes/data/unused")?
        .iter()
        .filter_map(|index| index["name"].as_str())
        .collect();
    let expected = server.sql(
        "SELECT string_agg(indexrelname, ',' ORDER BY indexrelname) FROM pg_stat_user_indexes
         WHERE idx_scan = 0 AND indexrelname NOT LIKE '%pkey'",
    )?;
    let mut unused = unused;
    unused.sort_unstable();
    ensure!(unused.join(",") == expected, "{unused:?} is {expected}");
    let max = server.sql("SHOW max_connections")?;
    ensure!(report["connections"]["data"]["max"].to_string() == max);
    let checkpoints =
        server.sql("SELECT checkpoints_timed, checkpoints_req FROM pg_stat_bgwriter")?;
    let totals = &report["checkpoints"]["data"]["totals"];
    ensure!(format!("{}|{}", totals["timed"], totals["requested"]) == checkpoints);
    Ok(())
}

/// psql on a connection of its own.
struct Session {
    _process: Process,
    /// Kept open, so that psql waits for more.
    _input: Option<ChildStdin>,
}

impl Session {
    fn spawn(server: &Postgres, name: &str) -> Result<(Process, ChildStdin)> {
        let mut process = Process::spawn(
            server
                .psql(name)?
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )?;
        let input = process.child().stdin.take().context("no input")?;
        Ok((process, input))
    }

    /// Runs statements, and waits for more.
    fn start(server: &Postgres, name: &str, statements: &str) -> Result<Self> {
        let (process, mut input) = Self::spawn(server, name)?;
        writeln!(input, "{statements}")?;
        Ok(Self {
            _process: process,
            _input: Some(input),
        })
    }

    /// Runs a statement again and again.
    fn repeat(server: &Postgres, first: &str, statement: &'static str) -> Result<Self> {
        let (process, mut input) = Self::spawn(server, "repeater")?;
        writeln!(input, "{first}")?;
        thread::spawn(move || while writeln!(input, "{statement}").is_ok() {});
        Ok(Self {
            _process: process,
            _input: None,
        })
    }
}

#[test]
fn planted_faults_are_found_by_name() -> Result<()> {
    let server = Postgres::start(&[])?;
    for statement in ORDERS.split_inclusive(';') {
        server.sql(statement)?;
    }
    server.sql("CREATE TABLE accounts (id int PRIMARY KEY, owner text)")?;
    server.sql("INSERT INTO accounts VALUES (1, 'x')")?;

    let holder = Session::start(
        &server,
        "holder",
        "BEGIN; UPDATE accounts SET owner = 'secret owner' WHERE id = 1;",
    )?;
    let ready = process::until(Duration::from_secs(10), || {
        let state = "SELECT state FROM pg_stat_activity WHERE application_name = 'holder'";
        server
            .sql(state)
            .is_ok_and(|state| state == "idle in transaction")
    });
    ensure!(ready, "the holder is not idle in its transaction");
    let waiters: Vec<Session> = (0..3)
        .map(|_| {
            let update = "UPDATE accounts SET owner = 'secret waiter' WHERE id = 1;";
            Session::start(&server, "waiter", update)
        })
        .collect::<Result<_>>()?;
    let reads = "SELECT count(*) FROM orders WHERE customer_id = 471147114;";
    let reader = Session::repeat(&server, "", reads)?;
    let loops = "SELECT note FROM orders WHERE id = 471147114;";
    let looper = Session::repeat(&server, "BEGIN;", loops)?;
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    let waiting = process::until(Duration::from_secs(10), || {
        server.sql(waits).is_ok_and(|count| count == "3")
    });
    ensure!(waiting, "nobody waits");
    let pid = server.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'holder'")?;
    let report = server.probe(&[
        "--duration",
        "3",
        "--interval",
        "200ms",
        "--explain-worst",
        "3",
    ])?;
    drop((holder, waiters, reader, looper));

    let behind = format!("behind pid {pid} (holder), idle in transaction for");
    let pile = finding(
        &report,
        "lock_pile_up",
        &["on accounts: 3 sessions wait", &behind],
    )?;
    println!("{pile:#}");
    let missing = finding(
        &report,
        "missing_index",
        &["table orders", "no index on customer_id"],
    )?;
    println!("{missing:#}");
    ensure!(
        missing["text"]
            .as_str()
            .is_some_and(|text| text.contains("times a minute"))
    );
    finding(
        &report,
        "n_plus_one",
        &["SELECT note FROM orders WHERE id = $1"],
    )?;
    finding(&report, "unused_index", &["orders_note"])?;
    finding(
        &report,
        "duplicate_index",
        &["orders_id_again", "orders_pkey"],
    )?;
    finding(
        &report,
        "plan_sequential_scan",
        &["Seq Scan on orders", "customer_id = $1"],
    )?;

    let blocker = &report["activity"]["data"]["blocking"]["blockers"][0];
    ensure!(blocker["pid"].as_u64() == pid.parse().ok(), "{blocker:#}");
    ensure!(list(blocker, "/waiting")?.len() == 3, "{blocker:#}");
    let waits = list(&report, "/activity/data/waits")?;
    ensure!(
        waits.iter().any(|wait| wait["wait_type"] == "Lock"),
        "{waits:#?}"
    );
    // Nobody's data, but the shape of it. The number is one that no counter has.
    let text = report.to_string();
    for secret in ["secret", "471147114"] {
        ensure!(!text.contains(secret), "{secret} is in the report");
    }
    ensure!(text.contains("UPDATE accounts SET owner = ? WHERE id = ?"));
    Ok(())
}

/// All that a probe could have changed.
fn fingerprint(server: &Postgres) -> Result<String> {
    [
        "SELECT md5(string_agg(c::text, ',' ORDER BY oid)) FROM pg_class c",
        "SELECT md5(string_agg(name || setting, ',' ORDER BY name)) FROM pg_settings",
        "SELECT count(*) FROM pg_db_role_setting",
        "SELECT count(*), max(id) FROM orders",
        "SELECT last_value, is_called FROM orders_id_seq",
        "SELECT string_agg(query, ';' ORDER BY query) FROM pg_stat_statements
           WHERE query NOT LIKE 'SELECT count%' AND query NOT LIKE '%md5(%'
             AND query NOT LIKE '%string_agg%' AND query NOT LIKE '%last_value%'",
    ]
    .into_iter()
    .map(|statement| server.sql(statement))
    .collect::<Result<Vec<_>>>()
    .map(|answers| answers.join("\n"))
}

#[test]
fn nothing_is_changed() -> Result<()> {
    let server = Postgres::start(&["autovacuum=off"])?;
    for statement in ORDERS.split_inclusive(';') {
        server.sql(statement)?;
    }
    fingerprint(&server)?;
    let before = fingerprint(&server)?;
    for (statement, reason) in [
        (
            "WITH gone AS (DELETE FROM orders RETURNING 1) SELECT * FROM gone",
            "read-only",
        ),
        ("SELECT nextval('orders_id_seq')", "read-only"),
        ("DELETE FROM orders", "only SELECT"),
        ("SELECT 1; COMMIT; DELETE FROM orders", "multiple commands"),
        ("SELECT pg_sleep(60)", "statement timeout"),
    ] {
        let options = [
            "--duration",
            "1ms",
            "--timeout",
            "2",
            "--explain-worst",
            "5",
        ];
        let report = server.probe(&[&options[..], &["--explain", statement]].concat())?;
        let plan = &report["plans"][0]["plan"];
        let said = plan["reason"].as_str().unwrap_or_default();
        ensure!(said.contains(reason), "{statement}: {plan}");
    }
    let after = fingerprint(&server)?;
    ensure!(before == after, "before:\n{before}\nafter:\n{after}");

    let explain = "SELECT * FROM orders WHERE customer_id = 42";
    let report = server.probe(&["--duration", "1ms", "--explain", explain])?;
    finding(
        &report,
        "plan_sequential_scan",
        &["Seq Scan on orders", "(customer_id = ?)"],
    )?;
    let nodes = list(&report, "/plans/0/plan/data/nodes")?;
    let rows = server.sql("SELECT count(*) FROM orders WHERE customer_id = 42")?;
    ensure!(nodes[0]["rows"].as_f64() == rows.parse().ok(), "{nodes:#?}");
    Ok(())
}

#[test]
fn logins_and_passwords() -> Result<()> {
    let certificate = Certificate::make()?;
    let server = Postgres::start_with(&["ssl=on"], Some(&certificate))?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("pgpass");
    fs::write(&file, format!("127.0.0.1:*:*:postgres:{PASSWORD}\n"))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    let url = server.url("postgres");
    let with_password = url.replace("postgres@", &format!("postgres:{PASSWORD_IN_URL}@"));
    let socket = server.socket_directory();
    let socket = format!(
        "host={} port={} user=postgres",
        socket.display(),
        server.port
    );
    let run = |url: &str, name: &str, value: &str| -> Result<_> {
        let mut command: Command = profiler::command();
        command
            .args([
                "postgres",
                url,
                "--duration",
                "1ms",
                "--format",
                "json",
                "-vv",
            ])
            .env_remove("PGPASSWORD")
            .env(name, value);
        let output = process::any_output(&mut command)?;
        let written = [&output.stdout[..], &output.stderr].concat();
        let written = String::from_utf8_lossy(&written);
        ensure!(
            !written.contains(PASSWORD),
            "the password was written: {written}"
        );
        ensure!(
            !written.contains(PASSWORD_IN_URL),
            "the password was written: {written}"
        );
        Ok(output)
    };
    let file = file.to_str().context("a path in UTF-8")?;
    for (url, name, value) in [
        (url.as_str(), "PGPASSWORD", PASSWORD),
        (&url, "PGPASSFILE", file),
        (&with_password, "UNUSED", ""),
        (&socket, "PGPASSWORD", PASSWORD),
    ] {
        let report = json(&run(url, name, value)?, "postgres").with_context(|| name.to_owned())?;
        ensure!(
            report["encrypted"] == !url.starts_with("host"),
            "{}",
            report["encrypted"]
        );
    }
    let verified = format!(
        "{url}?sslmode=verify-full&sslrootcert={}",
        certificate.path()
    );
    let verified = json(&run(&verified, "PGPASSWORD", PASSWORD)?, "postgres")?;
    ensure!(verified["encrypted"] == true);
    let plain = json(
        &run(&format!("{url}?sslmode=disable"), "PGPASSWORD", PASSWORD)?,
        "postgres",
    )?;
    ensure!(plain["encrypted"] == false);
    let refused = [
        (
            url.clone(),
            "PGPASSWORD",
            "wrong",
            "password authentication failed",
        ),
        (
            format!("{url}?sslmode=verify-full"),
            "PGPASSWORD",
            PASSWORD,
            "certificate",
        ),
        (
            with_password.replace("//postgres:", "//nobody:"),
            "UNUSED",
            "",
            "password authentication failed",
        ),
        (
            with_password.replace("postgres://", "http://"),
            "UNUSED",
            "",
            "scheme",
        ),
    ];
    for (url, name, value, reason) in refused {
        let output = run(&url, name, value)?;
        let said = profiler::messages(&output);
        ensure!(
            output.status.code() == Some(2) && said.contains(reason),
            "{reason}: {said}"
        );
    }
    Ok(())
}

/// A role that sees little, and a server that ends the probe's sessions.
#[test]
fn what_fails_is_there_with_its_reason() -> Result<()> {
    let server = Postgres::start(&[])?;
    server.sql(&format!("CREATE ROLE limited LOGIN PASSWORD '{PASSWORD}'"))?;
    server.sql("REVOKE ALL ON FUNCTION pg_stat_statements(boolean) FROM PUBLIC")?;
    let output = process::any_output(
        profiler::command()
            .args([
                "postgres",
                &server.url("limited"),
                "--duration",
                "1s",
                "--format",
                "json",
            ])
            .env("PGPASSWORD", PASSWORD),
    )?;
    let report = json(&output, "postgres")?;
    ensure!(report["server"]["sees_all_statistics"] == false);
    let reason = report["statements"]["reason"].as_str().unwrap_or_default();
    ensure!(
        reason.contains("permission denied"),
        "{}",
        report["statements"]
    );
    for section in [
        "activity",
        "database",
        "tables",
        "indexes",
        "checkpoints",
        "replication",
    ] {
        ensure!(
            report[section]["status"] == "measured",
            "{section}: {}",
            report[section]
        );
    }

    let killer = thread::spawn(move || -> Result<Postgres> {
        let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE application_name = 'profiler'";
        let mut killed = 0;
        while killed == 0 {
            killed = server.sql(kill)?.parse()?;
        }
        Ok(server)
    });
    // It began before the killer or after: either way there is a whole report.
    thread::sleep(Duration::from_millis(100));
    let port = output_port(&report)?;
    let output = process::any_output(
        profiler::command()
            .args([
                "postgres",
                &format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            ])
            .args([
                "--duration",
                "3s",
                "--interval",
                "100ms",
                "--format",
                "json",
            ])
            .env("PGPASSWORD", PASSWORD),
    )?;
    let killed = killer.join().ok().context("the killer failed")?;
    if output.status.success() {
        let report = json(&output, "postgres")?;
        ensure!(report["connections"]["status"] == "measured", "{report:#}");
    } else {
        ensure!(profiler::messages(&output).lines().count() == 1);
    }
    drop(killed?);
    Ok(())
}

fn output_port(report: &Value) -> Result<u16> {
    let address = report["address"].as_str().context("no address")?;
    let (_, port) = address.rsplit_once(':').context("no port")?;
    Ok(port.parse()?)
}

#[test]
fn servers_that_are_not_what_they_should_be() -> Result<()> {
    hostile::probes_end("postgres", |port| {
        format!("postgres://me:{PASSWORD_IN_URL}@127.0.0.1:{port}/x")
    })
}
