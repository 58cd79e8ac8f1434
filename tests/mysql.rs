//! The probe of MySQL, against MariaDB and its own client on the same server.
use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::{
    databases::{Certificate, PASSWORD, PASSWORD_IN_URL, finding, json},
    hostile,
    mariadb::{Client, MONITOR, Mariadb},
    process::{self, Process},
    profiler,
};

const COUNTED: &str = "--performance-schema=ON";
const ORDERS: &str = "
    CREATE TABLE orders (id INT PRIMARY KEY AUTO_INCREMENT, customer_id INT, note VARCHAR(40),
      KEY note (note), KEY note_id (note, id), UNIQUE KEY id_again (id));
    INSERT INTO orders (customer_id, note)
      SELECT seq % 500, CONCAT('note ', seq) FROM seq_1_to_5000;
    CREATE TABLE keyless (a INT);
    ANALYZE TABLE orders;";

fn list<'r>(report: &'r Value, place: &str) -> Result<&'r Vec<Value>> {
    let found = report.pointer(place).and_then(Value::as_array);
    found.with_context(|| format!("no {place}: {report:#}"))
}

fn counter<'r>(report: &'r Value, name: &str) -> Result<&'r Value> {
    let counters = list(report, "/status/data/counters")?;
    let counter = counters.iter().find(|counter| counter["name"] == name);
    counter.with_context(|| format!("no {name}: {counters:#?}"))
}

#[test]
fn numbers_are_those_of_the_client() -> Result<()> {
    let server = Mariadb::start(&[COUNTED])?;
    server.sql(ORDERS)?;
    for customer in 0..7 {
        server.sql(&format!(
            "SELECT COUNT(*) FROM orders WHERE customer_id = {customer}"
        ))?;
    }
    let report = server.probe(&["--duration", "1"])?;

    ensure!(report["server"]["version"] == server.sql("SELECT @@version")?.as_str());
    let statements = list(&report, "/statements/data/totals")?;
    let mut compared = 0;
    for row in statements {
        let digest = row["digest"].as_str().context("no digest")?;
        let expected = server.sql(&format!(
            "SELECT COUNT_STAR, SUM_ROWS_EXAMINED, SUM_ROWS_SENT, SUM_NO_INDEX_USED, SUM_ERRORS
             FROM performance_schema.events_statements_summary_by_digest
             WHERE DIGEST = '{digest}' AND SCHEMA_NAME = 'shop'"
        ))?;
        let found = [
            "calls",
            "rows_examined",
            "rows_sent",
            "no_index_calls",
            "errors",
        ];
        let found = found.map(|name| row[name].to_string()).join("\t");
        // What the client asked for since is counted too, but not among these.
        if row["query"]
            .as_str()
            .is_some_and(|query| query.contains("orders"))
        {
            ensure!(found == expected, "{row} is {expected}");
            compared += 1;
        }
    }
    ensure!(compared >= 3, "only {compared} statements: {statements:#?}");
    let seven = statements.iter().find(|row| {
        row["query"]
            .as_str()
            .is_some_and(|query| query.starts_with("SELECT COUNT ( * )"))
    });
    let seven = seven.context("no statement on customers")?;
    ensure!(
        seven["calls"] == 7 && seven["rows_examined"] == 35_000 && seven["no_index_calls"] == 7,
        "{seven}"
    );
    finding(&report, "no_index_used", &["5,000 rows", "7 calls"])?;

    // What looking does not change.
    for name in [
        "Com_insert",
        "Com_delete",
        "Handler_update",
        "Innodb_row_lock_waits",
        "Slow_queries",
        "Aborted_clients",
        "Aborted_connects",
    ] {
        let status = server.sql(&format!("SHOW GLOBAL STATUS LIKE '{name}'"))?;
        let expected: u64 = status.split('\t').nth(1).context("no value")?.parse()?;
        let found = counter(&report, name)?;
        ensure!(found["total"] == expected, "{found} {status}");
    }
    // Nobody but the probe did anything in the window, and that is not shown.
    for name in [
        "Questions",
        "Com_select",
        "Created_tmp_tables",
        "Created_tmp_disk_tables",
        "Handler_read_rnd_next",
        "Select_scan",
    ] {
        let found = counter(&report, name)?;
        ensure!(
            found["window"] == 0 && found["own"] != 0,
            "{name}: {found:#}"
        );
    }
    ensure!(report["statements"]["data"]["window_calls"] == 0);

    let expected = server.sql(
        "SELECT TABLE_ROWS, DATA_LENGTH, INDEX_LENGTH, DATA_FREE FROM information_schema.TABLES
         WHERE TABLE_SCHEMA = 'shop' AND TABLE_NAME = 'orders'",
    )?;
    let table = &list(&report, "/tables/data/largest")?[0];
    let found = ["estimated_rows", "data_bytes", "index_bytes", "free_bytes"];
    let found = found.map(|name| table[name].to_string()).join("\t");
    ensure!(found == expected, "{table} is {expected}");
    let names = |place: &str| -> Result<Vec<String>> {
        let found = list(&report, place)?.iter();
        Ok(found.map(|it| it["name"].to_string()).collect())
    };
    ensure!(names("/tables/data/without_primary_key")? == ["\"keyless\""]);
    let redundant = names("/indexes/data/redundant")?;
    ensure!(redundant == ["\"id_again\"", "\"note\""], "{redundant:?}");
    let expected = server.sql(
        "SELECT GROUP_CONCAT(JSON_QUOTE(INDEX_NAME) ORDER BY INDEX_NAME)
         FROM performance_schema.table_io_waits_summary_by_index_usage
         WHERE OBJECT_SCHEMA = 'shop' AND COUNT_STAR = 0 AND INDEX_NAME LIKE 'note%'",
    )?;
    let unused = names("/indexes/data/unused")?;
    ensure!(unused.join(",") == expected, "{unused:?} is {expected}");
    let max: u64 = server.sql("SELECT @@max_connections")?.parse()?;
    ensure!(report["server"]["max_connections"] == max);
    ensure!(list(&report, "/replication/data")?.is_empty());
    Ok(())
}

