//! `profiler load`: sending load to a server.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, ValueEnum, builder::PossibleValue};
use hyper::{
    HeaderMap, Method,
    body::Bytes,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde_json::Value;
use tokio::sync::watch;

use super::{args::Messages, exit};
use crate::{
    options::parse_duration,
    output::Target as Output,
    privacy,
    probes::http::{
        self,
        load::{Level, Load, Pattern as LoadPattern},
        openapi::Description,
        plan::{Pattern, Plan, Terms},
        report::{self, LoadFormat, LoadReport},
        server::{Reach, Server, Version},
        target::Target,
        tls::Trust,
    },
    progress::{Progress, Silent, Terminal},
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

Exit codes: 0 done; 2 it could not run; 3 an endpoint gave no complete response.
Ctrl-C ends the load early and keeps what was measured.")]
pub struct LoadArgs {
    /// Server, and the path to load unless --endpoints is given.
    #[arg(value_name = "URL")]
    url: String,

    /// What to load: all that the OpenAPI description has, or paths, separated
    /// by commas, with `*` for a part of a segment and `**` for any text.
    ///
    /// `POST /items` chooses a method; GET is the default of a path that the
    /// description does not have.
    #[arg(long, value_name = "all|PATHS", value_delimiter = ',')]
    endpoints: Vec<String>,

    /// OpenAPI 3 description in JSON: a file, or a path of the server.
    #[arg(long, value_name = "FILE|/PATH", default_value = "/openapi.json")]
    openapi: String,

    /// Values for the parameters of described endpoints: a JSON object of
    /// values by name, or of such objects by `METHOD /path`, where `body` is the
    /// body. Without it, the description's examples are sent, else values
    /// that fit its schemas.
    #[arg(long, value_name = "FILE")]
    params: Option<PathBuf>,

    /// Method for the URL.
    #[arg(
        long,
        short = 'X',
        value_name = "METHOD",
        default_value = "GET",
        conflicts_with = "endpoints"
    )]
    method: Method,

    /// Body for the URL, or @FILE.
    #[arg(long, value_name = "TEXT|@FILE", conflicts_with = "endpoints")]
    body: Option<String>,

    /// Send methods that may change data too: all but GET, HEAD, OPTIONS and
    /// TRACE.
    #[arg(long)]
    allow_writes: bool,

    /// Load a server that is neither this host nor a container on it.
    #[arg(long)]
    allow_remote: bool,

    #[command(flatten)]
    amount: AmountArgs,

    #[command(flatten)]
    connection: ConnectionArgs,

    /// Write the result to this file instead of stdout.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Format of the result [default: the extension of --output, else text]
    #[arg(long, value_enum, hide_default_value = true)]
    format: Option<LoadFormat>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
struct AmountArgs {
    /// How much, in one word.
    #[arg(
        long,
        value_enum,
        default_value = "normal",
        conflicts_with_all = ["rate", "concurrent"]
    )]
    load: Level,

    /// Requests a second, sent whether the server keeps up or not.
    #[arg(long, value_name = "PER_SECOND", value_parser = parse_rate)]
    rate: Option<f64>,

    /// Requests at the same time: of a closed loop, or at most with --rate.
    #[arg(long, short, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    concurrent: Option<u32>,

    /// How long to measure each endpoint: seconds, or 10s, 2m [default: 10,
    /// without --requests].
    #[arg(long, short, value_name = "SECONDS", value_parser = parse_duration)]
    duration: Option<Duration>,

    /// How many requests to measure of each endpoint.
    #[arg(long, short = 'n', value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,

    /// Load before the measurement, which is left out [default: 1 second, or
    /// none with --requests].
    #[arg(long, value_name = "SECONDS", value_parser = parse_any_duration)]
    warmup: Option<Duration>,

    /// Threads that send [default: one for each CPU, up to 8].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// How long to wait for a connection and for a response.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_duration)]
    timeout: Duration,

    /// Largest body to read, bytes; a larger one is a failure.
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    max_body: u64,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
struct ConnectionArgs {
    /// Version of HTTP: auto is what TLS negotiates, and 1.1 without TLS.
    #[arg(long, value_enum, default_value = "auto")]
    http: Version,

    /// Requests at the same time on a connection of HTTP/2.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    streams: u32,

    /// Header to send, or @FILE with one a line, which other users do not see
    /// in the list of processes. Never in the result.
    #[arg(long, short = 'H', value_name = "NAME: VALUE|@FILE")]
    header: Vec<String>,

    /// Environment variable with a token to send as `Authorization: Bearer`.
    #[arg(long, value_name = "VARIABLE")]
    bearer_env: Option<String>,

