//! Services that are loaded while a recording is made.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{anyhow, bail};

use super::{ProbeArgs, TIMEOUT, is_in_container, is_named, place, refused};
use crate::{
    cli::{
        compare::Wanted,
        load::{
            command_line,
            critical::patterns_of,
            requests::{self, Endpoints},
        },
    },
    options::RecordOptions,
    probes::{
        beside::{Found, Job, Place},
        http::{
            self,
            load::Load,
            openapi::Description,
            plan::{Plan, Skipped, Terms},
            report,
            server::{Reach, Server},
            target::Target,
            usage::Processes,
        },
        servers::{self, Kind},
        window::Window,
    },
    profile::{Note, ProbeKind},
};

/// A service that is asked for its description has this long.
const PATIENCE: Duration = Duration::from_secs(3);
/// Shortest time for one endpoint, and the part of it that is warm-up.
const SHORTEST: Duration = Duration::from_secs(1);
const WARM_UP: f64 = 0.1;
/// Most services that are asked for their endpoints.
const SERVICES: usize = 32;
/// Largest body that is read, bytes.
const LARGEST_BODY: u64 = 64 << 20;
/// Threads that send: the servers need CPUs, too.
const THREADS: usize = 2;

/// What all of them share.
struct Asked<'a> {
    arguments: &'a ProbeArgs,
    endpoints: Endpoints,
    terms: Terms,
    reach: Reach,
}

/// One service, and where it is.
struct Service {
    url: String,
    place: Option<Place>,
}

/// One after the other, so that none slows another down.
///
/// # Errors
/// If an option cannot be used.
pub fn lane(
    arguments: &ProbeArgs,
    options: &RecordOptions,
    found: &[servers::Server],
    mut targets: Option<&mut Wanted>,
    notes: &mut Vec<Note>,
) -> anyhow::Result<Vec<Job>> {
    let asked = Asked {
        arguments,
        endpoints: Endpoints::parse(&arguments.endpoints)?,
        terms: requests::terms(&arguments.request, &arguments.connection)?,
        reach: arguments
            .connection
            .reach(arguments.request.allow_remote, TIMEOUT),
    };
    let others = asked.endpoints.all || !asked.endpoints.patterns.is_empty();
    if asked.endpoints.critical && targets.is_none() && !others {
        notes.push(Note::missing(
            "backend: no load was sent, since no endpoint is critical without --targets FILE; \
             --endpoints all loads every one that does not write",
        ));
        return Ok(Vec::new());
    }
    let named = !arguments.url.is_empty();
    let services = if named {
        of_urls(&arguments.url)
    } else {
        of_containers(options, found)
    };
    let mut services = services;
    for left_out in services.drain(services.len().min(SERVICES)..) {
        notes.push(Note::missing(format!(
            "backend: {} is not loaded: there are more than {SERVICES}; --containers narrows",
            left_out.url
        )));
    }
    let described = describe_all(&asked, &services);
    let mut jobs = Vec::new();
    for (service, description) in services.into_iter().zip(described) {
        let target = Target::parse(&service.url)?;
        match description {
            Ok(description) => {
                let plan = plan(&asked, &target, &description, targets.as_deref_mut());
                jobs.extend(job(&asked, options, target, service, plan));
            }
            Err(error) if named => {
                jobs.push(refused(ProbeKind::Load, service.url, service.place, error));
            }
            Err(error) => notes.push(Note::missing(format!(
                "backend: {} is not loaded, since what its endpoints are is not known: {error:#}",
                service.url
            ))),
        }
    }
    if jobs.is_empty() && !named {
        notes.push(Note::missing(format!(
            "backend: no load was sent, since no service that is recorded has the endpoints in a \
             description at {}; --url names one",
            arguments.request.openapi
        )));
    }
    Ok(jobs)
}

fn of_urls(urls: &[String]) -> Vec<Service> {
    let service = |url: &String| Service {
        url: url.clone(),
        place: None,
    };
    urls.iter().map(service).collect()
}

/// What listens in containers. Elsewhere only what was asked for by name: a
/// request is nothing that any program of a host wants.
fn of_containers(options: &RecordOptions, found: &[servers::Server]) -> Vec<Service> {
    let named = is_named(options);
    found
        .iter()
        .filter(|server| server.kind == Kind::Other && (named || is_in_container(server)))
        .map(|server| Service {
            url: format!("http://{}", server.address),
            place: Some(place(server)),
        })
        .collect()
}

/// All at the same time, each in a thread of its own.
fn describe_all(asked: &Asked<'_>, services: &[Service]) -> Vec<anyhow::Result<Description>> {
    thread::scope(|scope| {
        let asking: Vec<_> = services
            .iter()
            .map(|service| scope.spawn(|| describe(asked, service)))
            .collect();
        let answer = |it: thread::ScopedJoinHandle<'_, _>| {
            it.join()
                .unwrap_or_else(|_| bail!("the probe failed by an error of its own"))
        };
        asking.into_iter().map(answer).collect()
    })
}

