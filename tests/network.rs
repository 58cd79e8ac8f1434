//! What programs of known behaviour send and receive: against what their own
//! calls returned, and against what the kernel says of the same sockets.
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    folded::Folded,
    kernel,
    measurement::measured,
    process::{self, Process, until},
    profiler, programs,
};

/// Largest error of a function's share of the bytes, in points.
const SHARE_ERROR: f64 = 5.0;
/// Largest difference of round-trip times that are read a moment apart.
const ROUND_TRIP_ERROR: f64 = 0.25;
/// Bytes of headers of a packet without link layer: IPv4 and TCP, without and
/// with all options that TCP has room for.
const HEADERS: std::ops::RangeInclusive<f64> = 40.0..=80.0;
/// The hook that is put in place last, as the kernel cuts its name.
const LAST_HOOK: &str = "network_drop";

/// A program that talks with the test through its standard streams.
struct Talker {
    process: Process,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Talker {
    fn start(command: &mut Command) -> Result<Self> {
        let mut process = Process::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let child = process.child();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self {
            process,
            input,
            output,
        })
    }

    fn says(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(!line.is_empty(), "the program ended");
        Ok(line.trim().to_owned())
    }

    fn go(&mut self) -> Result<()> {
        let input = self.input.as_mut().context("no input")?;
        Ok(input.write_all(b"go\n")?)
    }
}

struct Recorded {
    report: Value,
    folded: Folded,
}

/// Records processes while `work` is done, all of it.
fn record<T>(pids: &[u32], work: impl FnOnce() -> Result<T>) -> Result<(Recorded, T)> {
    let scratch = tempfile::tempdir()?;
    let saved = scratch.path().join("x.profile");
    let path = saved.to_str().context("a path in UTF-8")?;
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let mut options = vec!["--mode", "system", "--duration", "60"];
    options.extend(["--sources", "network", "--output", path]);
    for pid in &pids {
        options.extend(["--pid", pid]);
    }
    let mut recording = profiler::start(&options)?;
    ensure!(
        until(Duration::from_secs(30), || kernel::is_attached(LAST_HOOK)),
        "the hooks were not attached"
    );
    let done = work()?;
    recording.signal(libc::SIGINT);
    let status = recording.wait(Duration::from_secs(60))?;
    ensure!(status.success(), "the profiler ended with {status}");
    let report: Value = serde_json::from_str(&profiler::render(&saved, "json")?)?;
    let options = ["--format", "folded", "--source", "network"];
    let folded = Folded::parse(&profiler::render_with(&saved, &options)?)?;
    Ok((Recorded { report, folded }, done))
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or(u64::MAX)
}

/// Connections of the report by the number of their inode.
fn by_inode(report: &Value) -> Result<BTreeMap<String, &Value>> {
    let rows = report["network"]["connections"]
        .as_array()
        .with_context(|| format!("no connections: {}", report["notes"]))?;
    Ok(rows
        .iter()
        .map(|row| (row["inode"].to_string(), row))
        .collect())
}

/// What `ss` says of the TCP sockets of a process's network namespace, by inode:
/// its words, as `rtt:0.1/0.05` or `bytes_sent:17`.
fn ss(pid: u32) -> Result<BTreeMap<String, String>> {
    let text = process::output(
        Command::new("nsenter")
            .arg(format!("--net=/proc/{pid}/ns/net"))
            .args(["ss", "-tineOH"]),
    )?;
    Ok(text
        .lines()
        .filter_map(|line| Some((word(line, "ino:")?.to_owned(), line.to_owned())))
        .collect())
}

fn word<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_whitespace()
        .find_map(|word| word.strip_prefix(name))
}

/// A counter of `/proc/PID/net/snmp` or `netstat`.
fn counter(pid: u32, file: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/net/{file}"))?;
    let lines: Vec<&str> = text.lines().collect();
    lines
        .chunks_exact(2)
        .find_map(|pair| {
            let place = pair[0].split(' ').position(|word| word == name)?;
            pair[1].split(' ').nth(place)?.parse().ok()
        })
        .with_context(|| format!("no {name}"))
}

