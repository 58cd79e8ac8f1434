//! One thread's part of the load: lanes, which each have one request under way
//! at a time.

use std::{
    cell::{Cell, OnceCell, RefCell},
    future::poll_fn,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::{sync::Mutex, task::JoinSet};

use super::{
    connection::{Exchange, Http1, Http2, Protocol, Watchdog},
    drive::Shared,
    load::Pattern,
    measurements::Measurements,
    outcome::Failure,
    pace::Pacer,
};

/// After failures in a row a lane waits: this long, then twice as long each
/// time up to a second, so that a dead server is not asked as fast as this
/// machine can.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

pub struct Worker {
    shared: Arc<Shared>,
    /// Which of how many.
    number: usize,
    threads: usize,
    pacer: Pacer,
    start: OnceCell<Instant>,
    next_slot: Cell<u64>,
    last_end: Cell<Option<Instant>>,
    measurements: RefCell<Measurements>,
}

/// A request that is to be sent now.
struct Slot {
    /// Open loop: when it was due.
    due: Option<Instant>,
    measured: bool,
}

/// How the next request of a lane gets to the server.
enum Lane {
    Http1(Option<Http1>),
    Http2(Rc<Mutex<SharedHttp2>>),
}

/// The connection of several lanes.
#[derive(Default)]
struct SharedHttp2 {
    connection: Option<Http2>,
    /// When there was none to be had, and why.
    failed: Option<(Instant, Failure)>,
}

impl Worker {
    pub fn new(shared: Arc<Shared>, number: usize, threads: usize) -> Rc<Self> {
        Rc::new(Self {
            shared,
            number,
            threads,
            pacer: Pacer::default(),
            start: OnceCell::new(),
            next_slot: Cell::new(number as u64),
            last_end: Cell::new(None),
            measurements: RefCell::default(),
        })
    }

    /// What was measured, and when the last request was done.
    pub fn finish(&self) -> (Measurements, Option<Instant>) {
        let mut measurements = self.measurements.take();
        measurements.unsent = self.unsent();
        (measurements, self.last_end.get())
    }

    /// Connects, waits for the other threads, and sends until the end.
    pub async fn run(self: Rc<Self>) -> anyhow::Result<()> {
        let timer = Pacer::timer()?;
        let lanes = self.connect().await;
        let start = self.shared.start().await;
        let _ = self.start.set(start);
        let mut tasks = JoinSet::new();
        for lane in lanes {
            tasks.spawn_local(self.clone().send_all(lane));
        }
        let all = async {
            while let Some(done) = tasks.join_next().await {
                done.context("a task of the load is gone")?;
            }
            anyhow::Ok(())
        };
        tokio::select! {
            done = all => done,
            ended = self.pacer.run(timer) => ended.context("the timer does not work"),
        }
    }

    /// Every lane with its connection, where the server gave one; the others
    /// try again with their first request.
    async fn connect(self: &Rc<Self>) -> Vec<Lane> {
        let load = &self.shared.load;
        let mine = (self.number..load.concurrent).step_by(self.threads).count();
        let mut lanes: Vec<Lane> = Vec::with_capacity(mine);
        let mut dialing = JoinSet::new();
        match self.shared.protocol {
            Protocol::Http1 => {
                for _ in 0..mine {
                    let worker = self.clone();
                    dialing.spawn_local(async move { Lane::Http1(worker.dial_http1().await.ok()) });
                }
            }
            Protocol::Http2 => {
                for first in (0..mine).step_by(load.streams) {
                    let connection = Rc::new(Mutex::new(SharedHttp2::default()));
                    for _ in first..mine.min(first + load.streams) {
                        lanes.push(Lane::Http2(connection.clone()));
                    }
                    let worker = self.clone();
                    dialing.spawn_local(async move {
                        let mut place = connection.lock().await;
                        place.connection = worker.dial_http2().await.ok();
                        drop(place);
                        Lane::Http2(connection)
                    });
                }
            }
        }
        while let Some(dialed) = dialing.join_next().await {
            if let Ok(lane @ Lane::Http1(_)) = dialed {
                lanes.push(lane);
            }
        }
        lanes
    }

    async fn dial_http1(&self) -> Result<Http1, Failure> {
        let (wire, dialed) = self.shared.dialer.dial().await?;
        self.measurements.borrow_mut().connected(dialed);
        Http1::new(wire).await
    }

    async fn dial_http2(&self) -> Result<Http2, Failure> {
        let (wire, dialed) = self.shared.dialer.dial().await?;
        self.measurements.borrow_mut().connected(dialed);
        Http2::new(wire).await
    }

    /// One lane connects; those that wait for it meanwhile get what it gets,
    /// its failure too.
    async fn share_http2(&self, shared: &Mutex<SharedHttp2>) -> Result<Http2, Failure> {
        let asked = Instant::now();
        let mut place = shared.lock().await;
        if let Some(connection) = &place.connection
            && !connection.is_closed()
        {
            return Ok(connection.clone());
        }
        if let Some((at, failure)) = &place.failed
            && *at > asked
        {
            return Err(failure.clone());
        }
        match self.dial_http2().await {
            Ok(connection) => {
                place.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(failure) => {
                place.failed = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    async fn send_all(self: Rc<Self>, mut lane: Lane) {
        let mut watchdog = Watchdog::new(self.shared.load.timeout);
        let mut failed_in_a_row = 0_u32;
        while let Some(slot) = self.next(&mut lane, failed_in_a_row).await {
            if slot.measured {
                self.measurements.borrow_mut().started += 1;
            }
            let outcome = self.send(&mut lane, &mut watchdog).await;
            failed_in_a_row = match outcome {
                Ok(_) => 0,
                Err(_) => failed_in_a_row + 1,
            };
            self.note(&slot, outcome);
        }
    }

    async fn send(&self, lane: &mut Lane, watchdog: &mut Watchdog) -> Result<Exchange, Failure> {
        let request = &self.shared.request;
        let limits = self.shared.load.limits();
        match lane {
            Lane::Http1(place) => {
                let mut connection = match place.take() {
                    Some(connection) => connection,
                    None => self.dial_http1().await?,
                };
                let exchange = connection.exchange(request, limits, watchdog).await?;
                // A connection on which something went wrong is not used again.
                *place = Some(connection);
                Ok(exchange)
            }
            Lane::Http2(shared) => {
                let mut connection = self.share_http2(shared).await?;
                connection.exchange(request, limits, watchdog).await
            }
        }
    }

    fn note(&self, slot: &Slot, outcome: Result<Exchange, Failure>) {
        let now = match &outcome {
            Ok(exchange) => exchange.end,
            Err(_) => Instant::now(),
        };
        self.last_end.set(self.last_end.get().max(Some(now)));
        let mut measurements = self.measurements.borrow_mut();
        if !slot.measured {
            measurements.warmup_requests += 1;
            return;
        }
        match outcome {
            Ok(exchange) => {
                measurements.complete_one(&exchange, slot.due);
                if self.end().is_none_or(|end| now <= end) {
                    measurements.complete_in_time += 1;
                }
            }
            Err(failure) => measurements.fail(failure),
        }
    }

    fn started(&self) -> Instant {
        *self.start.get_or_init(Instant::now)
    }

    fn warm(&self) -> Instant {
        self.started() + self.shared.load.warmup
    }

    fn end(&self) -> Option<Instant> {
        Some(self.warm() + self.shared.load.duration?)
    }

    async fn next(&self, lane: &mut Lane, failed_in_a_row: u32) -> Option<Slot> {
        match self.shared.load.pattern {
            Pattern::Closed => self.next_closed(lane, failed_in_a_row).await,
            Pattern::Open { rate } => self.next_open(lane, rate).await,
        }
    }

    async fn next_closed(&self, lane: &mut Lane, failed_in_a_row: u32) -> Option<Slot> {
        if failed_in_a_row > 1 {
            let pause = FIRST_PAUSE * (1 << (failed_in_a_row - 2).min(7));
            tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
        }
        lane.settle().await;
        let now = Instant::now();
        if self.end().is_some_and(|end| now >= end) {
            return None;
        }
        let measured = now >= self.warm();
        if measured && self.shared.load.requests.is_some() {
            let budget = &self.shared.budget;
            budget
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .ok()?;
        }
        Some(Slot {
            due: None,
            measured,
        })
    }

    /// Slots are shared out among the threads in turn; within a thread the
    /// lane that is free first takes the next.
    async fn next_open(&self, lane: &mut Lane, rate: f64) -> Option<Slot> {
        let number = self.next_slot.get();
        if number >= self.shared.load.slots(rate) {
            return None;
        }
        let due = self.due(number, rate);
        let now = Instant::now();
        // The server is that far behind: what is left will not be sent.
        let last = self.end().map(|end| end + self.shared.load.timeout);
        if last.is_some_and(|last| now >= last) {
            return None;
        }
        self.next_slot.set(number + self.threads as u64);
        let measured = number >= self.shared.load.warmup_slots(rate);
        let busy = due <= now;
        if !busy {
            let turn = self.pacer.turn(due);
            poll_fn(|context| {
                lane.watch(context);
                turn.poll(context.waker())
            })
            .await;
        }
        lane.settle().await;
        if measured {
            let mut measurements = self.measurements.borrow_mut();
            if busy {
                measurements.waited_for_connection += 1;
            } else {
                measurements.own_delay.add(due.elapsed());
            }
        }
        Some(Slot {
            due: Some(due),
            measured,
        })
    }

    fn due(&self, slot: u64, rate: f64) -> Instant {
        self.started() + Duration::from_secs_f64(slot as f64 / rate)
    }

    /// Slots of this thread that are left, of those that were due by now.
    fn unsent(&self) -> u64 {
        let Pattern::Open { rate } = self.shared.load.pattern else {
            return 0;
        };
        let Some(start) = self.start.get() else {
            return 0;
        };
        let by_now = (start.elapsed().as_secs_f64() * rate) as u64;
        let end = self.shared.load.slots(rate).min(by_now);
        let left = end.saturating_sub(self.next_slot.get());
        left.div_ceil(self.threads as u64)
    }
}

impl Lane {
    /// Notices what the server does with a connection that is not in use.
    fn watch(&mut self, context: &mut std::task::Context<'_>) {
        if let Self::Http1(place) = self
            && let Some(connection) = place
            && connection.poll_usable(context) == Poll::Ready(false)
        {
            *place = None;
        }
    }

    /// Waits until the connection can take another request, or is given up.
    async fn settle(&mut self) {
        let Self::Http1(place) = self else { return };
        let Some(connection) = place else { return };
        if !poll_fn(|context| connection.poll_usable(context)).await {
            *place = None;
        }
    }
}
