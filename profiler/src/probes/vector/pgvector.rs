//! pgvector, through PostgreSQL: <https://github.com/pgvector/pgvector>. A
//! collection is a table with a column of type `vector`.

mod catalog;

use std::{fmt::Write as _, time::Duration, time::Instant};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use catalog::{Index, TABLES, Table};

use super::{
    Options,
    exact::Metric,
    provider::{
        Batch, Client, Collection, Connect, Creation, Filter, Found, GROUP, Hit, Id, Page,
        Provider, Sample, Search, Server, Setting, Stored, Timing, VectorError, group,
    },
};
use crate::probes::{
    database::address::Address,
    http::target::Target,
    postgres::{Login, session::Session},
};

/// Searches of one transaction: a long one would keep the server from cleaning
/// up.
const SEARCHES: u32 = 100;

#[derive(Clone)]
pub struct Pgvector {
    url: String,
    address: String,
    encrypted: bool,
    timeout: Duration,
    index_limit: Duration,
    table: String,
    column: Option<String>,
    metric: Option<Metric>,
    search_ef: Option<u32>,
}

impl Pgvector {
    /// # Errors
    /// When the address cannot be used, or may not be.
    pub async fn new(options: &Options) -> Result<Self> {
        let login = Login::find(Some(&options.url))?;
        if let Address::Tcp { host, port } = &login.address {
            let host = match host.contains(':') {
                true => format!("[{host}]"),
                false => host.clone(),
            };
            let target = Target::parse(&format!("http://{host}:{port}/"))?;
            let resolve = target.resolve(options.reach.allow_remote);
            tokio::time::timeout(options.reach.timeout, resolve)
                .await
                .with_context(|| format!("cannot resolve {} in time", target.host))??;
        }
        let address = format!("{}, database {}", login.address, login.database);
        let timeout = options.reach.timeout;
        let session = Session::open(login, timeout)
            .await
            .with_context(|| format!("PostgreSQL at {address}"))?;
        let benchmark = options.benchmark.as_ref();
        Ok(Self {
            url: options.url.clone(),
            address,
            encrypted: session.encrypted(),
            timeout,
            index_limit: benchmark.map_or(timeout, |it| it.index_wait.max(timeout)),
            table: String::new(),
            column: options.vector_name.clone(),
            metric: benchmark.map(|it| it.metric).or(options.metric),
            search_ef: options.search_ef,
        })
    }

    async fn session(&self, limit: Duration) -> Result<Session, VectorError> {
        let login = Login::find(Some(&self.url))
            .map_err(|error| VectorError::Unable(format!("{error:#}")))?;
        Ok(Session::open(login, limit).await?)
    }
}

impl Connect for Pgvector {
    type Client = PgvectorClient;

    async fn connect(&self) -> Result<PgvectorClient, VectorError> {
        Ok(PgvectorClient {
            session: self.session(self.timeout).await?,
            settings: self.clone(),
            table: None,
            transaction: None,
        })
    }

    fn address(&self) -> String {
        self.address.clone()
    }

    fn encrypted(&self) -> bool {
        self.encrypted
    }

    fn provider(&self) -> Provider {
        Provider::Pgvector
    }

    fn collection_name(&self) -> &str {
        &self.table
    }

    fn with_collection(&self, table: String) -> Self {
        Self {
            table,
            ..self.clone()
        }
    }

    fn own_collection(&self, unique: &str) -> String {
        format!("public.profiler_benchmark_{unique}")
    }

    fn with_vector_name(&self, column: Option<String>) -> Self {
        Self {
            column,
            ..self.clone()
        }
    }
}

pub struct PgvectorClient {
    session: Session,
    settings: Pgvector,
    table: Option<Table>,
    transaction: Option<Transaction>,
}

/// One that only reads and is open.
struct Transaction {
    exact: bool,
    searches: u32,
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn vector(values: &[f32]) -> String {
    let mut text = String::with_capacity(values.len() * 12 + 2);
    text.push('[');
    for (at, value) in values.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let _ = write!(text, "{comma}{value}");
    }
    text.push(']');
    text
}

