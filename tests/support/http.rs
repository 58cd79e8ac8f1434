//! HTTP servers of which everything is known: one whose answers are by
//! construction, and nginx.
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::{
    image,
    process::{self, Process},
};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `GET /path?query`.
    pub line: String,
    /// With lower-case names.
    pub headers: Vec<String>,
    pub body: String,
}

/// Answers by path, a thread for each connection. It lives as long as the test.
pub struct Server {
    pub port: u16,
    state: Arc<State>,
}

struct State {
    seen: Mutex<Vec<Seen>>,
    /// When requests were asked for first.
    began: Mutex<Option<Instant>>,
}

/// What `/answer` has.
pub const ANSWER: &str = "0123456789";
/// The head of `/answer`.
pub const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
/// How long `/slow` takes, and each tenth of `/mixed`; its others take
/// [`SLOW`].
pub const SLOW: Duration = Duration::from_millis(20);
pub const SLOWER: Duration = Duration::from_millis(60);
/// `/stall` answers nothing in this time after its first request.
pub const STALL: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(3)];

impl Server {
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State {
            seen: Mutex::default(),
            began: Mutex::default(),
        });
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                thread::spawn(move || {
                    // An end by the client is no error of the server.
                    let _ = serve(&stream, &state);
                });
            }
        });
        Ok(Self { port, state })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state
            .seen
            .lock()
            .map(|seen| seen.clone())
            .unwrap_or_default()
    }

    pub fn count(&self, line: &str) -> usize {
        self.seen().iter().filter(|seen| seen.line == line).count()
    }
}

fn serve(stream: &TcpStream, state: &State) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut number = 0_u64;
    while let Some(seen) = read(&mut reader)? {
        let path = seen
            .line
            .split([' ', '?'])
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        // The fast ones would be many.
        if let Ok(mut all) = state.seen.lock()
            && all.len() < 100_000
        {
            all.push(seen);
        }
        number += 1;
        if !answer(stream, &path, number, state)? {
            return Ok(());
        }
    }
    Ok(())
}

fn read(reader: &mut BufReader<&TcpStream>) -> Result<Option<Seen>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let mut headers = Vec::new();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let header = header.trim_end();
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').context("a header without a colon")?;
        let name = name.to_ascii_lowercase();
        if name == "content-length" {
            length = value.trim().parse()?;
        }
        headers.push(format!("{name}:{value}"));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Seen {
        line,
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    }))
}

/// Whether the connection stays.
fn answer(mut stream: &TcpStream, path: &str, number: u64, state: &State) -> Result<bool> {
    let good = format!("{HEAD}{ANSWER}");
    match path {
        "/slow" => thread::sleep(SLOW),
        "/mixed" => thread::sleep(if number.is_multiple_of(10) {
            SLOWER
        } else {
            SLOW
        }),
        "/stall" => wait_for_end_of_stall(state),
        "/hang" => {
            thread::sleep(Duration::from_secs(60));
            return Ok(false);
        }
        "/garbage" => {
            stream.write_all(b"\x16\x03\x01 this is no HTTP\r\n\r\n")?;
            return Ok(false);
        }
        "/early" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")?;
            return Ok(false);
        }
        "/reset" => {
            reset(stream)?;
            return Ok(false);
        }
        "/close" => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")?;
            return Ok(false);
        }
        // Without a word about it.
        "/drop" => {
            stream.write_all(good.as_bytes())?;
            return Ok(false);
        }
        "/chunks" => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(format!("{head}4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n").as_bytes())?;
            return Ok(true);
        }
        // A head and a body that do not end.
        "/endless-head" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nX: ")?;
            loop {
                stream.write_all(&[b'x'; 65536])?;
            }
        }
        "/endless" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")?;
            loop {
                stream.write_all(&[b'x'; 65536])?;
            }
        }
        "/broken" => {
            stream.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")?;
            return Ok(true);
        }
        "/openapi.json" => {
            let text = DESCRIPTION;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
            stream.write_all(format!("{head}{text}").as_bytes())?;
            return Ok(true);
        }
        _ => {}
    }
    stream.write_all(good.as_bytes())?;
    Ok(true)
}

