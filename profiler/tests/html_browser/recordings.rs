//! Recordings to look at and to measure with.

use profiler::profile::{
    About, Builder, Container, ContainerKind, ContainerUsage, Cost, Frame, FrameKind, Function,
    Module, Note, NoteKind, OutcomeCount, Pressure, Process, ProgramCost, Quality, Recording,
    RuntimeQuality, Sample, Source, StackId, Thread,
};

/// Numbers that are the same in every run.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % sides
    }

    /// Small numbers far more often than large ones.
    fn skewed(&mut self, sides: u64) -> u64 {
        let (a, b) = (self.roll(sides), self.roll(sides));
        self.roll(a.min(b) + 1)
    }
}

pub fn process(builder: &mut Builder, container: u32, pid: u32, name: &str, command: &str) -> u32 {
    builder.recording.processes.push(Process {
        pid,
        start_boottime_ns: 1_000_000 * u64::from(pid),
        name: name.into(),
        command_line: command.into(),
        container,
    });
    builder.recording.processes.len() as u32 - 1
}

pub fn thread(builder: &mut Builder, process: u32, tid: u32, name: &str) -> u32 {
    builder.recording.threads.push(Thread {
        tid,
        name: name.into(),
        process,
    });
    builder.recording.threads.len() as u32 - 1
}

/// A frame: `(name, kind, module, file, line, inlined)`.
type Spec<'a> = (&'a str, FrameKind, &'a str, &'a str, u32, bool);

pub fn stack(builder: &mut Builder, frames: &[Spec]) -> Option<StackId> {
    let mut caller = None;
    for &(name, kind, module, file, line, inlined) in frames {
        let module = (!module.is_empty()).then(|| {
            builder.module(Module {
                path: module.into(),
                build_id: "5d3f0a".into(),
                symbols: "the file itself".into(),
            })
        });
        let function = builder.function(Function {
            name: name.into(),
            kind,
            module,
            file: file.into(),
            line: line / 10 * 10,
        });
        let frame = builder.frame(Frame {
            function,
            line,
            inlined,
            ..Frame::default()
        });
        caller = Some(builder.stack(caller, frame));
    }
    caller
}

pub fn sample(builder: &mut Builder, thread: u32, stack: Option<StackId>, count: u64) {
    builder.sample(Sample {
        source: Source::OnCpu,
        thread,
        stack,
        weight: count * 10_101_010,
        count,
    });
}

fn about() -> About {
    About {
        profiler_version: "0.1.0".into(),
        host: "shop-01.example".into(),
        kernel: "6.1.0-25-amd64".into(),
        architecture: "x86_64".into(),
        cpus_online: 8,
        cpu_model: String::new(),
        command_line: "profiler --duration 60 --output report.html".into(),
        start_unix_ms: 1_795_367_400_000,
        duration_ns: 60_012_000_000,
        frequency_hz: 99,
        clock: "cpu-clock".into(),
        scope: "all".into(),
        interrupted: String::new(),
    }
}

fn usage(seed: u64, limit: Option<f64>) -> Option<ContainerUsage> {
    let mut dice = Dice(seed);
    let cpu = 1_000_000_000 * (4 + dice.roll(90));
    Some(ContainerUsage {
        interval_ns: 60_000_000_000,
        cpu_ns: Some(cpu),
        cpu_user_ns: Some(cpu / 10 * 7),
        cpu_system_ns: Some(cpu / 10 * 3),
        cpu_limit: limit,
        cpu_periods: limit.map(|_| 600),
        cpu_throttled_periods: limit.map(|_| 40 + dice.roll(200)),
        cpu_throttled_ns: limit.map(|_| 3_400_000_000),
        memory_working_set_bytes: Some((60 + dice.roll(400)) << 20),
        memory_usage_bytes: Some((500 + dice.roll(400)) << 20),
        memory_limit_bytes: limit.map(|_| 512 << 20),
        block_read_bytes: Some(dice.roll(1 << 30)),
        block_write_bytes: Some(dice.roll(1 << 24)),
        network_receive_bytes: Some(dice.roll(1 << 28)),
        network_transmit_bytes: Some(dice.roll(1 << 27)),
        pids: Some(4 + dice.roll(60)),
        pids_limit: limit.map(|_| 4096),
        oom_kills: Some(dice.roll(2)),
        cpu_pressure: Some(Pressure {
            some_ns: dice.roll(20_000_000_000),
            full_ns: 0,
        }),
        memory_pressure: Some(Pressure::default()),
        io_pressure: Some(Pressure {
            some_ns: 1_000_000_000 + dice.roll(2_000_000_000),
            full_ns: dice.roll(1_000_000_000),
        }),
    })
}