/// The session that has the lock `held`, which it takes last.
fn held_by(server: &Mariadb) -> Result<u64> {
    let mut answer = String::new();
    let held = process::until(Duration::from_secs(10), || {
        answer = server
            .sql("SELECT IS_USED_LOCK('held')")
            .unwrap_or_default();
        answer.parse::<u64>().is_ok()
    });
    ensure!(held, "nobody holds it: {answer}");
    Ok(answer.parse()?)
}

#[test]
fn planted_faults_are_found_by_name() -> Result<()> {
    let instrument = "--performance-schema-instrument=wait/lock/metadata/sql/mdl=ON";
    let server = Mariadb::start(&[COUNTED, instrument])?;
    server.sql(ORDERS)?;
    server.sql(
        "CREATE TABLE accounts (id INT PRIMARY KEY, owner TEXT);
         INSERT INTO accounts VALUES (1, 'x')",
    )?;
    let holder = Client::start(
        &server,
        "BEGIN; UPDATE accounts SET owner = 'secret owner' WHERE id = 1;
         SELECT COUNT(*) FROM keyless; SELECT GET_LOCK('held', 0);",
    )?;
    let id = held_by(&server)?;
    let waiters: Vec<Client> = (0..3)
        .map(|_| {
            let update = "UPDATE accounts SET owner = 'secret waiter' WHERE id = 1;";
            Client::start(&server, update)
        })
        .collect::<Result<_>>()?;
    let altering = Client::start(&server, "ALTER TABLE keyless ADD COLUMN b INT;")?;
    let reads = "SELECT COUNT(*) FROM orders WHERE customer_id = 471147114;";
    let reader = Client::start(&server, &reads.repeat(200))?;
    // Not asked of InnoDB's list of transactions, which is not renewed while it is
    // read that often.
    let waiting = process::until(Duration::from_secs(10), || {
        let waiting = "SELECT COUNT(*) FROM information_schema.PROCESSLIST
             WHERE STATE = 'Waiting for table metadata lock' OR STATE = 'Updating'";
        server.sql(waiting).is_ok_and(|count| count == "4")
    });
    ensure!(waiting, "nobody waits");
    let report = server.probe(&["--duration", "2", "--interval", "200ms"])?;
    drop((holder, waiters, altering, reader));

    let behind = format!("4 sessions wait behind session {id} (tester@");
    let pile = finding(
        &report,
        "lock_pile_up",
        &[&behind, "idle in transaction for", "shop.accounts"],
    )?;
    println!("{pile:#}");
    let blocker = &report["activity"]["data"]["blocking"]["blockers"][0];
    ensure!(blocker["id"] == id, "{blocker:#}");
    let waiting = list(blocker, "/waiting")?;
    let altering = waiting.iter().find(|it| it["table"] == "shop.keyless");
    let altering = altering.with_context(|| format!("no metadata lock: {blocker:#}"))?;
    ensure!(
        altering["blocked_by"]
            .as_array()
            .is_some_and(|by| by.iter().any(|by| *by == id)),
        "{altering:#}"
    );
    finding(&report, "no_index_used", &["COUNT ( * ) FROM", "orders"])?;
    finding(&report, "duplicate_index", &["id_again", "PRIMARY"])?;
    finding(&report, "no_primary_key", &["shop.keyless"])?;

    // Nobody's data, but the shape of it. The number is one that no counter has.
    let text = report.to_string();
    for secret in ["secret", "471147114"] {
        ensure!(!text.contains(secret), "{secret} is in the report");
    }
    ensure!(text.contains("UPDATE accounts SET owner = ? WHERE id = ?"));
    let shown = server.probe(&["--duration", "1ms", "--literals"])?;
    ensure!(shown["literals"] == true);
    Ok(())
}

