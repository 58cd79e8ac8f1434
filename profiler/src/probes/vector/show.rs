//! The report for people.

use std::borrow::Cow;

use super::{
    provider::Provider,
    report::{Benchmark, Report},
    workload::{Latency, Operation},
};
use crate::{
    probes::database::{Column, Document, Part, Section},
    report::text::{Utc, bytes, count, duration, percent},
};

impl Report {
    pub fn document(&self) -> Document {
        let version = match &self.server {
            Section::Measured { data } => data
                .version
                .clone()
                .unwrap_or_else(|| "not known".to_owned()),
            Section::NotMeasured { reason } => reason.clone(),
        };
        let mut about = vec![
            ("version", version),
            ("collection", self.collection_name.clone()),
            ("started", Utc::new(self.started_unix_ms).text()),
            ("queries", self.query_text()),
        ];
        if let Some(benchmark) = &self.benchmark {
            about.push(("benchmark", benchmark_text(benchmark)));
        }
        if self.provider == Provider::Pinecone {
            about.push((
                "tested",
                "against a server that speaks Pinecone's documented API, never against Pinecone \
                 itself"
                    .to_owned(),
            ));
        }
        if self.interrupted {
            about.push(("ended early", "by a signal".to_owned()));
        }
        Document {
            title: format!("{}: {}", self.provider.title(), self.address),
            about: about
                .into_iter()
                .map(|(name, value)| (Cow::Borrowed(name), value))
                .collect(),
            findings: self.findings.clone(),
            parts: vec![
                self.operations_part(),
                self.server_part(),
                self.recall_part(),
                self.collection_part(),
            ],
        }
    }

    fn query_text(&self) -> String {
        match &self.queries {
            Section::Measured { data } => format!("{}: {}", count(data.count), data.source),
            Section::NotMeasured { reason } => format!("none: {reason}"),
        }
    }

    fn operations_part(&self) -> Part {
        let columns = vec![
            Column::text("Operation"),
            Column::number("Requests"),
            Column::number("Failed"),
            Column::number("A second"),
            Column::number("Vectors a second"),
            Column::number("p50"),
            Column::number("p90"),
            Column::number("p95"),
            Column::number("p99"),
            Column::number("p99.9"),
            Column::number("Max"),
        ];
        let mut part = Part::new("Operations", columns);
        let mut concurrent = 1;
        for section in &self.operations {
            let name = section.name.replace('_', " ");
            match &section.section {
                Section::Measured { data } => {
                    concurrent = concurrent.max(data.concurrent);
                    part.row(operation_row(name.clone(), data));
                    if let Some(why) = &data.ended_early {
                        part.note(format!("{name} ended early: {why}"));
                    }
                }
                Section::NotMeasured { reason } => {
                    part.note(format!("{name}: not measured: {reason}"))
                }
            }
        }
        part.note(format!(
            "From sending a request until all of its answer, over {concurrent} kept \
             connection(s), each with one request at a time: a closed loop"
        ));
        if let Some(benchmark) = &self.benchmark {
            match &benchmark.index_seconds {
                Section::Measured { data } => {
                    part.note(format!(
                        "The index was ready {data:.1} s after the last insert"
                    ));
                }
                Section::NotMeasured { reason } => part.note(format!("Time to index: {reason}")),
            }
        }
        part
    }

    fn server_part(&self) -> Part {
        let columns = vec![
            Column::text("Operation"),
            Column::number("Mean"),
            Column::number("p50"),
            Column::number("p99"),
            Column::number("Max"),
        ];
        let mut part = Part::new("Time that the server says it took", columns);
        for operation in self.operations.iter().filter_map(|it| it.section.data()) {
            if let Some(latency) = &operation.server_latency {
                part.row(vec![
                    operation.name.replace('_', " "),
                    duration(latency.mean_ns),
                    time(latency.p50_ns),
                    time(latency.p99_ns),
                    duration(latency.max_ns),
                ]);
            }
        }
        if self.operations.iter().all(|it| {
            let operation = it.section.data();
            operation.is_none_or(|operation| operation.server_latency.is_none())
        }) {
            part.note("It says none");
        }
        part
    }