#[test]
fn every_byte_of_every_socket() -> Result<()> {
    // Of its bytes some four hundred stacks are taken.
    measured(sockets)
}

fn sockets() -> Result<()> {
    let mut talker = Talker::start(
        Command::new("unshare")
            .args([
                "--net",
                "sh",
                "-c",
                "ip link set lo up && exec python3 \"$0\"",
            ])
            .arg(programs::source("network.py")),
    )?;
    ensure!(talker.says()? == "ready");
    let pid = talker.process.pid();
    let overflows = || counter(pid, "netstat", "ListenOverflows");
    let overflows_before = overflows()?;
    let (recorded, (told, sockets)) = record(&[pid], || {
        talker.go()?;
        let told: Value = serde_json::from_str(&talker.says()?)?;
        Ok((told, ss(pid)?))
    })?;
    let report = &recorded.report;
    let mut wrong = Vec::new();
    check_amounts(report, &told, &mut wrong)?;
    check_ends(report, &told, &mut wrong)?;
    check_against_ss(report, &told, &sockets, &mut wrong)?;
    check_trouble(report, &told, &mut wrong)?;
    check_stacks(&recorded, &told, &mut wrong)?;
    // The clients try again until the end, which is a moment later here.
    let overflowed = overflows()? - overflows_before;
    let found: u64 = report["network"]["listen_queues"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|row| number(row, "namespace") == namespace(pid).unwrap_or(0))
        .map(|row| number(row, "overflows"))
        .sum();
    println!("{found} overflows of a listening socket, {overflowed} by netstat");
    if found == 0 || found > overflowed {
        wrong.push(format!("{found} instead of {overflowed} overflows"));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn namespace(pid: u32) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(fs::metadata(format!("/proc/{pid}/ns/net"))?.ino())
}

/// Exactly what the program's calls returned; of sendfile(2), the bytes.
fn check_amounts(report: &Value, told: &Value, wrong: &mut Vec<String>) -> Result<()> {
    let found = by_inode(report)?;
    let sockets = told["sockets"].as_object().context("no sockets")?;
    let (mut bytes, mut messages) = ([0, 0], 0);
    for (inode, counted) in sockets {
        let Some(row) = found.get(inode) else {
            wrong.push(format!("socket {inode} is missing: {counted}"));
            continue;
        };
        for (index, way) in ["sent", "received"].into_iter().enumerate() {
            let expected = [0, 1].map(|place| counted[way][place].as_u64().unwrap_or(u64::MAX));
            let got = ["bytes", "messages"].map(|unit| number(row, &format!("{way}_{unit}")));
            bytes[index] += expected[0];
            messages += expected[1];
            let files = told["files"].as_array().context("no files")?;
            let same = if way == "sent" && files.iter().any(|file| file == inode) {
                got[0] == expected[0]
            } else {
                got == expected
            };
            if !same {
                wrong.push(format!(
                    "socket {inode} {way} {got:?} instead of {expected:?}: {row}"
                ));
            }
        }
    }
    println!(
        "{} sockets, {bytes:?} bytes sent and received, {messages} messages",
        sockets.len()
    );
    let network = &report["network"];
    for (way, expected) in ["sent_bytes", "received_bytes"].into_iter().zip(bytes) {
        if number(network, way) != expected {
            wrong.push(format!("{way}: {} instead of {expected}", network[way]));
        }
    }
    Ok(())
}

/// Addresses, paths, roles, and that both ends name each other.
fn check_ends(report: &Value, told: &Value, wrong: &mut Vec<String>) -> Result<()> {
    let found = by_inode(report)?;
    for names in ["paths", "ends"] {
        for (inode, ends) in told[names].as_object().context("no ends")? {
            let row = found.get(inode).context("a socket is missing")?;
            if row["local"] != ends[0] || row["remote"] != ends[1] {
                wrong.push(format!("socket {inode} is {ends}: {row}"));
            }
            if row["peer"]["pid"] != row["pid"] {
                wrong.push(format!("socket {inode} has no peer: {row}"));
            }
            let listens = ends[0]
                .as_str()
                .is_some_and(|local| local.ends_with(&format!(":{}", told["listener"])));
            if listens && row["role"] != "server" {
                wrong.push(format!("socket {inode} is the server's: {row}"));
            }
        }
    }
    Ok(())
}

/// `bytes_sent` and `bytes_received` of the kernel count the connection's whole
/// life; `bytes_received` counts the end of the stream as one more byte
/// (net/ipv4/tcp_input.c, tcp_fin), which has not come on those that are open.
/// Nothing is retransmitted on the loopback, whose bytes count again.
fn check_against_ss(
    report: &Value,
    told: &Value,
    sockets: &BTreeMap<String, String>,
    wrong: &mut Vec<String>,
) -> Result<()> {
    let found = by_inode(report)?;
    let before = told["before"].as_array().context("no sockets of before")?;
    for inode in told["open"].as_array().context("no open sockets")? {
        let inode = inode.as_str().context("an inode")?;
        let row = found.get(inode).context("a socket is missing")?;
        let line = sockets.get(inode).context("ss does not know it")?;
        for (name, field, its_end) in [
            ("bytes_sent:", "sent_bytes", 0),
            ("bytes_received:", "received_bytes", 1),
        ] {
            let kernel: u64 = word(line, name).unwrap_or("0").parse()?;
            let earlier = if before.get(its_end).is_some_and(|one| one == inode) {
                1000
            } else {
                0
            };
            if number(row, field) + earlier != kernel {
                wrong.push(format!(
                    "socket {inode}: {field} {} but ss {kernel}",
                    row[field]
                ));
            }
        }
    }
    Ok(())
}

fn flows(report: &Value) -> impl Iterator<Item = &Value> {
    report["network"]["flows"].as_array().into_iter().flatten()
}

/// Short-lived connections, refused ones, and one that is reset.
fn check_trouble(report: &Value, told: &Value, wrong: &mut Vec<String>) -> Result<()> {
    let refused = flows(report)
        .find(|flow| flow["remote"] == "127.0.0.1:1")
        .context("no flow to the port where nobody listens")?;
    if refused["failed_connects"][0]["error"] != "ECONNREFUSED"
        || refused["failed_connects"][0]["count"] != told["refused"]
        || refused["resets_received"] != told["refused"]
        || refused["connects"]["count"] != 0
    {
        wrong.push(format!("refused connects: {refused}"));
    }
    let service = format!("127.0.0.1:{}", told["listener"]);
    let of_service = |end: &str| {
        flows(report)
            .find(|flow| flow[end] == *service)
            .with_context(|| format!("no flow with {service}"))
    };
    let (client, server) = (of_service("remote")?, of_service("local")?);
    let all = told["short_lived"].as_u64().context("no number")? + 1;
    for (flow, what) in [(client, "client"), (server, "server")] {
        if flow["role"] != what || flow["sockets"] != all || flow["lifetimes"]["count"] != all - 1 {
            wrong.push(format!("{what} of short-lived connections: {flow}"));
        }
    }
    if client["connects"]["count"] != all {
        wrong.push(format!("durations of connects: {client}"));
    }
    let found = by_inode(report)?;
    for (end, field) in [("by", "resets_sent"), ("of", "resets_received")] {
        let inode = told["resets"][end].as_str().context("an inode")?;
        let row = found.get(inode).context("a socket is missing")?;
        if row[field] != 1 {
            wrong.push(format!("{field}: {row}"));
        }
    }
    Ok(())
}

/// Weights add up to the totals, and functions have the bytes that they sent.
fn check_stacks(recorded: &Recorded, told: &Value, wrong: &mut Vec<String>) -> Result<()> {
    let network = &recorded.report["network"];
    let weight = |wanted: &dyn Fn(&tests::folded::Stack) -> bool| -> f64 {
        let stacks = recorded.folded.stacks.iter();
        stacks
            .filter(|stack| wanted(stack))
            .map(|stack| stack.weight)
            .sum()
    };
    for (frame, field) in [
        ("[network send]", "sent_bytes"),
        ("[network receive]", "received_bytes"),
    ] {
        let sum = weight(&|stack| stack.frames.last().is_some_and(|last| last == frame));
        if sum != number(network, field) as f64 {
            wrong.push(format!("{frame} weighs {sum} of {}", network[field]));
        }
    }
    let in_function = |name: &str| {
        let function = format!("{name} (");
        weight(&|stack| {
            stack
                .frames
                .iter()
                .any(|frame| frame.starts_with(&function))
        })
    };
    let (quarter, rest) = (
        in_function("send_a_quarter"),
        in_function("send_three_quarters"),
    );
    let share = 100.0 * quarter / (quarter + rest);
    let sent = told["sockets"].as_object().context("no sockets")?.len();
    println!("{share:.1} % of the bytes in send_a_quarter, of {sent} sockets in all");
    if (share - 25.0).abs() > SHARE_ERROR || quarter + rest < 5e6 {
        wrong.push(format!(
            "send_a_quarter has {quarter} bytes, send_three_quarters {rest}:{}",
            recorded.folded.examples(|_| true)
        ));
    }
    Ok(())
}

/// Interface counters of a process's network namespace: bytes and packets sent.
fn wire(pid: u32) -> Result<[f64; 2]> {
    let text = fs::read_to_string(format!("/proc/{pid}/net/dev"))?;
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("wire:"))
        .context("no interface")?;
    let numbers: Vec<f64> = line
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    Ok([numbers[8], numbers[9]])
}

