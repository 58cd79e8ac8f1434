//! A connection that takes a bounded time to be made, and a bounded number of
//! bytes from the other side.

use std::{
    io,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::address::Address;

/// Most that a server may send in answer to one question, bytes.
pub const LARGEST_ANSWER: u64 = 64 << 20;

/// Bytes that may still be received.
#[derive(Clone)]
pub struct Allowance(Arc<AtomicU64>);

impl Allowance {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(LARGEST_ANSWER)))
    }

    /// A new question may have a new answer.
    pub fn renew(&self) {
        self.0.store(LARGEST_ANSWER, Ordering::Relaxed);
    }
}

trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

pub struct Stream {
    transport: Box<dyn Transport>,
    allowance: Allowance,
}

impl Stream {
    /// # Errors
    /// The operating system's, or that it took longer than `limit`.
    pub async fn connect(address: &Address, limit: Duration) -> io::Result<Self> {
        let connected = timeout(limit, async {
            Ok::<_, io::Error>(match address {
                Address::Tcp { host, port } => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    stream.set_nodelay(true)?;
                    Box::new(stream) as Box<dyn Transport>
                }
                Address::Unix(path) => Box::new(UnixStream::connect(Path::new(path)).await?),
            })
        });
        let transport = connected.await.map_err(|_| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no connection within {} s", limit.as_secs_f64()),
            )
        })??;
        Ok(Self {
            transport,
            allowance: Allowance::new(),
        })
    }

    pub fn allowance(&self) -> Allowance {
        self.allowance.clone()
    }

    /// The same connection inside of another protocol.
    pub fn wrapped<T>(transport: T, allowance: Allowance) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self {
            transport: Box::new(transport),
            allowance,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.transport).poll_read(context, buffer);
        let received = (buffer.filled().len() - before) as u64;
        let left = self.allowance.0.load(Ordering::Relaxed);
        if received > left {
            return Poll::Ready(Err(io::Error::other(format!(
                "the server sent more than {} MiB in one answer",
                LARGEST_ANSWER >> 20
            ))));
        }
        self.allowance.0.store(left - received, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(context)
    }
}
