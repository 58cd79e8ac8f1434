//! `profiler redis`.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::{exit, probe_output::ProbeOutput, stop};
use crate::{
    options::parse_duration,
    probes::{
        redis::{
            self, Login, Options, ScanLimits,
            benchmark::{BenchmarkOptions, MOST_KEYS, Test},
        },
        window::Window,
    },
};

/// Probe a Redis server: what it does, what is slow, and what could be better.
///
/// Reads INFO twice and pings in between, then reads the slow log and the latency
/// monitor. With --scan it looks at keys, too, at a limited rate. It never uses
/// KEYS or MONITOR, and writes only for --benchmark. Valkey is probed alike.
///
/// Ends with 0 when the server answered, and with 2 when it could not be
/// reached or a benchmark did not end.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  profiler redis redis://cache.example --duration 1m
  REDISCLI_AUTH=… profiler redis rediss://cache.example:6380 --scan
  profiler redis 'unix:///run/redis/redis.sock?db=1' --format json
  profiler redis redis://127.0.0.1 --benchmark -t set,get -n 100000 -P 16

A password that the URL does not hold comes from REDISCLI_AUTH. rediss:// is TLS
with the certificate checked, by the system's authorities or those in
?cacert=FILE. A password in a URL can be seen by other users of this host in its
list of processes; in the environment it cannot.")]
pub struct RedisArgs {
    /// redis://USER:PASSWORD@HOST:PORT/DATABASE, rediss:// or unix:///SOCKET
    #[arg(value_name = "URL", default_value = "redis://127.0.0.1:6379")]
    pub url: String,

    /// How long to watch: seconds, or 10s, 2m, 1h.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_duration)]
    pub duration: Duration,

    /// Time between two pings.
    #[arg(long, value_name = "SECONDS", default_value = "50ms", value_parser = parse_duration)]
    pub interval: Duration,

    /// Longest time for connecting and for each command.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = parse_duration)]
    pub timeout: Duration,

    /// Show the arguments of slow commands, which may be anyone's data. Without
    /// it each is a `?`. Names of keys are shown by --scan in any case.
    #[arg(long)]
    pub literals: bool,

    /// Look for large keys, and for memory by prefix: SCAN, and MEMORY USAGE of
    /// each key.
    #[arg(long)]
    pub scan: bool,

    /// Look at about so many keys.
    #[arg(long, value_name = "N", default_value_t = 100_000, requires = "scan")]
    pub scan_keys: u64,

    /// Look at so many keys a second.
    #[arg(long, value_name = "N", default_value_t = 5_000, requires = "scan",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub scan_rate: u64,

    #[command(flatten)]
    pub output: ProbeOutput,

    #[command(flatten)]
    pub benchmark: BenchmarkArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Benchmark, with options as redis-benchmark's")]
pub struct BenchmarkArgs {
    /// Put load on the server first. Writes keys that begin with
    /// profiler:benchmark: and removes them.
    #[arg(long)]
    pub benchmark: bool,

    /// Clients at the same time.
    #[arg(short = 'c', long = "clients", value_name = "N", default_value_t = 50, requires = "benchmark",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub clients: u32,

    /// Requests of each test.
    #[arg(short = 'n', long = "requests", value_name = "N", default_value_t = 100_000, requires = "benchmark",
          value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub requests: u64,

    /// Bytes of a value.
    #[arg(short = 'd', long = "data-size", value_name = "BYTES", default_value_t = 3, requires = "benchmark",
          value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub data_bytes: u32,

    /// Commands that are sent at once.
    #[arg(short = 'P', long = "pipeline", value_name = "N", default_value_t = 1, requires = "benchmark",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub pipeline: u32,

    /// Random keys out of so many, instead of one.
    #[arg(short = 'r', long = "key-space", value_name = "N", requires = "benchmark",
          value_parser = clap::value_parser!(u64).range(1..=MOST_KEYS))]
    pub key_space: Option<u64>,

    /// Tests, separated by commas [default: all]
    #[arg(
        short = 't',
        long = "tests",
        value_enum,
        value_name = "TESTS",
        value_delimiter = ',',
        requires = "benchmark"
    )]
    pub tests: Vec<Test>,
}

pub fn run(arguments: &RedisArgs) -> anyhow::Result<u8> {
    let target = arguments.output.target()?;
    let load = &arguments.benchmark;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let report = runtime.block_on(async {
        let window = Window {
            duration: arguments.duration,
            stop: stop::on_signals()?,
        };
        let options = Options {
            login: Login::find(&arguments.url)?,
            window,
            interval: arguments.interval,
            timeout: arguments.timeout,
            literals: arguments.literals,
            scan: arguments.scan.then_some(ScanLimits {
                keys: arguments.scan_keys,
                keys_per_second: arguments.scan_rate,
            }),
            benchmark: load.benchmark.then(|| BenchmarkOptions {
                clients: load.clients,
                requests: load.requests,
                data_bytes: load.data_bytes,
                pipeline: load.pipeline,
                key_space: load.key_space,
                tests: if load.tests.is_empty() {
                    Test::ALL.to_vec()
                } else {
                    load.tests.clone()
                },
                timeout: arguments.timeout,
            }),
        };
        redis::probe(options).await
    })?;
    // A resolver that hangs in a thread is not waited for.
    runtime.shutdown_background();
    arguments
        .output
        .write(&target, &report.document(), &|to| report.write_json(to))?;
    Ok(if report.benchmark_failed() {
        exit::UNUSABLE
    } else {
        exit::DONE
    })
}
