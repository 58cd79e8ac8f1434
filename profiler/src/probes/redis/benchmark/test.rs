//! What is sent: the tests of redis-benchmark.

use crate::probes::redis::resp;

/// All keys that are written begin with it, and are removed afterwards.
pub const PREFIX: &str = "profiler:benchmark:";
/// Where the random number of a key goes, as in redis-benchmark.
pub const NUMBER: &str = "__rand_int__";

/// The tests, by redis-benchmark's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Test {
    Ping,
    Set,
    Get,
    Incr,
    Lpush,
    Rpush,
    Lpop,
    Rpop,
    Sadd,
    Hset,
    Spop,
    Zadd,
    Zpopmin,
    Lrange100,
    Mset,
}

impl Test {
    pub const ALL: [Self; 15] = [
        Self::Ping,
        Self::Set,
        Self::Get,
        Self::Incr,
        Self::Lpush,
        Self::Rpush,
        Self::Lpop,
        Self::Rpop,
        Self::Sadd,
        Self::Hset,
        Self::Spop,
        Self::Zadd,
        Self::Zpopmin,
        Self::Lrange100,
        Self::Mset,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ping => "PING",
            Self::Set => "SET",
            Self::Get => "GET",
            Self::Incr => "INCR",
            Self::Lpush => "LPUSH",
            Self::Rpush => "RPUSH",
            Self::Lpop => "LPOP",
            Self::Rpop => "RPOP",
            Self::Sadd => "SADD",
            Self::Hset => "HSET",
            Self::Spop => "SPOP",
            Self::Zadd => "ZADD",
            Self::Zpopmin => "ZPOPMIN",
            Self::Lrange100 => "LRANGE_100 (first 100 elements)",
            Self::Mset => "MSET (10 keys)",
        }
    }

    /// Its command, with a place for the key's number.
    pub fn command(self, data: &[u8]) -> Vec<u8> {
        let key = |kind: &str| format!("{PREFIX}{kind}").into_bytes();
        let (string, counter, list) = (
            key(&format!("key:{NUMBER}")),
            key(&format!("counter:{NUMBER}")),
            key("list"),
        );
        let (set, hash, zset) = (key("set"), key(&format!("hash:{NUMBER}")), key("zset"));
        let element = format!("element:{NUMBER}").into_bytes();
        match self {
            Self::Ping => resp::command(&[b"PING"]),
            Self::Set => resp::command(&[b"SET", &string, data]),
            Self::Get => resp::command(&[b"GET", &string]),
            Self::Incr => resp::command(&[b"INCR", &counter]),
            Self::Lpush => resp::command(&[b"LPUSH", &list, data]),
            Self::Rpush => resp::command(&[b"RPUSH", &list, data]),
            Self::Lpop => resp::command(&[b"LPOP", &list]),
            Self::Rpop => resp::command(&[b"RPOP", &list]),
            Self::Sadd => resp::command(&[b"SADD", &set, &element]),
            Self::Hset => resp::command(&[b"HSET", &hash, &element, data]),
            Self::Spop => resp::command(&[b"SPOP", &set]),
            Self::Zadd => resp::command(&[b"ZADD", &zset, b"0", &element]),
            Self::Zpopmin => resp::command(&[b"ZPOPMIN", &zset]),
            Self::Lrange100 => resp::command(&[b"LRANGE", &list, b"0", b"99"]),
            Self::Mset => {
                let mut words: Vec<&[u8]> = vec![b"MSET"];
                for _ in 0..10 {
                    words.extend([string.as_slice(), data]);
                }
                resp::command(&words)
            }
        }
    }
}