struct Far {
    told: Value,
    client: String,
    slow: String,
    retransmits: u64,
    wire: [f64; 2],
}

/// A wire of 20 ms that loses packets: durations, retransmits, and both ends of
/// a connection between two network namespaces.
#[test]
fn a_far_host() -> Result<()> {
    let mut talker = Talker::start(Command::new("python3").arg(programs::source("far.py")))?;
    let pids: Value = serde_json::from_str(&talker.says()?)?;
    let pid = |name: &str| pids[name].as_u64().map(|pid| pid as u32).context("a pid");
    let (client, server) = (pid("client")?, pid("server")?);
    let segments = || counter(client, "snmp", "RetransSegs");
    let (segments_before, wire_before) = (segments()?, wire(client)?);
    let (recorded, far) = record(&[client, server], || {
        talker.go()?;
        let told: Value = serde_json::from_str(&talker.says()?)?;
        let sockets = ss(client)?;
        let of = |name: &str| {
            sockets
                .get(&told[name].to_string())
                .cloned()
                .with_context(|| format!("ss does not know {name}"))
        };
        let wire = wire(client)?;
        Ok(Far {
            client: of("client")?,
            slow: of("slow")?,
            retransmits: segments()? - segments_before,
            wire: [0, 1].map(|place| wire[place] - wire_before[place]),
            told,
        })
    })?;
    let mut wrong = Vec::new();
    check_far(&recorded.report, &far, &mut wrong)?;
    check_both_ends(&recorded.report, client, server, &mut wrong)?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn check_far(report: &Value, far: &Far, wrong: &mut Vec<String>) -> Result<()> {
    let found = by_inode(report)?;
    let row = |name: &str| {
        found
            .get(&far.told[name].to_string())
            .with_context(|| format!("no {name}"))
    };
    for (name, measured) in [("client", "connect_s"), ("slow", "slow_connect_s")] {
        let measured = far.told[measured].as_f64().context("a duration")?;
        let found = number(row(name)?, "connect_ns") as f64 / 1e9;
        println!("{name}: connect took {found:.4} s, {measured:.4} s by its own clock");
        // Of what the program measures, the way into the kernel and out is more.
        if found > measured || found < measured - 0.02 || found < 0.04 {
            wrong.push(format!(
                "connect of {name} took {found} s instead of {measured} s"
            ));
        }
    }
    let retransmits = |line: &str| -> Result<u64> {
        let total = word(line, "retrans:").and_then(|word| word.split('/').nth(1));
        Ok(total.unwrap_or("0").parse()?)
    };
    let mut all = 0;
    for (name, line) in [("client", &far.client), ("slow", &far.slow)] {
        let (found, expected) = (number(row(name)?, "retransmits"), retransmits(line)?);
        println!("{name}: {found} retransmits, {expected} by ss");
        all += found;
        if found != expected || found == 0 {
            wrong.push(format!(
                "{found} retransmits of {name} instead of {expected}"
            ));
        }
    }
    if all != far.retransmits {
        wrong.push(format!("{all} retransmits, {} by snmp", far.retransmits));
    }
    let times = word(&far.client, "rtt:").context("ss has no round trip")?;
    let milliseconds: f64 = times.split('/').next().unwrap_or_default().parse()?;
    let round_trip = number(row("client")?, "round_trip_ns") as f64 / 1e6;
    println!("round trip {round_trip:.1} ms, {milliseconds:.1} ms by ss");
    if round_trip < 40.0 || (round_trip / milliseconds - 1.0).abs() > ROUND_TRIP_ERROR {
        wrong.push(format!(
            "round trip {round_trip} ms, {milliseconds} ms by ss"
        ));
    }
    // The wire carries each retransmitted segment again, and packets without data.
    let sent = number(row("client")?, "sent_bytes") as f64;
    if sent != far.told["sent"].as_f64().unwrap_or_default() {
        wrong.push(format!("{sent} bytes sent instead of {}", far.told["sent"]));
    }
    let segment: f64 = word(&far.client, "mss:").context("no mss")?.parse()?;
    let again = number(row("client")?, "retransmits") as f64 * segment;
    let [bytes, packets] = far.wire;
    let headers = (bytes - sent - again) / packets;
    println!("{sent} bytes in {bytes} on the wire: {headers:.1} bytes of headers a packet");
    if !HEADERS.contains(&headers) {
        wrong.push(format!("{headers} bytes of headers a packet"));
    }
    Ok(())
}

/// In namespaces of their own, the two still find each other.
fn check_both_ends(
    report: &Value,
    client: u32,
    server: u32,
    wrong: &mut Vec<String>,
) -> Result<()> {
    for (pid, role, peer) in [(client, "client", server), (server, "server", client)] {
        let flow = flows(report)
            .find(|flow| flow["pid"] == pid && number(flow, "sent_bytes") > 0)
            .with_context(|| format!("no flow of the {role}"))?;
        let ends = match role {
            "client" => ("10.99.0.1", "10.99.0.2:80"),
            _ => ("10.99.0.2:80", "10.99.0.1"),
        };
        if flow["role"] != role
            || flow["peer"]["pid"] != peer
            || flow["local"] != ends.0
            || flow["remote"] != ends.1
        {
            wrong.push(format!("the {role}: {flow}"));
        }
    }
    Ok(())
}

/// What a message costs: the run time of the programs that see it.
#[test]
fn the_cost_of_a_message() -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/messages.py");
    let mut talker = Talker::start(Command::new("python3").arg(script))?;
    ensure!(talker.says()? == "ready");
    let (recorded, told) = record(&[talker.process.pid()], || {
        talker.go()?;
        talker.says()
    })?;
    let messages: u64 = told.parse()?;
    let network = &recorded.report["network"];
    let found = number(network, "sent_messages") + number(network, "received_messages");
    ensure!(found == messages, "{found} messages instead of {messages}");
    let (mut time, mut runs) = (0, 0);
    for program in recorded.report["cost"]["programs"]
        .as_array()
        .context("no cost")?
    {
        if ["network_send", "network_receive"].contains(&program["name"].as_str().unwrap_or("")) {
            time += number(program, "run_time_ns");
            runs += number(program, "run_count");
        }
    }
    // Other processes' messages, which the gate turns away, are in the time.
    let each = time as f64 / messages as f64;
    println!("{messages} messages, {each:.0} ns each");
    // Not to be mistaken for a measurement: machines differ.
    ensure!(runs >= messages && each < 5_000.0, "{each} ns a message");
    Ok(())
}
