//! Databases that are asked while a recording is made.

use std::{env, time::Duration};

use anyhow::anyhow;

use super::{DATABASES, ProbeArgs, TIMEOUT, place, refused, runtime};
use crate::{
    cli::vectors,
    probes::{
        beside::{Ask, Found, Job, Place},
        mysql, postgres, redis,
        servers::{Kind, Server},
        vector,
    },
    profile::{Note, ProbeKind},
};

/// Between two looks at the sessions of PostgreSQL and MySQL, and two pings of Redis.
const INTERVAL: Duration = Duration::from_millis(200);
/// Where MySQL speaks the X protocol.
const MYSQL_X: u16 = 33060;
/// Where Qdrant's REST API is.
const QDRANT: u16 = 6333;
/// Statements whose plans are shown. They are planned, not executed.
const PLANS: usize = 3;
/// Enough to see what most keys begin with, and a fraction of a second of a server.
const KEYS: redis::ScanLimits = redis::ScanLimits {
    keys: 500,
    keys_per_second: 1000,
};

/// Each beside the others. Those that were found are sent passwords where `trusts`.
///
/// # Errors
/// If a URL cannot be used.
pub fn lanes(
    arguments: &ProbeArgs,
    trusts: bool,
    servers: &[Server],
    notes: &mut Vec<Note>,
) -> anyhow::Result<Vec<Vec<Job>>> {
    let mut jobs = Vec::new();
    for url in &arguments.postgres {
        let login = postgres::Login::find(Some(url))?;
        jobs.push(postgres_job(login, false, None));
    }
    for url in &arguments.mysql {
        jobs.push(mysql_job(mysql::Login::find(Some(url))?, None));
    }
    for url in &arguments.redis {
        jobs.push(redis_job(redis::Login::find(url)?, None));
    }
    for url in &arguments.vectors {
        jobs.push(vectors_job(arguments, true, url, None)?);
    }
    let mut found = 0;
    for server in servers {
        let target = server.address.to_string();
        let job = match server.kind {
            Kind::Postgres if arguments.postgres.is_empty() => found_postgres(server, trusts),
            Kind::Redis if arguments.redis.is_empty() => found_redis(server, trusts),
            Kind::Qdrant if arguments.vectors.is_empty() => {
                // Its other port speaks gRPC.
                if server.address.port() != QDRANT {
                    continue;
                }
                vectors_job(
                    arguments,
                    trusts,
                    &format!("http://{target}"),
                    Some(place(server)),
                )?
            }
            Kind::Mysql if arguments.mysql.is_empty() => {
                // Its other port speaks another protocol.
                if server.address.port() == MYSQL_X {
                    continue;
                }
                found_mysql(server, trusts)
            }
            _ => continue,
        };
        found += 1;
        if found > DATABASES {
            notes.push(Note::missing(format!(
                "database: {} [{}] at {target} is not asked: there are more than {DATABASES}; \
                 --containers narrows",
                server.program, server.pid
            )));
            continue;
        }
        jobs.push(job);
    }
    if jobs.is_empty() {
        notes.push(Note::missing(
            "database: no PostgreSQL, MySQL, Redis or Qdrant listens in what is recorded; \
             --postgres, --mysql, --redis and --vectors name those elsewhere",
        ));
    }
    Ok(jobs.into_iter().map(|job| vec![job]).collect())
}

/// As whom to log in is in the environment, as for `psql`; else as the user and
/// to the database that every server has.
fn found_postgres(server: &Server, trusts: bool) -> Job {
    let mut given = format!(
        "host={} port={}",
        server.address.ip(),
        server.address.port()
    );
    let named = |variable: &str| env::var_os(variable).is_some_and(|value| !value.is_empty());
    if !named("PGUSER") {
        given += " user=postgres";
    }
    let any_database = !named("PGDATABASE");
    if any_database {
        given += " dbname=postgres";
    }
    match postgres::Login::find(Some(&given)) {
        Ok(mut login) => {
            login.password = login.password.filter(|_| trusts);
            postgres_job(login, any_database, Some(place(server)))
        }
        Err(error) => refused(
            ProbeKind::Postgres,
            server.address.to_string(),
            Some(place(server)),
            error,
        ),
    }
}

