//! Recordings for tests: an ordinary one, an empty one, one of hostile names,
//! a large one.

use crate::profile::{
    document::{Column, Finding, Part, Severity},
    *,
};

/// A number generator of our own: the same recordings everywhere, always.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % limit as u64) as usize
    }
}

/// A clock tick at 99 Hz.
pub const TICK: u64 = 10_101_010;

fn about() -> About {
    About {
        profiler_version: "0.1.0".into(),
        host: "testhost".into(),
        kernel: "6.1.0-test".into(),
        architecture: "x86_64".into(),
        cpus_online: 4,
        cpu_model: "Test CPU".into(),
        command_line: "profiler --duration 60 --format json".into(),
        start_unix_ms: 1_764_000_000_123,
        duration_ns: 60_000_000_000,
        frequency_hz: 99,
        clock: "cpu-clock".into(),
        scope: "all".into(),
        interrupted: String::new(),
    }
}

fn host() -> Container {
    Container {
        name: "host".into(),
        cgroup: "/".into(),
        ..Container::default()
    }
}

fn outcome(outcome: &str, meaning: &str, count: u64) -> OutcomeCount {
    OutcomeCount {
        outcome: outcome.into(),
        meaning: meaning.into(),
        count,
    }
}

/// Nothing ran.
pub fn empty() -> Recording {
    Recording {
        format_version: FORMAT_VERSION,
        about: about(),
        containers: vec![host()],
        quality: Quality {
            idle_ticks: 23_760,
            ..Quality::default()
        },
        ..Recording::default()
    }
}

/// What tests name: `(container, process, thread)` of thread ids.
pub const API: ThreadId = 0;
pub const API_WORKER: ThreadId = 1;
pub const SHELL: ThreadId = 2;

