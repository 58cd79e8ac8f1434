//! Probes that run while a recording is made.
//!
//! Those of one lane run one after the other and share the time; lanes run
//! beside each other. Each probe has a thread of its own, which may enter the
//! network of its server.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{
        mpsc::{self, UnboundedReceiver as Receiver, UnboundedSender as Sender},
        watch,
    },
};

use super::{servers::Network, window::Window};
use crate::profile::{
    Answer, Container, ContainerId, Document, Probe, ProbeKind, ProbeMetric, Recording,
};

/// How long after the recording's end a probe may take for its last words.
const LAST_WORDS: Duration = Duration::from_secs(20);

/// What a probe found.
pub struct Found {
    pub document: Document,
    pub report: serde_json::Value,
    pub metrics: Vec<ProbeMetric>,
}

/// Asks a server. Runs in a thread of its own.
pub type Ask = Box<dyn FnOnce(Window) -> anyhow::Result<Found> + Send>;

pub struct Job {
    pub kind: ProbeKind,
    /// Its address, without credentials.
    pub target: String,
    /// `None`: it was named by its URL.
    pub place: Option<Place>,
    pub ask: Ask,
}

/// Where a server runs.
pub struct Place {
    pub pid: u32,
    pub network: Network,
    pub cgroups: String,
}

struct Asked {
    kind: ProbeKind,
    target: String,
    pid: u32,
    cgroups: String,
    answer: Option<Answer>,
}

/// Probes that wait for the recording to begin, run, or are done.
pub struct Beside {
    lanes: Vec<Vec<Job>>,
    asked: Vec<Asked>,
    stop: watch::Sender<bool>,
    answers: Option<Receiver<(usize, Answer)>>,
}

impl Beside {
    pub fn new(lanes: Vec<Vec<Job>>) -> Self {
        let asked = lanes
            .iter()
            .flatten()
            .map(|job| {
                let place = job.place.as_ref();
                Asked {
                    kind: job.kind,
                    target: job.target.clone(),
                    pid: place.map_or(0, |place| place.pid),
                    cgroups: place.map(|place| place.cgroups.clone()).unwrap_or_default(),
                    answer: None,
                }
            })
            .collect();
        Self {
            lanes,
            asked,
            stop: watch::Sender::new(false),
            answers: None,
        }
    }

    /// The recording begins.
    pub fn begin(&mut self, duration: Duration) {
        let (tell, answers) = mpsc::unbounded_channel();
        let mut number = 0;
        for lane in std::mem::take(&mut self.lanes) {
            let first = number;
            number += lane.len();
            let (tell, stop) = (tell.clone(), self.stop.subscribe());
            let started = thread::Builder::new()
                .name("probes".to_owned())
                .spawn(move || run_lane(lane, first, duration, &stop, &tell));
            if let Err(error) = started {
                log::warn!("cannot start a thread for probes: {error}");
            }
        }
        self.answers = Some(answers);
    }

    /// The recording is over.
    pub fn end(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for the last words, and puts all into the recording.
    pub fn finish(mut self, recording: &mut Recording) {
        let why_not = match self.answers.take() {
            None => "the recording was ended before it began".to_owned(),
            Some(answers) => match self.wait(answers) {
                Ok(why_not) => why_not,
                Err(error) => format!("nothing could wait for it: {error}"),
            },
        };
        for asked in self.asked {
            let container = container(recording, asked.pid, &asked.cgroups);
            recording.probes.push(Probe {
                kind: asked.kind,
                target: asked.target,
                container,
                pid: asked.pid,
                answer: asked.answer.unwrap_or_else(|| Answer::NotMeasured {
                    reason: why_not.clone(),
                }),
            });
        }
        tell_apart(&mut recording.probes, &recording.containers);
    }
}

impl Beside {
    /// Takes what comes; says why more did not.
    fn wait(&mut self, mut answers: Receiver<(usize, Answer)>) -> std::io::Result<String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            let deadline = tokio::time::Instant::now() + LAST_WORDS;
            loop {
                tokio::select! {
                    answer = answers.recv() => match answer {
                        Some((number, answer)) => self.asked[number].answer = Some(answer),
                        // All threads are done.
                        None => return Ok("its thread ended".to_owned()),
                    },
                    () = tokio::time::sleep_until(deadline) => {
                        let seconds = LAST_WORDS.as_secs();
                        return Ok(format!(
                            "it was not done {seconds} s after the end of the recording"
                        ));
                    }
                    _ = interrupt.recv() => return Ok("a signal ended the wait for it".to_owned()),
                    _ = terminate.recv() => return Ok("a signal ended the wait for it".to_owned()),
                }
            }
        })
    }
}

