//! Many operations of one kind, and what they took: a closed loop, where each
//! connection asks the next question when the last is answered.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::task::JoinSet;

use super::provider::{Connect, Timing, VectorError};
use crate::probes::http::measurements::Durations;

/// So many failures one after the other end an operation: the server will not
/// answer the next one either.
const FAILURES_TO_GIVE_UP: u32 = 5;

/// Nanoseconds. A percentile is missing where there are too few to tell it from
/// the longest.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    pub mean_ns: u64,
    pub p50_ns: Option<u64>,
    pub p90_ns: Option<u64>,
    pub p95_ns: Option<u64>,
    pub p99_ns: Option<u64>,
    pub p999_ns: Option<u64>,
    pub max_ns: u64,
}

impl Latency {
    fn of(durations: &Durations) -> Option<Self> {
        Some(Self {
            mean_ns: durations.mean_ns()?,
            p50_ns: durations.percentile_ns(50.0),
            p90_ns: durations.percentile_ns(90.0),
            p95_ns: durations.percentile_ns(95.0),
            p99_ns: durations.percentile_ns(99.0),
            p999_ns: durations.percentile_ns(99.9),
            max_ns: durations.max_ns()?,
        })
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Failures {
    pub kind: String,
    pub count: u64,
    /// What was said the first time.
    pub message: String,
}

/// How operations of one kind went.
#[derive(Clone, Debug, Serialize)]
pub struct Operation {
    pub name: &'static str,
    pub concurrent: usize,
    /// Vectors in each request that writes.
    pub vectors_each: Option<u64>,
    pub completed: u64,
    pub failed: u64,
    pub failures: Vec<Failures>,
    /// Of all of them, by the clock.
    pub seconds: f64,
    pub per_second: f64,
    pub vectors_per_second: Option<f64>,
    /// From sending until the whole answer, of those that completed.
    pub latency: Option<Latency>,
    /// As the server says, where it does.
    pub server_latency: Option<Latency>,
    /// Why there are fewer than were asked for.
    pub ended_early: Option<String>,
}

impl Operation {
    pub fn is_complete(&self) -> bool {
        self.failed == 0 && self.ended_early.is_none()
    }
}

/// What is to be done, and how often.
#[derive(Clone, Copy)]
pub struct Load {
    pub name: &'static str,
    pub count: u64,
    pub concurrent: usize,
    /// Vectors that each request writes, but for the last.
    pub vectors_each: Option<u64>,
    /// Vectors that all of them write.
    pub vectors: u64,
}

impl Load {
    pub fn reading(name: &'static str, count: usize, concurrent: usize) -> Self {
        Self {
            name,
            count: count as u64,
            concurrent,
            vectors_each: None,
            vectors: 0,
        }
    }
}

#[derive(Default)]
struct Shared {
    next: Cell<u64>,
    in_a_row: Cell<u32>,
    client: RefCell<Durations>,
    server: RefCell<Durations>,
    failures: RefCell<BTreeMap<String, Failures>>,
    gave_up: RefCell<Option<String>>,
}

impl Shared {
    fn fail(&self, error: &VectorError) {
        let mut failures = self.failures.borrow_mut();
        let kind = error.kind();
        let known = failures.entry(kind.clone()).or_insert_with(|| Failures {
            kind,
            count: 0,
            message: error.to_string(),
        });
        known.count += 1;
        self.in_a_row.update(|count| count + 1);
        if self.in_a_row.get() >= FAILURES_TO_GIVE_UP {
            let why = format!("{FAILURES_TO_GIVE_UP} failures one after the other: {error}");
            self.gave_up.borrow_mut().get_or_insert(why);
        }
    }
}

/// What came of the operations, by their numbers; those that failed have none.
pub struct Done<T> {
    pub operation: Operation,
    pub results: BTreeMap<u64, T>,
}

/// Must run in a `LocalSet`. When it is dropped, all of it ends.
pub async fn run<C, F, T>(connect: &C, load: Load, operate: F) -> Done<T>
where
    C: Connect,
    F: AsyncFn(&mut C::Client, u64) -> Result<(Timing, T), VectorError> + 'static,
    T: 'static,
{
    let shared = Rc::new(Shared::default());
    let results = Rc::new(RefCell::new(BTreeMap::new()));
    let operate = Rc::new(operate);
    let concurrent = load.concurrent.min(load.count as usize).max(1);
    let mut lanes = JoinSet::new();
    let started = Instant::now();
    for _ in 0..concurrent {
        let (connect, shared, operate, results) = (
            connect.clone(),
            shared.clone(),
            operate.clone(),
            results.clone(),
        );
        lanes.spawn_local(async move {
            let mut client = match connect.connect().await {
                Ok(client) => client,
                Err(error) => return shared.fail(&error),
            };
            while shared.gave_up.borrow().is_none() && shared.next.get() < load.count {
                let number = shared.next.replace(shared.next.get() + 1);
                match operate(&mut client, number).await {
                    Ok((timing, result)) => {
                        shared.in_a_row.set(0);
                        shared.client.borrow_mut().add(timing.took);
                        if let Some(server) = timing.server {
                            shared.server.borrow_mut().add(server);
                        }
                        results.borrow_mut().insert(number, result);
                    }
                    Err(error) => shared.fail(&error),
                }
            }
        });
    }
    while lanes.join_next().await.is_some() {}
    let results = results.take();
    let operation = summary(load, concurrent, &shared, started.elapsed());
    Done { operation, results }
}

fn summary(load: Load, concurrent: usize, shared: &Shared, took: Duration) -> Operation {
    let seconds = took.as_secs_f64();
    let completed = shared.client.borrow().count();
    let failures: Vec<Failures> = shared.failures.take().into_values().collect();
    let failed = failures.iter().map(|it| it.count).sum();
    let all = completed + failed >= load.count;
    let ended_early = shared.gave_up.take().filter(|_| !all).or_else(|| {
        // No lane got a connection.
        let first = failures
            .first()
            .filter(|_| completed < load.count && !all)?;
        Some(first.message.clone())
    });
    let is_writing_all = load.vectors_each.is_some() && completed == load.count;
    Operation {
        name: load.name,
        concurrent,
        vectors_each: load.vectors_each,
        completed,
        failed,
        failures,
        seconds,
        per_second: completed as f64 / seconds.max(1e-9),
        vectors_per_second: is_writing_all.then(|| load.vectors as f64 / seconds.max(1e-9)),
        latency: Latency::of(&shared.client.borrow()),
        server_latency: Latency::of(&shared.server.borrow()),
        ended_early,
    }
}