/// A small recording with every kind of frame, a recursion, inlined functions,
/// a truncated stack, a sample without a stack, the same stack in two threads,
/// and waits for the GIL.
pub fn plain() -> Recording {
    use FrameKind::{JavaScript, Jit, Kernel, Native, Python, Synthetic};
    let mut builder = Builder::default();
    builder.recording = Recording {
        format_version: FORMAT_VERSION,
        about: about(),
        containers: vec![
            host(),
            Container {
                name: "web".into(),
                kind: ContainerKind::Docker,
                id: "4f0c".repeat(16),
                image: "shop/web:1.2".into(),
                labels: vec![("com.example.team".into(), "shop".into())],
                cgroup: "/system.slice/docker-4f0c.scope".into(),
                usage: Some(ContainerUsage {
                    interval_ns: 60_000_000_000,
                    cpu_ns: Some(1_234_567_890),
                    cpu_limit: Some(1.5),
                    cpu_throttled_ns: Some(5_000_000),
                    memory_working_set_bytes: Some(150 << 20),
                    memory_limit_bytes: Some(512 << 20),
                    cpu_pressure: Some(Pressure {
                        some_ns: 1_000_000,
                        full_ns: 0,
                    }),
                    ..ContainerUsage::default()
                }),
                ..Container::default()
            },
        ],
        processes: vec![
            Process {
                pid: 4242,
                start_boottime_ns: 123_456_789,
                name: "python3".into(),
                command_line: "python3 app.py".into(),
                container: 1,
            },
            Process {
                pid: 77,
                start_boottime_ns: 1_000,
                name: "bash".into(),
                command_line: String::new(),
                container: 0,
            },
        ],
        threads: vec![
            Thread {
                tid: 4242,
                name: "python3".into(),
                process: 0,
            },
            Thread {
                tid: 4243,
                name: "worker".into(),
                process: 0,
            },
            Thread {
                tid: 77,
                name: "bash".into(),
                process: 1,
            },
        ],
        quality: Quality {
            samples: 200,
            idle_ticks: 23_500,
            samples_lost: 3,
            ticks_missed: 57,
            outcomes: vec![
                outcome("root_reached", "the thread's root was reached", 150),
                outcome("table_not_ready", "unwind table not ready yet", 10),
                outcome("no_user_stack", "kernel thread", 40),
            ],
            runtimes: vec![RuntimeQuality {
                runtime: "CPython 3.11".into(),
                stacks: 120,
                complete: 118,
                outcomes: vec![outcome("bad_frame", "a frame could not be read", 2)],
            }],
            without_symbol: 4,
            ..Quality::default()
        },
        cost: Cost {
            user_ns: 300_000_000,
            system_ns: 100_000_000,
            finish_ns: 50_000_000,
            peak_memory_bytes: 60 << 20,
            map_memory_bytes: 16 << 20,
            programs: vec![ProgramCost {
                name: "on_cpu".into(),
                run_time_ns: 40_000_000,
                run_count: 24_000,
                missed_count: 0,
            }],
        },
        notes: vec![Note::missing(
            "JavaScript of pid 99 was not walked: node 10 is too old",
        )],
        ..Recording::default()
    };
    let libc = builder.module(Module {
        path: "/usr/lib/libc.so.6".into(),
        build_id: "aa".repeat(20),
        symbols: "the file itself".into(),
    });
    let python = builder.module(Module {
        path: "/usr/bin/python3.11".into(),
        build_id: "bb".repeat(20),
        symbols: "the file itself".into(),
    });
    let kernel = builder.module(Module {
        path: "[kernel]".into(),
        ..Module::default()
    });
    let mut frame = |kind, name: &str, module, file: &str, line, inlined| {
        let function = builder.function(Function {
            name: name.into(),
            kind,
            module,
            file: file.into(),
            line: if kind == Python { 10 } else { 0 },
        });
        builder.frame(Frame {
            function,
            line,
            column: 0,
            inlined,
            address: match kind {
                Native => 0x1000 + u64::from(function) * 0x10,
                Kernel => 0xffff_ffff_8100_0000 + u64::from(function),
                _ => 0,
            },
        })
    };
    let start = frame(Native, "_start", Some(libc), "", 0, false);
    let module_body = frame(Python, "<module>", None, "/app/app.py", 30, false);
    let walk_12 = frame(Python, "walk", None, "/app/app.py", 12, false);
    let walk_13 = frame(Python, "walk", None, "/app/app.py", 13, false);
    let eval = frame(Native, "_PyEval_EvalFrame", Some(python), "", 0, false);
    let incref = frame(
        Native,
        "Py_INCREF",
        Some(python),
        "Include/object.h",
        500,
        true,
    );
    let vector = frame(
        Native,
        "std::vector<int>::push_back(int const&)",
        Some(libc),
        "vector.h",
        9,
        false,
    );
    let sys_read = frame(Kernel, "ksys_read", Some(kernel), "", 0, false);
    let script = frame(JavaScript, "handler", None, "/app/server.js", 7, false);
    let jitted = frame(Jit, "LazyCompile:~go", None, "", 0, false);
    let truncated = frame(
        Synthetic,
        "[truncated: table_not_ready]",
        None,
        "",
        0,
        false,
    );

    let mut add = |thread, frames: &[FrameId], count: u64| {
        let stack = frames
            .iter()
            .fold(None, |caller, &frame| Some(builder.stack(caller, frame)));
        builder.sample(Sample {
            source: Source::OnCpu,
            thread,
            stack,
            weight: count * TICK,
            count,
        });
    };
    add(API, &[start, module_body, walk_12, walk_13, walk_12], 50);
    add(API, &[start, module_body, walk_12], 20);
    add(API_WORKER, &[start, module_body, walk_12], 20);
    add(API, &[start, module_body, eval, incref], 30);
    add(API, &[start, module_body, eval], 5);
    add(API, &[start, module_body, sys_read], 25);
    add(API_WORKER, &[truncated, script, jitted], 15);
    add(API_WORKER, &[truncated, script], 5);
    add(SHELL, &[start, vector], 17);
    add(SHELL, &[], 13);

    let mut wait = |thread, frames: &[FrameId], count: u64, weight: u64| {
        let stack = frames
            .iter()
            .fold(None, |caller, &frame| Some(builder.stack(caller, frame)));
        builder.sample(Sample {
            source: Source::GilWait,
            thread,
            stack,
            weight,
            count,
        });
    };
    let waiting = [start, module_body, walk_12];
    wait(API_WORKER, &waiting, 800, 4_000_000_000);
    wait(API_WORKER, &[start], 3, 500_000_000);
    wait(API, &[start, module_body, eval], 200, 1_000_000_000);
    builder.recording.locks = vec![LockUse {
        process: 0,
        known: 90,
        held: 72,
        measured_from_ns: Some(2_000_000_000),
    }];
    let spent = |activity, ns, without_stack_ns, intervals| Spent {
        activity,
        ns,
        without_stack_ns,
        intervals,
    };
    builder.recording.accounts = vec![
        ThreadAccount {
            thread: API,
            spent: vec![
                spent(Activity::OnCpu, 9_000_000_000, 0, 4_000),
                spent(Activity::RunQueue, 1_000_000_000, 400_000_000, 3_000),
                spent(Activity::Poll, 50_000_000_000, 0, 2_500),
            ],
        },
        ThreadAccount {
            thread: API_WORKER,
            spent: vec![
                spent(Activity::OnCpu, 20_000_000_000, 0, 900),
                spent(Activity::Throttled, 5_000_000_000, 5_000_000_000, 50),
                spent(Activity::NetworkRead, 35_000_000_000, 2_000_000_000, 700),
            ],
        },
        ThreadAccount {
            thread: SHELL,
            spent: vec![spent(Activity::Child, 60_000_000_000, 60_000_000_000, 0)],
        },
    ];
    builder.recording.disk = disk();
    builder.recording.syscalls = Some(syscalls());
    let touched = |thread, minor_faults, major_faults, reclaim_ns| ThreadMemory {
        thread,
        minor_faults,
        major_faults,
        reclaims: 3,
        reclaim_ns,
    };
    builder.recording.memory = Some(MemoryUse {
        threads: vec![
            touched(API, 1_000, 90, 12_000_000),
            touched(API_WORKER, 200, 0, 0),
            touched(SHELL, 5_000, 0, 0),
        ],
        oom_kills: vec![OomKill {
            time_ns: 3_000_000_000,
            pid: 4242,
            name: "python3".to_owned(),
            container: 1,
            caller: "worker".to_owned(),
            caller_pid: 4242,
        }],
        host: HostMemory {
            refaulted_pages: 7,
            ..HostMemory::default()
        },
    });
    builder.recording.network = Some(network());
    builder.recording.probes = probes();
    builder.recording.statements = Some(statements());
    builder.finish()
}

