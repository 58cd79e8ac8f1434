//! Pinecone's API of an index, where a collection is a namespace:
//! <https://docs.pinecone.io/reference/api/2026-04/data-plane>.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use hyper::{
    HeaderMap, Method,
    header::{HeaderName, HeaderValue},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    exact::Metric,
    existing::EMPTY_PAGES,
    provider::{
        Batch, Client, Collection, Connect, Creation, Filter, Found, GROUP, Hit, Id, Page,
        Provider, Sample, Search, Server, Setting, Stored, Timing, VectorError, group,
    },
    rest::{Rest, segment},
};
use crate::probes::http::server::Server as HttpServer;

const API_VERSION: &str = "2026-04";
/// Most ids of one list.
const LONGEST_LIST: usize = 100;

#[derive(Clone)]
pub struct Pinecone {
    server: Rc<HttpServer>,
    headers: HeaderMap,
    timeout: Duration,
    namespace: String,
}

impl Pinecone {
    /// # Errors
    /// When the key is none that a header can carry.
    pub fn new(
        server: Rc<HttpServer>,
        key: Option<&str>,
        timeout: Duration,
    ) -> Result<Self, VectorError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            HeaderName::from_static("x-pinecone-api-version"),
            HeaderValue::from_static(API_VERSION),
        );
        if let Some(key) = key {
            let mut key = HeaderValue::from_str(key)
                .map_err(|_| VectorError::Unable("the API key cannot be sent".to_owned()))?;
            key.set_sensitive(true);
            headers.insert(HeaderName::from_static("api-key"), key);
        }
        Ok(Self {
            server,
            headers,
            timeout,
            namespace: String::new(),
        })
    }
}

impl Connect for Pinecone {
    type Client = PineconeClient;

    async fn connect(&self) -> Result<PineconeClient, VectorError> {
        Ok(PineconeClient {
            rest: Rest::new(self.server.clone(), self.headers.clone(), self.timeout),
            namespace: self.namespace.clone(),
        })
    }

    fn address(&self) -> String {
        self.server.target.to_string()
    }

    fn encrypted(&self) -> bool {
        self.server.dialer.tls.is_some()
    }

    fn provider(&self) -> Provider {
        Provider::Pinecone
    }

    fn collection_name(&self) -> &str {
        &self.namespace
    }

    fn with_collection(&self, namespace: String) -> Self {
        Self {
            namespace,
            ..self.clone()
        }
    }

    /// A record has one dense vector.
    fn with_vector_name(&self, _: Option<String>) -> Self {
        self.clone()
    }
}

pub struct PineconeClient {
    rest: Rest,
    namespace: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    #[serde(default)]
    namespaces: BTreeMap<String, Namespace>,
    dimension: Option<usize>,
    metric: Option<String>,
    index_fullness: Option<f64>,
    #[serde(default)]
    total_vector_count: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Namespace {
    #[serde(default)]
    vector_count: u64,
}

#[derive(Deserialize)]
struct Record {
    id: String,
    #[serde(default)]
    score: f64,
    #[serde(default)]
    values: Vec<f32>,
}

impl PineconeClient {
    async fn ask<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<(T, Timing), VectorError> {
        let answer = self.rest.send(method, path, body.as_ref()).await?;
        let said = answer.json(|said| {
            let message = said
                .get("message")
                .or_else(|| said.pointer("/error/message"));
            message.and_then(Value::as_str).or_else(|| said.as_str())
        })?;
        let timing = Timing {
            took: answer.took,
            server: None,
        };
        Ok((said, timing))
    }

    async fn stats(&mut self) -> Result<Stats, VectorError> {
        let path = "/describe_index_stats";
        let (stats, _) = self
            .ask::<Value>(Method::POST, path, Some(json!({})))
            .await?;
        if stats.get("namespaces").is_none() && stats.get("dimension").is_none() {
            let what = "these are no statistics of a Pinecone index".to_owned();
            return Err(VectorError::Answer(what));
        }
        Ok(serde_json::from_value(stats)?)
    }

    async fn post(&mut self, path: &str, mut body: Value) -> Result<(Value, Timing), VectorError> {
        body["namespace"] = json!(self.namespace);
        self.ask(Method::POST, path, Some(body)).await
    }
}

impl Client for PineconeClient {
    async fn server(&mut self) -> Result<Server, VectorError> {
        self.stats().await?;
        Ok(Server {
            version: None,
            memory_bytes: None,
            memory_reason: Some("Pinecone's API does not say it".to_owned()),
        })
    }

    async fn collection(&mut self) -> Result<Collection, VectorError> {
        let stats = self.stats().await?;
        let Some(namespace) = stats.namespaces.get(&self.namespace) else {
            let what = format!("the index has no namespace {:?}", self.namespace);
            return Err(VectorError::Unable(what));
        };
        let mut settings = vec![Setting {
            name: "totalVectorCount".to_owned(),
            value: stats.total_vector_count.to_string(),
        }];
        settings.extend(stats.index_fullness.map(|fullness| Setting {
            name: "indexFullness".to_owned(),
            value: fullness.to_string(),
        }));
        Ok(Collection {
            vectors: Some(namespace.vector_count),
            dimensions: stats.dimension,
            metric: stats.metric.as_deref().and_then(metric),
            settings,
            ..Collection::default()
        })
    }

    async fn collections(&mut self) -> Result<Vec<String>, VectorError> {
        Ok(self.stats().await?.namespaces.into_keys().collect())
    }

