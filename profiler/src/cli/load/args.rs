//! What a load can be asked for.

use std::{path::PathBuf, thread, time::Duration};

use clap::{Args, ValueEnum, builder::PossibleValue};
use hyper::Method;

use crate::{
    cli::compare::TargetArgs,
    options::parse_duration,
    probes::http::{
        load::{Level, Load, Pattern},
        report::LoadFormat,
        server::{Reach, Version},
        tls::Trust,
    },
};

const DEFAULT_DURATION: Duration = Duration::from_secs(10);
const DEFAULT_WARMUP: Duration = Duration::from_secs(1);
/// More threads than this send no more: the server needs CPUs too.
const MAX_DEFAULT_THREADS: usize = 8;

/// Send load to an HTTP server and measure its answers.
///
/// Latencies are in HDR histograms of three significant digits. A closed loop
/// measures from sending; an open loop (--rate) from the time at which a
/// request was due, so that a stall of the server is not hidden by requests
/// that were not sent. Endpoints are loaded one after the other, each for
/// --duration or --requests. Redirects are not followed. Only this host and
/// containers on it are loaded, unless --allow-remote.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  profiler load http://localhost:8000/items --concurrent 50 --duration 10
      As fast as the server answers 50 connections.
  profiler load http://localhost:8000/items --rate 1000 --duration 30s
      A thousand requests a second, whether it keeps up or not.
  profiler load http://localhost:8000 --endpoints all --load light --format markdown
      Every endpoint of its /openapi.json that does not write.

  profiler load http://localhost:8000 --endpoints critical --targets performance_targets.yaml
      What has targets under `api_endpoints`, and whether it meets them.

Exit codes: 0 done; 1 a target was missed; 2 it could not run; 3 an endpoint gave
no complete response, or a target was not measured.
Ctrl-C ends the load early and keeps what was measured.")]
pub struct LoadArgs {
    /// Server, and the path to load unless --endpoints is given.
    #[arg(value_name = "URL")]
    pub url: String,

    /// What to load: all that the OpenAPI description has, the critical ones,
    /// which have targets (--targets) and are found by --alias or operationId, or
    /// paths, separated by commas, with `*` for a part of a segment and `**` for any text.
    ///
    /// `POST /items` chooses a method; GET is the default of a path that the
    /// description does not have.
    #[arg(long, value_name = "all|critical|PATHS", value_delimiter = ',')]
    pub endpoints: Vec<String>,

    /// Method for the URL.
    #[arg(
        long,
        short = 'X',
        value_name = "METHOD",
        default_value = "GET",
        conflicts_with = "endpoints"
    )]
    pub method: Method,

    /// Body for the URL, or @FILE.
    #[arg(long, value_name = "TEXT|@FILE", conflicts_with = "endpoints")]
    pub body: Option<String>,

    /// Write the result to this file instead of stdout.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Format of the result [default: the extension of --output, else text]
    #[arg(long, value_enum, hide_default_value = true)]
    pub format: Option<LoadFormat>,

    #[command(flatten)]
    pub targets: TargetArgs,

    #[command(flatten)]
    pub request: RequestArgs,

    #[command(flatten)]
    pub amount: AmountArgs,

    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// What is sent, and to whom it may be.
#[derive(Debug, Args)]
#[command(next_help_heading = "Requests")]
pub struct RequestArgs {
    /// OpenAPI 3 description in JSON or YAML: a file, or a path of the server.
    #[arg(long, value_name = "FILE|/PATH", default_value = "/openapi.json")]
    pub openapi: String,

    /// Values for the parameters of described endpoints: a JSON object of
    /// values by name, or of such objects by `METHOD /path`, where `body` is the
    /// body. Without it, the description's examples are sent, else values
    /// that fit its schemas.
    #[arg(long, value_name = "FILE")]
    pub params: Option<PathBuf>,

    /// Send methods that may change data too: all but GET, HEAD, OPTIONS and
    /// TRACE.
    #[arg(long)]
    pub allow_writes: bool,