/// A statement with a function, and one that failed.
fn statements() -> Statements {
    let phase = |count: u64, ns: u64, nested: u64| PhaseUse {
        count,
        ns,
        longest_ns: ns / 2,
        nested,
        nested_ns: nested * 1_000_000,
    };
    Statements {
        servers: vec![StatementServer {
            pid: 4250,
            container: 1,
        }],
        uses: vec![
            StatementUse {
                text: "SELECT total_of(?) FROM orders".to_owned(),
                parse: phase(10, 1_000_000, 0),
                rewrite: phase(10, 2_000_000, 3),
                plan: phase(10, 5_000_000, 3),
                execute: phase(10, 80_000_000, 0),
                lock_waits: 1,
                lock_ns: 20_000_000,
                longest_lock_ns: 20_000_000,
                elapsed_ns: 95_000_000,
                ..StatementUse::default()
            },
            StatementUse {
                text: "UPDATE orders SET total = ?".to_owned(),
                cut: true,
                failed: 1,
                failed_ns: 3_000_000,
                in_progress: 1,
                in_progress_ns: 1_500_000,
                elapsed_ns: 4_500_000,
                ..StatementUse::default()
            },
        ],
        lost: 0,
        backends_lost: 0,
    }
}

/// A database that answered, and one that did not.
fn probes() -> Vec<Probe> {
    let mut statements = Part::new(
        "Statements",
        vec![Column::text("Statement"), Column::number("Calls")],
    );
    statements.row(vec![
        "SELECT * FROM orders WHERE id = $1".into(),
        "1,200".into(),
    ]);
    statements.note("Since the recording began.");
    vec![
        Probe {
            kind: ProbeKind::Postgres,
            target: "10.0.0.3:5432".into(),
            container: 1,
            pid: 99,
            answer: Answer::Measured {
                document: Document {
                    title: "PostgreSQL: shop".into(),
                    about: vec![("server".into(), "PostgreSQL 15".into())],
                    findings: vec![
                        Finding::new(Severity::Problem, "missing_index", "orders is read whole")
                            .evidence("1,200 times in 60 s")
                            .advice("CREATE INDEX ON orders (customer_id)"),
                        Finding::new(Severity::Warning, "unused_index", "orders_x is not used"),
                        Finding::new(Severity::Hint, "no_statements", "no pg_stat_statements"),
                    ],
                    parts: vec![statements],
                },
                report: serde_json::json!({"schema_version": 1}),
                metrics: Vec::new(),
            },
        },
        Probe {
            kind: ProbeKind::Redis,
            target: "127.0.0.1:6379".into(),
            container: 0,
            pid: 0,
            answer: Answer::NotMeasured {
                reason: "a password is needed".into(),
            },
        },
    ]
}

