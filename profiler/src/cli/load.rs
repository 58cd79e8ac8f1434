//! `profiler load`: sending load to a server.

mod args;
mod critical;
mod headers;

use std::{ffi::OsString, fs, path::Path};

use anyhow::{Context as _, bail};
use hyper::{
    body::Bytes,
    header::{CONTENT_TYPE, HeaderValue, USER_AGENT},
};
use serde_json::Value;
use tokio::sync::watch;

use super::{args::Messages, compare::Wanted, exit};
use crate::{
    compare::input,
    doctor,
    output::Target as Output,
    probes::http::{
        self,
        openapi::Description,
        plan::{Pattern, Plan, Terms},
        report::{self, LoadFormat, LoadReport},
        server::Server,
        target::Target,
    },
    progress::{Progress, Silent, Terminal},
};
use args::ConnectionArgs;
pub use args::LoadArgs;

pub fn run(
    arguments: &LoadArgs,
    messages: &Messages,
    command_line: &[OsString],
) -> anyhow::Result<u8> {
    let target = Target::parse(&arguments.url)?;
    let mut targets = arguments.targets.read()?;
    doctor::raise_limits();
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
            let plan = plan(arguments, targets.as_mut(), &server, &terms).await?;
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
        let command_line = headers::command_line(&command_line);
        http::run(&server, &plan, &load, command_line, &stop, &tell).await
    });
    progress.finish();
    // A name that is being resolved is not waited for.
    runtime.shutdown_background();
    let measured = measured?;
    let format = arguments.format.unwrap_or_else(|| format_of(&output));
    output.write(&|to| Ok(report::write(&measured, format, to)?))?;
    let answered = verdict(&measured);
    let Some(targets) = targets else {
        return Ok(answered);
    };
    let rounds = input::rounds(Path::new("this load"), &report::metrics(&measured));
    let (met, text) = targets.judge(critical::SECTION, &rounds)?;
    super::record::say(&text);
    Ok(if met == exit::DONE { answered } else { met })
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
        Some("json") if path.to_string_lossy().ends_with(".metrics.json") => LoadFormat::Metrics,
        Some("json") => LoadFormat::Json,
        Some("md" | "markdown") => LoadFormat::Markdown,
        _ => LoadFormat::Text,
    }
}

async fn plan(
    arguments: &LoadArgs,
    targets: Option<&mut Wanted>,
    server: &Server,
    terms: &Terms,
) -> anyhow::Result<Plan> {
    let target = &server.target;
    if arguments.endpoints.is_empty() {
        let body = body(arguments.body.as_deref())?;
        let method = arguments.method.clone();
        return Plan::of_request(target, method, &target.path, body, terms);
    }
    let has = |what: &str| arguments.endpoints.iter().any(|word| word == what);
    let (all, critical) = (has("all"), has("critical"));
    let mut patterns: Vec<Pattern> = arguments
        .endpoints
        .iter()
        .filter(|word| !["all", "critical"].contains(&word.as_str()))
        .map(|text| Pattern::parse(text))
        .collect::<anyhow::Result<_>>()?;
    let needed = all || patterns.iter().any(Pattern::needs_description);
    let description = if needed || arguments.params.is_some() {
        Some(description(arguments, server, terms).await?)
    } else {
        // Examples for a path as it stands are welcome, and no more than that.
        description(arguments, server, terms).await.ok()
    };
    if critical {
        patterns.extend(critical::patterns(targets, description.as_ref())?);
    }
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
    let mut headers = headers::read(&arguments.connection)?;
    if arguments.body.is_some() && !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    headers
        .entry(USER_AGENT)
        .or_insert(HeaderValue::from_static(concat!(
            "profiler/",
            env!("CARGO_PKG_VERSION")
        )));
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
