//! Whether targets are met.

use std::collections::BTreeMap;

use super::{
    super::{
        conditions::COUNTED,
        input::Round,
        measure::{Group, Key},
        quantity::{Dimension, Quantity},
        statistics,
        verdict::CONFIDENCE,
    },
    Limit, Target,
};
use crate::profile::Source;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Pass,
    Fail,
    /// Not measured, or not surely enough. Never a pass.
    Unknown,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        }
    }
}

/// A target and how it is met.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    pub target: Target,
    pub status: Status,
    /// What the rounds have in the middle, where anything was measured.
    pub measured: Option<Quantity>,
    pub rounds: usize,
    /// What was measured, or why the status is not known.
    pub reason: String,
}

impl Checked {
    /// The limit as it was understood: `≤ 100 ms`.
    pub fn limit(&self) -> String {
        match self.target.limit {
            Some((limit, quantity)) => format!("{} {quantity}", limit.sign()),
            None => self.target.text.clone(),
        }
    }
}

/// What a name of the targets file is called in the metrics: `context_create` is
/// `POST /api/context`.
pub type Aliases = BTreeMap<String, String>;

/// A metric that a target means.
struct Found {
    name: String,
    dimension: Dimension,
    /// Of each round, with the events it is made of.
    values: Vec<(f64, Option<u64>)>,
}

/// Checks every target against the rounds of one build.
pub fn check(targets: &[Target], rounds: &[Round], aliases: &Aliases) -> Vec<Checked> {
    let of = |target: &Target| one(target, rounds, aliases);
    targets.iter().map(of).collect()
}

fn one(target: &Target, rounds: &[Round], aliases: &Aliases) -> Checked {
    let unknown = |reason: String| Checked {
        target: target.clone(),
        status: Status::Unknown,
        measured: None,
        rounds: 0,
        reason,
    };
    let Some((limit, wanted)) = target.limit else {
        return unknown(format!("`{}` is no value with a unit", target.text));
    };
    let found = match find(target, rounds, aliases) {
        Ok(found) => found,
        Err(reason) => return unknown(reason),
    };
    if found.dimension != wanted.dimension {
        return unknown(format!(
            "`{}` was measured in {}, the target is in {}",
            found.name,
            unit(found.dimension),
            unit(wanted.dimension)
        ));
    }
    let values: Vec<f64> = found.values.iter().map(|(value, _)| *value).collect();
    let (status, reason) = match too_few(&found) {
        Some(reason) => (Status::Unknown, reason),
        None => status(limit, wanted, &values),
    };
    Checked {
        target: target.clone(),
        status,
        measured: statistics::center(&values).map(|value| wanted.with(value)),
        rounds: values.len(),
        reason: match reason.is_empty() {
            true => found.name,
            false => format!("{}: {reason}", found.name),
        },
    }
}

fn unit(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Number => "plain numbers",
        other => other.unit(),
    }
}

/// With three rounds and more, the interval of their middle must be on one side;
/// with fewer, every round.
fn status(limit: Limit, wanted: Quantity, values: &[f64]) -> (Status, String) {
    let (low, high) = statistics::interval(values, CONFIDENCE).unwrap_or_else(|| {
        let fold = |of: fn(f64, f64) -> f64, start| values.iter().copied().fold(start, of);
        (
            fold(f64::min, f64::INFINITY),
            fold(f64::max, f64::NEG_INFINITY),
        )
    });
    match (
        limit.allows(low, wanted.value),
        limit.allows(high, wanted.value),
    ) {
        (true, true) => (Status::Pass, String::new()),
        (false, false) => (Status::Fail, String::new()),
        _ => (
            Status::Unknown,
            format!(
                "the rounds lie on both sides of the target, from {} to {}",
                wanted.with(low),
                wanted.with(high)
            ),
        ),
    }
}

/// A percentile of too few requests says nothing: of 100, the 99th is the
/// largest.
fn too_few(found: &Found) -> Option<String> {
    let share = percentile(&normal(&found.name))?;
    let needed = (10.0 / (1.0 - share)).round() as u64;
    let fewest = found
        .values
        .iter()
        .filter_map(|(_, events)| *events)
        .min()?;
    (fewest < needed)
        .then(|| format!("a round has {fewest} events, this percentile needs {needed}"))
}