/// Two processes on two disks; the kernel writes what one of them made dirty.
fn disk() -> Disk {
    let usage = |device, process, operation, bytes, queue: &[u64], service: &[u64]| DiskUse {
        device,
        process,
        operation,
        requests: service.len() as u64,
        bytes,
        errors: 0,
        queue_ns: queue.iter().sum(),
        service_ns: service.iter().sum(),
        queue: Histogram::of(queue),
        service: Histogram::of(service),
    };
    let file = |device, process, operation, access, path: &str, bytes| FileUse {
        device,
        process,
        operation,
        access,
        path: path.to_owned(),
        inode: if access == DiskAccess::Device {
            0
        } else {
            4711
        },
        requests: 2,
        bytes,
        ns: 3_000_000,
    };
    let (read, write, flush) = (
        DiskOperation::Read,
        DiskOperation::Write,
        DiskOperation::Flush,
    );
    Disk {
        recorded: true,
        devices: vec!["sda".to_owned(), "nvme0n1".to_owned()],
        uses: vec![
            usage(0, 0, read, 1 << 20, &[5_000, 7_000], &[900_000, 2_100_000]),
            usage(1, 0, write, 12_288, &[4_000, 9_000], &[80_000, 120_000]),
            usage(1, 0, flush, 0, &[], &[4_000_000]),
            usage(0, 1, write, 8 << 20, &[6_000; 9], &[3_000_000; 9]),
        ],
        files: vec![
            file(
                0,
                0,
                read,
                DiskAccess::Cached,
                "/srv/api/model.bin",
                1 << 20,
            ),
            file(
                1,
                0,
                write,
                DiskAccess::Direct,
                "/var/lib/db/wal;0 1",
                12_288,
            ),
            file(0, 1, write, DiskAccess::Device, "sda", 8 << 20),
            file(0, 1, write, DiskAccess::Unknown, "", 0),
        ],
        cache: vec![CacheUse {
            process: 0,
            dirtied_bytes: 8 << 20,
            looked_up_bytes: Some(4 << 20),
            missed_bytes: 1 << 20,
            faulted_bytes: 16_384,
        }],
    }
}

/// A read that sometimes fails, an event loop, and what no thread is known of.
fn syscalls() -> Syscalls {
    let used = |thread, call, durations: &[u64]| SyscallUse {
        thread,
        call,
        count: durations.len() as u64,
        ns: durations.iter().sum(),
        durations: Histogram::of(durations),
        ..SyscallUse::default()
    };
    Syscalls {
        names: vec!["read".to_owned(), "epoll_wait".to_owned()],
        uses: vec![
            SyscallUse {
                errors: 2,
                by_error: vec![("EAGAIN".to_owned(), 2)],
                ..used(Some(API), 0, &[900, 1_000, 1_200, 5_000_000])
            },
            used(Some(API_WORKER), 0, &[700; 30]),
            SyscallUse {
                idle: true,
                in_progress: 1,
                in_progress_ns: 4_000_000_000,
                ..used(Some(API_WORKER), 1, &[2_000_000_000, 3_000_000_000])
            },
            used(None, 0, &[400, 500]),
        ],
        without_thread: 2,
        counted_ns: 60_000_000_000,
        targets: vec![
            CallTarget {
                process: Some(0),
                kind: TargetKind::Socket,
                name: "TCP 10.0.0.3:5432".to_owned(),
                calls: 30,
                errors: 2,
                error: Some("EAGAIN".to_owned()),
                ns: 5_000_000,
                longest_ns: 4_000_000,
                ..CallTarget::default()
            },
            CallTarget {
                process: Some(0),
                kind: TargetKind::Path,
                name: "app.cfg".to_owned(),
                partial: Some(Partial::Relative),
                calls: 4,
                ns: 3_100,
                longest_ns: 1_200,
                ..CallTarget::default()
            },
        ],
        targets_told: true,
    }
}