    /// Certificates in PEM to trust, besides those of Mozilla's list.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Trust any certificate.
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,
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
        &[Self::Text, Self::Json, Self::Markdown]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Text => PossibleValue::new("text").help("tables for a terminal"),
            Self::Json => {
                PossibleValue::new("json").help("all of it for programs (reports/load.schema.json)")
            }
            Self::Markdown => PossibleValue::new("markdown").help("tables for a page"),
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

pub fn run(
    arguments: &LoadArgs,
    messages: &Messages,
    command_line: &[OsString],
) -> anyhow::Result<u8> {
    let target = Target::parse(&arguments.url)?;
    let load = arguments.amount.load(arguments.connection.streams);
    let terms = terms(arguments)?;
    let output = Output::new(arguments.output.as_deref());
    output.check(None)?;
    let progress: Box<dyn Progress> = if messages.quiet {
        Box::new(Silent)
    } else {
        Box::new(Terminal::new(load.duration.unwrap_or_default()))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .context("cannot start a runtime")?;
    let command_line: Vec<String> = command_line
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let measured = runtime.block_on(async {
        let stop = stop_on_signals()?;
        let mut ended = stop.clone();
        let prepared = async {
            let server = Server::reach(target, &arguments.reach()).await?;
            let plan = plan(arguments, &server, &terms).await?;
            anyhow::Ok((server, plan))
        };
        let (server, plan) = tokio::select! {
            prepared = prepared => prepared?,
            _ = ended.wait_for(|stop| *stop) => bail!("ended by a signal before there was a load"),
        };
        if plan.endpoints.is_empty() {
            bail!("there is nothing to load: {}", why_nothing(&plan));
        }
        let tell = |what: &str| progress.phase(what);
        let command_line = shown(&command_line);
        http::run(&server, &plan, &load, command_line, &stop, &tell).await
    });
    progress.finish();
    let measured = measured?;
    let format = arguments.format.unwrap_or_else(|| format_of(&output));
    output.write(&|to| Ok(report::write(&measured, format, to)?))?;
    Ok(verdict(&measured))
}

fn verdict(report: &LoadReport) -> u8 {
    let mut without: Vec<&str> = report
        .without_evidence()
        .map(|endpoint| endpoint.name.as_str())
        .collect();
    if without.is_empty() {
        return exit::DONE;
    }
    let more = without.len().saturating_sub(3);
    without.truncate(3);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    super::complain(&format!(
        "no complete response of {}{more}",
        without.join(", ")
    ));
    exit::NOT_ENOUGH
}

/// True once a signal asks for the end. A second one ends the process.
fn stop_on_signals() -> anyhow::Result<watch::Receiver<bool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (ask, asked) = watch::channel(false);
    let caught = || "cannot catch signals";
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ] {
        let mut signal = signal(kind).with_context(caught)?;
        let ask = ask.clone();
        tokio::task::spawn_local(async move {
            while signal.recv().await.is_some() {
                if ask.send_replace(true) {
                    std::process::exit(130);
                }
            }
        });
    }
    Ok(asked)
}

/// Headers may hold secrets under any name.
fn shown(command_line: &[String]) -> String {
    let mut words = Vec::with_capacity(command_line.len());
    let mut is_header = false;
    for word in command_line {
        let hidden = match word.split_once(['=', ':']) {
            _ if is_header => Some(header_shown(word)),
            Some(("--header", value)) => Some(format!("--header={}", header_shown(value))),
            _ if word.starts_with("-H") && word.len() > 2 => {
                Some(format!("-H{}", header_shown(&word[2..])))
            }
            _ => None,
        };
        is_header = !is_header && (word == "-H" || word == "--header");
        words.push(hidden.unwrap_or_else(|| word.clone()));
    }
    privacy::command_line(&words)
}

fn header_shown(header: &str) -> String {
    match header.split_once(':') {
        Some((name, _)) => format!("{name}: {}", privacy::MASK),
        None if header.starts_with('@') => header.to_owned(),
        None => privacy::MASK.to_owned(),
    }
}

fn why_nothing(plan: &Plan) -> String {
    match &plan.skipped[..] {
        [] => "the description has no endpoints".to_owned(),
        [only] => format!("{}: {}", only.endpoint, only.reason),
        [first, rest @ ..] => format!(
            "{}: {} (and {} more are left out)",
            first.endpoint,
            first.reason,
            rest.len()
        ),
    }
}

fn format_of(output: &Output) -> LoadFormat {
    let Output::File(path) = output else {
        return LoadFormat::Text;
    };
    match path.extension().and_then(|end| end.to_str()) {
        Some("json") => LoadFormat::Json,
        Some("md" | "markdown") => LoadFormat::Markdown,
        _ => LoadFormat::Text,
    }
}

