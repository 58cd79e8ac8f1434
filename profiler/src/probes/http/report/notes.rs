//! What a reader of the numbers must know, in words.

use super::model::EndpointReport;
use crate::{
    probes::http::{
        load::{Load, Pattern},
        plan::ValuesFrom,
    },
    report::text::{count, duration, percent},
};

/// Above this share of their time, the threads that send are what limits.
const BUSY: f64 = 0.9;
/// Above this share of the median latency, our own delay is worth a word.
const OWN_DELAY: f64 = 0.1;

pub fn of_endpoint(report: &EndpointReport, load: &Load) -> Vec<String> {
    let mut notes = Vec::new();
    let requests = &report.requests;
    if requests.complete == 0 {
        notes.push("no complete response: there is nothing to judge".to_owned());
    }
    if report.statuses.range(300..400).next().is_some() {
        notes.push("redirects are measured as they are, not followed".to_owned());
    }
    if report.values_from == ValuesFrom::Schema && report.statuses.range(400..500).next().is_some()
    {
        notes.push(
            "its values are made up to fit the description's schema, which may be why it has \
             client errors: --params gives real ones"
                .to_owned(),
        );
    }
    if requests.failed > 0 {
        notes.push(format!(
            "{} of {} requests failed and have no latency",
            count(requests.failed),
            count(requests.started)
        ));
    }
    if requests.failed_on_reused_connection > 0 {
        notes.push(format!(
            "{} of those were on connections that the server closed between two requests: clients \
             that try again do not notice",
            count(requests.failed_on_reused_connection)
        ));
    }
    if requests.abandoned > 0 {
        notes.push(format!(
            "{} requests were under way when the run was ended",
            count(requests.abandoned)
        ));
    }
    if requests.unsent > 0 {
        notes.push(format!(
            "{} requests were due and not sent, since every connection was busy for so long: \
             the latencies are lower bounds",
            count(requests.unsent)
        ));
    }
    if report.client.busy > BUSY {
        notes.push(format!(
            "the threads that send were busy for {} of the time: more --threads, or another \
             machine, may show a faster server",
            percent(100.0 * report.client.busy)
        ));
    }
    match load.pattern {
        Pattern::Open { .. } => notes.extend(of_open_loop(report)),
        Pattern::Closed => {
            if let Some(interval) = report.latency.corrected_interval_ns {
                notes.push(format!(
                    "corrected: for coordinated omission, with the mean interval of a \
                     connection, {}",
                    duration(interval)
                ));
            }
        }
    }
    notes
}

fn of_open_loop(report: &EndpointReport) -> Option<String> {
    let delay = report.client.own_delay.as_ref()?.p50_ns?;
    let median = report.latency.all.p50_ns?;
    (delay as f64 > OWN_DELAY * median as f64).then(|| {
        format!(
            "half of the requests were sent {} or more later than due by this program itself, \
             which is part of their latency",
            duration(delay)
        )
    })
}