fn run_lane(
    lane: Vec<Job>,
    first: usize,
    duration: Duration,
    stop: &watch::Receiver<bool>,
    tell: &Sender<(usize, Answer)>,
) {
    let end = Instant::now() + duration;
    let mut left = lane.len() as u32;
    for (number, job) in lane.into_iter().enumerate() {
        let window = Window {
            duration: end.saturating_duration_since(Instant::now()) / left.max(1),
            stop: stop.clone(),
        };
        left -= 1;
        let answer = match run(job, window) {
            Ok(found) => Answer::Measured {
                document: found.document,
                report: found.report,
                metrics: found.metrics,
            },
            Err(error) => Answer::NotMeasured {
                reason: format!("{error:#}"),
            },
        };
        // Nobody listens any more to one that is late.
        let _ = tell.send((first + number, answer));
    }
}

/// In a thread of its own, since one cannot leave a network namespace without
/// a way back.
fn run(job: Job, window: Window) -> anyhow::Result<Found> {
    let Job { place, ask, .. } = job;
    let thread = thread::Builder::new()
        .name("probe".to_owned())
        .spawn(move || {
            if let Some(place) = place {
                place
                    .network
                    .enter()
                    .context("cannot enter the network of its container")?;
            }
            ask(window)
        })
        .context("cannot start a thread")?;
    thread
        .join()
        .unwrap_or_else(|_| Err(anyhow!("the probe failed by an error of its own")))
}

/// Which container a process was in, by what the recording knows.
fn container(recording: &Recording, pid: u32, cgroups: &str) -> ContainerId {
    let recorded = recording
        .processes
        .iter()
        .rfind(|it| it.pid == pid && pid != 0);
    if let Some(process) = recorded {
        return process.container;
    }
    let runs_in = |container: &Container| {
        let by_id = container.id.len() >= 12 && cgroups.contains(&container.id);
        let of_path = |line: &str| line.splitn(3, ':').nth(2) == Some(&container.cgroup);
        by_id || (container.cgroup != "/" && cgroups.lines().any(of_path))
    };
    let found = recording.containers.iter().position(runs_in);
    found.unwrap_or_default() as ContainerId
}

