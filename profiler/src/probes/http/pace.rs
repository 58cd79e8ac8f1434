//! When requests of an open loop are due, to the microsecond: the runtime's own
//! timers round up to a millisecond, which is more than a fast server takes.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    io,
    os::fd::OwnedFd,
    rc::Rc,
    task::{Poll, Waker},
    time::Instant,
};

use anyhow::Context as _;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::{io::unix::AsyncFd, sync::Notify};

/// Wakes those that wait, in the order of their times, which is the order in
/// which they come.
#[derive(Default)]
pub struct Pacer {
    waiting: RefCell<VecDeque<Rc<Turn>>>,
    /// Somebody waits who is the only one.
    first: Notify,
}

/// One that waits.
pub struct Turn {
    due: Instant,
    is_due: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Turn {
    /// Whether the time has come; if not, the task is woken when it has.
    pub fn poll(&self, waker: &Waker) -> Poll<()> {
        if self.is_due.get() {
            return Poll::Ready(());
        }
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
        Poll::Pending
    }
}

impl Pacer {
    /// What it runs on, within a runtime.
    pub fn timer() -> anyhow::Result<AsyncFd<OwnedFd>> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        timerfd_create(TimerfdClockId::Monotonic, flags)
            .map_err(io::Error::from)
            .and_then(|timer| {
                // SAFETY: an owned descriptor stays the same and open as long
                // as the AsyncFd owns it, and nobody else has it.
                unsafe { AsyncFd::register(timer) }.map_err(io::Error::from)
            })
            .context("cannot make a timer")
    }

    /// Takes a place behind all others; `due` is not before theirs.
    pub fn turn(&self, due: Instant) -> Rc<Turn> {
        let turn = Rc::new(Turn {
            due,
            is_due: Cell::new(false),
            waker: RefCell::default(),
        });
        let mut waiting = self.waiting.borrow_mut();
        waiting.push_back(turn.clone());
        if waiting.len() == 1 {
            self.first.notify_one();
        }
        turn
    }

    /// Wakes whoever is due, for ever.
    pub async fn run(&self, timer: AsyncFd<OwnedFd>) -> io::Result<()> {
        loop {
            self.wake_due();
            let next = self.waiting.borrow().front().map(|turn| turn.due);
            match next {
                None => self.first.notified().await,
                Some(due) => wait_until(&timer, due).await?,
            }
        }
    }

    fn wake_due(&self) {
        let now = Instant::now();
        let mut waiting = self.waiting.borrow_mut();
        while let Some(turn) = waiting.pop_front_if(|turn| turn.due <= now) {
            turn.is_due.set(true);
            if let Some(waker) = turn.waker.take() {
                waker.wake();
            }
        }
    }
}

async fn wait_until(timer: &AsyncFd<OwnedFd>, due: Instant) -> io::Result<()> {
    let left = due.saturating_duration_since(Instant::now());
    // All zeros would disarm it.
    let nanoseconds = left.as_nanos().max(1);
    let value = Timespec {
        tv_sec: i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: (nanoseconds % 1_000_000_000) as _,
    };
    let once = Itimerspec {
        it_interval: Timespec::default(),
        it_value: value,
    };
    timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
    poll_fn(|context| {
        loop {
            let mut ready = match timer.poll_read_ready(context) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return Poll::Pending,
            };
            let mut count = [0_u8; 8];
            if let Ok(read) =
                ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut count)?))
            {
                return Poll::Ready(read.map(|_| ()));
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn nobody_is_woken_early_and_all_in_order() {
        let pacer = Pacer::default();
        let timer = Pacer::timer().expect("a timer");
        let start = Instant::now();
        let turns: Vec<_> = [0, 3, 3, 8]
            .map(|milliseconds| pacer.turn(start + Duration::from_millis(milliseconds)))
            .into();
        let all = async {
            for turn in &turns {
                poll_fn(|context| turn.poll(context.waker())).await;
                assert!(Instant::now() >= turn.due);
            }
        };
        tokio::select! {
            ended = pacer.run(timer) => panic!("it ended: {ended:?}"),
            () = all => {}
        }
        assert!(pacer.waiting.borrow().is_empty());
    }
}
