//! Traffic of known programs in containers, on both cgroup versions: as they and
//! their servers count it themselves, to the last byte.
use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    cgroups::Version,
    image, process, profiler,
    recording::Recording,
    stack::{Stack, docker},
};

const HOLDER: &str = env!("CARGO_BIN_EXE_stack");
const IPERF_PORT: &str = "5299";
const REDIS_PORT: &str = "6399";
/// What a stream of iperf3 begins with: a cookie on TCP (`COOKIE_SIZE`), a number
/// on UDP (`UDP_CONNECT_MSG`), which is answered (src/iperf.h, 3.12).
const COOKIE: u64 = 37;
const GREETING: u64 = 4;
/// `INFO` and `INFO stats` as redis-cli sends them.
const INFO: u64 = 14;
const INFO_STATS: u64 = 25;

#[test]
fn on_cgroup_v1() -> Result<()> {
    traffic(Version::V1)
}

#[test]
fn on_cgroup_v2() -> Result<()> {
    traffic(Version::V2)
}

fn traffic(version: Version) -> Result<()> {
    let stack = Stack::start_empty(version, Path::new(HOLDER))?;
    iperf3(version, &stack)?;
    redis_benchmark(version, &stack)
}

/// A container on the host's network, with the host's files at `/host`.
fn run(version: Version, name: &str, options: &[&str], command: &[&str]) -> Result<String> {
    let mut docker: Command = docker(version);
    process::output(
        docker
            .args(["run", "--name", name, "--network=host", "--volume=/:/host"])
            .args(options)
            .arg(image::IMAGE)
            .args(command),
    )
}

fn record(stack: &Stack) -> Result<Recording> {
    Recording::begin(
        stack.command(&profiler::binary()),
        &["--sources", "network"],
    )
}

fn rows(report: &Value) -> impl Iterator<Item = &Value> {
    let rows = report["network"]["connections"].as_array();
    rows.into_iter().flatten()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(u64::MAX)
}

/// One end of a connection in a container.
fn end<'r>(report: &'r Value, container: &str, local: &str, remote: &str) -> Result<&'r Value> {
    rows(report)
        .find(|row| {
            row["container"] == container && row["local"] == local && row["remote"] == remote
        })
        .with_context(|| {
            let known: Vec<_> = rows(report)
                .map(|row| format!("{} {} {}", row["container"], row["local"], row["remote"]))
                .collect();
            format!("no {local} to {remote} of {container}: {known:#?}")
        })
}

/// Bytes sent and received, as found and as expected.
fn compare(what: &str, row: &Value, expected: [u64; 2]) -> Result<()> {
    let found = [number(&row["sent_bytes"]), number(&row["received_bytes"])];
    println!("{what}: {found:?} bytes sent and received of {expected:?}");
    ensure!(found == expected, "{what}: {row}");
    Ok(())
}

fn iperf3(version: Version, stack: &Stack) -> Result<()> {
    let server = ["chroot", "/host", "iperf3", "-s", "-p", IPERF_PORT];
    run(version, "receiver", &["--detach"], &server)?;
    // The containers may have a network of their own.
    let sockets = ["exec", "receiver", "cat", "/proc/net/tcp6"];
    let port = format!(":{:04X} ", IPERF_PORT.parse::<u16>()?);
    let listens = process::until(Duration::from_secs(20), || {
        process::output(docker(version).args(sockets)).is_ok_and(|said| said.contains(&port))
    });
    ensure!(listens, "iperf3 does not listen");
    let recording = record(stack)?;
    let said = [
        ("up", "-n 64M"),
        ("down", "-n 16M --reverse"),
        ("datagrams", "--udp -b 100M -n 4M -l 1400"),
    ]
    .map(|(name, options)| -> Result<(&str, Value)> {
        // It stays for a while: its name is asked of the engine.
        let script =
            format!("chroot /host iperf3 -J -c 127.0.0.1 -p {IPERF_PORT} {options}; sleep 3");
        let said = run(version, name, &[], &["sh", "-c", &script])?;
        Ok((name, serde_json::from_str(&said)?))
    });
    let (report, _) = recording.end()?;
    let service = format!("127.0.0.1:{IPERF_PORT}");
    for said in said {
        let (name, said) = said?;
        let port = &said["start"]["connected"][0]["local_port"];
        let client = format!("127.0.0.1:{port}");
        let sum = |end: &str| number(&said["end"][end]["bytes"]);
        let (sent, received) = (sum("sum_sent"), sum("sum_received"));
        let row = end(&report, name, &client, &service)?;
        match name {
            "up" => {
                compare(name, row, [sent + COOKIE, 0])?;
                let row = end(&report, "receiver", &service, &client)?;
                compare("receiver", row, [0, received + COOKIE])?;
            }
            "down" => {
                compare(name, row, [COOKIE, received])?;
                let row = end(&report, "receiver", &service, &client)?;
                compare("receiver", row, [sent, COOKIE])?;
            }
            _ => {
                compare(name, row, [sent + GREETING, GREETING])?;
                let packets = number(&said["end"]["sum"]["packets"]);
                ensure!(
                    number(&row["sent_messages"]) == packets + 1,
                    "{packets} packets: {row}"
                );
            }
        }
    }
    Ok(())
}

