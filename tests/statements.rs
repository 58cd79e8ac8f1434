//! Phases of PostgreSQL's statements, against what the server itself counts.
use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::{
    databases::{PASSWORD, Postgres},
    image,
    measurement::measured,
    process::{self, Process},
    profiler,
    recording::Recording,
};

/// pg_stat_statements counts all of them, with their planning.
const SETTINGS: [&str; 7] = [
    "pg_stat_statements.track=all",
    "pg_stat_statements.track_planning=on",
    "pg_stat_statements.track_utility=on",
    "jit=off",
    "autovacuum=off",
    "max_parallel_workers_per_gather=0",
    "geqo=off",
];

/// Plans of functions are made each time.
const TABLES: [&str; 3] = [
    "CREATE TABLE items AS SELECT i AS id, 'note ' || i AS note FROM generate_series(1, 20000) i",
    "CREATE TABLE keys AS SELECT i AS id FROM generate_series(1, 3) i",
    "CREATE FUNCTION total_of(n int) RETURNS bigint LANGUAGE plpgsql
       SET plan_cache_mode = force_custom_plan AS $$
     DECLARE below bigint; above bigint;
     BEGIN
       SELECT sum(id) INTO below FROM items WHERE id < n;
       SELECT count(*) INTO above FROM items WHERE id > n;
       RETURN below + above;
     END $$",
];

/// A join that takes longer to plan than to run.
const JOIN: &str = "SELECT count(*) FROM keys a JOIN keys b USING (id) JOIN keys c USING (id) \
    JOIN keys d USING (id) JOIN keys e USING (id) JOIN keys f USING (id) JOIN keys g USING (id)";

/// What a phase may take beyond what the server counts: its probes, and what the
/// server does between them and its own clock.
const BESIDE_NS: f64 = 100_000.0;

fn record(options: &[&str]) -> Result<Recording> {
    // Little of the CPUs' time: it is not what is looked at.
    let usual = [
        "--statement-phases",
        "--sources",
        "on-cpu",
        "--frequency",
        "5",
    ];
    let options = [&usual, options].concat();
    Recording::begin_in("database", profiler::command(), &options)
}

/// The statements of a server by their texts, and all of them.
fn of_server(report: &Value, pid: u32) -> Result<(BTreeMap<String, &Value>, &Value)> {
    let servers = report.pointer("/statements/servers");
    let server = servers
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .find(|server| server["pid"] == pid)
        .with_context(|| {
            format!(
                "no server {pid}: {}, {}",
                report["statements"], report["notes"]
            )
        })?;
    let rows = server["statements"].as_array().context("no statements")?;
    let rows = rows
        .iter()
        .map(|row| (plain(row["statement"].as_str().unwrap_or_default()), row))
        .collect();
    Ok((rows, &server["total"]))
}