fn outcome(outcome: &str, meaning: &str, count: u64) -> OutcomeCount {
    OutcomeCount {
        outcome: outcome.into(),
        meaning: meaning.into(),
        count,
    }
}

fn quality(samples: u64) -> Quality {
    let part = |thousandths: u64| samples * thousandths / 1000;
    Quality {
        samples,
        idle_ticks: samples * 2,
        samples_lost: 12,
        ticks_missed: 31,
        outcomes: vec![
            outcome("root_reached", "complete: the thread's root", part(941)),
            outcome("no_user_stack", "kernel threads: no user stack", part(40)),
            outcome(
                "table_not_ready",
                "the unwind table was being built",
                part(12),
            ),
            outcome(
                "stack_unreadable",
                "stack memory could not be read",
                part(5),
            ),
            outcome("frame_limit", "deeper than the limit of frames", part(2)),
        ],
        runtimes: vec![
            RuntimeQuality {
                runtime: "CPython 3.11".into(),
                stacks: part(420),
                complete: part(417),
                outcomes: vec![
                    outcome("root_reached", "complete: the thread's root", part(417)),
                    outcome(
                        "stack_unreadable",
                        "stack memory could not be read",
                        part(3),
                    ),
                ],
            },
            RuntimeQuality {
                runtime: "native".into(),
                stacks: part(460),
                complete: part(440),
                outcomes: vec![outcome("root_reached", "complete", part(440))],
            },
        ],
        without_container: part(18),
        without_symbol: part(27),
        ..Quality::default()
    }
}

fn cost() -> Cost {
    let program = |name: &str, run_time_ns, run_count| ProgramCost {
        name: name.into(),
        run_time_ns,
        run_count,
        missed_count: 0,
    };
    Cost {
        user_ns: 210_000_000,
        system_ns: 120_000_000,
        finish_ns: 940_000_000,
        peak_memory_bytes: 96 << 20,
        map_memory_bytes: 41 << 20,
        programs: vec![
            program("sample_cpu", 412_000_000, 31_220),
            program("on_exec", 900_000, 212),
            program("on_exit", 700_000, 240),
        ],
    }
}

fn notes() -> Vec<Note> {
    let note = |kind, text: &str| Note {
        kind,
        text: text.into(),
    };
    vec![
        note(NoteKind::Info, "Kernel symbols come from /proc/kallsyms."),
        note(
            NoteKind::Missing,
            "Memory limits of 1 container were not read: /sys/fs/cgroup is not mounted in full.",
        ),
    ]
}

pub const HOSTILE: &str = "</script><img src=x onerror=\"document.title='owned'\">&lt;b&gt;'\"";