/// The share that a name like `get_users_p99` is the percentile of.
fn percentile(normal: &str) -> Option<f64> {
    let digits = normal.split('_').find_map(|word| {
        let digits = word.strip_prefix('p')?;
        let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        all.then_some(digits)
    })?;
    // p99 is 0.99, p999 is 0.999, p5 is 0.05.
    let number: f64 = digits.parse().ok()?;
    let share = number / 10_f64.powi(digits.len().max(2) as i32);
    (share < 1.0).then_some(share)
}

/// Names as targets and metrics share them: `GET /users p99` is `get_users_p99`.
fn normal(name: &str) -> String {
    let mut text = String::new();
    for character in name.chars() {
        if character.is_alphanumeric() {
            text.extend(character.to_lowercase());
        } else if !text.ends_with('_') && !text.is_empty() {
            text.push('_');
        }
    }
    text.trim_end_matches('_').to_owned()
}

/// The names under which a target's metric may be: its whole path, without its
/// section, and without the word latency.
fn names(target: &Target, aliases: &Aliases) -> Vec<String> {
    let path: Vec<String> = target
        .path
        .iter()
        .map(|name| normal(aliases.get(name).unwrap_or(name)))
        .collect();
    let mut names = vec![path.join("_")];
    if path.len() > 1 {
        names.push(path[1..].join("_"));
    }
    for index in 0..names.len() {
        if let Some(short) = names[index].strip_suffix("_latency") {
            names.push(short.to_owned());
        }
    }
    names
}

fn find(target: &Target, rounds: &[Round], aliases: &Aliases) -> Result<Found, String> {
    let names = names(target, aliases);
    let mut matching: Vec<&Key> = rounds
        .iter()
        .flat_map(|round| round.metrics.keys())
        .filter(|key| key.group == Group::Probe && names.contains(&normal(&key.name)))
        .collect();
    matching.sort_unstable();
    matching.dedup();
    match matching[..] {
        [] => {}
        [key] => return probe(key, rounds),
        [first, second, ..] => {
            return Err(format!(
                "both `{}` and `{}` could be meant",
                first.name, second.name
            ));
        }
    }
    match target.path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["system", "cpu_usage"] => cpu_usage(rounds),
        _ => Err(format!(
            "not measured: there is no metric `{}` in what was given",
            names.last().map_or("", String::as_str)
        )),
    }
}

fn probe(key: &Key, rounds: &[Round]) -> Result<Found, String> {
    let measured: Vec<_> = rounds.iter().filter_map(|it| it.metrics.get(key)).collect();
    let missing = rounds
        .iter()
        .filter(|round| round.about.is_none() && !round.metrics.contains_key(key))
        .count();
    if missing > 0 {
        return Err(format!(
            "`{}` was not measured in {missing} rounds",
            key.name
        ));
    }
    let first = measured.first().ok_or("not measured")?;
    if measured.iter().any(|it| it.dimension != first.dimension) {
        return Err(format!("`{}` has other units in other rounds", key.name));
    }
    Ok(Found {
        name: key.name.clone(),
        dimension: first.dimension,
        values: measured
            .iter()
            .map(|it| (it.observation.value, it.observation.events))
            .collect(),
    })
}

/// Of all CPUs of the host, in percent.
fn cpu_usage(rounds: &[Round]) -> Result<Found, String> {
    let key = Key::new(Group::Total(Source::OnCpu), "");
    let mut values = Vec::new();
    for round in rounds {
        let (Some(about), Some(measured)) = (&round.about, round.metrics.get(&key)) else {
            continue;
        };
        if about.scope != "all" {
            return Err(format!(
                "not measured: {} has a part of the host only ({})",
                round.name, about.scope
            ));
        }
        let recording = round.conditions.recording.as_ref();
        // What is counted does not suffer from lost samples.
        if recording.is_none_or(|it| it.cpu_time != COUNTED)
            && let Some(doubt) = round.doubts.first()
        {
            return Err(format!("not sure: {} {doubt}", round.name));
        }
        let cpus = f64::from(about.cpus_online.max(1));
        values.push((measured.observation.value / 1e9 / cpus * 100.0, None));
    }
    if values.is_empty() {
        return Err("not measured: no recording of the host was given".to_owned());
    }
    Ok(Found {
        name: "CPU time of the host".to_owned(),
        dimension: Dimension::Percent,
        values,
    })
}

#[cfg(test)]
mod tests {
    use super::{super::parse, super::tests::ORIGINAL, *};
    use crate::{
        compare::{
            input,
            measure::{Measured, Metrics},
            metrics::Better,
            statistics::Observation,
        },
        views::sample,
    };

