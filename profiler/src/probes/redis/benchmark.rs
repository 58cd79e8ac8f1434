//! A load of its own, with the options of redis-benchmark: a closed loop, where
//! each client sends the next commands when the last are answered.

mod test;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::LocalSet,
};

use super::{
    client::{self, Client, ClientError},
    credentials::Login,
    resp::{self, NotTheProtocol, Value},
};
use crate::probes::database::stream::{Allowance, Stream};
pub use test::Test;
use test::{NUMBER, PREFIX};

/// Longest latency that is told from longer ones, microseconds.
const LONGEST_US: u64 = 60_000_000;
/// Most keys that -r may spread over: they are looked for before and removed
/// afterwards.
pub const MOST_KEYS: u64 = 10_000_000;

#[derive(Clone, Debug)]
pub struct BenchmarkOptions {
    pub clients: u32,
    pub requests: u64,
    /// Of a value, bytes.
    pub data_bytes: u32,
    pub pipeline: u32,
    /// Number of keys; one without.
    pub key_space: Option<u64>,
    pub tests: Vec<Test>,
    /// For connecting, and longest time without any answer.
    pub timeout: Duration,
}

#[derive(Clone, Debug, Serialize)]
pub struct TestResult {
    pub test: &'static str,
    pub requests: u64,
    /// Answers that were errors; they are requests too.
    pub errors: u64,
    pub seconds: f64,
    pub requests_per_second: f64,
    /// From sending a round of commands to the answer of each. In a closed loop
    /// a slow answer delays the next question, which is not asked meanwhile.
    pub mean_us: f64,
    pub p50_us: u64,
    pub p95_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Benchmark {
    pub clients: u32,
    pub pipeline: u32,
    pub data_bytes: u32,
    pub key_space: Option<u64>,
    pub tests: Vec<TestResult>,
    /// Why the tests after the last of them are missing.
    pub failure: Option<String>,
    pub removed_keys: u64,
    /// Why keys may be left behind.
    pub cleanup_failure: Option<String>,
}

/// # Errors
/// When a key that it would write is there already; nothing was written then.
pub async fn run(
    client: &mut Client,
    login: &Login,
    options: &BenchmarkOptions,
) -> Result<Benchmark, ClientError> {
    if on_keys(client, "EXISTS", options).await? > 0 {
        return Err(ClientError::Refused(format!(
            "there are keys that begin with {PREFIX}, of another benchmark; DEL them first"
        )));
    }
    let mut benchmark = Benchmark {
        clients: options.clients,
        pipeline: options.pipeline,
        data_bytes: options.data_bytes,
        key_space: options.key_space,
        tests: Vec::new(),
        failure: None,
        removed_keys: 0,
        cleanup_failure: None,
    };
    let interrupted = tokio::signal::ctrl_c();
    let tests = async {
        for &test in &options.tests {
            if test == Test::Lrange100 {
                fill_list(client, options).await?;
            }
            benchmark.tests.push(run_test(test, login, options).await?);
        }
        Ok::<_, ClientError>(())
    };
    let ended = tokio::select! {
        ended = tests => ended.err().map(|error| error.to_string()),
        _ = interrupted => Some("it was interrupted".to_owned()),
    };
    benchmark.failure = ended;
    match on_keys(client, "DEL", options).await {
        Ok(removed) => benchmark.removed_keys = removed,
        Err(error) => benchmark.cleanup_failure = Some(error.to_string()),
    }
    Ok(benchmark)
}

/// What LRANGE reads.
async fn fill_list(client: &mut Client, options: &BenchmarkOptions) -> Result<(), ClientError> {
    let list = format!("{PREFIX}list");
    let data = data(options);
    let words: Vec<&[u8]> = vec![b"LPUSH", list.as_bytes(), &data];
    client.calls(&vec![words; 100]).await.map(|_| ())
}

fn data(options: &BenchmarkOptions) -> Vec<u8> {
    vec![b'x'; options.data_bytes as usize]
}

/// Runs a command on all keys that the tests may write, and adds up its answers.
async fn on_keys(
    client: &mut Client,
    command: &str,
    options: &BenchmarkOptions,
) -> Result<u64, ClientError> {
    const BATCH: u64 = 500;
    let mut sum = 0;
    let mut count = |answers: Vec<Value>| {
        for answer in answers {
            match answer {
                Value::Integer(number) => sum += number.unsigned_abs(),
                Value::Error(message) => return Err(ClientError::Refused(message)),
                _ => {}
            }
        }
        Ok(())
    };
    let fixed = ["list", "set", "zset"].map(|kind| format!("{PREFIX}{kind}").into_bytes());
    let mut words: Vec<&[u8]> = vec![command.as_bytes()];
    words.extend(fixed.iter().map(Vec::as_slice));
    count(client.calls(&[words]).await?)?;
    let keys = options.key_space.unwrap_or(1);
    for start in (0..keys).step_by(BATCH as usize) {
        let names: Vec<Vec<u8>> = (start..keys.min(start + BATCH))
            .flat_map(|number| {
                ["key", "counter", "hash"]
                    .map(|kind| format!("{PREFIX}{kind}:{}", digits(number, options)).into_bytes())
            })
            .collect();
        let mut words: Vec<&[u8]> = vec![command.as_bytes()];
        words.extend(names.iter().map(Vec::as_slice));
        count(client.calls(&[words]).await?)?;
    }
    Ok(sum)
}

/// As redis-benchmark, which leaves the placeholder in without -r.
fn digits(number: u64, options: &BenchmarkOptions) -> String {
    match options.key_space {
        Some(_) => format!("{number:012}"),
        None => NUMBER.to_owned(),
    }
}

struct Shared {
    left: Cell<u64>,
    errors: Cell<u64>,
    latencies_us: RefCell<Histogram<u64>>,
}

async fn run_test(
    test: Test,
    login: &Login,
    options: &BenchmarkOptions,
) -> Result<TestResult, ClientError> {
    let histogram = Histogram::new_with_bounds(1, LONGEST_US, 3)
        .map_err(|_| ClientError::Answer("no histogram"))?;
    let shared = Rc::new(Shared {
        left: Cell::new(options.requests),
        errors: Cell::new(0),
        latencies_us: RefCell::new(histogram),
    });
    let mut connections = Vec::new();
    for seed in 0..options.clients {
        let stream = client::raw(login, options.timeout).await?;
        let load = Load::new(test, options, u64::from(seed));
        connections.push((stream, load));
    }
    let started = Instant::now();
    let local = LocalSet::new();
    let clients: Vec<_> = connections
        .into_iter()
        .map(|((stream, allowance), load)| {
            let shared = shared.clone();
            local.spawn_local(async move { load.run(stream, allowance, &shared).await })
        })
        .collect();
    let all = local.run_until(async {
        for client in clients {
            let ended = client.await;
            ended.unwrap_or_else(|error| Err(ClientError::Lost(error.to_string())))?;
        }
        Ok::<_, ClientError>(())
    });
    tokio::select! {
        ended = all => ended?,
        () = silence(&shared, options.timeout) => return Err(ClientError::Silent(options.timeout)),
    }
    let seconds = started.elapsed().as_secs_f64();
    let latencies = shared.latencies_us.borrow();
    let requests = latencies.len();
    Ok(TestResult {
        test: test.name(),
        requests,
        errors: shared.errors.get(),
        seconds,
        requests_per_second: requests as f64 / seconds.max(1e-9),
        mean_us: latencies.mean(),
        p50_us: latencies.value_at_quantile(0.5),
        p95_us: latencies.value_at_quantile(0.95),
        p99_us: latencies.value_at_quantile(0.99),
        max_us: latencies.max(),
    })
}

/// Ends when nothing was answered for so long. One clock for all clients costs
/// less than one for each command.
async fn silence(shared: &Shared, limit: Duration) {
    let mut before = None;
    loop {
        let answered = shared.latencies_us.borrow().len();
        if before == Some(answered) {
            return;
        }
        before = Some(answered);
        tokio::time::sleep(limit).await;
    }
}

/// The commands of one client.
struct Load {
    /// One round: as many commands as are sent at once.
    bytes: Vec<u8>,
    command_length: usize,
    pipeline: u64,
    /// Where numbers of keys go.
    numbers: Vec<usize>,
    key_space: Option<u64>,
    random: u64,
}

impl Load {
    fn new(test: Test, options: &BenchmarkOptions, seed: u64) -> Self {
        let command = test.command(&data(options));
        let bytes = command.repeat(options.pipeline as usize);
        let numbers = match options.key_space {
            None => Vec::new(),
            Some(_) => bytes
                .windows(NUMBER.len())
                .enumerate()
                .filter(|(_, window)| *window == NUMBER.as_bytes())
                .map(|(at, _)| at)
                .collect(),
        };
        Self {
            bytes,
            command_length: command.len(),
            pipeline: u64::from(options.pipeline),
            numbers,
            key_space: options.key_space,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    /// xorshift64: Marsaglia, "Xorshift RNGs", 2003.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn choose_keys(&mut self) {
        let Some(keys) = self.key_space else {
            return;
        };
        for place in 0..self.numbers.len() {
            let at = self.numbers[place];
            let mut number = self.next_random() % keys.max(1);
            for digit in self.bytes[at..at + NUMBER.len()].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
    }

    async fn run(
        mut self,
        mut stream: Stream,
        allowance: Allowance,
        shared: &Shared,
    ) -> Result<(), ClientError> {
        let mut received: Vec<u8> = Vec::with_capacity(16 << 10);
        loop {
            let round = self.pipeline.min(shared.left.get());
            if round == 0 {
                return Ok(());
            }
            shared.left.set(shared.left.get() - round);
            self.choose_keys();
            allowance.renew();
            let bytes = &self.bytes[..self.command_length * round as usize];
            exchange(&mut stream, bytes, round, &mut received, shared).await?;
        }
    }
}

async fn exchange(
    stream: &mut Stream,
    bytes: &[u8],
    round: u64,
    received: &mut Vec<u8>,
    shared: &Shared,
) -> Result<(), ClientError> {
    let lost = |error: std::io::Error| ClientError::Lost(error.to_string());
    let sent = Instant::now();
    stream.write_all(bytes).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    let mut answered = 0;
    while answered < round {
        let count = stream.read_buf(received).await.map_err(lost)?;
        if count == 0 {
            return Err(ClientError::Lost("closed by the server".to_owned()));
        }
        let (answers, errors, length) = count_answers(received)?;
        received.drain(..length);
        answered += answers;
        if answers > 0 {
            let us = (sent.elapsed().as_micros() as u64).clamp(1, LONGEST_US);
            shared
                .latencies_us
                .borrow_mut()
                .saturating_record_n(us, answers);
            shared.errors.set(shared.errors.get() + errors);
        }
    }
    Ok(())
}

fn count_answers(bytes: &[u8]) -> Result<(u64, u64, usize), NotTheProtocol> {
    let (mut answers, mut errors, mut at) = (0, 0, 0);
    while at < bytes.len() {
        let Some((failed, length)) = resp::skip(&bytes[at..])? else {
            break;
        };
        answers += 1;
        errors += u64::from(failed);
        at += length;
    }
    Ok((answers, errors, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> BenchmarkOptions {
        BenchmarkOptions {
            clients: 1,
            requests: 1,
            data_bytes: 3,
            pipeline: 2,
            key_space: Some(1000),
            tests: Vec::new(),
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn keys_are_within_their_space() {
        let mut load = Load::new(Test::Set, &options(), 7);
        for _ in 0..100 {
            load.choose_keys();
            let text = String::from_utf8(load.bytes.clone()).expect("it is text");
            assert!(!text.contains(NUMBER));
            assert_eq!(
                text.matches("profiler:benchmark:key:000000000").count(),
                2,
                "{text}"
            );
        }
    }

    #[test]
    fn answers_are_counted() {
        assert_eq!(count_answers(b"+OK\r\n-ERR\r\n$5\r\nab"), Ok((2, 1, 11)));
        assert!(count_answers(b"x").is_err());
    }
}