async fn plan(arguments: &LoadArgs, server: &Server, terms: &Terms) -> anyhow::Result<Plan> {
    let target = &server.target;
    if arguments.endpoints.is_empty() {
        let body = body(arguments.body.as_deref())?;
        let method = arguments.method.clone();
        return Plan::of_request(target, method, &target.path, body, terms);
    }
    let all = arguments.endpoints.iter().any(|word| word == "all");
    let patterns: Vec<Pattern> = arguments
        .endpoints
        .iter()
        .filter(|word| *word != "all")
        .map(|text| Pattern::parse(text))
        .collect::<anyhow::Result<_>>()?;
    let needed = all || patterns.iter().any(Pattern::needs_description);
    let description = if needed || arguments.params.is_some() {
        Some(description(arguments, server, terms).await?)
    } else {
        // Examples for a path as it stands are welcome, and no more than that.
        description(arguments, server, terms).await.ok()
    };
    match &description {
        Some(description) if all => Plan::of_all(target, description, terms),
        description => Plan::of_patterns(target, &patterns, description.as_ref(), terms),
    }
}

async fn description(
    arguments: &LoadArgs,
    server: &Server,
    terms: &Terms,
) -> anyhow::Result<Description> {
    let place = &arguments.openapi;
    let path = Path::new(place);
    if place.starts_with('/') && !path.is_file() {
        return http::describe(server, place, terms).await;
    }
    let text = fs::read(path).with_context(|| format!("cannot read --openapi {place}"))?;
    Description::parse(&text).with_context(|| place.clone())
}

fn body(body: Option<&str>) -> anyhow::Result<Bytes> {
    Ok(match body {
        None => Bytes::new(),
        Some(text) => match text.strip_prefix('@') {
            Some(file) => fs::read(file)
                .with_context(|| format!("cannot read --body @{file}"))?
                .into(),
            None => text.to_owned().into(),
        },
    })
}

fn terms(arguments: &LoadArgs) -> anyhow::Result<Terms> {
    let mut headers = HeaderMap::new();
    for text in &arguments.connection.header {
        match text.strip_prefix('@') {
            None => add_header(&mut headers, text)?,
            Some(file) => {
                let lines = fs::read_to_string(file)
                    .with_context(|| format!("cannot read --header @{file}"))?;
                for line in lines.lines().filter(|line| !line.trim().is_empty()) {
                    add_header(&mut headers, line)?;
                }
            }
        }
    }
    if let Some(variable) = &arguments.connection.bearer_env {
        let token = env::var(variable)
            .map_err(|_| anyhow!("--bearer-env {variable}: there is no such variable"))?;
        let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| anyhow!("--bearer-env {variable}: its value cannot be sent"))?;
        headers.insert(AUTHORIZATION, value);
    }
    if arguments.body.is_some() && !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let values = match &arguments.params {
        None => Value::Null,
        Some(file) => {
            let unreadable = || format!("cannot read --params {}", file.display());
            let text = fs::read(file).with_context(unreadable)?;
            serde_json::from_slice(&text).with_context(unreadable)?
        }
    };
    Ok(Terms {
        headers,
        allow_writes: arguments.allow_writes,
        values,
    })
}

/// Errors name the header, not its value.
fn add_header(headers: &mut HeaderMap, text: &str) -> anyhow::Result<()> {
    let Some((name, value)) = text.split_once(':') else {
        bail!("--header takes `Name: value`, or @FILE");
    };
    let name = HeaderName::from_bytes(name.trim().as_bytes())
        .map_err(|_| anyhow!("--header: `{}` is no name of a header", name.trim()))?;
    let mut value = HeaderValue::from_str(value.trim())
        .map_err(|_| anyhow!("--header: the value of `{name}` cannot be sent"))?;
    value.set_sensitive(true);
    headers.append(name, value);
    Ok(())
}

impl LoadArgs {
    fn reach(&self) -> Reach {
        Reach {
            version: self.connection.http,
            trust: Trust {
                authorities: self.connection.ca.clone(),
                anyone: self.connection.insecure,
            },
            allow_remote: self.allow_remote,
            timeout: self.amount.timeout,
        }
    }
}

impl AmountArgs {
    fn load(&self, streams: u32) -> Load {
        let (level_pattern, level_concurrent) = self.load.load();
        let pattern = match (self.rate, self.concurrent) {
            (Some(rate), _) => LoadPattern::Open { rate },
            (None, Some(_)) => LoadPattern::Closed,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_header_is_shown() {
        let words =
            |text: &[&str]| -> Vec<String> { text.iter().map(ToString::to_string).collect() };
        for (line, expected) in [
            (&["x", "-H", "X-Odd: hunter2", "u"][..], "x -H X-Odd: *** u"),
            (&["x", "-HX-Odd:hunter2"], "x -HX-Odd: ***"),
            (&["x", "--header", "hunter2"], "x --header ***"),
            (&["x", "--header=X-Odd: hunter2"], "x --header=X-Odd: ***"),
            (&["x", "-H", "@headers", "-v"], "x -H @headers -v"),
        ] {
            assert_eq!(shown(&words(line)), expected);
        }
    }

    #[test]
    fn a_bad_header_is_not_repeated() {
        for text in ["hunter2", "X-A: hunter2\u{1}", "b d: hunter2"] {
            let error = add_header(&mut HeaderMap::new(), text).expect_err(text);
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
