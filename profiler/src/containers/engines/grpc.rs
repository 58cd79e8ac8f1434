//! One gRPC call over a unix socket, by hand.
//!
//! The container runtime interface needs two calls without arguments and
//! nothing of what a gRPC library is for. HTTP/2 (RFC 9113) with a fresh
//! connection for each call, headers in HPACK's literal form (RFC 7541), and
//! response headers that are not read: without a message there is no answer.

use std::{io, path::Path};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

/// An answer that is longer than this is refused. A container takes about a
/// kilobyte.
const MAX_MESSAGE: usize = 16 << 20;
/// The largest frame we allow by not saying otherwise: RFC 9113, 6.5.2.
const MAX_FRAME: usize = 16 << 10;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
/// Also ACK of SETTINGS and PING.
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// Sends `request` to `method` (`/package.Service/Method`) and returns the
/// answer's message. The caller sets the time limit.
pub async fn call(socket: &Path, method: &str, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket).await?;

    let mut bytes = PREFACE.to_vec();
    // ENABLE_PUSH = 0, INITIAL_WINDOW_SIZE = 2^31 - 1: the answer is bounded
    // by us, not by flow control.
    frame(
        &mut bytes,
        SETTINGS,
        0,
        0,
        &[0, 2, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff],
    );
    frame(
        &mut bytes,
        WINDOW_UPDATE,
        0,
        0,
        &(0x7fff_ffffu32 - 65_535).to_be_bytes(),
    );
    frame(&mut bytes, HEADERS, END_HEADERS, 1, &headers(method));
    frame(&mut bytes, DATA, END_STREAM, 1, &message(request));
    stream.write_all(&bytes).await?;

    let mut body = Vec::new();
    loop {
        let (kind, flags, payload) = read_frame(&mut stream).await?;
        match kind {
            SETTINGS if flags & END_STREAM == 0 => {
                let mut reply = Vec::new();
                frame(&mut reply, SETTINGS, END_STREAM, 0, &[]);
                stream.write_all(&reply).await?;
            }
            PING if flags & END_STREAM == 0 => {
                let mut reply = Vec::new();
                frame(&mut reply, PING, END_STREAM, 0, &payload);
                stream.write_all(&reply).await?;
            }
            DATA => {
                let data = if flags & PADDED != 0 {
                    let padding = payload.first().map_or(0, |&length| length as usize);
                    payload
                        .get(1..payload.len().saturating_sub(padding))
                        .unwrap_or_default()
                } else {
                    &payload
                };
                if body.len() + data.len() > MAX_MESSAGE {
                    return Err(io::Error::other("the answer is too long"));
                }
                body.extend_from_slice(data);
            }
            RST_STREAM | GOAWAY => return Err(io::Error::other("the call was refused")),
            _ => (),
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            break;
        }
    }
    // Length-prefixed message: a byte that says whether it is compressed, and
    // four bytes of length.
    match body.split_at_checked(5) {
        Some((&[0, a, b, c, d], rest)) => rest
            .get(..u32::from_be_bytes([a, b, c, d]) as usize)
            .map(<[u8]>::to_vec)
            .ok_or_else(|| io::Error::other("the answer is incomplete")),
        _ => Err(io::Error::other("the call was not answered")),
    }
}

pub(super) fn message(bytes: &[u8]) -> Vec<u8> {
    let mut message = vec![0];
    message.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    message.extend_from_slice(bytes);
    message
}

pub(super) fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

pub(super) async fn read_frame(stream: &mut UnixStream) -> io::Result<(u8, u8, Vec<u8>)> {
    let mut header = [0; 9];
    stream.read_exact(&mut header).await?;
    let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::other("not HTTP/2"));
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    Ok((header[3], header[4], payload))
}

fn headers(method: &str) -> Vec<u8> {
    // Indexed: `:method: POST` and `:scheme: http`.
    let mut block = vec![0x83, 0x86];
    let mut literal = |name: &[u8], value: &str| {
        block.extend_from_slice(name);
        // All our values are shorter than the 127 that fit one byte.
        block.push(value.len().min(126) as u8);
        block.extend_from_slice(&value.as_bytes()[..value.len().min(126)]);
    };
    // Literals without indexing; the number is the name in the static table.
    literal(&[0x04], method);
    literal(&[0x01], "localhost");
    literal(&[0x0f, 0x10], "application/grpc");
    literal(&[0x00, 2, b't', b'e'], "trailers");
    block
}