/// As MariaDB is unless it is configured: statements come from samples.
#[test]
fn without_the_performance_schema_sessions_are_sampled() -> Result<()> {
    let server = Mariadb::start(&[])?;
    server.sql(ORDERS)?;
    let mut sleeping = Client::start(
        &server,
        "SELECT SLEEP(30), 'it''s a secret', \"a 'secret' too\" FROM orders LIMIT 1;",
    )?;
    sleeping.run("")?;
    let holder = Client::start(
        &server,
        "BEGIN; SELECT COUNT(*) FROM keyless; SELECT GET_LOCK('held', 0);",
    )?;
    held_by(&server)?;
    let seen = |wanted: &str| {
        let count =
            format!("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE = '{wanted}'");
        server.sql(&count).is_ok_and(|count| count == "1")
    };
    ensure!(
        process::until(Duration::from_secs(10), || seen("User sleep")),
        "nobody sleeps"
    );
    let altering = Client::start(&server, "ALTER TABLE keyless ADD COLUMN b INT;")?;
    let waits = "Waiting for table metadata lock";
    ensure!(
        process::until(Duration::from_secs(10), || seen(waits)),
        "nobody waits"
    );
    let report = server.probe(&["--duration", "1", "--interval", "1ms"])?;
    drop((sleeping, holder, altering));
    // InnoDB renews its list of transactions only between reads that are apart.
    ensure!(report["interval_seconds"] == 0.15, "{report:#}");
    let states = list(&report, "/activity/data/states")?;
    let idle = states
        .iter()
        .find(|row| row["state"] == "idle in transaction");
    ensure!(
        idle.is_some_and(|row| row["average_sessions"] == 1.0),
        "{states:#?}"
    );

    let reason = report["statements"]["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains("performance_schema = ON"), "{reason}");
    finding(
        &report,
        "performance_schema_off",
        &["performance_schema = ON into [mysqld]"],
    )?;
    finding(&report, "metadata_lock", &["1 session waits", waits])?;
    let statements = list(&report, "/activity/data/statements")?;
    let asleep = statements
        .iter()
        .find(|row| row["query"] == "SELECT SLEEP(?), ?, ? FROM orders LIMIT ?");
    let asleep = asleep.with_context(|| format!("{statements:#?}"))?;
    ensure!(
        asleep["main_state"] == "User sleep" && asleep["average_sessions"] == 1.0,
        "{asleep}"
    );
    ensure!(!report.to_string().contains("secret"));
    Ok(())
}

/// A replica of our own, whose replay is stopped by a row that it has already.
#[test]
fn a_broken_replica_is_found() -> Result<()> {
    let source = Mariadb::start(&["--log-bin=binary", "--server-id=1"])?;
    let replica = Mariadb::start(&["--server-id=2"])?;
    replica.sql(&format!(
        "CREATE TABLE stock (id INT PRIMARY KEY); INSERT INTO stock VALUES (7);
         CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = 'tester',
           MASTER_PASSWORD = '{PASSWORD}', MASTER_USE_GTID = no;",
        source.port
    ))?;
    source.sql("RESET MASTER; CREATE TABLE IF NOT EXISTS stock (id INT PRIMARY KEY)")?;
    replica.sql("START SLAVE")?;
    let status = |column: &str| -> Result<String> {
        let all = process::output(replica.client()?.args([
            "--column-names",
            "--vertical",
            "-e",
            "SHOW SLAVE STATUS",
        ]))?;
        let found = all.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            (name.trim() == column).then(|| value.trim().to_owned())
        });
        found.with_context(|| format!("no {column}: {all}"))
    };
    let ready = process::until(Duration::from_secs(20), || {
        status("Seconds_Behind_Master").is_ok_and(|behind| behind == "0")
    });
    ensure!(ready, "{}", replica.sql("SHOW SLAVE STATUS")?);
    let report = replica.probe(&["--duration", "1ms"])?;
    let channel = &report["replication"]["data"][0];
    ensure!(
        channel["source"] == format!("127.0.0.1:{}", source.port)
            && channel["fetching"] == "Yes"
            && channel["replaying"] == "Yes"
            && channel["behind_seconds"] == 0,
        "{channel:#}"
    );
    let report = source.probe(&["--duration", "1ms", "--interval", "1ms"])?;
    ensure!(report["activity"]["data"]["replicas"] == 1, "{report:#}");

    source.sql("INSERT INTO stock VALUES (7)")?;
    let broken = process::until(Duration::from_secs(20), || {
        status("Slave_SQL_Running").is_ok_and(|running| running == "No")
    });
    ensure!(broken, "it replays");
    let report = replica.probe(&["--duration", "1ms"])?;
    let channel = &report["replication"]["data"][0];
    let number: u64 = status("Last_SQL_Errno")?.parse()?;
    ensure!(channel["replay_error"] == number, "{channel:#}");
    ensure!(channel["behind_seconds"].is_null(), "{channel:#}");
    let told = format!("replaying: No (error {number})");
    finding(&report, "replication_broken", &[&told])?;
    Ok(())
}

