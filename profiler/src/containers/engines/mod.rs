//! What the engines say of their containers: names, images, labels.
//!
//! They are asked by a thread of their own, so that a recording never waits
//! for an engine. Everything is listed once at the start; a container that
//! appears later is asked for at first sight, since it may be gone by the end.

mod cri;
mod discover;
mod docker;
mod grpc;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::mpsc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::profile::ContainerKind;
pub use discover::{Api, Endpoint};

/// Longest wait for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(900);
/// An engine that did not answer is asked again after this.
const RETRY: Duration = Duration::from_secs(5);
/// How often an id is asked for that no engine knows: a container can have its
/// cgroup a moment before its engine lists it.
const ATTEMPTS: u32 = 3;
/// Longest name, image or label that is kept.
const MAX_TEXT: usize = 512;
const MAX_LABELS: usize = 128;

/// What an engine knows of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub kind: ContainerKind,
    /// The engine's name, or the container's in its pod.
    pub name: String,
    pub image: String,
    pub labels: BTreeMap<String, String>,
    pub pod: String,
    pub namespace: String,
    /// The engine is this user's: it is believed about his containers only.
    pub user: Option<u32>,
}

impl Facts {
    fn new(
        kind: ContainerKind,
        name: String,
        image: String,
        labels: HashMap<String, String>,
    ) -> Self {
        let labels: BTreeMap<_, _> = labels
            .into_iter()
            .map(|(key, value)| (clean(&key), clean(&value)))
            .take(MAX_LABELS)
            .collect();
        // kubelet sets these through every runtime
        // (pkg/kubelet/types/labels.go).
        let label = |key: &str| labels.get(key).cloned().unwrap_or_default();
        let pod = label("io.kubernetes.pod.name");
        let namespace = label("io.kubernetes.pod.namespace");
        let container = label("io.kubernetes.container.name");
        let name = if !container.is_empty() {
            container
        } else if label("io.kubernetes.docker.type") == "podsandbox" {
            "pause".to_owned()
        } else {
            clean(&name)
        };
        Self {
            kind,
            name,
            image: clean(&image),
            labels,
            pod,
            namespace,
            user: None,
        }
    }

    /// As shown: `web`, or `pod/container` in Kubernetes.
    pub fn display(&self) -> String {
        if self.pod.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.pod, self.name)
        }
    }
}

/// No control characters in what will be printed, no `;`, which separates
/// frames in folded stacks.
fn clean(text: &str) -> String {
    text.chars()
        .take(MAX_TEXT)
        .map(|c| if c.is_control() || c == ';' { '_' } else { c })
        .collect()
}

enum Question {
    /// A container's id.
    Id(String),
    /// Answers with [`Answer::Idle`] when everything before is answered.
    Idle,
}

enum Answer {
    Facts(String, Facts),
    /// No engine knows the id.
    Unknown(String),
    Idle,
}

/// The thread that asks.
pub struct Engines {
    questions: Option<mpsc::Sender<Question>>,
    answers: mpsc::Receiver<Answer>,
    thread: Option<JoinHandle<Vec<String>>>,
    asked: HashMap<String, (u32, Instant)>,
    pub facts: HashMap<String, Facts>,
    /// Ids whose facts came since they were last taken.
    fresh: Vec<String>,
    waiting: HashSet<String>,
    listed: bool,
}

impl Engines {
    pub fn start(endpoints: Vec<Endpoint>) -> Self {
        let (questions, receiver) = mpsc::channel();
        let (sender, answers) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("container names".to_owned())
            .spawn(move || ask(endpoints, &receiver, &sender))
            .ok();
        let _ = questions.send(Question::Idle);
        Self {
            questions: Some(questions),
            answers,
            thread,
            asked: HashMap::new(),
            facts: HashMap::new(),
            fresh: Vec::new(),
            waiting: HashSet::new(),
            listed: false,
        }
    }

    /// Asks for a container, unless it is known or was just asked for.
    pub fn ask(&mut self, id: &str) {
        if self.facts.contains_key(id) || self.waiting.contains(id) {
            return;
        }
        let now = Instant::now();
        let (attempts, last) = self.asked.entry(id.to_owned()).or_insert((0, now));
        if *attempts >= ATTEMPTS || (*attempts > 0 && now - *last < Duration::from_millis(200)) {
            return;
        }
        *attempts += 1;
        *last = now;
        if let Some(questions) = &self.questions
            && questions.send(Question::Id(id.to_owned())).is_ok()
        {
            self.waiting.insert(id.to_owned());
        }
    }

    /// Takes in what was answered meanwhile: the ids that are known now.
    pub fn take(&mut self) -> Vec<String> {
        while let Ok(answer) = self.answers.try_recv() {
            self.accept(answer);
        }
        std::mem::take(&mut self.fresh)
    }

    fn accept(&mut self, answer: Answer) {
        match answer {
            Answer::Facts(id, facts) => {
                self.waiting.remove(&id);
                self.fresh.push(id.clone());
                // The first engine to answer is believed: root's come first.
                self.facts.entry(id).or_insert(facts);
            }
            Answer::Unknown(id) => {
                self.waiting.remove(&id);
            }
            Answer::Idle => self.listed = true,
        }
    }

