//! The demo stack: a shop of real services, each with a fault planted in it,
//! and its clients. What they run is in `tests/stack`.
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{
    cgroups::Version,
    image, process,
    stack::{containers, docker},
    vectors::QDRANT,
};

/// The directory of the sources, `/shop` in the containers.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/stack");

/// Name, and what it runs. `$FIXED` is 1 where the faults are to be left out.
/// Every address is the machine's own loopback.
pub const CONTAINERS: &[(&str, &str)] = &[
    (
        "shop-db",
        "bin=$(echo /usr/lib/postgresql/*/bin); \
         run='setpriv --reuid=postgres --regid=postgres --clear-groups'; \
         mkdir /tmp/pg && chown postgres /tmp/pg && cd /tmp/pg && \
         $run $bin/initdb --auth=trust --no-sync -D data >/dev/null && \
         shared='-c shared_preload_libraries=pg_stat_statements -c fsync=off' && \
         $run $bin/pg_ctl -D data -o \"$shared -k /tmp -c listen_addresses=\" -w -s start && \
         $run createdb -h /tmp shop && \
         $run psql -h /tmp -d shop -q -v ON_ERROR_STOP=1 -f /shop/schema.sql && \
         { [ $FIXED = 0 ] || $run psql -h /tmp -d shop -q -f /shop/fixed.sql; } && \
         $run $bin/pg_ctl -D data -w -s stop && \
         exec $run $bin/postgres -D data $shared -k /tmp -p 25432 -c listen_addresses=127.0.0.1",
    ),
    (
        "shop-cache",
        "exec redis-server --bind 127.0.0.1 --port 26379 --save '' --appendonly no",
    ),
    (
        "shop-api",
        "until pg_isready -q -h 127.0.0.1 -p 25432 && redis-cli -p 26379 ping; do sleep 0.2; done; \
         cd /shop/api && exec python3 -m uvicorn main:app --host 127.0.0.1 --port 28080 \
             --log-level warning",
    ),
    (
        "shop-reports",
        "until pg_isready -q -h 127.0.0.1 -p 25432; do sleep 0.2; done; \
         cd /shop/reports && exec python3 -m uvicorn main:app --host 127.0.0.1 --port 28082 \
             --log-level warning",
    ),
    (
        "shop-pages",
        "cd /shop/node && NODE_PATH=/usr/share/nodejs exec node shop.js",
    ),
    (
        "shop-search",
        "PYTHONPATH=/qdrant exec python3 /shop/qdrant.py --port 26333 --data /tmp/qdrant",
    ),
    ("shop-carrier", "exec node /shop/node/carrier.js"),
    ("shop-clients", "exec python3 /shop/clients/clients.py"),
];

/// For whoever has started it.
pub const DIRECTIONS: &str = "\
  shop-db       PostgreSQL   127.0.0.1:25432, database shop, user postgres
  shop-cache    Redis        127.0.0.1:26379
  shop-api      FastAPI      http://127.0.0.1:28080/docs
  shop-reports  FastAPI      http://127.0.0.1:28082/docs
  shop-pages    Express      http://127.0.0.1:28081
  shop-search   Qdrant       http://127.0.0.1:26333, its engine under its REST API
  shop-carrier  Node         http://127.0.0.1:28083
  shop-clients  who use them all
profile it with
  sudo profiler --containers 'shop-*' --duration 20 --output shop.html
  profiler postgres postgres://postgres@127.0.0.1:25432/shop
  profiler redis redis://127.0.0.1:26379 --scan
  profiler load http://127.0.0.1:28080 --endpoints critical --targets tests/stack/performance_targets.yaml";

/// What the containers see of this machine, as `docker run --volume` takes it.
pub fn volumes() -> Vec<String> {
    // `cargo xtask` fetches it into the cache.
    let qdrant = image::cache().join(QDRANT);
    vec![
        format!("{SOURCES}:/shop:ro"),
        format!("{}:/qdrant:ro", qdrant.display()),
    ]
}

/// Waits until each client had an answer.
pub fn wait_for_clients(version: Version) -> Result<()> {
    let under_way = || {
        process::any_output(docker(version).args(["logs", "shop-clients"]))
            .is_ok_and(|logs| String::from_utf8_lossy(&logs.stdout).contains("under way"))
    };
    let ready = process::until(Duration::from_secs(90), under_way);
    ensure!(ready, "the shop does not open: {}", complaints(version));
    Ok(())
}

/// The last line that each of the containers has written to its standard error.
fn complaints(version: Version) -> String {
    let running: Vec<String> = containers(version)
        .into_iter()
        .flatten()
        .map(|(name, _)| name)
        .collect();
    let mut text = String::new();
    for (name, _) in CONTAINERS {
        let ended = !running.iter().any(|running| running == name);
        let logs = process::any_output(docker(version).args(["logs", name]));
        let logs = logs.map_or_else(
            |error| error.to_string(),
            |logs| String::from_utf8_lossy(&logs.stderr).into_owned(),
        );
        let last = logs.trim().lines().last().unwrap_or_default();
        if ended || !last.is_empty() {
            let state = if ended { " (ended)" } else { "" };
            text += &format!("{name}{state}: {last}; ");
        }
    }
    text
}
