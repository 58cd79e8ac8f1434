//! Servers that are not what they should be.
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{databases::PASSWORD, process::Process, profiler};

/// What a server does with a connection.
type Manners = fn(TcpStream);

fn silent(mut stream: TcpStream) {
    // Until the other side goes.
    let _ = stream.read_to_end(&mut Vec::new());
}

fn garbage(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 1024]);
    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nserver: secret\r\n\r\n\0\xff\xfe");
}

/// An answer that claims to be long and goes on for ever: a bulk for Redis; for
/// PostgreSQL, `$` and `E` are no answers, so see `endless_error`.
fn endless_bulk(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 1024]);
    let _ = stream.write_all(b"$60000000\r\n");
    while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
}

/// No TLS, and then an error message of two gigabytes.
fn endless_error(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 1024]);
    let _ = stream.write_all(b"N");
    let _ = stream.read(&mut [0; 1024]);
    let _ = stream.write_all(b"E\x7f\xff\xff\xff");
    while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
}

fn closing(_: TcpStream) {}

const MANNERS: [(&str, Manners); 5] = [
    ("silent", silent),
    ("garbage", garbage),
    ("endless bulk", endless_bulk),
    ("endless error", endless_error),
    ("closing", closing),
];

/// Most memory that a probe may take of such a server, MiB.
const MOST_MEMORY: f64 = 300.0;

/// Probes them all: each ends soon with 2 and one line, without the password.
pub fn probes_end(verb: &str, url: impl Fn(u16) -> String) -> Result<()> {
    let unused = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    probe_ends(verb, "absent", &url(unused))?;
    for (name, manners) in MANNERS {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || manners(stream));
            }
        });
        probe_ends(verb, name, &url(port)).context(name)?;
    }
    Ok(())
}

fn probe_ends(verb: &str, name: &str, url: &str) -> Result<()> {
    let started = Instant::now();
    let mut probe = Process::spawn(
        profiler::command()
            .args([verb, url, "--timeout", "2", "--duration", "1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    )?;
    let mut most: f64 = 0.0;
    let status = loop {
        if let Some(status) = probe.child().try_wait()? {
            break status;
        }
        most = most.max(profiler::resident(probe.pid()).unwrap_or_default());
        ensure!(
            started.elapsed() < Duration::from_secs(60),
            "it does not end"
        );
        thread::sleep(Duration::from_millis(10));
    };
    let (mut out, mut messages) = (String::new(), String::new());
    probe
        .child()
        .stdout
        .take()
        .context("no output")?
        .read_to_string(&mut out)?;
    probe
        .child()
        .stderr
        .take()
        .context("no messages")?
        .read_to_string(&mut messages)?;
    println!(
        "{name}: {:.1} s, {most:.0} MiB: {}",
        started.elapsed().as_secs_f64(),
        messages.trim()
    );
    ensure!(status.code() == Some(2), "{status}: {messages}");
    ensure!(
        messages.lines().count() == 1 && out.is_empty(),
        "{messages:?} {out:?}"
    );
    ensure!(
        !messages.contains(PASSWORD),
        "the password is in {messages:?}"
    );
    ensure!(most < MOST_MEMORY, "it took {most} MiB");
    Ok(())
}
