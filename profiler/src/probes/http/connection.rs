//! A connection to the server, its phases, and one request after the other on
//! it.

use std::{
    future::{Future, poll_fn},
    mem,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Response,
    body::{Bytes, Incoming},
    client::conn::{http1, http2},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::Sleep};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use super::{
    outcome::{Failure, FailureKind},
    request::PreparedRequest,
    wire::{Stream, Traffic, Wire},
};

/// What is spoken once a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }

    /// As TLS negotiates it: RFC 7301 and RFC 9113, 3.2.
    pub fn alpn(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
        }
    }
}

/// How to get a connection.
#[derive(Clone)]
pub struct Dialer {
    pub addresses: Vec<SocketAddr>,
    pub tls: Option<(TlsConnector, ServerName<'static>)>,
    /// Of all of it: TCP and TLS.
    pub timeout: Duration,
}

/// How long the parts of a new connection took.
#[derive(Clone, Copy, Debug)]
pub struct Dialed {
    pub connect: Duration,
    pub tls: Option<Duration>,
}

impl Dialer {
    /// Takes the first address that answers.
    pub async fn dial(&self) -> Result<(Wire, Dialed), Failure> {
        tokio::time::timeout(self.timeout, self.dial_untimed())
            .await
            .unwrap_or_else(|_| {
                let limit = format!("no connection within {:?}", self.timeout);
                Err(Failure::new(FailureKind::ConnectTimeout, limit))
            })
    }

    async fn dial_untimed(&self) -> Result<(Wire, Dialed), Failure> {
        let started = Instant::now();
        let stream = TcpStream::connect(&self.addresses[..])
            .await
            .map_err(|error| Failure::of_connect(&error))?;
        // A request is one write; it must not wait for an acknowledgement.
        stream
            .set_nodelay(true)
            .map_err(|error| Failure::of_connect(&error))?;
        let connected = Instant::now();
        let (stream, tls) = match &self.tls {
            None => (Stream::Plain(stream), None),
            Some((connector, name)) => {
                let stream = connector
                    .connect(name.clone(), stream)
                    .await
                    .map_err(|error| Failure::of_tls(&error))?;
                (Stream::Tls(Box::new(stream)), Some(connected.elapsed()))
            }
        };
        let dialed = Dialed {
            connect: connected - started,
            tls,
        };
        let traffic = Rc::default();
        Ok((Wire { stream, traffic }, dialed))
    }
}

/// A complete answer.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    pub status: u16,
    pub sent: Instant,
    /// Over HTTP/2 when the head was there.
    pub first_byte: Instant,
    pub end: Instant,
    /// As it came, compressed or not, without the framing of chunks.
    pub body_bytes: u64,
    /// Of this request alone, head and framing included: received and sent.
    /// Not known over HTTP/2, where frames of several share a connection.
    pub wire_bytes: Option<(u64, u64)>,
}

/// What bounds a request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub timeout: Duration,
    /// Largest body that is read.
    pub body_bytes: u64,
}

/// A time limit that costs no timer for each request: one timer is set further
/// when it fires too early.
pub struct Watchdog {
    sleep: Pin<Box<Sleep>>,
    deadline: Instant,
}

impl Watchdog {
    pub fn new(limit: Duration) -> Self {
        let deadline = Instant::now() + limit;
        Self {
            sleep: Box::pin(tokio::time::sleep_until(deadline.into())),
            deadline,
        }
    }

    fn expired(&mut self, context: &mut Context<'_>) -> bool {
        while self.sleep.as_mut().poll(context).is_ready() {
            if Instant::now() >= self.deadline {
                return true;
            }
            self.sleep.as_mut().reset(self.deadline.into());
        }
        false
    }
}

type Body = Full<Bytes>;
type Http1Connection = http1::Connection<TokioIo<Wire>, Body>;

/// HTTP/1.1. The connection is driven by the task that uses it: no other has
/// to be woken for a request.
pub struct Http1 {
    sender: http1::SendRequest<Body>,
    connection: Option<Pin<Box<Http1Connection>>>,
    traffic: Rc<Traffic>,
    is_reused: bool,
}

impl Http1 {
    pub async fn new(wire: Wire) -> Result<Self, Failure> {
        let traffic = wire.traffic.clone();
        let (sender, connection) = http1::Builder::new()
            .handshake(TokioIo::new(wire))
            .await
            .map_err(|error| Failure::of_http(&error))?;
        Ok(Self {
            sender,
            connection: Some(Box::pin(connection)),
            traffic,
            is_reused: false,
        })
    }

    fn drive(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(context).is_ready()
        {
            self.connection = None;
        }
    }