    /// Waits until the list of the start is there, or the time is over.
    pub fn wait_for_list(&mut self, limit: Duration) {
        self.wait(limit, |engines| engines.listed);
    }

    fn wait(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + limit;
        while !done(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.answers.recv_timeout(left) {
                Ok(answer) => self.accept(answer),
                Err(_) => return,
            }
        }
    }

    /// Waits a moment for the last answers. Returns why engines could not be
    /// asked.
    pub fn finish(&mut self, limit: Duration) -> Vec<String> {
        let deadline = Instant::now() + limit;
        self.wait(limit, |engines| {
            engines.listed && engines.waiting.is_empty()
        });
        self.questions = None;
        let Some(thread) = self.thread.take() else {
            return vec!["the thread that asks engines could not be started".to_owned()];
        };
        while !thread.is_finished() {
            if Instant::now() >= deadline {
                // It ends by itself, with the process at the latest.
                return vec!["an engine did not answer in time".to_owned()];
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        thread.join().unwrap_or_default()
    }
}

struct Asked {
    endpoint: Endpoint,
    client: Option<docker::Client>,
    failed: Option<(Instant, String)>,
}

/// The thread. Returns what went wrong, one line an engine.
fn ask(
    endpoints: Vec<Endpoint>,
    questions: &mpsc::Receiver<Question>,
    answers: &mpsc::Sender<Answer>,
) -> Vec<String> {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return vec![format!("engines could not be asked: {error}")],
    };
    let mut engines: Vec<Asked> = endpoints
        .into_iter()
        .map(|endpoint| Asked {
            endpoint,
            client: None,
            failed: None,
        })
        .collect();

    runtime.block_on(async {
        // One after the other would add up their time limits.
        let mut lists: Vec<_> = engines
            .iter_mut()
            .map(|engine| Box::pin(engine.list()))
            .collect();
        let mut done: Vec<Option<Vec<(String, Facts)>>> = lists.iter().map(|_| None).collect();
        std::future::poll_fn(|context| {
            for (list, result) in lists.iter_mut().zip(&mut done) {
                if result.is_none()
                    && let std::task::Poll::Ready(list) = list.as_mut().poll(context)
                {
                    *result = Some(list);
                }
            }
            if done.iter().all(Option::is_some) {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
        for (id, facts) in done.into_iter().flatten().flatten() {
            let _ = answers.send(Answer::Facts(id, facts));
        }
    });

    while let Ok(question) = questions.recv() {
        match question {
            Question::Idle => {
                let _ = answers.send(Answer::Idle);
            }
            Question::Id(id) => runtime.block_on(async {
                for engine in &mut engines {
                    let found = engine.find(&id).await;
                    if !found.is_empty() {
                        for (id, facts) in found {
                            let _ = answers.send(Answer::Facts(id, facts));
                        }
                        return;
                    }
                }
                let _ = answers.send(Answer::Unknown(id));
            }),
        }
    }
    engines
        .into_iter()
        .filter_map(|engine| {
            let (_, why) = engine.failed?;
            Some(format!("{}: {why}", engine.endpoint.address))
        })
        .collect()
}

impl Asked {
    async fn list(&mut self) -> Vec<(String, Facts)> {
        self.limited(None).await
    }

    /// The container; of a runtime that can only list, everything it has.
    async fn find(&mut self, id: &str) -> Vec<(String, Facts)> {
        if let Some((when, _)) = &self.failed
            && when.elapsed() < RETRY
        {
            return Vec::new();
        }
        let mut found = self.limited(Some(id)).await;
        // The others may be other containers' names in the meantime.
        if !found.iter().any(|(other, _)| other == id) {
            found.clear();
        }
        found
    }

    async fn limited(&mut self, id: Option<&str>) -> Vec<(String, Facts)> {
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.fetch(id)).await;
        let result = match answer {
            Ok(result) => result,
            Err(_) => {
                self.client = None;
                Err(format!("no answer in {} ms", ANSWER_TIMEOUT.as_millis()))
            }
        };
        match result {
            Ok(mut found) => {
                self.failed = None;
                for (_, facts) in &mut found {
                    facts.user = self.endpoint.user;
                }
                found
            }
            Err(why) => {
                self.failed = Some((Instant::now(), why));
                Vec::new()
            }
        }
    }

    async fn fetch(&mut self, id: Option<&str>) -> Result<Vec<(String, Facts)>, String> {
        match self.endpoint.api {
            Api::Cri => cri::list(self.endpoint.path(), self.endpoint.kind).await,
            Api::Docker => {
                let client = match &self.client {
                    Some(client) => client,
                    None => self.client.insert(
                        docker::Client::connect(&self.endpoint.address, self.endpoint.kind).await?,
                    ),
                };
                match id {
                    Some(id) => client.find(id).await,
                    None => client.list().await,
                }
            }
        }
    }
}
