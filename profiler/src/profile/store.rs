//! The saved recording: gzip-compressed JSON of the model, `x.profile`.

use std::{
    io::{self, Read, Write},
    path::Path,
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use thiserror::Error;

use super::{FORMAT_VERSION, Network, Peer, Probe, ProcessId, Recording, document::Part};

/// Largest recording that is read, uncompressed: a file that claims more is
/// damaged or hostile.
const MAX_BYTES: u64 = 4 << 30;

#[derive(Debug, Error)]
pub enum StoreError {
    #[error("cannot read {path}: {source}")]
    Read { path: String, source: io::Error },
    #[error("{path} is not a recording of this profiler: {reason}")]
    NotARecording { path: String, reason: String },
    #[error("{path} has format version {found}; this profiler reads up to {FORMAT_VERSION}")]
    TooNew { path: String, found: u32 },
    #[error("cannot write the recording: {0}")]
    Write(#[from] io::Error),
}

/// Writes a recording.
pub fn save(recording: &Recording, to: impl Write) -> Result<(), StoreError> {
    // The serializer writes a few bytes at a time, which the encoder is slow
    // at.
    let encoder = GzEncoder::new(to, Compression::fast());
    let mut writer = io::BufWriter::with_capacity(1 << 16, encoder);
    serde_json::to_writer(&mut writer, recording).map_err(io::Error::from)?;
    let encoder = writer
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    encoder.finish()?.flush()?;
    Ok(())
}

/// Reads a recording, and checks that its ids point into its tables, since
/// the file may come from anywhere.
pub fn load(path: &Path) -> Result<Recording, StoreError> {
    let shown = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|source| StoreError::Read {
        path: shown.clone(),
        source,
    })?;
    let not = |reason: String| StoreError::NotARecording {
        path: shown.clone(),
        reason,
    };
    let reader = io::BufReader::new(GzDecoder::new(file).take(MAX_BYTES));
    let recording: Recording =
        serde_json::from_reader(reader).map_err(|error| not(error.to_string()))?;
    if recording.format_version > FORMAT_VERSION {
        return Err(StoreError::TooNew {
            path: shown,
            found: recording.format_version,
        });
    }
    recording.check().map_err(|what| not(what.to_string()))?;
    Ok(recording)
}

impl Recording {
    /// Whether every id points to an entry, and callers before their callees.
    pub fn check(&self) -> Result<(), &'static str> {
        let within = |id: u32, table: usize| (id as usize) < table;
        let ok = |condition: bool, what| if condition { Ok(()) } else { Err(what) };
        ok(!self.containers.is_empty(), "it has no containers")?;
        ok(
            self.processes
                .iter()
                .all(|process| within(process.container, self.containers.len())),
            "a process has no container",
        )?;
        ok(
            self.threads
                .iter()
                .all(|thread| within(thread.process, self.processes.len())),
            "a thread has no process",
        )?;
        ok(
            self.probes
                .iter()
                .all(|probe| within(probe.container, self.containers.len())),
            "a probe has no container",
        )?;
        ok(
            self.probes
                .iter()
                .filter_map(Probe::document)
                .flat_map(|document| &document.parts)
                .all(Part::is_whole),
            "a table of a probe has a row with too few or too many cells",
        )?;
        ok(
            self.locks
                .iter()
                .all(|lock| within(lock.process, self.processes.len())),
            "a lock has no process",
        )?;
        ok(
            self.accounts
                .iter()
                .all(|account| within(account.thread, self.threads.len())),
            "an account has no thread",
        )?;
        let disk = &self.disk;
        let uses = disk.uses.iter().map(|it| (it.device, it.process));
        let files = disk.files.iter().map(|it| (it.device, it.process));
        ok(
            uses.chain(files).all(|(device, process)| {
                within(device, disk.devices.len()) && within(process, self.processes.len())
            }) && disk
                .cache
                .iter()
                .all(|it| within(it.process, self.processes.len())),
            "a disk request has no device or no process",
        )?;
        ok(
            self.syscalls.iter().all(|all| {
                all.uses.iter().all(|told| {
                    within(told.call, all.names.len())
                        && told
                            .thread
                            .is_none_or(|thread| within(thread, self.threads.len()))
                }) && all.targets.iter().all(|told| {
                    within(told.call, all.names.len())
                        && told
                            .process
                            .is_none_or(|process| within(process, self.processes.len()))
                })
            }),
            "a system call has no name, no thread or no process",
        )?;
        ok(
            self.memory.iter().all(|all| {
                let threads = all.threads.iter().map(|told| told.thread);
                let containers = all.oom_kills.iter().map(|kill| kill.container);
                threads.into_iter().all(|id| within(id, self.threads.len()))
                    && containers
                        .into_iter()
                        .all(|id| within(id, self.containers.len()))
            }),
            "a page fault has no thread, or a kill no container",
        )?;
        ok(
            self.network
                .as_ref()
                .is_none_or(|network| self.has_all_of(network)),
            "a connection has no process or no container",
        )?;
        ok(
            self.statements.iter().all(|all| {
                let containers = all.servers.iter().map(|server| server.container);
                let servers = all.uses.iter().map(|told| told.server);
                containers
                    .into_iter()
                    .all(|id| within(id, self.containers.len()))
                    && servers.into_iter().all(|id| within(id, all.servers.len()))
            }),
            "a statement has no server, or a server no container",
        )?;
        ok(
            self.functions
                .iter()
                .filter_map(|function| function.module)
                .all(|module| within(module, self.modules.len())),
            "a function has no module",
        )?;
        ok(
            self.frames
                .iter()
                .all(|frame| within(frame.function, self.functions.len())),
            "a frame has no function",
        )?;
        ok(
            self.stacks.iter().enumerate().all(|(id, node)| {
                within(node.frame, self.frames.len())
                    && node.caller.is_none_or(|caller| (caller as usize) < id)
            }),
            "a stack has no frame or no caller",
        )?;
        ok(
            self.samples.iter().all(|sample| {
                within(sample.thread, self.threads.len())
                    && sample
                        .stack
                        .is_none_or(|stack| within(stack, self.stacks.len()))
            }),
            "a sample has no thread or no stack",
        )
    }

    fn has_all_of(&self, network: &Network) -> bool {
        let within = |id: u32, table: usize| (id as usize) < table;
        let whole = |process: ProcessId, peer: Option<Peer>| {
            within(process, self.processes.len())
                && peer.is_none_or(|peer| {
                    within(peer.container, self.containers.len())
                        && peer
                            .process
                            .is_none_or(|process| within(process, self.processes.len()))
                })
        };
        network
            .threads
            .iter()
            .all(|traffic| within(traffic.thread, self.threads.len()))
            && network
                .flows
                .iter()
                .all(|flow| whole(flow.process, flow.peer))
            && network
                .connections
                .iter()
                .all(|connection| whole(connection.process, connection.peer))
            && network
                .namespaces
                .iter()
                .all(|namespace| within(namespace.container, self.containers.len()))
    }
}