/// The operator whose smallest result is nearest, and its operator class.
fn operator(metric: Metric) -> (&'static str, &'static str) {
    match metric {
        Metric::Cosine => ("<=>", "vector_cosine_ops"),
        Metric::Dot => ("<#>", "vector_ip_ops"),
        Metric::Euclid => ("<->", "vector_l2_ops"),
        Metric::Manhattan => ("<+>", "vector_l1_ops"),
    }
}

impl PgvectorClient {
    async fn table(&mut self) -> Result<Table, VectorError> {
        if let Some(table) = &self.table {
            return Ok(table.clone());
        }
        let name = literal(&self.settings.table);
        let mut query = format!(
            "{TABLES} AND {name} IN (c.relname, n.nspname || '.' || c.relname, \
             format('%I.%I', n.nspname, c.relname))"
        );
        if let Some(column) = &self.settings.column {
            let column = literal(column);
            let _ = write!(
                query,
                " AND {column} IN (a.attname, quote_ident(a.attname))"
            );
        }
        let mut found: Vec<Table> = self.session.rows(&query).await?;
        let table = match found.len() {
            0 => Err("there is no such table with a column of type vector".to_owned()),
            1 => Ok(found.remove(0)),
            _ => {
                let each = found.iter().map(|it| format!("{} {}", it.name, it.column));
                let each: Vec<_> = each.collect();
                let each = each.join(", ");
                Err(format!("choose one with --collection and --vector: {each}"))
            }
        };
        let table = table.map_err(VectorError::Unable)?;
        self.table = Some(table.clone());
        Ok(table)
    }

    async fn indexes(&mut self, table: &Table) -> Result<Vec<Index>, VectorError> {
        Ok(self.session.rows(&catalog::indexes(table)).await?)
    }

    async fn metric(&mut self, table: &Table) -> Result<Metric, VectorError> {
        if let Some(metric) = self.settings.metric {
            return Ok(metric);
        }
        let indexes = self.indexes(table).await?;
        let known = indexes
            .iter()
            .filter(|it| it.columns == [table.column.as_str()])
            .find_map(Index::metric);
        self.settings.metric = known;
        known.ok_or_else(|| {
            VectorError::Unable("no index says by which metric to search: give --metric".to_owned())
        })
    }

    /// Opens a transaction for searches, or goes on with it.
    async fn reading(&mut self, exact: bool) -> Result<(), VectorError> {
        if let Some(open) = &mut self.transaction {
            if open.exact == exact && open.searches < SEARCHES {
                open.searches += 1;
                return Ok(());
            }
            self.transaction = None;
            self.session.run("ROLLBACK").await?;
        }
        self.session.begin().await?;
        let mut settings = String::new();
        if exact {
            settings += "SET LOCAL enable_indexscan = off;";
        } else if let Some(ef) = self.settings.search_ef {
            let _ = write!(settings, "SET LOCAL hnsw.ef_search = {ef};");
        }
        self.session.run(&settings).await?;
        self.transaction = Some(Transaction { exact, searches: 1 });
        Ok(())
    }

    async fn read(
        &mut self,
        statement: &str,
        exact: bool,
    ) -> Result<(Vec<String>, Timing), VectorError> {
        self.reading(exact).await?;
        let sent = Instant::now();
        let answer = self.session.texts(statement).await;
        let took = sent.elapsed();
        if answer.is_err() {
            self.transaction = None;
            self.session.end();
        }
        let timing = Timing { took, server: None };
        Ok((answer?, timing))
    }

    async fn write(&mut self, statement: &str) -> Result<Timing, VectorError> {
        let sent = Instant::now();
        self.session.run(statement).await?;
        Ok(Timing {
            took: sent.elapsed(),
            server: None,
        })
    }

    /// Rows of id, place and vector.
    async fn stored(&mut self, statement: &str) -> Result<(Stored, Option<String>), VectorError> {
        let (rows, _) = self.read(statement, false).await?;
        let mut stored = Stored::default();
        let mut last = None;
        for row in rows {
            let (id, place, values): (String, String, Vec<f32>) = serde_json::from_str(&row)?;
            stored.ids.push(Id::of_text(id));
            stored.values.extend(values);
            last = Some(place);
        }
        Ok((stored, last))
    }
}