/// Leaves the thread in the network of the service.
fn describe(asked: &Asked<'_>, service: &Service) -> anyhow::Result<Description> {
    let target = Target::parse(&service.url)?;
    if let Some(place) = &service.place {
        place.network.enter()?;
    }
    let runtime = super::runtime()?;
    let described = runtime.block_on(async {
        let asking = async {
            let server = Server::reach(target, &asked.reach).await?;
            requests::description(&asked.arguments.request, &server, &asked.terms).await
        };
        tokio::time::timeout(PATIENCE, asking)
            .await
            .map_err(|_| anyhow!("it says nothing in {} s", PATIENCE.as_secs()))?
    });
    // A name that is being resolved is not waited for.
    runtime.shutdown_background();
    described
}

fn plan(
    asked: &Asked<'_>,
    target: &Target,
    description: &Description,
    targets: Option<&mut Wanted>,
) -> anyhow::Result<Plan> {
    let Endpoints {
        all,
        critical,
        patterns,
    } = &asked.endpoints;
    let critical = match targets {
        Some(targets) if *critical => patterns_of(targets, description),
        _ => Vec::new(),
    };
    if *all {
        return Plan::of_all(target, description, &asked.terms);
    }
    // Another service may have the others.
    let mut patterns: Vec<_> = patterns
        .iter()
        .filter(|pattern| description.operations.iter().any(|it| pattern.matches(it)))
        .cloned()
        .collect();
    patterns.extend(critical);
    Plan::of_patterns(target, &patterns, Some(description), &asked.terms)
}

/// `None` of a service that has nothing of what was asked for.
fn job(
    asked: &Asked<'_>,
    options: &RecordOptions,
    target: Target,
    service: Service,
    plan: anyhow::Result<Plan>,
) -> Option<Job> {
    let Service { url, place } = service;
    let plan = match plan {
        Ok(plan) if plan.endpoints.is_empty() && plan.skipped.is_empty() => return None,
        Ok(plan) => plan,
        Err(error) => return Some(refused(ProbeKind::Load, url, place, error)),
    };
    let (pattern, concurrent) = asked.arguments.load.load();
    let load = Load {
        pattern,
        concurrent,
        streams: asked.arguments.connection.streams as usize,
        threads: THREADS.min(concurrent),
        duration: None,
        requests: None,
        warmup: Duration::ZERO,
        timeout: TIMEOUT,
        body_bytes: LARGEST_BODY,
    };
    let reach = asked.reach.clone();
    let processes = place.as_ref().map(|place| Processes::of(place.pid));
    let words: Vec<String> = options.command_line.split(' ').map(str::to_owned).collect();
    let said = command_line(&words);
    Some(Job {
        kind: ProbeKind::Load,
        target: url,
        place,
        ask: Box::new(move |window| ask(target, &reach, plan, load, processes, said, &window)),
    })
}

fn ask(
    target: Target,
    reach: &Reach,
    mut plan: Plan,
    mut load: Load,
    processes: Option<Processes>,
    command_line: String,
    window: &Window,
) -> anyhow::Result<Found> {
    let end = Instant::now() + window.duration;
    let runtime = super::runtime()?;
    let measured = runtime.block_on(async {
        let server = Server::reach(target, reach).await?;
        share_time(
            &mut plan,
            &mut load,
            end.saturating_duration_since(Instant::now()),
        );
        let processes = processes.or_else(|| server.processes());
        http::run(
            &server,
            &plan,
            &load,
            processes.as_ref(),
            command_line,
            &window.stop,
            &|_| (),
        )
        .await
    });
    // A name that is being resolved is not waited for.
    runtime.shutdown_background();
    let measured = measured?;
    Ok(Found {
        document: report::document(&measured),
        metrics: report::metrics(&measured),
        report: serde_json::to_value(&measured)?,
    })
}

/// Each endpoint has the same time; those for which there is none are left out.
fn share_time(plan: &mut Plan, load: &mut Load, time: Duration) {
    let room = (time.as_secs_f64() / SHORTEST.as_secs_f64()) as usize;
    let left_out = plan.endpoints.len().saturating_sub(room.max(1));
    let kept = plan.endpoints.len() - left_out;
    plan.skipped
        .extend(plan.endpoints.drain(kept..).map(|endpoint| Skipped {
            endpoint: endpoint.name,
            reason:
                "the recording is too short for it: a longer --duration has the time".to_owned(),
        }));
    let each = time / (kept.max(1) as u32);
    load.warmup = each.mul_f64(WARM_UP);
    load.duration = Some(each.saturating_sub(load.warmup));
}
