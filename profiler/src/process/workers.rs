//! Worker threads that build unwind tables, what hurts most first.

use std::{
    collections::HashMap,
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread::JoinHandle,
};

use profiler_ebpf::Executable;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Image, image::Parts};
use crate::{
    bpf::{TableMemory, TableSlots},
    elf::Elf,
    runtimes::{self, Recognised},
    unwind,
};

/// Where a table's bytes come from.
#[derive(Clone)]
pub enum Origin {
    File(Arc<File>),
    /// The vDSO's image.
    Memory(Arc<Vec<u8>>),
}

impl Origin {
    fn size(&self) -> u64 {
        match self {
            Self::File(file) => file.metadata().map_or(0, |metadata| metadata.len()),
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }
}

/// What a worker has done.
pub enum Done {
    Built(Built),
    /// The slot's table is freed.
    Cleared {
        slot: u32,
    },
}

/// A table that was built and put in its slot, or why it could not be.
pub struct Built {
    pub slot: u32,
    pub result: Result<Outcome, String>,
    /// CPU time of building it, nanoseconds.
    pub cpu_ns: u64,
}

/// What is made from an executable's contents.
#[derive(Clone)]
pub struct Outcome {
    pub table: Arc<TableMemory>,
    pub info: Executable,
    pub runtime: Option<Recognised>,
}

struct Job {
    origin: Origin,
    path: PathBuf,
    /// Samples that ended for want of this table.
    demand: u64,
    /// What building it is expected to take, in bytes of the file.
    size: u64,
}

impl Job {
    /// Samples helped for the effort: what many wait for comes first, but a
    /// small table is not kept waiting by a huge one.
    fn urgency(&self) -> u64 {
        const SCALE: u64 = 1 << 20;
        const SMALLEST: u64 = 1 << 16;
        (self.demand + 1).saturating_mul(SCALE) / (self.size + SMALLEST)
    }
}

/// Raised priority of the workers (`nice` value): on a busy host, which is
/// the one that is profiled, stacks stay incomplete until a table is there.
/// The work is the same, it is only done earlier.
const NICE: i32 = -10;

#[derive(Default)]
struct Queue {
    /// By the slot that the table is for.
    jobs: HashMap<u32, Job>,
    /// Slots whose tables nobody needs any more.
    clear: Vec<u32>,
    running: usize,
    stop: bool,
}

/// Tables by what they were made from, while somebody uses them: of files
/// without a build ID, it shows only here that they are the same.
type Cache = HashMap<[u8; 32], (Weak<TableMemory>, Executable, Option<Recognised>)>;

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    cache: Mutex<Cache>,
    changed: Condvar,
}

impl Shared {
    /// A worker that panicked leaves the queue as it was: whole.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    results: UnboundedReceiver<Done>,
}

impl Workers {
    pub fn start(handles: Vec<TableSlots>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (sender, results) = unbounded_channel();
        let threads = handles
            .into_iter()
            .map(|slots| {
                let shared = Arc::clone(&shared);
                let sender = sender.clone();
                std::thread::Builder::new()
                    .name("unwind-table".to_owned())
                    .spawn(move || work(&shared, &sender, slots))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            shared,
            threads,
            results,
        })
    }

    /// Asks for a table to be put in a slot.
    pub fn ask(&self, slot: u32, origin: &Origin, path: &Path, demand: u64) {
        let job = Job {
            origin: origin.clone(),
            path: path.to_owned(),
            demand,
            size: origin.size(),
        };
        self.shared.lock().jobs.insert(slot, job);
        self.shared.changed.notify_one();
    }

    /// Frees the table in a slot.
    pub fn clear(&self, slot: u32) {
        self.shared.lock().clear.push(slot);
        self.shared.changed.notify_one();
    }

    /// Raises the demand for a table that is still waiting.
    pub fn press(&self, slot: u32, demand: u64) {
        if let Some(job) = self.shared.lock().jobs.get_mut(&slot) {
            job.demand += demand;
        }
    }