    fn probed(metrics: &[(&str, f64, Dimension, Option<u64>)]) -> Round {
        let measured = |&(name, value, dimension, events): &(&str, f64, Dimension, Option<u64>)| {
            let observation = Observation { value, events };
            let measured = Measured {
                observation,
                dimension,
                better: Better::Lower,
            };
            (Key::new(Group::Probe, name), measured)
        };
        Round {
            metrics: metrics.iter().map(measured).collect::<Metrics>(),
            ..Round::default()
        }
    }

    fn checked(text: &str, rounds: &[Round]) -> Vec<Checked> {
        check(&parse(text).expect("it is YAML"), rounds, &Aliases::new())
    }

    #[test]
    fn what_was_not_measured_is_unknown() {
        let recording = sample::plain();
        let round = input::round("a.profile".as_ref(), &recording, Source::OnCpu);
        let found = checked(ORIGINAL, &[round]);
        for one in &found {
            let wanted = match one.target.name().as_str() {
                "system.cpu_usage" => Status::Pass,
                _ => Status::Unknown,
            };
            assert_eq!(one.status, wanted, "{one:?}");
        }
        assert!(
            checked(ORIGINAL, &[])
                .iter()
                .all(|it| it.status == Status::Unknown)
        );
        let part = {
            let mut recording = recording;
            recording.about.scope = "pids 7".into();
            input::round("a.profile".as_ref(), &recording, Source::OnCpu)
        };
        assert!(
            checked(ORIGINAL, &[part])
                .iter()
                .all(|it| it.status == Status::Unknown)
        );
    }

    #[test]
    fn names_and_limits_are_understood() {
        use Dimension::{Bytes, Percent, Rate, Time};
        let round = probed(&[
            ("context_create p50", 99e6, Time, None),
            (
                "api_endpoints.context_create.p95_latency",
                201e6,
                Time,
                Some(500),
            ),
            ("context create p99", 1e6, Time, Some(900)),
            ("context_create throughput", 1000.0, Rate, None),
            ("bundle_size", 500_001.0, Bytes, None),
            ("cache hit rate", 90.0, Percent, None),
            ("query_response_time", 5.0, Percent, None),
        ]);
        let found = checked(ORIGINAL, &[round]);
        let of = |name: &str| {
            let of = found.iter().find(|it| it.target.name().ends_with(name));
            of.expect(name).status
        };
        assert_eq!(of("context_create.p50_latency"), Status::Pass);
        assert_eq!(of("context_create.p95_latency"), Status::Fail);
        // 900 events are too few for a p99, …
        assert_eq!(of("context_create.p99_latency"), Status::Unknown);
        assert_eq!(of("context_create.throughput"), Status::Pass);
        assert_eq!(of("bundle_size"), Status::Fail);
        assert_eq!(of("cache_hit_rate"), Status::Pass);
        // … and percent are no time.
        assert_eq!(of("query_response_time"), Status::Unknown);
    }

    #[test]
    fn rounds_on_both_sides_of_a_target_are_not_known() {
        let at = |values: &[f64]| -> Status {
            let rounds: Vec<Round> = values
                .iter()
                .map(|&value| probed(&[("x", value, Dimension::Time, None)]))
                .collect();
            checked("x: 100ns", &rounds)[0].status
        };
        assert_eq!(at(&[90.0, 99.0]), Status::Pass);
        assert_eq!(at(&[90.0, 101.0]), Status::Unknown);
        assert_eq!(at(&[101.0, 120.0]), Status::Fail);
        assert_eq!(at(&[90.0, 91.0, 89.0, 92.0]), Status::Pass);
        assert_eq!(at(&[99.0, 100.0, 101.0, 99.5]), Status::Unknown);
        assert_eq!(at(&[110.0, 111.0, 109.0, 112.0]), Status::Fail);
    }

    #[test]
    fn an_alias_leads_to_the_endpoint() {
        let rounds = [probed(&[(
            "POST /api/context p50",
            1e6,
            Dimension::Time,
            None,
        )])];
        let targets = parse("e:\n  create:\n    p50_latency: 2ms\n").expect("it is YAML");
        let aliases = Aliases::from([("create".to_owned(), "POST /api/context".to_owned())]);
        assert_eq!(check(&targets, &rounds, &aliases)[0].status, Status::Pass);
        assert_eq!(
            check(&targets, &rounds, &Aliases::new())[0].status,
            Status::Unknown
        );
        assert_eq!(percentile("get_p_p99"), Some(0.99));
        assert_eq!(percentile("p999"), Some(0.999));
        assert_eq!(percentile("pages"), None);
    }
}