/// What a small shop does, with names nobody should choose.
pub fn shop() -> Recording {
    use FrameKind::{JavaScript, Jit, Kernel, Native, Python, Synthetic};
    let mut builder = Builder::default();
    let container = |name: &str, kind, image: &str, usage| Container {
        name: name.into(),
        kind,
        id: "9f8e7d6c".into(),
        image: image.into(),
        cgroup: format!("/system.slice/{name}"),
        usage,
        ..Container::default()
    };
    builder.recording.about = about();
    builder.recording.cost = cost();
    builder.recording.notes = notes();
    builder.recording.containers = vec![
        container("host", ContainerKind::Host, "", usage(7, None)),
        container(
            "shop-api",
            ContainerKind::Docker,
            "shop/api:2.4",
            usage(1, Some(2.0)),
        ),
        container(
            "shop-db",
            ContainerKind::Docker,
            "postgres:16",
            usage(2, Some(4.0)),
        ),
        container(
            "shop-web",
            ContainerKind::Docker,
            "shop/web:2.4",
            usage(3, None),
        ),
        container(HOSTILE, ContainerKind::Podman, "\u{202e}gnp.exe", None),
    ];
    let api = process(
        &mut builder,
        1,
        4120,
        "gunicorn",
        "gunicorn shop.wsgi --workers 4",
    );
    let api_main = thread(&mut builder, api, 4120, "gunicorn");
    let api_pool = thread(&mut builder, api, 4131, "ThreadPool-1");
    let worker = process(&mut builder, 1, 4125, "celery", "celery -A shop worker");
    let worker_main = thread(&mut builder, worker, 4125, "celery");
    let db = process(
        &mut builder,
        2,
        2210,
        "postgres",
        "postgres: shop shop 10.0.0.4 SELECT",
    );
    let db_main = thread(&mut builder, db, 2210, "postgres");
    let web = process(&mut builder, 3, 5001, "node", "node server.js");
    let web_main = thread(&mut builder, web, 5001, "node");
    let evil = process(&mut builder, 4, 666, "\u{202e}txt.\u{7}x", HOSTILE);
    let evil_main = thread(&mut builder, evil, 666, HOSTILE);
    let kernel = process(&mut builder, 0, 2, "kworker/u16:3", "");
    let kernel_main = thread(&mut builder, kernel, 2, "kworker/u16:3");

    let libc = "/usr/lib/x86_64-linux-gnu/libc.so.6";
    let python = "/usr/local/bin/python3.11";
    let json = "/usr/local/lib/python3.11/lib-dynload/_json.so";
    let start: [Spec; 3] = [
        ("_start", Native, python, "", 0, false),
        ("__libc_start_main", Native, libc, "", 0, false),
        ("Py_BytesMain", Native, python, "Modules/main.c", 734, false),
    ];
    let wsgi: [Spec; 3] = [
        ("run", Python, "", "gunicorn/app/base.py", 231, false),
        (
            "handle_request",
            Python,
            "",
            "gunicorn/workers/sync.py",
            184,
            false,
        ),
        (
            "get_response",
            Python,
            "",
            "django/core/handlers/base.py",
            140,
            false,
        ),
    ];
    let syscall: [Spec; 2] = [
        (
            "entry_SYSCALL_64_after_hwframe",
            Kernel,
            "[kernel]",
            "",
            0,
            false,
        ),
        (
            "do_syscall_64",
            Kernel,
            "[kernel]",
            "arch/x86/entry/common.c",
            82,
            false,
        ),
    ];
    let add = |builder: &mut Builder, thread: u32, frames: &[&[Spec]], count: u64| {
        let id = stack(builder, &frames.concat());
        sample(builder, thread, id, count);
    };

    for (view, line, count) in [
        ("list_orders", 42, 610),
        ("cart_total", 88, 340),
        ("checkout", 131, 220),
    ] {
        let view: [Spec; 1] = [(view, Python, "", "shop/views.py", line, false)];
        let dumps: [Spec; 4] = [
            ("dumps", Python, "", "json/__init__.py", 231, false),
            ("iterencode", Python, "", "json/encoder.py", 258, false),
            (
                "encoder_listencode_obj",
                Native,
                json,
                "Modules/_json.c",
                1402,
                false,
            ),
            ("write_str", Native, json, "Modules/_json.c", 1290, true),
        ];
        add(
            &mut builder,
            api_main,
            &[&start, &wsgi, &view, &dumps],
            count / 2,
        );
        add(
            &mut builder,
            api_main,
            &[&start, &wsgi, &view, &dumps[..3]],
            count / 4,
        );
        let query: [Spec; 3] = [
            (
                "execute",
                Python,
                "",
                "django/db/backends/utils.py",
                89,
                false,
            ),
            ("PQexec", Native, "/usr/lib/libpq.so.5", "", 0, false),
            ("pqsecure_read", Native, "/usr/lib/libpq.so.5", "", 0, false),
        ];
        let receive: [Spec; 2] = [
            (
                "__x64_sys_recvfrom",
                Kernel,
                "[kernel]",
                "net/socket.c",
                2181,
                false,
            ),
            (
                "tcp_recvmsg_locked",
                Kernel,
                "[kernel]",
                "net/ipv4/tcp.c",
                2467,
                false,
            ),
        ];
        add(
            &mut builder,
            api_main,
            &[&start, &wsgi, &view, &query, &syscall, &receive],
            count / 3,
        );
        add(
            &mut builder,
            api_pool,
            &[&start, &wsgi, &view, &query],
            count / 5,
        );
        // Two lines of one function.
        let other: [Spec; 1] = [(view[0].0, Python, "", "shop/views.py", line + 3, false)];
        add(&mut builder, api_main, &[&start, &wsgi, &other], count / 6);
    }
    // Recursion: a walk of a tree of categories.
    let walk: Spec = ("walk_tree", Python, "", "shop/categories.py", 17, false);
    for depth in 1..14 {
        let deep = vec![walk; depth];
        add(&mut builder, worker_main, &[&start, &deep], 9);
        add(
            &mut builder,
            worker_main,
            &[
                &start,
                &deep,
                &[("visit", Python, "", "shop/categories.py", 44, false)],
                &deep[..depth / 3],
            ],
            5,
        );
    }
    let plan: [Spec; 4] = [
        (
            "main",
            Native,
            "/usr/lib/postgresql/16/bin/postgres",
            "main.c",
            201,
            false,
        ),
        (
            "PostgresMain",
            Native,
            "/usr/lib/postgresql/16/bin/postgres",
            "postgres.c",
            4637,
            false,
        ),
        (
            "exec_simple_query",
            Native,
            "/usr/lib/postgresql/16/bin/postgres",
            "postgres.c",
            1274,
            false,
        ),
        (
            "standard_ExecutorRun",
            Native,
            "/usr/lib/postgresql/16/bin/postgres",
            "execMain.c",
            365,
            false,
        ),
    ];
    for (name, count) in [
        ("ExecSeqScan", 520),
        ("ExecHashJoin", 260),
        ("ExecSort", 90),
    ] {
        let node: [Spec; 1] = [(
            name,
            Native,
            "/usr/lib/postgresql/16/bin/postgres",
            "",
            0,
            false,
        )];
        let jit: [Spec; 1] = [("evalexpr_0_3", Jit, "[jit]", "", 0, false)];
        add(&mut builder, db_main, &[&plan, &node], count);
        add(&mut builder, db_main, &[&plan, &node, &jit], count / 3);
        let read: [Spec; 2] = [
            (
                "ksys_pread64",
                Kernel,
                "[kernel]",
                "fs/read_write.c",
                712,
                false,
            ),
            (
                "copy_page_to_iter",
                Kernel,
                "[kernel]",
                "lib/iov_iter.c",
                481,
                false,
            ),
        ];
        add(
            &mut builder,
            db_main,
            &[&plan, &node, &syscall, &read],
            count / 4,
        );
    }
    let node: [Spec; 3] = [
        (
            "node::Start",
            Native,
            "/usr/local/bin/node",
            "src/node.cc",
            1401,
            false,
        ),
        (
            "processTicksAndRejections",
            JavaScript,
            "",
            "node:internal/process/task_queues",
            95,
            false,
        ),
        ("renderPage", JavaScript, "", "/app/server.js", 211, false),
    ];
    for (name, line, count) in [
        ("renderToString", 40, 300),
        ("hydrate", 77, 120),
        ("parseJson", 12, 70),
    ] {
        let inner: [Spec; 1] = [(
            name,
            JavaScript,
            "",
            "/app/node_modules/react-dom/server.js",
            line,
            false,
        )];
        add(&mut builder, web_main, &[&node, &inner], count);
        let collect: [Spec; 1] = [(
            "v8::internal::Heap::CollectGarbage",
            Native,
            "/usr/local/bin/node",
            "",
            0,
            false,
        )];
        add(
            &mut builder,
            web_main,
            &[&node, &inner, &collect],
            count / 4,
        );
    }
    let truncated: [Spec; 1] = [("[truncated: stack unreadable]", Synthetic, "", "", 0, false)];
    add(&mut builder, web_main, &[&truncated, &node[2..]], 60);
    let long = "std::vector<std::basic_string<char>, std::allocator<std::basic_string<char>>>::"
        .repeat(52);
    let names: [Spec; 3] = [
        (HOSTILE, Native, "/tmp/<b>evil</b>", "\u{2066}a.c", 7, false),
        (&long, Native, "/tmp/<b>evil</b>", "", 0, false),
        (
            "שלום;עולם\n</div>",
            Native,
            "/tmp/<b>evil</b>",
            "",
            0,
            false,
        ),
    ];
    add(&mut builder, evil_main, &[&names], 70);
    add(&mut builder, evil_main, &[&names[..2]], 40);
    let worker: [Spec; 3] = [
        ("ret_from_fork", Kernel, "[kernel]", "", 0, false),
        (
            "worker_thread",
            Kernel,
            "[kernel]",
            "kernel/workqueue.c",
            2430,
            false,
        ),
        ("ext4_end_io_rsv_work", Kernel, "[kernel]", "", 0, false),
    ];
    add(&mut builder, kernel_main, &[&worker], 55);
    sample(&mut builder, kernel_main, None, 14);
    let samples = builder
        .recording
        .samples
        .iter()
        .map(|sample| sample.count)
        .sum();
    builder.recording.quality = quality(samples);
    builder.finish()
}