fn postgres_job(login: postgres::Login, any_database: bool, place: Option<Place>) -> Job {
    let target = login.address.to_string();
    let found = place.is_some();
    let ask: Ask = Box::new(move |window| {
        let report = runtime()?
            .block_on(postgres::probe(postgres::Options {
                login,
                any_database,
                window,
                interval: INTERVAL,
                timeout: TIMEOUT,
                literals: false,
                explain: None,
                explain_worst: PLANS,
                baseline: None,
            }))
            .map_err(|error| hint(error, found, "--postgres URL, or PGUSER and PGPASSWORD,"))?;
        Ok(Found {
            document: report.document(),
            report: serde_json::to_value(&report)?,
            metrics: Vec::new(),
        })
    });
    Job {
        kind: ProbeKind::Postgres,
        target,
        place,
        ask,
    }
}

fn found_mysql(server: &Server, trusts: bool) -> Job {
    match mysql::Login::of_server(server.address) {
        Ok(mut login) => {
            login.password = login.password.filter(|_| trusts);
            mysql_job(login, Some(place(server)))
        }
        Err(error) => refused(
            ProbeKind::Mysql,
            server.address.to_string(),
            Some(place(server)),
            error,
        ),
    }
}

fn mysql_job(login: mysql::Login, place: Option<Place>) -> Job {
    let target = login.address.to_string();
    let found = place.is_some();
    let ask: Ask = Box::new(move |window| {
        let report = runtime()?
            .block_on(mysql::probe(mysql::Options {
                login,
                window,
                interval: INTERVAL,
                timeout: TIMEOUT,
                literals: false,
            }))
            .map_err(|error| hint(error, found, "--mysql URL, or MYSQL_PWD or ~/.my.cnf,"))?;
        Ok(Found {
            document: report.document(),
            report: serde_json::to_value(&report)?,
            metrics: Vec::new(),
        })
    });
    Job {
        kind: ProbeKind::Mysql,
        target,
        place,
        ask,
    }
}

fn found_redis(server: &Server, trusts: bool) -> Job {
    match redis::Login::find(&format!("redis://{}", server.address)) {
        Ok(mut login) => {
            login.password = login.password.filter(|_| trusts);
            redis_job(login, Some(place(server)))
        }
        Err(error) => refused(
            ProbeKind::Redis,
            server.address.to_string(),
            Some(place(server)),
            error,
        ),
    }
}

fn redis_job(login: redis::Login, place: Option<Place>) -> Job {
    let target = login.address.to_string();
    let found = place.is_some();
    let ask: Ask = Box::new(move |window| {
        let report = runtime()?
            .block_on(redis::probe(redis::Options {
                login,
                window,
                interval: INTERVAL,
                timeout: TIMEOUT,
                literals: false,
                scan: Some(KEYS),
                benchmark: None,
            }))
            .map_err(|error| hint(error, found, "--redis URL, or REDISCLI_AUTH,"))?;
        Ok(Found {
            document: report.document(),
            report: serde_json::to_value(&report)?,
            metrics: Vec::new(),
        })
    });
    Job {
        kind: ProbeKind::Redis,
        target,
        place,
        ask,
    }
}

fn vectors_job(
    arguments: &ProbeArgs,
    trusts: bool,
    url: &str,
    place: Option<Place>,
) -> anyhow::Result<Job> {
    let connection = &arguments.connection;
    let reach = connection.reach(arguments.request.allow_remote, TIMEOUT);
    let mut options = vectors::recorded(url, reach);
    options.key = options.key.filter(|_| trusts);
    let ask: Ask = Box::new(move |window| {
        options.stop = Some(window);
        let report = runtime()?.block_on(vector::probe(&options))?;
        Ok(Found {
            document: report.document(),
            report: serde_json::to_value(&report)?,
            metrics: Vec::new(),
        })
    });
    Ok(Job {
        kind: ProbeKind::Vectors,
        target: vectors::shown(url)?,
        place,
        ask,
    })
}

/// How to log in, for a server that nobody named.
fn hint(error: anyhow::Error, found: bool, what: &str) -> anyhow::Error {
    if found {
        anyhow!(
            "{error:#}; {what} say how to log in, the environment within --containers or --pid only"
        )
    } else {
        error
    }
}