    /// Whether another request can be sent, as far as the server has said.
    pub fn poll_usable(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        self.drive(context);
        if self.connection.is_none() {
            return Poll::Ready(false);
        }
        self.sender.poll_ready(context).map(|ready| ready.is_ok())
    }

    pub async fn exchange(
        &mut self,
        request: &PreparedRequest,
        limits: Limits,
        watchdog: &mut Watchdog,
    ) -> Result<Exchange, Failure> {
        let before = self.traffic.bytes();
        self.traffic.first_byte.set(None);
        let sent = Instant::now();
        watchdog.deadline = sent + limits.timeout;
        let response = self.sender.send_request(request.http1());
        let mut answer = pin!(receive(response, limits.body_bytes));
        // Only this task's driving brings an answer nearer, after which it looks:
        // nothing has to wake it for that.
        let mut unwoken = Context::from_waker(Waker::noop());
        let received = poll_fn(|context| {
            // What is read goes through channels between the two, which hold
            // one item each: the head, then the body.
            for _ in 0..2 {
                if let Poll::Ready(answer) = answer.as_mut().poll(&mut unwoken) {
                    return Poll::Ready(answer);
                }
                self.drive(context);
            }
            if let Poll::Ready(answer) = answer.as_mut().poll(&mut unwoken) {
                return Poll::Ready(answer);
            }
            if watchdog.expired(context) {
                return Poll::Ready(Err(late(limits)));
            }
            Poll::Pending
        })
        .await;
        let is_reused = mem::replace(&mut self.is_reused, true);
        let silent = self.traffic.first_byte.get().is_none();
        let received = received.map_err(|failure| Failure {
            on_reused_connection: is_reused
                && silent
                && matches!(failure.kind, FailureKind::ClosedEarly | FailureKind::Reset),
            ..failure
        })?;
        let end = Instant::now();
        let after = self.traffic.bytes();
        Ok(Exchange {
            status: received.status,
            sent,
            first_byte: self.traffic.first_byte.get().unwrap_or(received.at),
            end,
            body_bytes: received.body_bytes,
            wire_bytes: Some((after.0 - before.0, after.1 - before.1)),
        })
    }
}

/// HTTP/2: streams of one connection, each used by its own task.
#[derive(Clone)]
pub struct Http2 {
    sender: http2::SendRequest<Body>,
}

/// Of a stream and of a connection: large enough that the server never waits
/// for room on one host.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

impl Http2 {
    pub async fn new(wire: Wire) -> Result<Self, Failure> {
        let (sender, connection) = http2::Builder::new(Here)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(wire))
            .await
            .map_err(|error| Failure::of_http(&error))?;
        // Its error reaches every request that it breaks.
        tokio::task::spawn_local(async { drop(connection.await) });
        Ok(Self { sender })
    }

    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub async fn exchange(
        &mut self,
        request: &PreparedRequest,
        limits: Limits,
        watchdog: &mut Watchdog,
    ) -> Result<Exchange, Failure> {
        let sent = Instant::now();
        watchdog.deadline = sent + limits.timeout;
        let response = self.sender.send_request(request.http2());
        let mut answer = pin!(receive(response, limits.body_bytes));
        let received = poll_fn(|context| {
            if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                return Poll::Ready(answer);
            }
            if watchdog.expired(context) {
                return Poll::Ready(Err(late(limits)));
            }
            Poll::Pending
        })
        .await?;
        Ok(Exchange {
            status: received.status,
            sent,
            first_byte: received.at,
            end: Instant::now(),
            body_bytes: received.body_bytes,
            wire_bytes: None,
        })
    }
}

struct Received {
    status: u16,
    /// When the head was there.
    at: Instant,
    body_bytes: u64,
}

/// Reads an answer and keeps nothing of its body.
async fn receive(
    response: impl Future<Output = hyper::Result<Response<Incoming>>>,
    limit: u64,
) -> Result<Received, Failure> {
    let response = response.await.map_err(|error| Failure::of_http(&error))?;
    let at = Instant::now();
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut body_bytes = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::of_http(&error))?;
        body_bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
        if body_bytes > limit {
            let message = format!("a body of more than {limit} bytes");
            return Err(Failure::new(FailureKind::BodyTooLarge, message));
        }
    }
    Ok(Received {
        status,
        at,
        body_bytes,
    })
}

fn late(limits: Limits) -> Failure {
    let message = format!("no complete response within {:?}", limits.timeout);
    Failure::new(FailureKind::Timeout, message)
}

/// Runs the tasks of a connection on the thread that it is on.
#[derive(Clone, Copy)]
pub struct Here;

impl<F> hyper::rt::Executor<F> for Here
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}
