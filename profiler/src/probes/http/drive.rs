//! Sends the load to an endpoint: threads, each with its own connections,
//! timer and measurements, so that none waits for another.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{Barrier, watch};

use super::{
    connection::{Dialer, Protocol},
    lane::Worker,
    load::Load,
    measurements::Measurements,
    request::PreparedRequest,
};

/// What all threads share.
pub struct Shared {
    pub load: Load,
    pub request: PreparedRequest,
    pub dialer: Dialer,
    pub protocol: Protocol,
    /// Requests that may still be sent, of `load.requests`.
    pub budget: AtomicU64,
    /// All have their connections.
    connected: Barrier,
    start: OnceLock<Instant>,
}

impl Shared {
    /// When the load began: when all were connected, for all the same.
    pub async fn start(&self) -> Instant {
        self.connected.wait().await;
        *self.start.get_or_init(Instant::now)
    }
}

/// What came of it.
pub struct Driven {
    pub measurements: Measurements,
    /// From the end of the warm-up to the end of the load.
    pub measured: Duration,
    /// CPU time of the threads that sent it, warm-up included, and how long
    /// they ran.
    pub cpu: Duration,
    pub threads: usize,
    pub ran: Duration,
    /// Ended before its time.
    pub interrupted: bool,
}

struct OfThread {
    measurements: Measurements,
    cpu: Duration,
    /// When the last of its requests was done.
    end: Option<Instant>,
}

/// Loads one endpoint. `stop` ends it early.
///
/// # Errors
///
/// If threads or timers cannot be had. What the server does is no error.
pub async fn drive(
    load: &Load,
    request: &PreparedRequest,
    dialer: &Dialer,
    protocol: Protocol,
    stop: &watch::Receiver<bool>,
) -> anyhow::Result<Driven> {
    let threads = load.threads.clamp(1, load.concurrent);
    let shared = Arc::new(Shared {
        load: load.clone(),
        request: request.clone(),
        dialer: dialer.clone(),
        protocol,
        budget: AtomicU64::new(load.requests.unwrap_or(u64::MAX)),
        connected: Barrier::new(threads),
        start: OnceLock::new(),
    });
    let began = Instant::now();
    let mut running = Vec::new();
    for number in 0..threads {
        let (shared, stop) = (shared.clone(), stop.clone());
        let (done, result) = tokio::sync::oneshot::channel();
        thread::Builder::new()
            .name(format!("load-{number}"))
            .spawn(move || {
                // Nobody listens once the run has failed.
                let _ = done.send(run_thread(shared, number, threads, stop));
            })
            .context("cannot start a thread")?;
        running.push(result);
    }
    let mut driven = Driven {
        measurements: Measurements::default(),
        measured: Duration::ZERO,
        cpu: Duration::ZERO,
        threads,
        ran: Duration::ZERO,
        interrupted: false,
    };
    let mut last_end = None;
    for result in running {
        let thread = result.await.context("a thread of the load is gone")??;
        driven.measurements.merge(&thread.measurements);
        driven.cpu += thread.cpu;
        last_end = last_end.max(thread.end);
    }
    driven.ran = began.elapsed();
    driven.interrupted = *stop.borrow();
    let begin = shared
        .start
        .get()
        .map_or(began, |start| *start + load.warmup);
    // Requests that are late do not make the time longer in which the others
    // came; one that ends early makes it shorter.
    let planned = load.duration.map(|duration| begin + duration);
    let ran_out = load.requests.is_some() && shared.budget.load(Ordering::Relaxed) == 0;
    let end = match planned {
        Some(planned) if !ran_out && !driven.interrupted => planned,
        Some(planned) => last_end.unwrap_or(planned).min(planned),
        None => last_end.unwrap_or(begin),
    };
    driven.measured = end.saturating_duration_since(begin);
    Ok(driven)
}

fn run_thread(
    shared: Arc<Shared>,
    number: usize,
    threads: usize,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<OfThread> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .context("cannot start a runtime")?;
    let worker = Worker::new(shared, number, threads);
    let stopped = runtime.block_on(async {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => anyhow::Ok(true),
            ended = worker.clone().run() => ended.map(|()| false),
        }
    })?;
    let now = Instant::now();
    // Drops the tasks, and what they hold of the worker.
    drop(runtime);
    let cpu = clock_gettime(ClockId::ThreadCPUTime);
    let (measurements, last) = worker.finish();
    Ok(OfThread {
        measurements,
        cpu: Duration::new(
            u64::try_from(cpu.tv_sec).unwrap_or(0),
            u32::try_from(cpu.tv_nsec).unwrap_or(0),
        ),
        end: if stopped { Some(now) } else { last },
    })
}