/// What `/openapi.json` has.
const DESCRIPTION: &str = r##"{"openapi": "3.1.0", "paths": {
    "/answer": {"get": {"operationId": "answer_answer_get"}},
    "/items/{item_id}": {
        "parameters": [{"name": "item_id", "in": "path", "required": true, "example": 42}],
        "get": {}, "delete": {}},
    "/items": {"post": {"requestBody": {"required": true, "content": {"application/json":
        {"schema": {"type": "object", "required": ["name"],
            "properties": {"name": {"type": "string"}}}}}}}}
}}"##;

fn wait_for_end_of_stall(state: &State) {
    let began = match state.began.lock() {
        Ok(mut began) => *began.get_or_insert_with(Instant::now),
        Err(_) => return,
    };
    let elapsed = began.elapsed();
    if elapsed >= STALL[0] && elapsed < STALL[1] {
        thread::sleep(STALL[1] - elapsed);
    }
}

/// Closes with a reset: socket(7), SO_LINGER of no time.
fn reset(stream: &TcpStream) -> Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the descriptor is open, and the option's value is of its type.
    let set = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    if set != 0 {
        bail!("cannot set SO_LINGER");
    }
    stream.shutdown(std::net::Shutdown::Read)?;
    Ok(())
}

/// nginx of the containers' image, with HTTP, HTTP/2 by prior knowledge and
/// TLS, one process of one thread, and a file of 1 KiB at `/file`.
pub struct Nginx {
    pub process: Process,
    pub directory: tempfile::TempDir,
    /// HTTP/1.1, HTTP/2, TLS.
    pub ports: [u16; 3],
}

impl Nginx {
    /// The certificate is `certificate.pem` in its directory, for localhost.
    pub fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let at = directory.path();
        fs::create_dir(at.join("html"))?;
        fs::create_dir(at.join("logs"))?;
        fs::write(at.join("html/file"), [b'x'; 1024])?;
        certificate(at)?;
        let ports = [free_port()?, free_port()?, free_port()?];
        let [plain, http2, tls] = ports;
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {}/{name};\n", at.display()))
            .concat();
        let configuration = format!(
            "daemon off; master_process off; worker_processes 1; pid {at}/pid;
             error_log {at}/logs/error.log;
             events {{ worker_connections 1024; }}
             http {{ access_log off; keepalive_requests 1000000000; {temporary}
               root {at}/html;
               server {{ listen 127.0.0.1:{plain}; }}
               server {{ listen 127.0.0.1:{http2} http2; }}
               server {{ listen 127.0.0.1:{tls} ssl http2;
                 ssl_certificate {at}/certificate.pem; ssl_certificate_key {at}/key.pem; }}
             }}",
            at = at.display()
        );
        fs::write(at.join("nginx.conf"), configuration)?;
        let process = Process::spawn(
            image::program("usr/sbin/nginx")?
                .arg("-p")
                .arg(at)
                .arg("-c")
                .arg(at.join("nginx.conf"))
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )?;
        let is_up = || TcpStream::connect(("127.0.0.1", plain)).is_ok();
        if !process::until(Duration::from_secs(20), is_up) {
            let log = fs::read_to_string(at.join("logs/error.log")).unwrap_or_default();
            bail!("nginx does not start: {log}");
        }
        Ok(Self {
            process,
            directory,
            ports,
        })
    }
}

fn certificate(at: &Path) -> Result<()> {
    process::output(
        Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
            .args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=localhost", "-addext"])
            .args(["subjectAltName=DNS:localhost", "-addext"])
            .args(["basicConstraints=critical,CA:FALSE", "-keyout"])
            .arg(at.join("key.pem"))
            .arg("-out")
            .arg(at.join("certificate.pem")),
    )
    .map(|_| ())
}

/// Free now; nobody is kept from taking it.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