/// With its parameters, whoever took the literals out.
fn plain(statement: &str) -> String {
    let mut text = String::new();
    let mut characters = statement.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '$' {
            text.push(character);
            continue;
        }
        text.push('?');
        while characters.next_if(char::is_ascii_digit).is_some() {}
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn number(row: &Value, place: &str) -> Result<f64> {
    let value = row.pointer(place).and_then(Value::as_f64);
    value.with_context(|| format!("no {place}: {row}"))
}

/// Runs statements in one session, one after the other.
fn run(server: &Postgres, statements: impl IntoIterator<Item = String>) -> Result<String> {
    let mut psql = server.psql("test")?;
    for statement in statements {
        psql.args(["-c", &statement]);
    }
    process::output(&mut psql)
}

fn pgbench(server: &Postgres, options: &[&str]) -> Result<String> {
    let port = server.port.to_string();
    process::output(
        Command::new("chroot")
            .arg(image::root_file_system()?)
            .args(["pgbench", "-h", "127.0.0.1", "-p", &port, "-U", "postgres"])
            .args(options)
            .env("PGPASSWORD", PASSWORD),
    )
}

#[test]
fn phases_are_those_that_the_server_counts() -> Result<()> {
    measured(|| compared(&Postgres::start(&SETTINGS)?))
}

/// The same from a container's layer: the file is found though its path leads
/// elsewhere here.
#[test]
fn phases_of_a_server_in_a_container() -> Result<()> {
    measured(|| compared(&Postgres::start_layered(&SETTINGS)?))
}

fn compared(server: &Postgres) -> Result<()> {
    run(server, TABLES.map(str::to_owned))?;
    pgbench(server, &["-i", "-q", "-s", "1", "postgres"])?;
    let recording = record(&[])?;
    run(server, ["SELECT pg_stat_statements_reset()".to_owned()])?;
    let simple = (0..40).map(|n| format!("SELECT count(*) FROM items WHERE id < {n}"));
    let inserts = (0..15).map(|n| format!("INSERT INTO items VALUES ({n}, 'secret {n}');"));
    run(server, simple.chain(inserts))?;
    run(server, (0..5).map(|_| JOIN.to_owned()))?;
    run(server, (0..10).map(|n| format!("SELECT total_of({n})")))?;
    for mode in ["prepared", "extended"] {
        pgbench(
            server,
            &["-n", "-S", "-M", mode, "-c", "2", "-t", "100", "postgres"],
        )?;
    }
    let counted = server.sql(
        "SELECT json_agg(s) FROM (SELECT query, toplevel, calls, plans, total_plan_time * 1e6 AS plan,
           total_exec_time * 1e6 AS execute FROM pg_stat_statements) s",
    )?;
    let counted: Vec<Value> = serde_json::from_str(&counted)?;
    let (report, _saved) = recording.end()?;
    let (rows, total) = of_server(&report, server.pid())?;
    println!("{total}");

    let mut wrong = Vec::new();
    let mut compared = 0;
    for of in counted.iter().filter(|of| of["toplevel"] == true) {
        let text = plain(of["query"].as_str().unwrap_or_default());
        // What asks, and what pgbench asks with numbers that are no literals to it.
        if text.contains("pg_stat_statements") || text.contains("group by 1") {
            continue;
        }
        let Some(row) = rows.get(&text) else {
            wrong.push(format!("no row of {text}"));
            continue;
        };
        compared += 1;
        let (calls, plans) = (number(of, "/calls")?, number(of, "/plans")?);
        if number(row, "/executions")? != calls || number(row, "/plan/count")? != plans {
            wrong.push(format!("{calls} calls, {plans} plans: {row}"));
        }
        for (phase, count) in [("plan", plans), ("execute", calls)] {
            let (found, expected) = (
                number(row, &format!("/{phase}/total_ns"))?,
                number(of, &format!("/{phase}"))?,
            );
            println!(
                "{phase} of {text:.60}: {:.3} ms, the server says {:.3} ms, {count} times",
                found / 1e6,
                expected / 1e6
            );
            // The probes lie around what the server times.
            if found < 0.99 * expected || found > 1.05 * expected + count * BESIDE_NS {
                wrong.push(format!("{phase}: {found} ns instead of {expected}: {row}"));
            }
        }
        if number(row, "/total_ns")? > number(row, "/elapsed_ns")? {
            wrong.push(format!("phases overlap: {row}"));
        }
    }
    ensure!(compared == 6, "only {compared} statements: {counted:#?}");

    let simple = row_of(&rows, "SELECT count(*) FROM items WHERE id < ?")?;
    let prepared = row_of(&rows, "SELECT abalance FROM pgbench_accounts WHERE aid = ?")?;
    let join = row_of(&rows, JOIN)?;
    let function = row_of(&rows, "SELECT total_of(?)")?;
    for (row, place, expected) in [
        (simple, "/parse/count", 40.0),
        (simple, "/rewrite/count", 40.0),
        (simple, "/executions", 40.0),
        // Each of two clients prepares it once; the others parse it each time.
        (prepared, "/parse/count", 2.0 + 200.0),
        (prepared, "/executions", 400.0),
        (join, "/plan/count", 5.0),
        (function, "/executions", 10.0),
        (function, "/plan/count", 10.0),
        (function, "/failed", 0.0),
    ] {
        if number(row, place)? != expected {
            wrong.push(format!("{place} is not {expected}: {row}"));
        }
    }
    if number(join, "/plan/total_ns")? < number(join, "/execute/total_ns")? {
        wrong.push(format!("planning it takes longest: {join}"));
    }
    // What functions run is in its caller's time, and counted there.
    let within: f64 = counted
        .iter()
        .filter(|of| of["toplevel"] == false)
        .filter_map(|of| of["plans"].as_f64())
        .sum();
    println!("{within} plans within, {function}");
    if within < 20.0 || number(function, "/plan/nested")? != within {
        wrong.push(format!("not {within} plans within: {function}"));
    }
    if number(function, "/plan/nested_ns")? > number(function, "/execute/total_ns")? {
        wrong.push(format!("what is within takes longer: {function}"));
    }
    if report["statements"].to_string().contains("secret") {
        wrong.push("literals are told".to_owned());
    }
    if let Some(text) = rows.keys().find(|text| text.contains("INTO below")) {
        wrong.push(format!(
            "a statement of a function is a row of its own: {text}"
        ));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn row_of<'r>(rows: &BTreeMap<String, &'r Value>, text: &str) -> Result<&'r Value> {
    let row = rows.get(text).copied();
    row.with_context(|| format!("no {text}: {rows:#?}"))
}

