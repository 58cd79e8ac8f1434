//! Debug files from debuginfod servers, for who sets `DEBUGINFOD_URLS`
//! (debuginfod(8), "WEBAPI"): `GET URL/buildid/HEX/debuginfo`.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::elf::Elf;

/// For one file, from the connection to its last byte.
const TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For all files of a recording: a report that waits longer is of no use.
const BUDGET: Duration = Duration::from_secs(120);
const MAX_FILE: u64 = 2 << 30;
/// How long a file that no server had is not asked for again; as elfutils
/// does (`cache_miss_s`).
const MISS: Duration = Duration::from_secs(600);

pub struct Debuginfod {
    agent: ureq::Agent,
    urls: Vec<String>,
    cache: PathBuf,
    failed: HashSet<usize>,
    spent: Duration,
    /// What a reader of the report should know, once each.
    pub notices: Vec<String>,
}

impl Debuginfod {
    pub fn new(urls: Vec<String>, cache: PathBuf) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .user_agent(concat!("profiler/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: config.into(),
            urls,
            cache,
            failed: HashSet::new(),
            spent: Duration::ZERO,
            notices: Vec::new(),
        }
    }

    /// The debug file with this build ID, from the cache or a server.
    pub fn find(&mut self, build_id: &[u8]) -> Option<File> {
        if build_id.len() < 2 || build_id.len() > 64 {
            return None;
        }
        let hex: String = build_id.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = self.cache.join(&hex).join("debuginfo");
        if let Ok(file) = File::open(&path) {
            let metadata = file.metadata().ok()?;
            if metadata.len() > 0 {
                return belongs(&file, build_id).then_some(file);
            }
            let age = metadata.modified().ok()?.elapsed().unwrap_or_default();
            if age < MISS {
                return None;
            }
        }
        let started = Instant::now();
        let mut every_server_answered = true;
        for server in 0..self.urls.len() {
            if self.failed.contains(&server) || self.spent + started.elapsed() > BUDGET {
                every_server_answered = false;
                continue;
            }
            let url = format!(
                "{}/buildid/{hex}/debuginfo",
                self.urls[server].trim_end_matches('/')
            );
            match self.fetch(&url, &path, build_id) {
                Ok(Some(file)) => {
                    self.spent += started.elapsed();
                    return Some(file);
                }
                Ok(None) => {}
                Err(error) => {
                    // It would fail, or be waited for, for each file again.
                    self.failed.insert(server);
                    every_server_answered = false;
                    self.notices.push(format!(
                        "debuginfod server {} is not asked again: {error}",
                        self.urls[server]
                    ));
                }
            }
        }
        self.spent += started.elapsed();
        if every_server_answered {
            // Only spares the next recording the question.
            let _ = save(&path, &mut io::empty());
        }
        None
    }

    /// `None` when the server has no such file.
    fn fetch(&self, url: &str, path: &Path, build_id: &[u8]) -> io::Result<Option<File>> {
        let mut response = match self.agent.get(url).call() {
            Ok(response) => response,
            Err(ureq::Error::StatusCode(404)) => return Ok(None),
            Err(error) => return Err(io::Error::other(error)),
        };
        let mut body = response.body_mut().with_config().limit(MAX_FILE).reader();
        let file = save(path, &mut body)?;
        if belongs(&file, build_id) {
            return Ok(Some(file));
        }
        fs::remove_file(path)?;
        Err(io::Error::other("it sent a file that was not asked for"))
    }
}

fn belongs(file: &File, build_id: &[u8]) -> bool {
    Elf::parse(file).is_ok_and(|elf| elf.build_id() == build_id)
}

/// Whole or not at all: another profiler may look at the same time.
fn save(path: &Path, body: &mut impl Read) -> io::Result<File> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let temporary = directory.join(format!("debuginfo.{}", std::process::id()));
    let written = (|| {
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&temporary)?;
        io::copy(body, &mut file)?;
        file.flush()?;
        fs::rename(&temporary, path)?;
        Ok(file)
    })();
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written
}