/// The worker of the API talks with a database and the shell.
fn network() -> Network {
    let traffic = |bytes, messages| Traffic { bytes, messages };
    let (sent, received) = (traffic(2_000_000, 900), traffic(70_000_000, 1_800));
    let (said, heard) = (traffic(1_000, 10), traffic(3_000, 20));
    let mut connects = Histogram::default();
    for milliseconds in 1..=100 {
        connects.add(milliseconds * 1_000_000);
    }
    let trouble = Trouble {
        retransmits: 7,
        resets_received: 2,
        ..Trouble::default()
    };
    let flow = Flow {
        process: 0,
        protocol: Protocol::Tcp,
        role: Role::Client,
        local: "10.0.0.2".into(),
        remote: "10.0.0.3:5432".into(),
        peer: None,
        sockets: 102,
        sent,
        received,
        trouble,
        connects: connects.clone(),
        failed_connects: vec![(111, 2)],
        lifetimes: connects,
        round_trip_ns: Some(250_000),
    };
    let connection = Connection {
        process: 0,
        other_pid: None,
        protocol: Protocol::Tcp,
        role: Role::Client,
        local: "10.0.0.2:40000".into(),
        remote: "10.0.0.3:5432".into(),
        peer: None,
        inode: 4_711,
        sent,
        received,
        trouble,
        connect_ns: Some(1_000_000),
        error: None,
        lifetime_ns: Some(5_000_000_000),
        ended: true,
        round_trip_ns: Some(250_000),
        round_trip_deviation_ns: Some(40_000),
    };
    let unix = Flow {
        protocol: Protocol::UnixStream,
        role: Role::Server,
        local: "/run/api.sock".into(),
        remote: String::new(),
        peer: Some(Peer {
            container: 0,
            process: Some(1),
        }),
        sockets: 1,
        sent: said,
        received: heard,
        trouble: Trouble::default(),
        connects: Histogram::default(),
        failed_connects: Vec::new(),
        lifetimes: Histogram::default(),
        round_trip_ns: None,
        ..flow.clone()
    };
    let pool = Pool {
        process: 0,
        protocol: Protocol::Tcp,
        role: Role::Client,
        service: "10.0.0.3:5432".into(),
        peer: None,
        connections: 102,
        opened: Some(100),
        closed: Some(99),
        unused: Some(0),
        requests: 900,
        answered_ns: 45_000_000_000,
        longest_ns: 2_000_000_000,
        in_use_ns: 46_000_000_000,
        open_ns: 120_000_000_000,
        request_messages: 901,
        one_way: 0,
        samples: PoolSamples {
            count: 600,
            connections: 1_200,
            most_connections: 3,
            in_use: 460,
            most_in_use: 3,
            saturated: 60,
            requests_when_saturated: 240,
        },
    };
    let clients = Pool {
        protocol: Protocol::UnixStream,
        role: Role::Server,
        service: "/run/api.sock".into(),
        peer: unix.peer,
        opened: None,
        closed: None,
        unused: None,
        requests: 0,
        answered_ns: 0,
        samples: PoolSamples::default(),
        ..pool.clone()
    };
    Network {
        pools: vec![pool, clients],
        pool_samples: 600,
        threads: vec![
            ThreadTraffic {
                thread: API,
                sent: said,
                received: heard,
                without_stack_bytes: 4_000,
            },
            ThreadTraffic {
                thread: API_WORKER,
                sent,
                received,
                without_stack_bytes: 3_600_000,
            },
        ],
        flows: vec![flow, unix],
        connections: vec![connection],
        connections_not_shown: 102,
        drops: vec![Drop {
            reason: "no_socket".into(),
            packets: 3,
        }],
        namespaces: vec![Namespace {
            inode: 4_026_531_840,
            container: 0,
            listen_overflows: 5,
            listen_drops: 6,
        }],
        accepted: 12,
        host_names: [([10, 0, 0, 3].into(), "db.example.test".to_owned())].into(),
        ..Network::default()
    }
}