    fn recall_part(&self) -> Part {
        let columns = vec![
            Column::text("Search"),
            Column::text("Against"),
            Column::number("Queries"),
            Column::number("Mean"),
            Column::number("Worst"),
            Column::number("All found"),
        ];
        let mut part = Part::new(format!("Recall@{}", self.top), columns);
        for section in &self.recalls {
            let (name, against) = (section.of.replace('_', " "), section.against.title());
            match &section.section {
                Section::Measured { data } => {
                    part.row(vec![
                        name.clone(),
                        against.to_owned(),
                        count(data.queries),
                        format!("{:.4}", data.mean),
                        format!("{:.4}", data.worst),
                        count(data.complete_queries),
                    ]);
                    if data.empty_queries > 0 {
                        let empty = count(data.empty_queries);
                        part.note(format!(
                            "{name}: nothing can be found by {empty} more queries"
                        ));
                    }
                }
                Section::NotMeasured { reason } => {
                    part.note(format!("{name} against {against}: not measured: {reason}"));
                }
            }
        }
        if self.queries.data().is_some_and(|it| it.in_collection) {
            part.note("A query is a vector of the collection: that it finds itself does not count");
        }
        part
    }

    fn collection_part(&self) -> Part {
        let columns = vec![Column::text("Collection"), Column::text("Value")];
        Part::of("Collection", &self.collection, columns, |it, part| {
            let number = |value: Option<u64>| value.map(count);
            let mut rows = vec![
                ("state", it.state.clone()),
                ("vectors", number(it.vectors)),
                ("indexed vectors", number(it.indexed_vectors)),
                ("segments", number(it.segments)),
                ("dimensions", it.dimensions.map(|value| value.to_string())),
                ("metric", it.metric.map(|metric| metric.name().to_owned())),
                ("vector", it.vector_name.clone()),
                ("quantization", it.quantization.clone()),
                (
                    "filter indexes",
                    Some(it.filter_indexes.join(", ")).filter(|text| !text.is_empty()),
                ),
            ];
            rows.extend(
                it.settings
                    .iter()
                    .map(|it| (it.name.as_str(), Some(it.value.clone()))),
            );
            if let Some(server) = self.server.data() {
                rows.push(("memory of the server", server.memory_bytes.map(bytes)));
                if let Some(reason) = &server.memory_reason {
                    part.note(format!("Memory of the server: {reason}"));
                }
            }
            for (name, value) in rows {
                if let Some(value) = value {
                    part.row(vec![name.to_owned(), value]);
                }
            }
        })
    }
}

fn operation_row(name: String, operation: &Operation) -> Vec<String> {
    let of = |value: fn(&Latency) -> Option<u64>| time(operation.latency.as_ref().and_then(value));
    let rate = |rate: f64| match rate < 100.0 {
        true => format!("{rate:.1}"),
        false => count(rate as u64),
    };
    vec![
        name,
        count(operation.completed + operation.failed),
        count(operation.failed),
        rate(operation.per_second),
        operation
            .vectors_per_second
            .map_or_else(|| "–".to_owned(), rate),
        of(|it| it.p50_ns),
        of(|it| it.p90_ns),
        of(|it| it.p95_ns),
        of(|it| it.p99_ns),
        of(|it| it.p999_ns),
        of(|it| Some(it.max_ns)),
    ]
}

fn benchmark_text(benchmark: &Benchmark) -> String {
    let data = &benchmark.data;
    format!(
        "{} vectors of {} dimensions ({}), {}, {} an insert; the filter lets {} through; its \
         collection {}",
        count(data.vectors),
        data.dimensions,
        data.source,
        benchmark.metric.name(),
        count(benchmark.batch_size as u64),
        percent(f64::from(benchmark.filter_percent)),
        match benchmark.deleted {
            true => "was deleted",
            false => "may be left",
        }
    )
}

fn time(ns: Option<u64>) -> String {
    ns.map_or_else(|| "–".to_owned(), duration)
}