/// All that a probe could have changed.
fn fingerprint(server: &Mariadb) -> Result<String> {
    [
        "SELECT MD5(GROUP_CONCAT(VARIABLE_NAME, VARIABLE_VALUE ORDER BY VARIABLE_NAME))
           FROM information_schema.GLOBAL_VARIABLES
           WHERE VARIABLE_NAME NOT IN ('GTID_BINLOG_POS')",
        "SELECT GROUP_CONCAT(TABLE_SCHEMA, TABLE_NAME, IFNULL(TABLE_ROWS, 0), IFNULL(UPDATE_TIME, 0)
             ORDER BY TABLE_SCHEMA, TABLE_NAME)
           FROM information_schema.TABLES WHERE TABLE_SCHEMA IN ('shop', 'mysql')",
        "SELECT MD5(GROUP_CONCAT(NAME, ENABLED, TIMED ORDER BY NAME))
           FROM performance_schema.setup_instruments",
        "SELECT GROUP_CONCAT(NAME, ENABLED ORDER BY NAME) FROM performance_schema.setup_consumers",
        "SELECT GROUP_CONCAT(USER, HOST, Priv ORDER BY USER, HOST) FROM mysql.global_priv",
        "SELECT COUNT(*), MAX(id), AVG(customer_id) FROM orders",
        "SELECT GROUP_CONCAT(NAME, ENABLED, COUNT_RESET IS NULL ORDER BY NAME)
           FROM information_schema.INNODB_METRICS",
    ]
    .into_iter()
    .map(|statement| server.sql(&format!("SET group_concat_max_len = 1000000; {statement}")))
    .collect::<Result<Vec<_>>>()
    .map(|answers| answers.join("\n"))
}