/// Names that break formats.
pub const NASTY: &[&str] = &[
    "",
    " ",
    ";",
    "a;b;c 12",
    "worker 7",
    "ends in a number 12 34",
    "# comment",
    "line\nbreak\r\nhere",
    "tab\there",
    "nul\0byte",
    "\x1b[31mred\x1b[0m\x07",
    "invalid \u{fffd} utf-8",
    "\u{feff}bom \u{200b} \u{2028} \u{2029} \u{85}",
    "\u{202e}reversed\u{2066}",
    "not a character \u{fffe}\u{ffff}",
    "<script>alert(1)</script>",
    "</script><!-- --> ]]> -- <![CDATA[",
    "\"quotes\" 'and' `back``ticks```",
    "pipe | pipe \\| \\",
    "**bold** _it_ [link](http://example.com) #1 @someone <img src=x>",
    "&amp; & &#x41;",
    "{{template}} ${expression} %s %n",
    "emoji 🦀 日本語 e\u{301}",
    "operator<=>(a, b)_[k]",
    "../../etc/passwd",
    "__proto__",
];

/// A recording whose every string is hostile; another one for each seed.
pub fn nasty(seed: u64) -> Recording {
    let mut random = Random::new(seed);
    let mut name = move || -> String {
        match random.below(12) {
            // A C++ symbol of 4 KB.
            0 => format!(
                "std::map<{}>::insert(int, long)",
                "std::basic_string<char>, ".repeat(160)
            ),
            1 => (0..random.below(40))
                .filter_map(|_| char::from_u32(random.below(0x3000) as u32))
                .collect(),
            2 => format!(
                "{}{}",
                NASTY[random.below(NASTY.len())],
                NASTY[random.below(NASTY.len())]
            ),
            _ => NASTY[random.below(NASTY.len())].to_string(),
        }
    };
    let mut random = Random::new(seed + 1);
    let mut builder = Builder::default();
    let recording = &mut builder.recording;
    *recording = empty();
    recording.about = About {
        profiler_version: name(),
        host: name(),
        kernel: name(),
        architecture: name(),
        command_line: name(),
        clock: name(),
        scope: name(),
        interrupted: name(),
        start_unix_ms: u64::MAX,
        duration_ns: u64::MAX,
        frequency_hz: 0,
        cpus_online: 0,
        cpu_model: name(),
    };
    recording.probes = vec![nasty_probe(&mut name)];
    recording.quality.samples = u64::MAX;
    recording.quality.samples_lost = u64::MAX;
    recording.quality.outcomes = vec![outcome(&name(), &name(), u64::MAX)];
    recording.quality.runtimes = vec![RuntimeQuality {
        runtime: name(),
        stacks: 1,
        complete: 2,
        outcomes: vec![outcome(&name(), &name(), 0)],
    }];
    recording.cost.user_ns = u64::MAX;
    recording.cost.system_ns = u64::MAX;
    recording.cost.programs = vec![ProgramCost {
        name: name(),
        run_time_ns: u64::MAX,
        run_count: 1,
        missed_count: u64::MAX,
    }];
    for _ in 0..40 {
        recording.notes.push(Note {
            kind: NoteKind::Warning,
            text: name(),
        });
    }
    for _ in 0..8 {
        recording.containers.push(Container {
            name: name(),
            kind: ContainerKind::Docker,
            id: name(),
            image: name(),
            labels: vec![(name(), name()), (name(), name())],
            pod: name(),
            namespace: name(),
            cgroup: name(),
            usage: Some(ContainerUsage {
                cpu_limit: Some(f64::NAN),
                cpu_ns: Some(u64::MAX),
                memory_usage_bytes: Some(u64::MAX),
                ..ContainerUsage::default()
            }),
        });
        recording.processes.push(Process {
            pid: random.below(1 << 22) as u32,
            start_boottime_ns: u64::MAX,
            name: name(),
            command_line: name(),
            container: random.below(recording.containers.len()) as u32,
        });
        recording.threads.push(Thread {
            tid: u32::MAX,
            name: name(),
            process: random.below(recording.processes.len()) as u32,
        });
    }
    const KINDS: [FrameKind; 6] = [
        FrameKind::Native,
        FrameKind::Kernel,
        FrameKind::Python,
        FrameKind::JavaScript,
        FrameKind::Jit,
        FrameKind::Synthetic,
    ];
    let mut frames = Vec::new();
    for _ in 0..60 {
        let module = builder.module(Module {
            path: name(),
            build_id: name(),
            symbols: name(),
        });
        let function = builder.function(Function {
            name: name(),
            kind: KINDS[random.below(KINDS.len())],
            module: (random.below(2) == 0).then_some(module),
            file: name(),
            line: u32::MAX,
        });
        frames.push(builder.frame(Frame {
            function,
            line: u32::MAX,
            column: u32::MAX,
            inlined: random.below(3) == 0,
            address: u64::MAX,
        }));
    }
    for _ in 0..100 {
        let stack = (0..random.below(12)).fold(None, |caller, _| {
            Some(builder.stack(caller, frames[random.below(frames.len())]))
        });
        builder.sample(Sample {
            source: Source::ALL[usize::from(random.below(5) == 0)],
            thread: random.below(8) as u32,
            stack,
            weight: 1 + random.below(1 << 40) as u64,
            count: 1,
        });
    }
    for process in [0, 3, 3] {
        builder.recording.locks.push(LockUse {
            process,
            known: 1,
            held: u64::MAX,
            measured_from_ns: (random.below(2) == 0).then_some(u64::MAX),
        });
    }
    builder.finish()
}

