//! How connections were used.

use std::fmt::Write;

use super::{NAME_LENGTH, code, more, process_name};
use crate::{
    profile::{Network, Pool, Recording, Role},
    report::{
        pools::peer_text,
        text::{count, duration, percent, shorten},
    },
};

const POOLS: usize = 12;

/// Pools of connections first, then the requests that services had in progress.
pub fn pools(recording: &Recording, network: &Network, out: &mut String) -> std::fmt::Result {
    let of = |role: Role| {
        let pools = network.pools.iter();
        pools.filter(move |pool| pool.role == role).collect()
    };
    let (clients, servers): (Vec<&Pool>, Vec<&Pool>) = (of(Role::Client), of(Role::Server));
    if !clients.is_empty() {
        writeln!(
            out,
            "\n| Process | Connections to | At once | Made | Requests | Mean | Longest | In use | All in use | Then in progress |"
        )?;
        writeln!(out, "|:--|:--|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        for pool in clients.iter().take(POOLS) {
            client(recording, pool, out)?;
        }
        more(clients.len(), POOLS, out)?;
    }
    if !servers.is_empty() {
        writeln!(
            out,
            "\n| Process | Serves at | Connections at once | Requests | Mean | Longest | In progress at once |"
        )?;
        writeln!(out, "|:--|:--|--:|--:|--:|--:|--:|")?;
        for pool in servers.iter().take(POOLS) {
            server(recording, pool, out)?;
        }
        more(servers.len(), POOLS, out)?;
    }
    if !network.pools.is_empty() {
        writeln!(
            out,
            "\nA connection is in use from a request's first message until the answer's first is read. “At once” \
             and “all in use” are of {} samples.",
            count(network.pool_samples)
        )?;
    }
    Ok(())
}

fn client(recording: &Recording, pool: &Pool, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        process_name(recording, pool.process),
        code(&shorten(&peer_text(recording, pool), NAME_LENGTH)),
        at_once(pool),
        pool.opened.map(count).unwrap_or_default(),
        count(pool.requests),
        pool.mean_ns().map(duration).unwrap_or_default(),
        duration(pool.longest_ns),
        part(pool.in_use()),
        part(pool.saturated()),
        mean(pool.requests_when_saturated()),
    )
}

fn server(recording: &Recording, pool: &Pool, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "| {} | {} | {} | {} | {} | {} | {} |",
        process_name(recording, pool.process),
        code(&shorten(&pool.service, NAME_LENGTH)),
        at_once(pool),
        count(pool.requests),
        pool.mean_ns().map(duration).unwrap_or_default(),
        duration(pool.longest_ns),
        mean(Some(
            pool.in_use_ns as f64 / recording.about.duration_ns.max(1) as f64
        )),
    )
}

/// Mean and most; those that nothing went through beside them.
fn at_once(pool: &Pool) -> String {
    let unused = match pool.unused {
        Some(unused) if unused > 0 => format!(" + {} unused", count(unused)),
        _ => String::new(),
    };
    match pool.mean_connections() {
        Some(mean) => format!(
            "{mean:.1}, at most {}{unused}",
            count(pool.samples.most_connections)
        ),
        None => unused.trim_start_matches(" + ").to_owned(),
    }
}

fn part(part: Option<f64>) -> String {
    part.map(|part| percent(100.0 * part)).unwrap_or_default()
}

fn mean(value: Option<f64>) -> String {
    value.map(|value| format!("{value:.1}")).unwrap_or_default()
}