/// Errors, waits for locks, a backend that is killed, and what is not over.
#[test]
fn what_does_not_end_well() -> Result<()> {
    measured(unwell)
}

fn unwell() -> Result<()> {
    let server = Postgres::start(&SETTINGS)?;
    run(&server, TABLES.map(str::to_owned))?;
    let recording = record(&[])?;
    for statement in ["SELECT 1 / 0", "SELECT nothing FROM nowhere", "SELCT 1"] {
        ensure!(server.sql(statement).is_err(), "{statement} is right");
    }
    // One holds a row for two seconds, and the other waits for it.
    let holds = "SELECT pg_sleep(2)";
    let mut holder = session(
        &server,
        &[
            "BEGIN",
            "UPDATE items SET note = 'a' WHERE id = 1",
            holds,
            "COMMIT",
        ],
    )?;
    active(&server, holds)?;
    server.sql("UPDATE items SET note = 'b' || id WHERE id = 1")?;
    ensure!(holder.wait(Duration::from_secs(20))?.success());
    // In the middle of a statement, and with it the whole server starts again.
    let text = "SELECT pg_sleep(100), 'killed'";
    let mut killed = session(&server, &[text])?;
    let (backend, _) = active(&server, text)?;
    thread::sleep(Duration::from_millis(1500));
    let (_, lived) = active(&server, text)?;
    // SAFETY: kill touches no memory; the process is the server's.
    unsafe { libc::kill(backend, libc::SIGKILL) };
    ensure!(!killed.wait(Duration::from_secs(20))?.success());
    ensure!(
        process::until(Duration::from_secs(30), || server.sql("SELECT 1").is_ok()),
        "the server does not start again"
    );
    let text = "SELECT pg_sleep(100), generate_series(1, 2)";
    let _running = session(&server, &[text])?;
    active(&server, text)?;
    thread::sleep(Duration::from_millis(1500));
    let (_, running) = active(&server, text)?;
    let (report, _saved) = recording.end()?;
    let (rows, _) = of_server(&report, server.pid())?;

    let mut wrong = Vec::new();
    let row = |text: &str| row_of(&rows, text);
    for (text, place, expected) in [
        ("SELECT ? / ?", "/failed", 1.0),
        ("SELECT ? / ?", "/executions", 0.0),
        ("SELECT nothing FROM nowhere", "/failed", 1.0),
        ("SELECT nothing FROM nowhere", "/parse/count", 1.0),
        ("SELCT ?", "/failed", 1.0),
        ("SELCT ?", "/parse/count", 0.0),
        ("BEGIN", "/executions", 1.0),
        ("COMMIT", "/executions", 1.0),
        ("SELECT pg_sleep(?)", "/executions", 1.0),
        ("UPDATE items SET note = ? WHERE id = ?", "/executions", 1.0),
        ("UPDATE items SET note = ? WHERE id = ?", "/lock_waits", 0.0),
        (
            "UPDATE items SET note = ? || id WHERE id = ?",
            "/executions",
            1.0,
        ),
        (
            "UPDATE items SET note = ? || id WHERE id = ?",
            "/lock_waits",
            1.0,
        ),
        ("SELECT pg_sleep(?), ?", "/executions", 0.0),
        ("SELECT pg_sleep(?), ?", "/plan/count", 1.0),
        ("SELECT pg_sleep(?), ?", "/failed", 1.0),
        ("SELECT pg_sleep(?), ?", "/in_progress", 0.0),
        (
            "SELECT pg_sleep(?), generate_series(?, ?)",
            "/in_progress",
            1.0,
        ),
        ("SELECT pg_sleep(?), generate_series(?, ?)", "/failed", 0.0),
    ] {
        let row = row(text)?;
        if number(row, place)? != expected {
            wrong.push(format!("{place} is not {expected}: {row}"));
        }
    }
    for (text, place, seconds) in [
        ("SELECT pg_sleep(?)", "/execute/longest_ns", 2.0),
        ("SELECT pg_sleep(?), ?", "/failed_ns", lived),
        (
            "SELECT pg_sleep(?), generate_series(?, ?)",
            "/in_progress_ns",
            running,
        ),
    ] {
        let row = row(text)?;
        let found = number(row, place)? / 1e9;
        println!("{place} of {text}: {found:.2} s, {seconds} s expected");
        if found < seconds - 0.05 || found > seconds + 1.0 {
            wrong.push(format!("{place} is not {seconds} s: {row}"));
        }
    }
    let update = row("UPDATE items SET note = ? || id WHERE id = ?")?;
    let (waited, executed) = (
        number(update, "/lock_ns")? / 1e9,
        number(update, "/execute/total_ns")? / 1e9,
    );
    println!("waited {waited:.2} s in {executed:.2} s");
    if waited > executed || waited < executed - 0.1 || !(0.1..=2.1).contains(&waited) {
        wrong.push(format!("it waits while it executes: {update}"));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// The backend that is at a statement, when it is, and for how many seconds.
fn active(server: &Postgres, text: &str) -> Result<(libc::pid_t, f64)> {
    let question = format!(
        "SELECT pid, extract(epoch FROM clock_timestamp() - query_start) FROM pg_stat_activity
         WHERE state = 'active' AND query = $text${text}$text$"
    );
    let mut answer = String::new();
    process::until(Duration::from_secs(30), || {
        answer = server.sql(&question).unwrap_or_default();
        !answer.is_empty()
    });
    let (pid, seconds) = answer
        .split_once('|')
        .with_context(|| format!("nobody is at {text}"))?;
    Ok((pid.parse()?, seconds.parse()?))
}

/// A session of its own, which goes on beside the test.
fn session(server: &Postgres, statements: &[&str]) -> Result<Process> {
    let mut psql = server.psql("test")?;
    for statement in statements {
        psql.args(["-c", statement]);
    }
    Process::spawn(
        psql.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )
}

/// Two containers of one image: their programs are one file, which must not count
/// twice. One of them starts while the recording goes on.
#[test]
fn two_containers_of_one_image() -> Result<()> {
    let first = Postgres::start_layered(&SETTINGS)?;
    let second = Postgres::start_layered(&SETTINGS)?;
    let recording = record(&[])?;
    let third = Postgres::start_layered(&SETTINGS)?;
    // Looked for each second.
    thread::sleep(Duration::from_millis(2500));
    let servers = [(&first, 20), (&second, 30), (&third, 40)];
    for (server, count) in servers {
        run(server, (0..count).map(|n| format!("SELECT {n} AS counted")))?;
    }
    let (report, _saved) = recording.end()?;
    for (server, count) in servers {
        let (rows, _) = of_server(&report, server.pid())?;
        let row = row_of(&rows, "SELECT ? AS counted")?;
        for place in [
            "/executions",
            "/parse/count",
            "/rewrite/count",
            "/plan/count",
        ] {
            let found = number(row, place)?;
            ensure!(found == f64::from(count), "not {count}: {row}");
        }
        ensure!(number(row, "/failed")? == 0.0, "{row}");
    }
    Ok(())
}

/// A server's program that was built without them: everything else is there.
#[test]
fn a_program_without_probes() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let program = directory.path().join("postgres");
    fs::copy("/bin/sleep", &program)?;
    let server = Process::spawn(Command::new(&program).arg("60"))?;
    let recording = record(&["--pid", &server.pid().to_string()])?;
    thread::sleep(Duration::from_secs(1));
    let (report, _saved) = recording.end()?;
    ensure!(report["statements"].is_null(), "{}", report["statements"]);
    let notes = report["notes"].as_array().context("no notes")?;
    let said: Vec<&Value> = notes
        .iter()
        .filter(|note| {
            note["text"]
                .to_string()
                .contains("phases of PostgreSQL's statements")
        })
        .collect();
    let why = said.first().context("it is not said")?.to_string();
    ensure!(
        said.len() == 1 && why.contains("without --enable-dtrace") && why.contains("/postgres: "),
        "{said:#?}"
    );
    Ok(())
}

/// Texts that are longer than what is read, and whatever else a client sends.
#[test]
fn texts_of_any_kind() -> Result<()> {
    let server = Postgres::start(&SETTINGS)?;
    let recording = record(&[])?;
    let long = format!("SELECT {} AS long", "count(*), ".repeat(150) + "count(*)");
    server.sql(&long)?;
    server.sql("SELECT 'é' AS \"größe\"")?;
    for text in ["", "\u{202e}\t", "</script><b>", "a\nb", "\u{1b}[31m"] {
        server.sql(&format!("SELECT '{text}' AS text"))?;
        server.sql(&format!("SELECT 1 AS \"x{text}\""))?;
    }
    let (report, saved) = recording.end()?;
    let (rows, _) = of_server(&report, server.pid())?;
    let cut = rows.values().filter(|row| row["cut"] == true).count();
    ensure!(cut == 1, "{cut} are cut: {:#?}", rows.keys());
    row_of(&rows, "SELECT ? AS \"größe\"")?;
    let row = row_of(&rows, "SELECT ? AS text")?;
    ensure!(number(row, "/executions")? == 5.0, "{row}");
    for format in ["markdown", "html"] {
        let text = profiler::render(&saved, format)?;
        ensure!(text.contains("größe"), "not in {format}");
    }
    Ok(())
}
