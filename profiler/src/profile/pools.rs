//! How the connections between a process and a service are used.

use serde::{Deserialize, Serialize};

use super::{Peer, ProcessId, Protocol, Role};

/// Connections of a process: to one service, or from the clients of one that it
/// offers. Only such that carry streams and have a client and a server.
///
/// A connection is in use while a request on it is outstanding. A request begins
/// with the client's first message after the server's last one, and is answered by
/// the server's next message: seen from a client, from when the kernel took the
/// request over until the process had read the first of the answer; from a server,
/// from when the process had read of the request until the kernel took over the
/// first of the answer. What is sent ahead of answers is one request with what it
/// follows. What both ends do for themselves, as a TLS handshake, counts too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    pub process: ProcessId,
    pub protocol: Protocol,
    /// [`Role::Client`]: the process is the client, the connections are its pool.
    pub role: Role,
    /// Address and port, or path, at which the server listens.
    pub service: String,
    /// One of the other ends.
    pub peer: Option<Peer>,
    /// That were used or made during the recording, …
    pub connections: u64,
    /// … of them made, and closed. `None`: not known of these (AF_UNIX).
    pub opened: Option<u64>,
    pub closed: Option<u64>,
    /// At the end, beside those: there, but nothing went through them, free or
    /// waiting for an answer since before the recording. `None` as above.
    pub unused: Option<u64>,
    /// Requests that were answered, their durations in sum, and the longest.
    pub requests: u64,
    pub answered_ns: u64,
    pub longest_ns: u64,
    /// Sum over the connections of the time in use: with what was outstanding when
    /// the recording began or ended, on connections that something went through.
    pub in_use_ns: u64,
    /// Sum over the connections of the time that they were open, in the recording.
    pub open_ns: u64,
    /// Messages that carried the requests.
    pub request_messages: u64,
    /// Connections that only ever carried messages one way, many of them: their
    /// time is none of use.
    pub one_way: u64,
    pub samples: PoolSamples,
}

/// What was looked at now and then: sums over the samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSamples {
    /// Those in which it had a connection.
    pub count: u64,
    pub connections: u64,
    pub most_connections: u64,
    pub in_use: u64,
    pub most_in_use: u64,
    /// Samples in which all its connections were in use, …
    pub saturated: u64,
    /// … and the requests that its process had from clients then and had not
    /// answered: at most one for each connection of a client.
    pub requests_when_saturated: u64,
}

impl PoolSamples {
    pub fn add(&mut self, other: Self) {
        // A recording comes from a file that anyone may have written.
        let sum = |mine: &mut u64, more: u64| *mine = mine.saturating_add(more);
        sum(&mut self.count, other.count);
        sum(&mut self.connections, other.connections);
        sum(&mut self.in_use, other.in_use);
        sum(&mut self.saturated, other.saturated);
        sum(
            &mut self.requests_when_saturated,
            other.requests_when_saturated,
        );
        self.most_connections = self.most_connections.max(other.most_connections);
        self.most_in_use = self.most_in_use.max(other.most_in_use);
    }
}

impl Pool {
    /// Part of the time of its open connections in which they were in use.
    pub fn in_use(&self) -> Option<f64> {
        part(self.in_use_ns, self.open_ns)
    }

    /// Mean duration of the requests that were answered.
    pub fn mean_ns(&self) -> Option<u64> {
        self.answered_ns.checked_div(self.requests)
    }

    /// Part of the samples in which all its connections were in use. Not known
    /// while there are some that nothing went through: they may be free, or wait
    /// for an answer since before the recording.
    pub fn saturated(&self) -> Option<f64> {
        if self.unused.is_some_and(|unused| unused > 0) {
            return None;
        }
        part(self.samples.saturated, self.samples.count)
    }

    /// Mean number of requests that its process had in progress while all its
    /// connections were in use.
    pub fn requests_when_saturated(&self) -> Option<f64> {
        part(self.samples.requests_when_saturated, self.samples.saturated)
    }

    /// Mean number of connections in a sample.
    pub fn mean_connections(&self) -> Option<f64> {
        part(self.samples.connections, self.samples.count)
    }

    /// Mean number of those in use.
    pub fn mean_sampled_in_use(&self) -> Option<f64> {
        part(self.samples.in_use, self.samples.count)
    }
}

fn part(of: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| of as f64 / all as f64)
}