/// Bytes that the server has received and sent, by its own account.
fn server_bytes(info: &str) -> Result<[i64; 2]> {
    let field = |name: &str| -> Result<i64> {
        let value = info.lines().find_map(|line| line.strip_prefix(name));
        Ok(value
            .with_context(|| format!("no {name}"))?
            .trim()
            .parse()?)
    };
    Ok([
        field("total_net_input_bytes:")?,
        field("total_net_output_bytes:")?,
    ])
}

fn redis_benchmark(version: Version, stack: &Stack) -> Result<()> {
    let server = ["redis-server", "--port", REDIS_PORT, "--save", ""];
    run(version, "redis", &["--detach"], &server)?;
    let ask = |what: &[&str]| {
        process::output(
            docker(version)
                .args(["exec", "redis", "redis-cli", "-p", REDIS_PORT])
                .args(what),
        )
    };
    let answers = process::until(Duration::from_secs(20), || {
        ask(&["PING"]).is_ok_and(|said| said.trim() == "PONG")
    });
    ensure!(answers, "redis does not answer");
    let recording = record(stack)?;
    let before = server_bytes(&ask(&["INFO", "stats"])?)?;
    let script =
        format!("redis-benchmark -p {REDIS_PORT} -t set,get -n 20000 -c 20 -d 300 -q; sleep 3");
    run(version, "load", &[], &["sh", "-c", &script])?;
    let after = server_bytes(&ask(&["INFO"])?)?;
    let (report, _) = recording.end()?;

    let service = format!("127.0.0.1:{REDIS_PORT}");
    let of = |container: &str, process: &str, end: &str, way: &str| -> Vec<u64> {
        rows(&report)
            .filter(|row| {
                row["container"] == container && row["process"] == process && row[end] == *service
            })
            .map(|row| number(&row[way]))
            .collect()
    };
    let load = ["sent_bytes", "received_bytes"]
        .map(|way| -> u64 { of("load", "redis-benchmark", "remote", way).iter().sum() });
    let asked = of("redis", "redis-cli", "remote", "sent_bytes");
    let answered = of("redis", "redis-cli", "remote", "received_bytes");
    ensure!(
        asked.contains(&INFO) && asked.contains(&INFO_STATS) && asked.len() == 2,
        "redis-cli sent {asked:?}"
    );
    // The first answer is not yet in its own numbers, its question is.
    let first = asked.iter().position(|&bytes| bytes == INFO_STATS);
    let first = answered[first.context("the first question")?];
    let found = [load[0] + INFO, load[1] + first];
    let expected = [after[0] - before[0], after[1] - before[1]];
    println!("clients sent and received {found:?} bytes, by the server's account {expected:?}");
    ensure!(found.map(|bytes| bytes as i64) == expected, "{load:?}");

    // The server's ends, but for what the other question and answer were.
    let server = ["received_bytes", "sent_bytes"]
        .map(|way| -> u64 { of("redis", "redis-server", "local", way).iter().sum() });
    let all = [
        load[0] + asked.iter().sum::<u64>(),
        load[1] + answered.iter().sum::<u64>(),
    ];
    ensure!(server == all, "the server has {server:?} of {all:?}");
    Ok(())
}
