//! Qdrant's REST API: <https://api.qdrant.tech/api-reference>.

mod describe;

use std::{rc::Rc, time::Duration};

use hyper::{
    HeaderMap, Method,
    header::{HeaderName, HeaderValue},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    exact::Metric,
    provider::{
        Batch, Client, Collection, Connect, Creation, Filter, Found, GROUP, Hit, Id, Page,
        Provider, Sample, Search, Server, Stored, Timing, VectorError, group,
    },
    rest::{Rest, segment},
};
use crate::probes::http::server::Server as HttpServer;

#[derive(Clone)]
pub struct Qdrant {
    server: Rc<HttpServer>,
    headers: HeaderMap,
    timeout: Duration,
    collection: String,
    /// The name of a vector, where points have several.
    using: Option<String>,
    search_ef: Option<u32>,
}

impl Qdrant {
    /// # Errors
    /// When the key is none that a header can carry.
    pub fn new(
        server: Rc<HttpServer>,
        key: Option<&str>,
        timeout: Duration,
        using: Option<String>,
        search_ef: Option<u32>,
    ) -> Result<Self, VectorError> {
        let mut headers = HeaderMap::new();
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
            collection: String::new(),
            using,
            search_ef,
        })
    }
}

impl Connect for Qdrant {
    type Client = QdrantClient;

    async fn connect(&self) -> Result<QdrantClient, VectorError> {
        Ok(QdrantClient {
            rest: Rest::new(self.server.clone(), self.headers.clone(), self.timeout),
            path: format!("/collections/{}", segment(&self.collection)),
            using: self.using.clone(),
            search_ef: self.search_ef,
        })
    }

    fn address(&self) -> String {
        self.server.target.to_string()
    }

    fn encrypted(&self) -> bool {
        self.server.dialer.tls.is_some()
    }

    fn provider(&self) -> Provider {
        Provider::Qdrant
    }

    fn collection_name(&self) -> &str {
        &self.collection
    }

    fn with_collection(&self, collection: String) -> Self {
        Self {
            collection,
            ..self.clone()
        }
    }

    fn with_vector_name(&self, using: Option<String>) -> Self {
        Self {
            using,
            ..self.clone()
        }
    }
}

pub struct QdrantClient {
    rest: Rest,
    path: String,
    using: Option<String>,
    search_ef: Option<u32>,
}

/// What is around every answer.
#[derive(Deserialize)]
struct Envelope<T> {
    result: T,
    /// Seconds.
    time: Option<f64>,
}

impl QdrantClient {
    async fn ask<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<(T, Timing), VectorError> {
        let answer = self.rest.send(method, path, body.as_ref()).await?;
        let envelope: Envelope<T> = answer.json(|said| {
            let of_server = said.pointer("/status/error").and_then(Value::as_str);
            of_server.or_else(|| said.as_str())
        })?;
        let seconds = envelope.time.filter(|time| (0.0..1e6).contains(time));
        let timing = Timing {
            took: answer.took,
            server: seconds.map(Duration::from_secs_f64),
        };
        Ok((envelope.result, timing))
    }

    async fn of_collection<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Value,
    ) -> Result<(T, Timing), VectorError> {
        let path = format!("{}{path}", self.path);
        self.ask(method, &path, Some(body)).await
    }

    /// Which vector of a point is asked for.
    fn wanted(&self) -> Value {
        match &self.using {
            None => json!(true),
            Some(name) => json!([name]),
        }
    }

    fn stored(&self, points: Vec<Point>) -> Result<Stored, VectorError> {
        let mut stored = Stored::default();
        for point in points {
            let vector = match (&self.using, point.vector) {
                (_, Some(Value::Array(vector))) => Value::Array(vector),
                (Some(name), Some(Value::Object(mut named))) => {
                    named.remove(name).unwrap_or_default()
                }
                // A point need not have every vector.
                _ => continue,
            };
            let vector: Vec<f32> = serde_json::from_value(vector)
                .map_err(|_| VectorError::Answer("a vector is no list of numbers".to_owned()))?;
            stored.values.extend(vector);
            stored.ids.push(id(point.id)?);
        }
        Ok(stored)
    }
}

#[derive(Deserialize)]
struct Point {
    id: Value,
    #[serde(default)]
    score: f64,
    vector: Option<Value>,
}

#[derive(Deserialize)]
struct Points {
    points: Vec<Point>,
    next_page_offset: Option<Value>,
}

fn id(value: Value) -> Result<Id, VectorError> {
    match value {
        Value::String(text) => Ok(Id::Text(text)),
        number => match number.as_u64() {
            Some(number) => Ok(Id::Number(number)),
            None => Err(VectorError::Answer(
                "an id is neither number nor text".to_owned(),
            )),
        },
    }
}

impl Client for QdrantClient {
    async fn server(&mut self) -> Result<Server, VectorError> {
        let root = self.rest.send(Method::GET, "/", None).await?;
        let root: Value =
            root.json(|said| said.pointer("/status/error").and_then(Value::as_str))?;
        let version = root["version"].as_str().map(str::to_owned);
        if version.is_none() {
            return Err(VectorError::Answer(
                "it names no version of Qdrant".to_owned(),
            ));
        }
        let telemetry = self.ask::<Value>(Method::GET, "/telemetry", None).await;
        let memory_bytes = match &telemetry {
            Ok((result, _)) => result
                .pointer("/memory/resident_bytes")
                .and_then(Value::as_u64),
            Err(_) => None,
        };
        let memory_reason = match telemetry {
            Err(error) => Some(format!("/telemetry: {error}")),
            Ok(_) if memory_bytes.is_none() => Some("/telemetry does not say it".to_owned()),
            Ok(_) => None,
        };
        Ok(Server {
            version,
            memory_bytes,
            memory_reason,
        })
    }