    /// Tables that wait or are being built.
    pub fn pending(&self) -> usize {
        let queue = self.shared.lock();
        queue.jobs.len() + queue.running
    }

    pub fn try_next(&mut self) -> Option<Done> {
        self.results.try_recv().ok()
    }

    /// Waits for the next result.
    pub async fn next(&mut self) -> Option<Done> {
        self.results.recv().await
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        {
            let mut queue = self.shared.lock();
            queue.stop = true;
            queue.jobs.clear();
        }
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A worker that panicked has nothing left to tell.
            let _ = thread.join();
        }
    }
}

fn work(shared: &Shared, results: &UnboundedSender<Done>, mut slots: TableSlots) {
    let mut empty = None;
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE) {
        log::debug!("the priority of a worker stays as it is: {error}");
    }
    let mut queue = shared.lock();
    loop {
        if queue.stop {
            return;
        }
        let wanted = queue
            .jobs
            .iter()
            .max_by_key(|(_, job)| job.urgency())
            .map(|(&slot, _)| slot);
        let job = wanted.and_then(|slot| Some((slot, queue.jobs.remove(&slot)?)));
        let Some((slot, job)) = job else {
            if let Some(slot) = queue.clear.pop() {
                drop(queue);
                clear(&mut slots, &mut empty, slot);
                if results.send(Done::Cleared { slot }).is_err() {
                    return;
                }
                queue = shared.lock();
                continue;
            }
            queue = shared
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        queue.running += 1;
        drop(queue);
        let before = thread_cpu_ns();
        let result = build(&job, &shared.cache).and_then(|outcome| {
            slots
                .set(slot, &outcome.table)
                .map_err(|error| error.to_string())?;
            Ok(outcome)
        });
        let cpu_ns = thread_cpu_ns().saturating_sub(before);
        let sent = results.send(Done::Built(Built {
            slot,
            result,
            cpu_ns,
        }));
        queue = shared.lock();
        queue.running -= 1;
        if sent.is_err() {
            return;
        }
    }
}

/// Puts an empty table in place of one: aya has no removal from arrays of
/// maps.
fn clear(slots: &mut TableSlots, empty: &mut Option<TableMemory>, slot: u32) {
    if empty.is_none() {
        *empty = TableMemory::new(&[]).ok();
    }
    if let Some(Err(error)) = empty.as_ref().map(|empty| slots.set(slot, empty)) {
        log::debug!("the table in slot {slot} stays: {error}");
    }
}

fn build(job: &Job, cache: &Mutex<Cache>) -> Result<Outcome, String> {
    let file = match &job.origin {
        Origin::Memory(bytes) => return build_from(&parse(bytes)?),
        Origin::File(file) => file,
    };
    let image = Image::read(file, Parts::Unwinding).map_err(|error| error.to_string())?;
    let digest = image.digest();
    let lock = || cache.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((table, info, runtime)) = lock().get(&digest)
        && let Some(table) = table.upgrade()
    {
        return Ok(Outcome {
            table,
            info: *info,
            runtime: runtime.clone(),
        });
    }
    let elf = parse(image.bytes())?;
    let mut outcome = build_from(&elf)?;
    outcome.runtime = runtimes::recognise(file, &elf, &job.path);
    let Outcome {
        table,
        info,
        runtime,
    } = &outcome;
    let mut cache = lock();
    cache.retain(|_, (table, _, _)| table.strong_count() > 0);
    cache.insert(digest, (Arc::downgrade(table), *info, runtime.clone()));
    Ok(outcome)
}

fn parse(bytes: &[u8]) -> Result<Elf<'_>, String> {
    Elf::parse(bytes).map_err(|error| error.to_string())
}

fn build_from(elf: &Elf<'_>) -> Result<Outcome, String> {
    let table = unwind::build(elf).map_err(|error| error.to_string())?;
    let memory = TableMemory::new(&table.blocks).map_err(|error| error.to_string())?;
    Ok(Outcome {
        table: Arc::new(memory),
        info: table.info,
        runtime: None,
    })
}

fn thread_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
