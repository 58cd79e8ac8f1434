//! `profiler load`: sending load to a server.

mod args;
pub(super) mod critical;
mod headers;
pub(super) mod requests;

use std::{ffi::OsString, fs, path::Path};

use anyhow::{Context as _, bail};
use hyper::{
    body::Bytes,
    header::{CONTENT_TYPE, HeaderValue},
};

use super::{args::Messages, compare::Wanted, exit, stop};
use crate::{
    compare::input,
    doctor,
    output::Target as Output,
    probes::http::{
        self,
        plan::{Plan, Terms},
        report::{self, LoadFormat, LoadReport},
        server::Server,
        target::Target,
    },
    progress::{Progress, Silent, Terminal},
};
pub use args::LoadArgs;
pub(super) use args::{ConnectionArgs, RequestArgs};
pub(super) use headers::command_line;

pub fn run(
    arguments: &LoadArgs,
    messages: &Messages,
    command_line: &[OsString],
) -> anyhow::Result<u8> {
    let target = Target::parse(&arguments.url)?;
    let mut targets = arguments.targets.read()?;
    doctor::raise_limits();
    let load = arguments.amount.load(arguments.connection.streams);
    let connection = &arguments.connection;
    let mut terms = requests::terms(&arguments.request, connection)?;
    if arguments.body.is_some() && !terms.headers.contains_key(CONTENT_TYPE) {
        let json = HeaderValue::from_static("application/json");
        terms.headers.insert(CONTENT_TYPE, json);
    }
    let reach = connection.reach(arguments.request.allow_remote, arguments.amount.timeout);
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
        let stop = stop::on_signals()?;
        let mut ended = stop.clone();
        let prepared = async {
            let server = Server::reach(target, &reach).await?;
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
        let processes = server.processes();
        let processes = processes.as_ref();
        http::run(&server, &plan, &load, processes, command_line, &stop, &tell).await
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
    let rounds = input::rounds(Path::new("this load"), &report::metrics_file(&measured));
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
    if arguments.endpoints.is_empty() {
        let target = &server.target;
        let body = body(arguments.body.as_deref())?;
        let method = arguments.method.clone();
        return Plan::of_request(target, method, &target.path, body, terms);
    }
    requests::plan(
        &arguments.endpoints,
        &arguments.request,
        targets,
        server,
        terms,
    )
    .await
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