    async fn collections(&mut self) -> Result<Vec<String>, VectorError> {
        #[derive(Deserialize)]
        struct Collections {
            collections: Vec<Name>,
        }
        #[derive(Deserialize)]
        struct Name {
            name: String,
        }
        let (list, _) = self
            .ask::<Collections>(Method::GET, "/collections", None)
            .await?;
        Ok(list.collections.into_iter().map(|it| it.name).collect())
    }

    async fn collection(&mut self) -> Result<Collection, VectorError> {
        let path = self.path.clone();
        let (said, _) = self.ask::<Value>(Method::GET, &path, None).await?;
        let collection = describe::collection(&said, self.using.as_deref())?;
        self.using.clone_from(&collection.vector_name);
        Ok(collection)
    }

    async fn search(&mut self, search: &Search<'_>) -> Result<Found, VectorError> {
        let mut params = json!({ "exact": search.exact });
        if let (Some(ef), false) = (self.search_ef, search.exact) {
            params["hnsw_ef"] = json!(ef);
        }
        let mut body = json!({
            "query": search.vector,
            "limit": search.limit,
            "params": params,
            "with_payload": false,
            "with_vector": false,
        });
        if let Some(filter) = search.filter {
            body["filter"] = match filter {
                Filter::Given(filter) => filter.clone(),
                Filter::GroupBelow(limit) => json!({
                    "must": [{ "key": GROUP, "range": { "lt": limit } }]
                }),
            };
        }
        if let Some(using) = &self.using {
            body["using"] = json!(using);
        }
        let (found, timing) = self
            .of_collection::<Points>(Method::POST, "/points/query", body)
            .await?;
        let hits = found.points.into_iter().map(|point| {
            Ok(Hit {
                id: id(point.id)?,
                score: point.score,
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
        let body = json!({
            "query": { "sample": "random" },
            "limit": count,
            "with_payload": false,
            "with_vector": self.wanted(),
        });
        let sampled = self
            .of_collection::<Points>(Method::POST, "/points/query", body)
            .await;
        match sampled {
            Ok((found, _)) => Ok(Sample {
                stored: self.stored(found.points)?,
                how: "vectors of the collection that the server chose at random",
            }),
            // Servers before 1.11 do not sample.
            Err(VectorError::Refused { .. }) => Ok(Sample {
                stored: self.page(None, count).await?.stored,
                how: "the first vectors of the collection by id, as the server does not sample",
            }),
            Err(error) => Err(error),
        }
    }

    async fn page(&mut self, after: Option<&str>, count: usize) -> Result<Page, VectorError> {
        let mut body = json!({
            "limit": count,
            "with_payload": false,
            "with_vector": self.wanted(),
        });
        if let Some(after) = after {
            body["offset"] = serde_json::from_str(after)?;
        }
        let (page, _) = self
            .of_collection::<Points>(Method::POST, "/points/scroll", body)
            .await?;
        Ok(Page {
            stored: self.stored(page.points)?,
            next: page
                .next_page_offset
                .filter(|next| !next.is_null())
                .map(|next| next.to_string()),
        })
    }

    async fn create(&mut self, creation: &Creation) -> Result<(), VectorError> {
        let distance = match creation.metric {
            Metric::Cosine => "Cosine",
            Metric::Dot => "Dot",
            Metric::Euclid => "Euclid",
            Metric::Manhattan => "Manhattan",
        };
        let mut body = json!({
            "vectors": { "size": creation.dimensions, "distance": distance }
        });
        if creation.always_index {
            // The least that Qdrant takes; 0 would mean never.
            body["optimizers_config"] = json!({ "indexing_threshold": 1 });
            body["hnsw_config"] = json!({ "full_scan_threshold": 10 });
        }
        self.of_collection::<Value>(Method::PUT, "", body).await?;
        Ok(())
    }

    async fn prepare(&mut self) -> Result<(), VectorError> {
        let index = json!({ "field_name": GROUP, "field_schema": "integer" });
        self.of_collection::<Value>(Method::PUT, "/index?wait=true", index)
            .await?;
        Ok(())
    }

    async fn insert(&mut self, batch: &Batch<'_>) -> Result<Timing, VectorError> {
        let points: Vec<Value> = batch
            .rows()
            .map(|(row, vector)| {
                json!({ "id": row, "vector": vector, "payload": { GROUP: group(row) } })
            })
            .collect();
        let body = json!({ "points": points });
        let path = "/points?wait=true";
        let (_, timing) = self.of_collection::<Value>(Method::PUT, path, body).await?;
        Ok(timing)
    }

    /// The server does it.
    async fn index(&mut self, _: &Creation) -> Result<(), VectorError> {
        Ok(())
    }

    async fn ready(&mut self, vectors: u64) -> Result<bool, VectorError> {
        let said = self.collection().await?;
        if let Some(problem) = said.problem {
            return Err(VectorError::Unable(format!(
                "the optimizer says: {problem}"
            )));
        }
        Ok(said.state.as_deref() == Some("green") && said.vectors >= Some(vectors))
    }

    async fn update(&mut self, row: u64, vector: &[f32]) -> Result<Timing, VectorError> {
        let body = json!({ "points": [{ "id": row, "vector": vector }] });
        let path = "/points/vectors?wait=true";
        let (_, timing) = self.of_collection::<Value>(Method::PUT, path, body).await?;
        Ok(timing)
    }

    async fn delete(&mut self) -> Result<(), VectorError> {
        let path = self.path.clone();
        self.ask::<Value>(Method::DELETE, &path, None).await?;
        Ok(())
    }
}