    /// Load a server that is neither this host nor a container on it.
    #[arg(long)]
    pub allow_remote: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
pub struct AmountArgs {
    /// How much, in one word.
    #[arg(
        long,
        value_enum,
        default_value = "normal",
        conflicts_with_all = ["rate", "concurrent"]
    )]
    pub load: Level,

    /// Requests a second, sent whether the server keeps up or not.
    #[arg(long, value_name = "PER_SECOND", value_parser = parse_rate)]
    pub rate: Option<f64>,

    /// Requests at the same time: of a closed loop, or at most with --rate
    /// [default with --rate: as many as in a second, up to 64].
    #[arg(long, short, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub concurrent: Option<u32>,

    /// How long to measure each endpoint: seconds, or 10s, 2m [default: 10,
    /// without --requests].
    #[arg(long, short, value_name = "SECONDS", value_parser = parse_duration)]
    pub duration: Option<Duration>,

    /// How many requests to measure of each endpoint.
    #[arg(long, short = 'n', value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,

    /// Load before the measurement, which is left out [default: 1 second, or
    /// none with --requests].
    #[arg(long, value_name = "SECONDS", value_parser = parse_any_duration)]
    pub warmup: Option<Duration>,

    /// Threads that send [default: one for each CPU, up to 8].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// How long to wait for a connection and for a response.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_duration)]
    pub timeout: Duration,

    /// Largest body to read, bytes; a larger one is a failure.
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    pub max_body: u64,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Version of HTTP: auto is what TLS negotiates, and 1.1 without TLS.
    #[arg(long, value_enum, default_value = "auto")]
    pub http: Version,

    /// Requests at the same time on a connection of HTTP/2.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub streams: u32,

    /// Header to send, or @FILE with one a line, which other users do not see
    /// in the list of processes. Never in the result.
    #[arg(long, short = 'H', value_name = "NAME: VALUE|@FILE")]
    pub header: Vec<String>,

    /// Environment variable with a token to send as `Authorization: Bearer`.
    #[arg(long, value_name = "VARIABLE")]
    pub bearer_env: Option<String>,

    /// Certificates in PEM to trust, besides the system's.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Trust any certificate.
    #[arg(long, conflicts_with = "ca")]
    pub insecure: bool,
}

impl ValueEnum for Level {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.description()))
    }
}

impl ValueEnum for Version {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Http1, Self::Http2]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Auto => "auto",
            Self::Http1 => "1.1",
            Self::Http2 => "2",
        }))
    }
}

impl ValueEnum for LoadFormat {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Text, Self::Json, Self::Markdown, Self::Metrics]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Text => PossibleValue::new("text").help("tables for a terminal"),
            Self::Json => {
                PossibleValue::new("json").help("all of it for programs (reports/load.schema.json)")
            }
            Self::Markdown => PossibleValue::new("markdown").help("tables for a page"),
            Self::Metrics => PossibleValue::new("metrics")
                .help("one round for `profiler compare` (.metrics.json)"),
        })
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.trim().trim_end_matches("/s").parse() {
        Ok(rate) if (0.001..=10_000_000.0).contains(&rate) => Ok(rate),
        _ => Err("not a number of requests a second, 0.001 to 10000000".to_owned()),
    }
}

fn parse_any_duration(text: &str) -> Result<Duration, String> {
    match text.trim() {
        "0" | "0s" => Ok(Duration::ZERO),
        text => parse_duration(text),
    }
}

impl ConnectionArgs {
    pub fn reach(&self, allow_remote: bool, timeout: Duration) -> Reach {
        Reach {
            version: self.http,
            trust: Trust {
                authorities: self.ca.clone(),
                anyone: self.insecure,
            },
            allow_remote,
            timeout,
        }
    }
}

impl AmountArgs {
    pub fn load(&self, streams: u32) -> Load {
        let (level_pattern, level_concurrent) = self.load.load();
        let pattern = match (self.rate, self.concurrent) {
            (Some(rate), _) => Pattern::Open { rate },
            (None, Some(_)) => Pattern::Closed,
            (None, None) => level_pattern,
        };
        let concurrent = match (self.concurrent, self.rate) {
            (Some(number), _) => number as usize,
            // Enough that a stall of a second is not also one of connections.
            (None, Some(rate)) => (rate.ceil() as usize).clamp(1, 64),
            (None, None) => level_concurrent,
        };
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        let counted = self.requests.is_some();
        Load {
            pattern,
            concurrent,
            streams: streams as usize,
            threads: self
                .threads
                .map_or(cpus.min(MAX_DEFAULT_THREADS), usize::from)
                .min(concurrent),
            duration: self.duration.or((!counted).then_some(DEFAULT_DURATION)),
            requests: self.requests,
            warmup: self.warmup.unwrap_or(if counted {
                Duration::ZERO
            } else {
                DEFAULT_WARMUP
            }),
            timeout: self.timeout,
            body_bytes: self.max_body,
        }
    }
}