/// The columns that [`PgvectorClient::stored`] reads.
fn stored_columns(table: &Table) -> String {
    format!(
        "json_build_array({key}::text, ctid::text, {column}::text::json)",
        key = table.key.as_deref().unwrap_or("ctid"),
        column = table.column
    )
}

impl Client for PgvectorClient {
    async fn server(&mut self) -> Result<Server, VectorError> {
        #[derive(Deserialize)]
        struct Versions {
            server: String,
            extension: Option<String>,
        }
        let query = "SELECT current_setting('server_version') AS server,
                     (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS extension";
        let versions: Versions = self.session.row(query).await?;
        let extension = versions.extension.ok_or_else(|| {
            let what = "the database does not have the extension: CREATE EXTENSION vector";
            VectorError::Unable(what.to_owned())
        })?;
        Ok(Server {
            version: Some(format!("{extension} on PostgreSQL {}", versions.server)),
            memory_bytes: None,
            memory_reason: Some("PostgreSQL does not say it".to_owned()),
        })
    }

    async fn collections(&mut self) -> Result<Vec<String>, VectorError> {
        let tables: Vec<Table> = self.session.rows(TABLES).await?;
        let mut names: Vec<String> = tables.into_iter().map(|it| it.name).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    async fn collection(&mut self) -> Result<Collection, VectorError> {
        #[derive(Deserialize)]
        struct Count {
            vectors: u64,
        }
        let table = self.table().await?;
        let indexes = self.indexes(&table).await?;
        let count = format!(
            "SELECT count({}) AS vectors FROM {}",
            table.column, table.name
        );
        // Of a large table it takes longer than the limit.
        let vectors = self.session.row::<Count>(&count).await;
        let vectors = vectors.ok().map(|it| it.vectors);
        let of_vector = |it: &&Index| it.columns == [table.column.as_str()] && it.is_approximate();
        let used = indexes
            .iter()
            .filter(of_vector)
            .find(|it| it.is_valid && !it.is_partial);
        let settings = indexes.iter().filter(of_vector).map(|it| {
            let mut value = it.operators.clone().unwrap_or_default();
            for (is, what) in [(!it.is_valid, "not valid"), (it.is_partial, "partial")] {
                if is {
                    let _ = write!(value, ", {what}");
                }
            }
            if let Some(options) = &it.options {
                let _ = write!(value, ", {options}");
            }
            let _ = write!(value, ", {}", crate::report::text::bytes(it.bytes));
            Setting {
                name: it.method.clone(),
                value,
            }
        });
        let settings = settings.collect();
        let filters = indexes.iter().filter(|it| !it.is_approximate());
        let mut filter_indexes: Vec<String> = filters.flat_map(|it| it.columns.clone()).collect();
        filter_indexes.sort();
        filter_indexes.dedup();
        Ok(Collection {
            vectors,
            indexed_vectors: match used {
                Some(_) => vectors,
                None => Some(0),
            },
            dimensions: usize::try_from(table.dimensions).ok(),
            metric: self.settings.metric.or(used.and_then(Index::metric)),
            filter_indexes,
            vector_name: Some(table.column.clone()),
            settings,
            ..Collection::default()
        })
    }

    async fn search(&mut self, search: &Search<'_>) -> Result<Found, VectorError> {
        let table = self.table().await?;
        let metric = self.metric(&table).await?;
        let wanted = match search.filter {
            None => String::new(),
            Some(Filter::GroupBelow(limit)) => format!("WHERE {GROUP} < {limit}"),
            Some(Filter::Given(filter)) => {
                format!("WHERE ({})", filter.as_str().unwrap_or_default())
            }
        };
        let statement = format!(
            "SELECT json_build_array(id::text, distance) FROM (
               SELECT {key} AS id, {column} OPERATOR({schema}.{operator}) '{vector}'::{schema}.vector AS distance
                 FROM {name} {wanted}
                ORDER BY {column} OPERATOR({schema}.{operator}) '{vector}'::{schema}.vector
                LIMIT {limit}) nearest",
            key = table.key.as_deref().unwrap_or("ctid"),
            column = table.column,
            schema = table.schema,
            operator = operator(metric).0,
            vector = vector(search.vector),
            name = table.name,
            limit = search.limit,
        );
        let (rows, timing) = self.read(&statement, search.exact).await?;
        let hits = rows.iter().map(|row| {
            let (id, score): (String, f64) = serde_json::from_str(row)?;
            Ok(Hit {
                id: Id::of_text(id),
                score,
            })
        });
        Ok(Found {
            hits: hits.collect::<Result<_, VectorError>>()?,
            timing,
        })
    }

    fn searches_exactly(&self) -> bool {
        true
    }

    async fn sample(&mut self, count: usize) -> Result<Sample, VectorError> {
        let table = self.table().await?;
        let statement = format!(
            "SELECT {} FROM {} WHERE {} IS NOT NULL ORDER BY random() LIMIT {count}",
            stored_columns(&table),
            table.name,
            table.column
        );
        Ok(Sample {
            stored: self.stored(&statement).await?.0,
            how: "vectors of the table at random",
        })
    }

    async fn page(&mut self, after: Option<&str>, count: usize) -> Result<Page, VectorError> {
        let table = self.table().await?;
        let after = match after {
            None => String::new(),
            Some(place) => format!("AND ctid > {}::tid", literal(place)),
        };
        let statement = format!(
            "SELECT {} FROM {} WHERE {} IS NOT NULL {after} ORDER BY ctid LIMIT {count}",
            stored_columns(&table),
            table.name,
            table.column
        );
        let (stored, last) = self.stored(&statement).await?;
        let next = last.filter(|_| stored.ids.len() == count);
        Ok(Page { stored, next })
    }

    async fn create(&mut self, creation: &Creation) -> Result<(), VectorError> {
        #[derive(Deserialize)]
        struct Schema {
            schema: String,
        }
        let query = "SELECT quote_ident(n.nspname) AS schema FROM pg_extension e
                     JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'vector'";
        let Schema { schema } = self.session.row(query).await?;
        let statement = format!(
            "CREATE TABLE {} (id bigint PRIMARY KEY, {GROUP} integer NOT NULL, \
             embedding {schema}.vector({}) NOT NULL)",
            self.settings.table, creation.dimensions
        );
        self.write(&statement).await.map(|_| ())
    }

    async fn prepare(&mut self) -> Result<(), VectorError> {
        let statement = format!("CREATE INDEX ON {} ({GROUP})", self.settings.table);
        self.write(&statement).await.map(|_| ())
    }

    async fn insert(&mut self, batch: &Batch<'_>) -> Result<Timing, VectorError> {
        let mut statement = format!("INSERT INTO {} VALUES ", self.settings.table);
        for (at, (row, values)) in batch.rows().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let (group, values) = (group(row), vector(values));
            let _ = write!(statement, "{comma}({row},{group},'{values}')");
        }
        self.write(&statement).await
    }

    async fn index(&mut self, creation: &Creation) -> Result<(), VectorError> {
        let table = self.table().await?;
        let bare = table.name.rsplit('.').next().unwrap_or_default();
        let statement = format!(
            "SET client_connection_check_interval = '1s';
             CREATE INDEX IF NOT EXISTS {bare}_embedding ON {name} \
             USING hnsw (embedding {schema}.{operators});
             ANALYZE {name}",
            name = table.name,
            schema = table.schema,
            operators = operator(creation.metric).1,
        );
        let mut session = self.settings.session(self.settings.index_limit).await?;
        Ok(session.run(&statement).await?)
    }

    /// What is committed is there, and the index with it.
    async fn ready(&mut self, _: u64) -> Result<bool, VectorError> {
        Ok(true)
    }

    async fn update(&mut self, row: u64, values: &[f32]) -> Result<Timing, VectorError> {
        let statement = format!(
            "UPDATE {} SET embedding = '{}' WHERE id = {row}",
            self.settings.table,
            vector(values)
        );
        self.write(&statement).await
    }

    async fn delete(&mut self) -> Result<(), VectorError> {
        let statement = format!("DROP TABLE IF EXISTS {}", self.settings.table);
        self.write(&statement).await.map(|_| ())
    }
}
