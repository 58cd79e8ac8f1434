//! What the kernel side counted of a connection's requests and answers.

use profiler_ebpf::{Connection as Counted, Direction};

use super::Socket;
use crate::profile::Role;

/// A request is not made of so many messages, when no answer ever came: these go
/// one way only, as a log's.
const ONE_WAY_MESSAGES: u64 = 16;

/// The way that requests go, seen from an end of this role.
pub fn of_requests(role: Role) -> Direction {
    match role {
        Role::Server => Direction::Received,
        Role::Client | Role::Peer => Direction::Sent,
    }
}

/// Whether no answer was ever seen to what must have been more than a request.
pub fn is_one_way(counted: &Counted, role: Role) -> bool {
    let requests = of_requests(role) as usize;
    counted.exchanges[requests].count == 0
        && counted.traffic[requests].messages > ONE_WAY_MESSAGES
        && counted.traffic[1 - requests].messages == 0
}

/// When the request began that has no answer yet.
pub fn outstanding_since(counted: &Counted, role: Role) -> Option<u64> {
    let is_outstanding = counted.turned != 0 && counted.last_direction == of_requests(role) as u32;
    (is_outstanding && !is_one_way(counted, role)).then_some(counted.turned)
}

/// connect(2) was called, and has not succeeded.
pub fn is_connecting(counted: &Counted) -> bool {
    counted.connecting != 0 && counted.established == 0
}

/// Adds what was counted of a socket after its entry had been taken out, as if it
/// never had been.
pub fn merge(known: &mut Counted, more: &Counted) {
    for (sum, more) in known.exchanges.iter_mut().zip(&more.exchanges) {
        sum.count += more.count;
        sum.ns += more.ns;
        sum.longest_ns = sum.longest_ns.max(more.longest_ns);
    }
    if more.turned == 0 {
        return;
    }
    let goes_on = known.turned != 0 && known.last_direction == more.first_direction;
    let turned_since = more.exchanges.iter().any(|sum| sum.count > 0);
    let ends = known.turned != 0 && (!goes_on || turned_since);
    if known.turned == 0 {
        known.first_direction = more.first_direction;
    } else if ends && let Some(sum) = known.exchanges.get_mut(known.last_direction as usize) {
        let lasted = more.first.saturating_sub(known.turned);
        // What goes on is counted already, from the first message thereafter.
        sum.count += u64::from(!goes_on);
        sum.ns += lasted;
        sum.longest_ns = sum.longest_ns.max(lasted);
    }
    if !goes_on || turned_since {
        known.turned = more.turned;
    }
    known.last_direction = more.last_direction;
}

/// From when until when, `CLOCK_MONOTONIC` nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    pub from: u64,
    pub until: u64,
}

impl Socket {
    pub fn is_one_way(&self) -> bool {
        is_one_way(&self.counted, self.ends.role)
    }

    /// How long a request was outstanding while it was `open`. `existed` says that
    /// it was there before the recording: when it was answered first of all then,
    /// the request was older.
    pub fn in_use_ns(&self, open: Interval, existed: bool) -> u64 {
        let counted = &self.counted;
        if self.is_one_way() {
            return 0;
        }
        let requests = of_requests(self.ends.role);
        let answered = &counted.exchanges[requests as usize];
        let before = if existed && answered.count > 0 && counted.first_direction != requests as u32
        {
            counted.first.saturating_sub(open.from)
        } else {
            0
        };
        let after = outstanding_since(counted, self.ends.role)
            .map_or(0, |since| open.until.saturating_sub(since));
        before + answered.ns + after
    }
}

#[cfg(test)]
mod tests {
    use profiler_ebpf::Exchanges;

    use super::*;

    const SENT: u32 = Direction::Sent as u32;
    const RECEIVED: u32 = Direction::Received as u32;

    fn counted(first: u32, last: u32, begin: u64, turned: u64) -> Counted {
        Counted {
            first: begin,
            first_direction: first,
            last_direction: last,
            turned,
            ..Counted::NEW
        }
    }

    fn exchanges(count: u64, ns: u64) -> Exchanges {
        Exchanges {
            count,
            ns,
            longest_ns: ns,
        }
    }

    #[test]
    fn an_answer_after_the_entry_was_taken_out() {
        let mut known = counted(SENT, SENT, 100, 100);
        merge(&mut known, &counted(RECEIVED, RECEIVED, 150, 150));
        assert_eq!(known.exchanges[0], exchanges(1, 50));
        assert_eq!(outstanding_since(&known, Role::Client), None);
        assert_eq!(outstanding_since(&known, Role::Server), Some(150));
    }

    #[test]
    fn a_request_goes_on_after_the_entry_was_taken_out() {
        let mut known = counted(SENT, SENT, 100, 100);
        merge(&mut known, &counted(SENT, SENT, 150, 150));
        assert_eq!(outstanding_since(&known, Role::Client), Some(100));
        let mut more = counted(SENT, SENT, 160, 190);
        more.exchanges[0] = exchanges(1, 20);
        merge(&mut known, &more);
        assert_eq!(outstanding_since(&known, Role::Client), Some(190));
        assert_eq!((known.exchanges[0].count, known.exchanges[0].ns), (1, 80));
    }

    #[test]
    fn a_log_has_no_requests() {
        let mut log = counted(SENT, SENT, 1, 1);
        log.traffic[0].messages = 2;
        assert_eq!(outstanding_since(&log, Role::Client), Some(1));
        log.traffic[0].messages = 1000;
        assert_eq!(outstanding_since(&log, Role::Client), None);
        log.traffic[1].messages = 1;
        assert_eq!(outstanding_since(&log, Role::Client), Some(1));
    }
}
