//! Samples of what the sessions of a server do and wait for.

use std::collections::BTreeMap;

use serde::Serialize;

/// Adds up samples. `Wait` is what an active session waits for.
pub struct Samples<Wait> {
    taken: u64,
    failed: u64,
    failure: Option<String>,
    cut: u64,
    states: BTreeMap<String, (u64, u64)>,
    waits: BTreeMap<Wait, u64>,
    statements: BTreeMap<String, BTreeMap<Wait, u64>>,
}

/// A session in a sample.
pub struct Seen<Wait> {
    pub state: String,
    /// Its statement and what that waits for, of an active one.
    pub active: Option<(String, Wait)>,
}

/// How it was sampled, and the states that sessions were in.
#[derive(Clone, Debug, Serialize)]
pub struct Sampled {
    pub samples: u64,
    /// Samples that failed, and why the last of them did.
    pub failed_samples: u64,
    pub failure: Option<String>,
    /// Samples that were cut at the limit of sessions.
    pub cut_samples: u64,
    pub states: Vec<StateRow>,
}

#[derive(Clone, Debug, Serialize)]
pub struct StateRow {
    pub state: String,
    pub average_sessions: f64,
    pub most_sessions: u64,
}

/// How many sessions were active so.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub average_sessions: f64,
    /// Of the active sessions.
    pub percent: f64,
}

/// What the samples are in the end, the largest load first.
pub struct Summary<Wait> {
    pub sampled: Sampled,
    pub waits: Vec<(Wait, Load)>,
    /// With how often each was seen waiting for what.
    pub statements: Vec<(String, BTreeMap<Wait, u64>, Load)>,
}

impl<Wait> Default for Samples<Wait> {
    fn default() -> Self {
        Self {
            taken: 0,
            failed: 0,
            failure: None,
            cut: 0,
            states: BTreeMap::new(),
            waits: BTreeMap::new(),
            statements: BTreeMap::new(),
        }
    }
}

impl<Wait: Clone + Ord> Samples<Wait> {
    pub fn fail(&mut self, why: String) {
        self.failed += 1;
        self.failure = Some(why);
    }

    /// `cut`: there were more sessions than a sample reads.
    pub fn add(&mut self, sessions: impl IntoIterator<Item = Seen<Wait>>, cut: bool) {
        self.taken += 1;
        self.cut += u64::from(cut);
        let mut states: BTreeMap<String, u64> = BTreeMap::new();
        for Seen { state, active } in sessions {
            if let Some((statement, wait)) = active {
                let waits = self.statements.entry(statement).or_default();
                *waits.entry(wait.clone()).or_default() += 1;
                *self.waits.entry(wait).or_default() += 1;
            }
            *states.entry(state).or_default() += 1;
        }
        for (state, count) in states {
            let (sum, most) = self.states.entry(state).or_default();
            *sum += count;
            *most = count.max(*most);
        }
    }

    /// # Errors
    /// Why there is no sample at all.
    pub fn finish(self) -> Result<Summary<Wait>, String> {
        if self.taken == 0 {
            return Err(self
                .failure
                .unwrap_or_else(|| "no sample was taken".to_owned()));
        }
        let average = |sum: u64| sum as f64 / self.taken as f64;
        let active: u64 = self.waits.values().sum();
        let load = |count: u64| Load {
            average_sessions: average(count),
            percent: count as f64 * 100.0 / active.max(1) as f64,
        };
        let waits = self.waits.into_iter();
        let mut waits: Vec<_> = waits.map(|(wait, count)| (wait, load(count))).collect();
        waits.sort_by(|(_, a), (_, b)| b.average_sessions.total_cmp(&a.average_sessions));
        let mut statements: Vec<_> = self
            .statements
            .into_iter()
            .map(|(statement, waits)| {
                let load = load(waits.values().sum());
                (statement, waits, load)
            })
            .collect();
        statements.sort_by(|(.., a), (.., b)| b.average_sessions.total_cmp(&a.average_sessions));
        let states = self.states.into_iter();
        Ok(Summary {
            sampled: Sampled {
                samples: self.taken,
                failed_samples: self.failed,
                failure: self.failure,
                cut_samples: self.cut,
                states: states
                    .map(|(state, (sum, most_sessions))| StateRow {
                        state,
                        average_sessions: average(sum),
                        most_sessions,
                    })
                    .collect(),
            },
            waits,
            statements,
        })
    }
}
