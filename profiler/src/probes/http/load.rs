//! How much load, in which pattern, and for how long.

use std::time::Duration;

use super::connection::Limits;

/// When the next request is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pattern {
    /// When the one before is answered: as fast as the server is.
    Closed,
    /// At this rate, a second, whatever the server does.
    Open { rate: f64 },
}

/// The load on one endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    pub pattern: Pattern,
    /// Requests at the same time, at most.
    pub concurrent: usize,
    /// Requests at the same time on a connection of HTTP/2.
    pub streams: usize,
    pub threads: usize,
    /// Of the measured part.
    pub duration: Option<Duration>,
    /// To measure.
    pub requests: Option<u64>,
    pub warmup: Duration,
    pub timeout: Duration,
    /// Largest body that is read.
    pub body_bytes: u64,
}

/// `--load`: how much, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Light,
    Normal,
    Heavy,
}

impl Level {
    pub const ALL: [Self; 3] = [Self::Light, Self::Normal, Self::Heavy];

    pub fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Normal => "normal",
            Self::Heavy => "heavy",
        }
    }

    pub fn description(self) -> &'static str {
        match self {
            Self::Light => "10 requests a second, 2 at the same time at most",
            Self::Normal => "100 requests a second, 10 at the same time at most",
            Self::Heavy => "as many as the server answers, 50 at the same time",
        }
    }

    /// The pattern, and how many at the same time.
    pub fn load(self) -> (Pattern, usize) {
        match self {
            Self::Light => (Pattern::Open { rate: 10.0 }, 2),
            Self::Normal => (Pattern::Open { rate: 100.0 }, 10),
            Self::Heavy => (Pattern::Closed, 50),
        }
    }
}

impl Load {
    pub fn limits(&self) -> Limits {
        Limits {
            timeout: self.timeout,
            body_bytes: self.body_bytes,
        }
    }

    /// Requests of an open loop before the measured part.
    pub fn warmup_slots(&self, rate: f64) -> u64 {
        (self.warmup.as_secs_f64() * rate).ceil() as u64
    }

    /// Requests of an open loop, warm-up included.
    pub fn slots(&self, rate: f64) -> u64 {
        let of_duration = self
            .duration
            .map(|duration| (duration.as_secs_f64() * rate).ceil() as u64);
        let measured = match (of_duration, self.requests) {
            (Some(one), Some(other)) => one.min(other),
            (one, other) => one.or(other).unwrap_or(0),
        };
        self.warmup_slots(rate).saturating_add(measured)
    }
}