#[test]
fn nothing_is_changed() -> Result<()> {
    let server = Mariadb::start(&[COUNTED, "--log-output=TABLE", "--general-log=ON"])?;
    server.sql(ORDERS)?;
    let quiet = "SET GLOBAL general_log = OFF";
    server.sql(quiet)?;
    fingerprint(&server)?;
    let before = fingerprint(&server)?;
    server.probe(&["--duration", "1"])?;
    let after = fingerprint(&server)?;
    ensure!(before == after, "before:\n{before}\nafter:\n{after}");

    // And by what the server was told.
    server.sql("SET GLOBAL general_log = ON")?;
    server.probe(&["--duration", "1"])?;
    server.sql(quiet)?;
    let told = server.sql(&format!(
        "SELECT DISTINCT SUBSTRING_INDEX(argument, ' ', 2) FROM mysql.general_log
         WHERE command_type = 'Query' AND user_host LIKE '{MONITOR}%'"
    ))?;
    println!("{told}");
    for words in told.lines() {
        ensure!(
            ["SELECT 1", "SET SESSION", "SHOW ALL"].contains(&words),
            "{words}"
        );
    }
    // The session says goodbye: else the server would count it.
    let aborted = server.sql("SHOW GLOBAL STATUS LIKE 'Aborted_clients'")?;
    ensure!(aborted == "Aborted_clients\t0", "{aborted}");
    Ok(())
}