    async fn search(&mut self, search: &Search<'_>) -> Result<Found, VectorError> {
        #[derive(Deserialize)]
        struct Matches {
            matches: Vec<Record>,
        }
        let mut body = json!({
            "vector": search.vector,
            "topK": search.limit,
            "includeValues": false,
            "includeMetadata": false,
        });
        if let Some(filter) = search.filter {
            body["filter"] = match filter {
                Filter::Given(filter) => filter.clone(),
                Filter::GroupBelow(limit) => json!({ GROUP: { "$lt": limit } }),
            };
        }
        body["namespace"] = json!(self.namespace);
        let (found, timing) = self
            .ask::<Matches>(Method::POST, "/query", Some(body))
            .await?;
        let hit = |record: Record| Hit {
            id: Id::of_text(record.id),
            score: record.score,
        };
        Ok(Found {
            hits: found.matches.into_iter().map(hit).collect(),
            timing,
        })
    }

    fn searches_exactly(&self) -> bool {
        false
    }

    async fn sample(&mut self, count: usize) -> Result<Sample, VectorError> {
        let mut stored = Stored::default();
        let mut after = None;
        let mut empty = 0;
        while stored.ids.len() < count && empty <= EMPTY_PAGES {
            let page = self
                .page(after.as_deref(), count - stored.ids.len())
                .await?;
            empty = if page.stored.ids.is_empty() {
                empty + 1
            } else {
                0
            };
            stored.ids.extend(page.stored.ids);
            stored.values.extend(page.stored.values);
            match page.next {
                None => break,
                next => after = next,
            }
        }
        Ok(Sample {
            stored,
            how: "the first vectors of the namespace as it lists them",
        })
    }

    async fn page(&mut self, after: Option<&str>, count: usize) -> Result<Page, VectorError> {
        #[derive(Deserialize)]
        struct List {
            #[serde(default)]
            vectors: Vec<Record>,
            pagination: Option<Pagination>,
        }
        #[derive(Deserialize)]
        struct Pagination {
            next: Option<String>,
        }
        #[derive(Deserialize)]
        struct Fetched {
            vectors: BTreeMap<String, Record>,
        }
        let namespace = segment(&self.namespace);
        let limit = count.clamp(1, LONGEST_LIST);
        let mut path = format!("/vectors/list?namespace={namespace}&limit={limit}");
        if let Some(after) = after {
            path += &format!("&paginationToken={}", segment(after));
        }
        let (list, _) = self.ask::<List>(Method::GET, &path, None).await?;
        let mut stored = Stored::default();
        if !list.vectors.is_empty() {
            let ids = list
                .vectors
                .iter()
                .map(|it| format!("&ids={}", segment(&it.id)));
            let ids: String = ids.collect();
            let path = format!("/vectors/fetch?namespace={namespace}{ids}");
            let (fetched, _) = self.ask::<Fetched>(Method::GET, &path, None).await?;
            for (id, record) in fetched.vectors {
                stored.ids.push(Id::of_text(id));
                stored.values.extend(record.values);
            }
        }
        Ok(Page {
            stored,
            next: list.pagination.and_then(|it| it.next),
        })
    }

    /// A namespace is there once something is in it.
    async fn create(&mut self, creation: &Creation) -> Result<(), VectorError> {
        let stats = self.stats().await?;
        let unlike = |what: &str, theirs: String, ours: String| {
            Err(VectorError::Unable(format!(
                "the index is of {what} {theirs}, and the benchmark of {ours}: see --help"
            )))
        };
        if let Some(dimension) = stats.dimension.filter(|it| *it != creation.dimensions) {
            let ours = creation.dimensions.to_string();
            return unlike("dimension", dimension.to_string(), ours);
        }
        match stats.metric {
            Some(name) if metric(&name) != Some(creation.metric) => {
                unlike("metric", name, creation.metric.name().to_owned())
            }
            _ => Ok(()),
        }
    }

    /// All metadata is indexed.
    async fn prepare(&mut self) -> Result<(), VectorError> {
        Ok(())
    }

    async fn insert(&mut self, batch: &Batch<'_>) -> Result<Timing, VectorError> {
        let vectors: Vec<Value> = batch
            .rows()
            .map(|(row, vector)| {
                let metadata = json!({ GROUP: group(row) });
                json!({ "id": row.to_string(), "values": vector, "metadata": metadata })
            })
            .collect();
        let body = json!({ "vectors": vectors });
        let (said, timing) = self.post("/vectors/upsert", body).await?;
        match said["upsertedCount"].as_u64() {
            Some(count) if count as usize == vectors.len() => Ok(timing),
            count => Err(VectorError::Answer(format!(
                "{count:?} of {} vectors were inserted",
                vectors.len()
            ))),
        }
    }

    /// The server does it.
    async fn index(&mut self, _: &Creation) -> Result<(), VectorError> {
        Ok(())
    }

    async fn ready(&mut self, vectors: u64) -> Result<bool, VectorError> {
        let stats = self.stats().await?;
        let found = stats.namespaces.get(&self.namespace);
        Ok(found.map_or(0, |it| it.vector_count) >= vectors)
    }

    async fn update(&mut self, row: u64, vector: &[f32]) -> Result<Timing, VectorError> {
        let body = json!({ "id": row.to_string(), "values": vector });
        let (_, timing) = self.post("/vectors/update", body).await?;
        Ok(timing)
    }

    async fn delete(&mut self) -> Result<(), VectorError> {
        let body = json!({ "deleteAll": true });
        match self.post("/vectors/delete", body).await {
            // Nothing was ever in it.
            Err(VectorError::Refused { code, .. }) if code == "HTTP 404" => Ok(()),
            ended => ended.map(|_| ()),
        }
    }
}

fn metric(name: &str) -> Option<Metric> {
    Some(match name {
        "cosine" => Metric::Cosine,
        "dotproduct" => Metric::Dot,
        "euclidean" => Metric::Euclid,
        _ => return None,
    })
}