/// `stacks` distinct stacks of `depth` frames of a few thousand functions.
/// Each shares some of its outer frames with the one before it.
pub fn large(stacks: usize, depth: usize) -> Recording {
    let mut random = Random::new(7);
    let mut builder = Builder::default();
    builder.recording = empty();
    for id in 0..200 {
        builder.recording.processes.push(Process {
            pid: 1000 + id,
            name: format!("service-{}", id % 50),
            ..Process::default()
        });
        for thread in 0..5 {
            builder.recording.threads.push(Thread {
                tid: 1000 + id * 5 + thread,
                name: format!("thread-{thread}"),
                process: id,
            });
        }
    }
    for id in 0..100 {
        builder.module(Module {
            path: format!("/usr/lib/x86_64-linux-gnu/libexample{id}.so.1"),
            build_id: format!("{id:040x}"),
            symbols: String::new(),
        });
    }
    const FUNCTIONS: usize = 5_000;
    for id in 0..FUNCTIONS {
        let function = builder.function(Function {
            name: format!(
                "example::namespace{}::function_number_{id}(int, char)",
                id % 37
            ),
            kind: [FrameKind::Native, FrameKind::Kernel, FrameKind::Python][id % 3],
            module: Some((id % 100) as u32),
            file: format!("/usr/src/example/source_{}.cc", id % 400),
            line: id as u32,
        });
        for site in 0..4 {
            builder.frame(Frame {
                function,
                line: id as u32 + site,
                column: 0,
                inlined: id % 3 == 0 && site == 3,
                address: 0x1000 + id as u64 * 64 + u64::from(site),
            });
        }
    }
    let mut path: Vec<StackId> = Vec::new();
    for number in 0..stacks {
        let keep = depth - 1 - random.below(depth).min(random.below(depth));
        path.truncate(keep);
        while path.len() < depth {
            let frame = random.below(FUNCTIONS * 4) as u32;
            path.push(builder.stack(path.last().copied(), frame));
        }
        let count = 1 + random.below(20) as u64;
        builder.sample(Sample {
            source: Source::OnCpu,
            thread: (number * 1000 / stacks) as u32,
            stack: path.last().copied(),
            weight: count * TICK,
            count,
        });
    }
    builder.finish()
}

/// Every text of a probe comes from the server that was asked.
fn nasty_probe(name: &mut impl FnMut() -> String) -> Probe {
    let mut part = Part::new(name(), vec![Column::text(name()), Column::number(name())]);
    for _ in 0..20 {
        part.row(vec![name(), name()]);
        part.note(name());
    }
    let finding = Finding::new(Severity::Problem, "kind", name());
    Probe {
        kind: ProbeKind::Load,
        target: name(),
        container: 0,
        pid: u32::MAX,
        answer: Answer::Measured {
            document: Document {
                title: name(),
                about: vec![(name().into(), name())],
                findings: vec![finding.evidence(name()).advice(name()); 30],
                parts: vec![part; 10],
            },
            report: serde_json::json!({"name": name()}),
            metrics: Vec::new(),
        },
    }
}