/// 100,000 distinct stacks of about 30 frames, in 20 containers with 200
/// processes.
pub fn large() -> Recording {
    const STACKS: usize = 100_000;
    let mut dice = Dice(42);
    let mut builder = Builder::default();
    builder.recording.about = about();
    builder.recording.about.cpus_online = 256;
    builder.recording.cost = cost();
    for id in 0..20 {
        builder.recording.containers.push(Container {
            name: if id == 0 {
                "host".into()
            } else {
                format!("service-{id:02}")
            },
            kind: if id == 0 {
                ContainerKind::Host
            } else {
                ContainerKind::Docker
            },
            usage: usage(id, Some(2.0)),
            ..Container::default()
        });
    }
    let mut threads = Vec::new();
    for id in 0..200 {
        let process = process(
            &mut builder,
            id % 20,
            1000 + id,
            &format!("worker-{}", id % 40),
            "worker --all",
        );
        for tid in 0..4 {
            threads.push(thread(
                &mut builder,
                process,
                1000 + id + 10_000 * tid,
                &format!("pool-{tid}"),
            ));
        }
    }
    let kinds = [
        FrameKind::Native,
        FrameKind::Python,
        FrameKind::JavaScript,
        FrameKind::Kernel,
    ];
    let mut frames = Vec::new();
    for id in 0..12_000_u32 {
        let kind = kinds[(id % 40 / 11) as usize % 4];
        let module = builder.module(Module {
            path: format!("/usr/lib/service/lib{}.so", id % 90),
            ..Module::default()
        });
        let scripted = matches!(kind, FrameKind::Python | FrameKind::JavaScript);
        let function = builder.function(Function {
            name: format!(
                "{}_{id}",
                ["handle", "parse", "encode", "lookup", "merge", "commit"][id as usize % 6]
            ),
            kind,
            module: (!scripted).then_some(module),
            file: if scripted {
                format!("service/module_{}.py", id % 300)
            } else {
                String::new()
            },
            line: id % 900 + 1,
        });
        for line in 0..3 {
            frames.push(builder.frame(Frame {
                function,
                line: id % 900 + 1 + line,
                ..Frame::default()
            }));
        }
    }
    let mut leaves = std::collections::HashSet::new();
    while leaves.len() < STACKS {
        let thread = threads[dice.skewed(threads.len() as u64) as usize];
        let depth = 22 + dice.roll(16);
        let mut caller = None;
        let mut state = u64::from(thread / 4) * 7919;
        for level in 0..depth {
            // Few ways near the root, many near the leaf.
            let ways = 1 + level / 3;
            state = state
                .wrapping_mul(31)
                .wrapping_add(dice.skewed(ways + 1))
                .wrapping_add(level);
            let place = if level + 3 > depth {
                // Everything ends in a few functions: copying, locking, …
                dice.skewed(2_000) as usize
            } else {
                (state.wrapping_mul(0x9e37_79b9) >> 7) as usize
            };
            let frame = frames[place % frames.len()];
            caller = Some(builder.stack(caller, frame));
        }
        leaves.insert(caller);
        let count = 1 + dice.skewed(40);
        sample(&mut builder, thread, caller, count);
    }
    let samples = builder
        .recording
        .samples
        .iter()
        .map(|sample| sample.count)
        .sum();
    builder.recording.quality = quality(samples);
    builder.finish()
}
