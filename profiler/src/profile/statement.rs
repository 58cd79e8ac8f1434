//! Phases of PostgreSQL's statements, told by the probes in its server.

use serde::{Deserialize, Serialize};

use super::ContainerId;

/// All that was followed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statements {
    pub servers: Vec<StatementServer>,
    /// By server, those that took most time first.
    pub uses: Vec<StatementUse>,
    /// Statements, or their texts, that were lost since the event ring was full.
    pub lost: u64,
    /// Reports of backends that the table of them had no room for.
    pub backends_lost: u64,
}

/// A server: the parent of its backends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementServer {
    /// On the host.
    pub pid: u32,
    pub container: ContainerId,
}

/// What the backends of a server did with a statement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementUse {
    /// Place in [`Statements::servers`].
    pub server: u32,
    /// Without literals. Several statements that were sent as one text are one.
    pub text: String,
    /// Only the begin of the text is known, and it stands for all with that begin.
    pub cut: bool,
    pub parse: PhaseUse,
    /// With the analysis of what was parsed.
    pub rewrite: PhaseUse,
    pub plan: PhaseUse,
    /// Its count is that of executions.
    pub execute: PhaseUse,
    /// Waits for heavyweight locks, which are within the phases.
    pub lock_waits: u64,
    pub lock_ns: u64,
    pub longest_lock_ns: u64,
    /// Phases that an error or the end of the backend left, and their time, which is
    /// not in the phases.
    pub failed: u64,
    pub failed_ns: u64,
    /// Phases that were not over at the end, and for how long of the recording they
    /// had been there; not in the phases either.
    pub in_progress: u64,
    pub in_progress_ns: u64,
    /// From when backends said that they were at it until they were at another, or
    /// idle: with what is in no phase, as the commit after the last one, and with
    /// waits for the client's next message.
    pub elapsed_ns: u64,
}

/// A phase, of the statement itself. Phases of one execution do not overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseUse {
    /// How often it was gone through.
    pub count: u64,
    pub ns: u64,
    pub longest_ns: u64,
    /// The same phase of other statements within, those of functions for one: their
    /// time is in the phases of this one too.
    pub nested: u64,
    pub nested_ns: u64,
}

impl PhaseUse {
    pub fn mean_ns(&self) -> Option<u64> {
        self.ns.checked_div(self.count)
    }

    pub fn add(&mut self, other: &Self) {
        // A recording comes from a file that anyone may have written.
        let sum = |mine: &mut u64, more: u64| *mine = mine.saturating_add(more);
        sum(&mut self.count, other.count);
        sum(&mut self.ns, other.ns);
        sum(&mut self.nested, other.nested);
        sum(&mut self.nested_ns, other.nested_ns);
        self.longest_ns = self.longest_ns.max(other.longest_ns);
    }
}

impl StatementUse {
    /// Names and uses, in the order in which a statement goes through them.
    pub fn phases(&self) -> [(&'static str, &PhaseUse); 4] {
        [
            ("parse", &self.parse),
            ("rewrite", &self.rewrite),
            ("plan", &self.plan),
            ("execute", &self.execute),
        ]
    }

    /// Time in the phases: what is nested is in it once.
    pub fn ns(&self) -> u64 {
        let all = self.phases().map(|(_, phase)| phase.ns);
        all.into_iter().fold(0, u64::saturating_add)
    }

    /// By what the largest is found: with what did not end well.
    pub fn weight(&self) -> u64 {
        self.ns()
            .saturating_add(self.failed_ns)
            .saturating_add(self.in_progress_ns)
    }

    /// Adds what another backend did with it.
    pub fn add(&mut self, other: &Self) {
        let sum = |mine: &mut u64, more: u64| *mine = mine.saturating_add(more);
        self.parse.add(&other.parse);
        self.rewrite.add(&other.rewrite);
        self.plan.add(&other.plan);
        self.execute.add(&other.execute);
        sum(&mut self.lock_waits, other.lock_waits);
        sum(&mut self.lock_ns, other.lock_ns);
        sum(&mut self.failed, other.failed);
        sum(&mut self.failed_ns, other.failed_ns);
        sum(&mut self.in_progress, other.in_progress);
        sum(&mut self.in_progress_ns, other.in_progress_ns);
        sum(&mut self.elapsed_ns, other.elapsed_ns);
        self.longest_lock_ns = self.longest_lock_ns.max(other.longest_lock_ns);
    }
}
