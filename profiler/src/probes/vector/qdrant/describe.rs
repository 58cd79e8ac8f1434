//! What Qdrant says of a collection.

use serde_json::Value;

use super::{Collection, Metric, VectorError};
use crate::probes::vector::provider::Setting;

/// Thresholds are in KB, of 1024 bytes:
/// <https://qdrant.tech/documentation/concepts/optimizer>.
const KB: u64 = 1024;

/// `using` is the vector that was chosen.
///
/// # Errors
/// When none was, and there are several.
pub fn collection(said: &Value, using: Option<&str>) -> Result<Collection, VectorError> {
    let (params, vector_name) = vector(&said["config"]["params"]["vectors"], using)?;
    let text = |place: &str| said.pointer(place).and_then(Value::as_str);
    let number = |place: &str| said.pointer(place).and_then(Value::as_u64);
    let optimizer = &said["optimizer_status"];
    let mut settings = Vec::new();
    for (part, names) in [
        (
            "hnsw_config",
            &["m", "ef_construct", "full_scan_threshold"][..],
        ),
        ("optimizer_config", &["indexing_threshold"][..]),
        ("params", &["shard_number", "replication_factor"][..]),
    ] {
        for name in names {
            let value = &said["config"][part][name];
            if !value.is_null() {
                settings.push(Setting {
                    name: (*name).to_owned(),
                    value: value.to_string(),
                });
            }
        }
    }
    let quantization = [
        &params["quantization_config"],
        &said["config"]["quantization_config"],
    ];
    Ok(Collection {
        state: text("/status").map(str::to_owned),
        problem: optimizer["error"].as_str().map(str::to_owned),
        vectors: number("/points_count"),
        indexed_vectors: number("/indexed_vectors_count"),
        segments: number("/segments_count"),
        dimensions: params["size"].as_u64().map(|size| size as usize),
        metric: params["distance"].as_str().and_then(metric),
        filter_indexes: said["payload_schema"]
            .as_object()
            .map(|schema| schema.keys().cloned().collect())
            .unwrap_or_default(),
        indexing_threshold_bytes: number("/config/optimizer_config/indexing_threshold")
            .map(|threshold| threshold.saturating_mul(KB)),
        quantization: quantization
            .iter()
            .find_map(|it| Some(it.as_object()?.keys().next()?.clone())),
        vector_name,
        settings,
    })
}

/// The parameters of the vector that is meant, and its name if it has one.
fn vector<'v>(
    vectors: &'v Value,
    using: Option<&str>,
) -> Result<(&'v Value, Option<String>), VectorError> {
    if vectors.get("size").is_some_and(Value::is_u64) {
        return Ok((vectors, None));
    }
    let names: Vec<&str> = vectors
        .as_object()
        .into_iter()
        .flat_map(|named| named.keys().map(String::as_str))
        .collect();
    let name = match (using, &names[..]) {
        (_, []) => return Err(VectorError::Answer("it has no dense vectors".to_owned())),
        (Some(name), _) => name,
        // One that is named is meant; of several, one has to be.
        (None, &[only]) => only,
        (None, _) => {
            let names = names.join(", ");
            let what = format!("points have several vectors: choose one with --vector: {names}");
            return Err(VectorError::Unable(what));
        }
    };
    let params = vectors.get(name);
    let params =
        params.ok_or_else(|| VectorError::Unable(format!("points have no vector named {name}")))?;
    Ok((params, Some(name.to_owned())))
}

fn metric(name: &str) -> Option<Metric> {
    Some(match name {
        "Cosine" => Metric::Cosine,
        "Dot" => Metric::Dot,
        "Euclid" => Metric::Euclid,
        "Manhattan" => Metric::Manhattan,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_vector_that_is_meant() {
        let of = |size| json!({ "size": size, "distance": "Dot" });
        let said = |vectors: Value| json!({ "config": { "params": { "vectors": vectors } } });
        let plain = collection(&said(of(4)), None).expect("one vector");
        assert_eq!((plain.dimensions, plain.vector_name), (Some(4), None));
        assert_eq!(plain.metric, Some(Metric::Dot));
        let two = said(json!({ "text": of(4), "image": of(8) }));
        let chosen = collection(&two, Some("image")).expect("it is there");
        assert_eq!(chosen.dimensions, Some(8));
        let error = collection(&two, None).expect_err("two vectors").to_string();
        assert!(
            error.contains("--vector: ") && error.contains("text"),
            "{error}"
        );
        assert!(collection(&two, Some("none")).is_err());
        let only = collection(&said(json!({ "text": of(4) })), None).expect("one vector");
        assert_eq!(only.vector_name.as_deref(), Some("text"));
        assert!(collection(&said(json!({})), None).is_err());
    }
}