/// Two services may have endpoints of the same name: the container's name tells
/// them apart, or where they listen.
fn tell_apart(probes: &mut [Probe], containers: &[Container]) {
    let mut users = BTreeMap::<String, BTreeSet<ContainerId>>::new();
    let mut times = BTreeMap::<String, usize>::new();
    for probe in &*probes {
        for metric in probe.metrics() {
            let name = &metric.name;
            users
                .entry(name.clone())
                .or_default()
                .insert(probe.container);
            *times.entry(name.clone()).or_default() += 1;
        }
    }
    for probe in probes {
        let Answer::Measured { metrics, .. } = &mut probe.answer else {
            continue;
        };
        for metric in metrics.iter_mut().filter(|it| times[&it.name] > 1) {
            let prefix = match users[&metric.name].len() == times[&metric.name] {
                true => &containers[probe.container as usize].name,
                false => &probe.target,
            };
            metric.name = format!("{prefix} {}", metric.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(
        target: &str,
        ask: impl FnOnce(Window) -> anyhow::Result<Found> + Send + 'static,
    ) -> Job {
        Job {
            kind: ProbeKind::Load,
            target: target.to_owned(),
            place: None,
            ask: Box::new(ask),
        }
    }

    fn found() -> anyhow::Result<Found> {
        Ok(Found {
            document: Document::default(),
            report: serde_json::Value::Null,
            metrics: Vec::new(),
        })
    }

    #[test]
    fn lanes_share_the_time_and_failures_are_told() {
        let duration = Duration::from_secs(3600);
        let mut beside = Beside::new(vec![
            vec![
                job("first", move |window| {
                    assert!(window.duration <= duration / 2);
                    found()
                }),
                job("second", move |window| {
                    // What the first did not need is there for the second.
                    assert!(window.duration > duration / 2);
                    found()
                }),
            ],
            vec![
                job("refused", |_| Err(anyhow!("no").context("it refused"))),
                job("broken", |_| panic!("a mistake of ours")),
            ],
            vec![job("endless", |mut window| {
                let runtime = tokio::runtime::Builder::new_current_thread().build()?;
                runtime.block_on(window.stopped());
                found()
            })],
        ]);
        beside.begin(duration);
        beside.end();
        let mut recording = Recording {
            containers: vec![Container::default()],
            ..Recording::default()
        };
        beside.finish(&mut recording);
        let told: Vec<(&str, Option<&str>)> = recording
            .probes
            .iter()
            .map(|probe| {
                let reason = match &probe.answer {
                    Answer::Measured { .. } => None,
                    Answer::NotMeasured { reason } => Some(reason.as_str()),
                };
                (probe.target.as_str(), reason)
            })
            .collect();
        assert_eq!(
            told,
            [
                ("first", None),
                ("second", None),
                ("refused", Some("it refused: no")),
                ("broken", Some("the probe failed by an error of its own")),
                ("endless", None),
            ]
        );
    }

    #[test]
    fn a_server_that_was_never_sampled_has_its_container() {
        let id = "0123456789abcdef";
        let recording = Recording {
            containers: vec![
                Container {
                    cgroup: "/".to_owned(),
                    ..Container::default()
                },
                Container {
                    id: id.to_owned(),
                    cgroup: format!("/docker/{id}"),
                    ..Container::default()
                },
                Container {
                    cgroup: "/system.slice/redis.service".to_owned(),
                    ..Container::default()
                },
            ],
            ..Recording::default()
        };
        let of = |cgroups: &str| container(&recording, 5, cgroups);
        assert_eq!(of(&format!("12:cpu:/docker/{id}\n0::/\n")), 1);
        assert_eq!(of("0::/system.slice/redis.service\n"), 2);
        assert_eq!(of("0::/\n"), 0);
    }

    #[test]
    fn endpoints_of_the_same_name_are_told_apart() {
        let probe = |container, target: &str, names: &[&str]| Probe {
            kind: ProbeKind::Load,
            target: target.to_owned(),
            container,
            pid: 0,
            answer: Answer::Measured {
                document: Document::default(),
                report: serde_json::Value::Null,
                metrics: names
                    .iter()
                    .map(|name| ProbeMetric {
                        name: (*name).to_owned(),
                        unit: "ns".to_owned(),
                        lower_is_better: true,
                        value: None,
                        events: 0,
                    })
                    .collect(),
            },
        };
        let containers = ["api", "web"].map(|name| Container {
            name: name.to_owned(),
            ..Container::default()
        });
        let named = |mut probes: Vec<Probe>| {
            tell_apart(&mut probes, &containers);
            let names = probes.iter().flat_map(Probe::metrics);
            names.map(|metric| metric.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(
            named(vec![
                probe(0, "a", &["/ p50", "/x p50"]),
                probe(1, "b", &["/ p50"])
            ]),
            ["api / p50", "/x p50", "web / p50"]
        );
        assert_eq!(
            named(vec![probe(0, "a", &["/ p50"]), probe(0, "b", &["/ p50"])]),
            ["a / p50", "b / p50"]
        );
    }
}
