//! What threads wait for while they have work.

use super::{Finding, FindingKind, beyond, places::Places, seconds, unneeded::Unneeded};
use crate::{
    profile::{Activity, ActivityClass, Recording},
    views::container_accounts,
};

/// Parts of the time of a container's threads, without waiting for work, from
/// which on something is worth a sentence.
const WAITING: f64 = 0.2;
const WANTING_A_CPU: f64 = 0.1;
const THROTTLED: f64 = 0.05;
const STOLEN: f64 = 0.05;

pub fn waits(recording: &Recording, places: &Places<'_>, least: u64, found: &mut Vec<Finding>) {
    let unneeded = Unneeded::new(recording);
    for mut row in container_accounts(recording) {
        let no_cost = unneeded.at_locks(row.id);
        for spent in &mut row.spent {
            if spent.activity == Activity::Lock {
                spent.ns = spent.ns.saturating_sub(no_cost);
            }
        }
        let busy = row.busy_ns().saturating_sub(no_cost);
        let part = |ns: u64| ns as f64 / busy.max(1) as f64;
        for spent in &row.spent {
            let (kind, threshold) = match (spent.activity, spent.activity.class()) {
                (Activity::Throttled, _) => (FindingKind::Throttled, THROTTLED),
                (Activity::Stolen, _) => (FindingKind::Stolen, STOLEN),
                (_, ActivityClass::RunQueue) => (FindingKind::WantsCpu, WANTING_A_CPU),
                // Nobody says that a sleep is too long.
                (Activity::Sleep | Activity::Stopped | Activity::Child, _) => continue,
                (_, ActivityClass::Blocked) => (FindingKind::Waiting, WAITING),
                _ => continue,
            };
            // Who asks nobody waits for requests.
            if spent.activity == Activity::NetworkRead && beyond::only_serves(recording, row.id) {
                continue;
            }
            if part(spent.ns) < threshold || spent.ns < least {
                continue;
            }
            let percent = 100.0 * part(spent.ns);
            let what = match kind {
                FindingKind::Throttled => "stand still, since its CPU quota is used up".to_owned(),
                FindingKind::Stolen => {
                    "could run, but the hypervisor gave their CPU to somebody else".to_owned()
                }
                FindingKind::WantsCpu => "wait for a CPU while others run".to_owned(),
                _ => format!("wait: {}", spent.activity.title()),
            };
            let place = places.of_wait(row.id, spent.activity);
            // Nothing to look at, and it may be a wait for work as well.
            if spent.activity == Activity::Lock && place.is_none() {
                continue;
            }
            found.push(Finding {
                kind,
                container: row.id,
                process: None,
                text: format!(
                    "{percent:.0} % of the time in which its threads have work, they {what}{}{}",
                    place.map_or_else(String::new, |place| format!(", most in {place}")),
                    beyond::of_wait(recording, row.id, spent.activity)
                        .map_or_else(String::new, |what| format!("; {what}"))
                ),
                evidence: format!(
                    "{} in {}, of {} in which {} had work",
                    seconds(spent.ns),
                    match spent.intervals {
                        0 => "waits that were not over at the end".to_owned(),
                        1 => "1 wait".to_owned(),
                        many => format!("{many} waits"),
                    },
                    seconds(busy),
                    match row.threads {
                        1 => "1 thread".to_owned(),
                        many => format!("{many} threads"),
                    }
                ),
                cost_ns: spent.ns,
            });
        }
    }
}
