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

/// A page of ten gigabytes.
fn endless_body(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 1024]);
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n");
    while stream.write_all(&[b' '; 1 << 16]).is_ok() {}
}

/// The connection ends before the answer does.
fn half_an_answer(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 1024]);
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"resu");
}

/// Another server, which is well.
fn someone_else(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 1024]);
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
}

const MANNERS: [(&str, Manners); 5] = [
    ("silent", silent),
    ("garbage", garbage),
    ("endless bulk", endless_bulk),
    ("endless error", endless_error),
    ("closing", closing),
];

/// Beside those.
const HTTP_MANNERS: [(&str, Manners); 3] = [
    ("endless body", endless_body),
    ("half an answer", half_an_answer),
    ("someone else", someone_else),
];

/// A packet of MySQL's protocol.
fn packet(number: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = (body.len() as u32).to_le_bytes()[..3].to_vec();
    packet.push(number);
    packet.extend(body);
    packet
}

/// How a server begins that lets everyone in.
fn greeting() -> Vec<u8> {
    let mut body = b"\x0a8.4.0\0\x01\0\0\x0012345678\0\xff\xf7\x2d\x02\0\xff\xdf\x15".to_vec();
    body.extend([0; 10]);
    body.extend(b"abcdefghijkl\0mysql_native_password\0");
    packet(0, &body)
}

const OK: [u8; 7] = [0, 0, 0, 2, 0, 0, 0];

/// It speaks first, and something else.
fn another_protocol(mut stream: TcpStream) {
    let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2p1 secret\r\n");
    silent(stream);
}

/// A first message of as many packets as one wants to read.
fn endless_greeting(mut stream: TcpStream) {
    let body = vec![b'x'; 0xff_ff_ff];
    for number in (0..=u8::MAX).cycle() {
        if stream.write_all(&packet(number, &body)).is_err() {
            return;
        }
    }
}

/// Logs in, and then a query has rows for ever.
fn endless_rows(mut stream: TcpStream) {
    let _ = stream.write_all(&greeting());
    let _ = stream.read(&mut [0; 4096]);
    let _ = stream.write_all(&packet(2, &OK));
    for _setting in 0..3 {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(&packet(1, &OK));
    }
    let _ = stream.read(&mut [0; 4096]);
    let column = b"\x03def\0\0\0\x01x\0\x0c\x2d\0\xff\0\0\0\xfd\0\0\0\0\0";
    let _ = stream.write_all(&[packet(1, &[1]), packet(2, column)].concat());
    let _ = stream.write_all(&packet(3, &[0xfe, 0, 0, 2, 0]));
    let row = [&[0xfd, 0, 0, 1][..], &[b'x'; 1 << 16]].concat();
    for number in (0..=u8::MAX).cycle().skip(4) {
        if stream.write_all(&packet(number, &row)).is_err() {
            return;
        }
    }
}

/// Logs in, and then says nothing more.
fn silent_after_login(mut stream: TcpStream) {
    let _ = stream.write_all(&greeting());
    let _ = stream.read(&mut [0; 4096]);
    let _ = stream.write_all(&packet(2, &OK));
    silent(stream);
}

/// Beside those, for MySQL: its servers speak first.
const MYSQL_MANNERS: [(&str, Manners); 4] = [
    ("another protocol", another_protocol),
    ("endless greeting", endless_greeting),
    ("endless rows", endless_rows),
    ("silent after login", silent_after_login),
];

/// Most memory that a probe may take of such a server, MiB.
const MOST_MEMORY: f64 = 300.0;

/// Probes them all: each ends soon with 2 and one line, without the password.
pub fn probes_end(verb: &str, url: impl Fn(u16) -> String) -> Result<()> {
    all_end(&[verb, "--duration", "1"], &MANNERS, url)
}

/// As [`probes_end`], of servers that may speak MySQL's protocol.
pub fn mysql_probes_end(url: impl Fn(u16) -> String) -> Result<()> {
    let manners = [&MANNERS[..], &MYSQL_MANNERS].concat();
    all_end(&["mysql", "--duration", "1"], &manners, url)
}

/// As [`probes_end`], of vector databases that are asked over HTTP.
pub fn vector_probes_end(provider: &str, url: impl Fn(u16) -> String) -> Result<()> {
    let manners = [&MANNERS[..], &HTTP_MANNERS].concat();
    all_end(&["vectors", "--provider", provider], &manners, url)
}

fn all_end(words: &[&str], manners: &[(&str, Manners)], url: impl Fn(u16) -> String) -> Result<()> {
    let unused = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    probe_ends(words, "absent", &url(unused))?;
    for &(name, manners) in manners {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || manners(stream));
            }
        });
        probe_ends(words, name, &url(port)).context(name.to_owned())?;
    }
    Ok(())
}

fn probe_ends(words: &[&str], name: &str, url: &str) -> Result<()> {
    let started = Instant::now();
    let mut probe = Process::spawn(
        profiler::command()
            .args(words)
            .args([url, "--timeout", "2"])
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