#[test]
fn logins_and_passwords() -> Result<()> {
    let certificate = Certificate::make()?;
    let server = Mariadb::start_with(
        &["--ssl-cert=/mnt/server.crt", "--ssl-key=/mnt/server.key"],
        Some(&certificate),
    )?;
    let home = tempfile::tempdir()?;
    let file = home.path().join(".my.cnf");
    fs::write(
        &file,
        format!("[client]\nuser = {MONITOR}\npassword = \"{PASSWORD}\"\n"),
    )?;
    let url = server.url(MONITOR);
    let with_password = url.replace("@", &format!(":{PASSWORD_IN_URL}@"));
    let socket = format!("mysql://{MONITOR}@/?socket={}", server.socket().display());
    let run = |url: &str, name: &str, value: &str| -> Result<_> {
        let mut command: Command = profiler::command();
        command
            .args(["mysql", url, "--duration", "1ms", "--format", "json", "-vv"])
            .env_remove("MYSQL_PWD")
            .env("HOME", "/nonexistent")
            .env(name, value);
        let output = process::any_output(&mut command)?;
        let written = [&output.stdout[..], &output.stderr].concat();
        let written = String::from_utf8_lossy(&written);
        for password in [PASSWORD, PASSWORD_IN_URL] {
            ensure!(
                !written.contains(password),
                "the password was written: {written}"
            );
        }
        Ok(output)
    };
    let home = home.path().to_str().context("a path in UTF-8")?;
    let nobody = url.replace(&format!("{MONITOR}@"), "");
    for (url, name, value) in [
        (url.as_str(), "MYSQL_PWD", PASSWORD),
        (&nobody, "HOME", home),
        (&with_password, "UNUSED", ""),
        (&socket, "MYSQL_PWD", PASSWORD),
    ] {
        let report = json(&run(url, name, value)?, "mysql").with_context(|| name.to_owned())?;
        ensure!(
            report["encrypted"] == !url.contains("socket="),
            "{}",
            report["encrypted"]
        );
    }
    let verified = format!(
        "{url}?ssl-mode=VERIFY_IDENTITY&ssl-ca={}",
        certificate.path()
    );
    let verified = json(&run(&verified, "MYSQL_PWD", PASSWORD)?, "mysql")?;
    ensure!(verified["encrypted"] == true);
    let plain = format!("{url}?ssl-mode=DISABLED");
    let plain = json(&run(&plain, "MYSQL_PWD", PASSWORD)?, "mysql")?;
    ensure!(plain["encrypted"] == false);
    let refused = [
        (url.clone(), "MYSQL_PWD", "wrong", "Access denied"),
        (
            format!("{url}?ssl-mode=VERIFY_IDENTITY"),
            "MYSQL_PWD",
            PASSWORD,
            "certificate",
        ),
        (
            with_password.replace(MONITOR, "nobody"),
            "UNUSED",
            "",
            "Access denied",
        ),
        (
            with_password.replace("mysql://", "http://"),
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

/// An account that sees little, and a server that ends the probe's sessions.
#[test]
fn what_fails_is_there_with_its_reason() -> Result<()> {
    let server = Mariadb::start(&[COUNTED])?;
    let report = server.probe_as("limited", &["--duration", "1"])?;
    ensure!(report["server"]["sees_all_sessions"] == false);
    for (section, words) in [("statements", "denied"), ("replication", "Access denied")] {
        let reason = report[section]["reason"].as_str().unwrap_or_default();
        ensure!(reason.contains(words), "{section}: {}", report[section]);
    }
    for section in ["activity", "status", "tables", "indexes", "pools"] {
        ensure!(
            report[section]["status"] == "measured",
            "{section}: {}",
            report[section]
        );
    }
    let missing = &report["activity"]["data"]["blocking_missing"];
    ensure!(
        missing
            .as_str()
            .is_some_and(|it| it.contains("own sessions")),
        "{missing}"
    );

    let mut probe = Process::spawn(
        profiler::command()
            .args(["mysql", &server.url(MONITOR), "--format", "json"])
            .args(["--duration", "3", "--interval", "100ms"])
            .env("MYSQL_PWD", PASSWORD)
            .stdout(Stdio::piped()),
    )?;
    let mut killed = 0;
    let kill =
        "SELECT IFNULL(MAX(ID), 0) FROM information_schema.PROCESSLIST WHERE USER = 'monitor'";
    process::until(Duration::from_secs(3), || {
        let id = server.sql(kill).unwrap_or_default();
        let found = !id.is_empty() && id != "0";
        if found && server.sql(&format!("KILL {id}")).is_ok() {
            killed += 1;
        }
        killed == 2
    });
    ensure!(killed == 2, "the probe was not seen");
    let output = thread::spawn(move || -> Result<String> {
        let mut text = String::new();
        let mut out = probe.child().stdout.take().context("no output")?;
        std::io::Read::read_to_string(&mut out, &mut text)?;
        Ok(text)
    });
    let text = output.join().ok().context("the reader failed")??;
    // It was killed while it logged in, or there is a whole report.
    if !text.is_empty() {
        let report: Value = serde_json::from_str(&text)?;
        ensure!(report["status"]["status"] == "measured", "{report:#}");
    }
    Ok(())
}

#[test]
fn servers_that_are_not_what_they_should_be() -> Result<()> {
    hostile::mysql_probes_end(|port| format!("mysql://me:{PASSWORD_IN_URL}@127.0.0.1:{port}/x"))
}

/// A recording finds it by its socket.
#[test]
fn a_recording_asks_what_it_finds() -> Result<()> {
    let server = Mariadb::start(&[COUNTED])?;
    server.sql(ORDERS)?;
    let home = tempfile::tempdir()?;
    fs::write(
        home.path().join(".my.cnf"),
        format!("[client]\nuser={MONITOR}\n"),
    )?;
    let record = |scope: &[&str]| -> Result<Value> {
        let output = process::any_output(
            profiler::command()
                .args(["--mode", "database", "--duration", "1", "--format", "json"])
                .args(scope)
                .env("HOME", home.path())
                .env("MYSQL_PWD", PASSWORD),
        )?;
        let said = profiler::messages(&output);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            !text.contains(PASSWORD) && !said.contains(PASSWORD),
            "{said}"
        );
        let report: Value = serde_json::from_str(&text).context(said)?;
        let probes = list(&report, "/probes")?;
        let own = probes.iter().find(|probe| {
            probe["target"] == format!("127.0.0.1:{}", server.port) && probe["kind"] == "mysql"
        });
        own.cloned().with_context(|| format!("{probes:#?}"))
    };
    let found = record(&["--pid", &server.pid().to_string()])?;
    ensure!(
        found["status"] == "measured" && found["pid"] == server.pid(),
        "{found:#}"
    );
    finding(&found["report"], "no_primary_key", &["shop.keyless"])?;
    let named = server.url(MONITOR);
    let named = record(&["--pid", &std::process::id().to_string(), "--mysql", &named])?;
    ensure!(named["status"] == "measured", "{named:#}");
    // The password of the environment is for those who were chosen.
    let host = record(&[])?;
    let reason = host["reason"].as_str().unwrap_or_default();
    ensure!(
        reason.contains("Access denied") && reason.contains("MYSQL_PWD"),
        "{host:#}"
    );
    Ok(())
}
