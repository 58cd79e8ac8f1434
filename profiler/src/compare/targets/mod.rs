//! Targets and budgets: `performance_targets.yaml`.
//!
//! ```yaml
//! api_endpoints:
//!   context_create:
//!     p99_latency: 500ms
//!     throughput: 1000 req/s
//! database:
//!   cache_hit_rate: 90%
//! system:
//!   cpu_usage: <70%
//! ```
//!
//! A value is a limit: what it says with `<`, `<=`, `>` or `>=`, else what its
//! name or unit means: at least for a throughput or a hit rate, at most for all
//! others.

mod check;

use std::{
    fs,
    path::{Path, PathBuf},
};

use saphyr_parser::{Event, Parser};
use thiserror::Error;

use super::quantity::{Dimension, Quantity};
pub use check::{Aliases, Checked, Status, check};

/// A file that nests deeper is no list of targets.
const MAX_DEPTH: usize = 16;
const MAX_BYTES: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Below,
    AtMost,
    Above,
    AtLeast,
}

impl Limit {
    pub fn sign(self) -> &'static str {
        match self {
            Self::Below => "<",
            Self::AtMost => "≤",
            Self::Above => ">",
            Self::AtLeast => "≥",
        }
    }

    pub fn allows(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Below => value < limit,
            Self::AtMost => value <= limit,
            Self::Above => value > limit,
            Self::AtLeast => value >= limit,
        }
    }
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Names from the outermost: `api_endpoints`, `context_create`, `p99_latency`.
    pub path: Vec<String>,
    /// In the file, from 1.
    pub line: usize,
    /// As it is there.
    pub text: String,
    /// `None` if the text is no value.
    pub limit: Option<(Limit, Quantity)>,
}

impl Target {
    fn new(path: Vec<String>, line: usize, text: &str) -> Self {
        let text = text.trim();
        let signs = [
            ("<=", Limit::AtMost),
            ("≤", Limit::AtMost),
            (">=", Limit::AtLeast),
            ("≥", Limit::AtLeast),
            ("<", Limit::Below),
            (">", Limit::Above),
        ];
        let signed = signs
            .into_iter()
            .find_map(|(sign, limit)| Some((limit, text.strip_prefix(sign)?)));
        let quantity = Quantity::parse(signed.map_or(text, |(_, rest)| rest));
        let limit = quantity.map(|quantity| {
            let limit = signed.map_or_else(|| usual(&path, quantity), |(limit, _)| limit);
            (limit, quantity)
        });
        Self {
            path,
            line,
            text: text.to_owned(),
            limit,
        }
    }

    pub fn name(&self) -> String {
        self.path.join(".")
    }
}

/// What a value without a sign means.
fn usual(path: &[String], quantity: Quantity) -> Limit {
    const MORE_IS_BETTER: [&str; 6] = [
        "throughput",
        "hit_rate",
        "hit_ratio",
        "availability",
        "uptime",
        "recall",
    ];
    let name = path.last().map_or("", String::as_str);
    let is_rate = quantity.dimension == Dimension::Rate && !name.contains("error");
    if is_rate || MORE_IS_BETTER.iter().any(|word| name.contains(word)) {
        Limit::AtLeast
    } else {
        Limit::AtMost
    }
}

#[derive(Debug, Error)]
pub enum TargetsError {
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        path: PathBuf,
        cause: std::io::Error,
    },
    #[error("{}:{line}: {reason}", path.display())]
    Syntax {
        path: PathBuf,
        line: usize,
        reason: String,
    },
    #[error("{} has no targets", path.display())]
    Empty { path: PathBuf },
}

/// Reads a file of targets.
///
/// # Errors
///
/// If it cannot be read, is no YAML, or anything else than names and values.
pub fn read(path: &Path) -> Result<Vec<Target>, TargetsError> {
    let failed = |cause| TargetsError::Read {
        path: path.to_owned(),
        cause,
    };
    let length = fs::metadata(path).map_err(failed)?.len();
    let wrong = |line, reason: &str| TargetsError::Syntax {
        path: path.to_owned(),
        line,
        reason: reason.to_owned(),
    };
    if length > MAX_BYTES {
        return Err(wrong(1, "it is too large for a list of targets"));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let targets = parse(&text).map_err(|(line, reason)| wrong(line, &reason))?;
    if targets.is_empty() {
        return Err(TargetsError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(targets)
}

fn parse(text: &str) -> Result<Vec<Target>, (usize, String)> {
    let mut targets: Vec<Target> = Vec::new();
    // Names of the open mappings; `None` where a name is due.
    let mut path: Vec<Option<String>> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let hint = "a value that begins with > must be in quotes, since > has a meaning of its own in YAML";
            (error.marker().line(), format!("{} ({hint})", error.info()))
        })?;
        let line = span.start.line();
        match event {
            Event::MappingStart(..) => {
                if path.len() == MAX_DEPTH {
                    return Err((line, "it nests too deep".to_owned()));
                }
                path.push(None);
            }
            Event::MappingEnd => {
                path.pop();
                if let Some(name) = path.last_mut() {
                    *name = None;
                }
            }
            Event::Scalar(text, ..) => match path.last_mut() {
                Some(name @ None) => *name = Some(text.into_owned()),
                Some(Some(_)) => {
                    let names: Vec<String> = path.iter().flatten().cloned().collect();
                    if targets.iter().any(|target| target.path == names) {
                        return Err((line, format!("{} is there twice", names.join("."))));
                    }
                    targets.push(Target::new(names, line, &text));
                    if let Some(name) = path.last_mut() {
                        *name = None;
                    }
                }
                // An empty document is a null.
                None if text.is_empty() || text == "~" => {}
                None => return Err((line, "a target is a name and a value".to_owned())),
            },
            Event::SequenceStart(..) => {
                return Err((
                    line,
                    "a target is a name and a value, not a list".to_owned(),
                ));
            }
            Event::Alias(_) => return Err((line, "aliases are not read here".to_owned())),
            _ => {}
        }
    }
    Ok(targets)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// The file as the original script has it.
    pub const ORIGINAL: &str = "\
# performance_targets.yaml
api_endpoints:
  context_create:
    p50_latency: 100ms
    p95_latency: 200ms
    p99_latency: 500ms
    throughput: 1000 req/s
  
  context_search:
    p50_latency: 50ms
    p95_latency: 150ms
    p99_latency: 300ms
    throughput: 5000 req/s

frontend:
  first_contentful_paint: 1.8s
  time_to_interactive: 3.5s
  cumulative_layout_shift: 0.1
  bundle_size: 500KB
  
database:
  query_response_time: 10ms
  connection_pool_size: 100
  cache_hit_rate: 90%
  
system:
  cpu_usage: <70%
  memory_usage: <80%
  container_startup: <30s
";

    #[test]
    fn the_original_file_is_read_as_it_is() {
        let targets = parse(ORIGINAL).expect("it is YAML");
        assert_eq!(targets.len(), 18);
        let of = |name: &str| {
            let target = targets.iter().find(|target| target.name() == name);
            let target = target.expect(name);
            let (limit, quantity) = target.limit.expect(name);
            (target.line, limit, quantity.value, quantity.dimension)
        };
        assert_eq!(
            of("api_endpoints.context_create.p50_latency"),
            (4, Limit::AtMost, 1e8, Dimension::Time)
        );
        assert_eq!(
            of("api_endpoints.context_search.throughput"),
            (13, Limit::AtLeast, 5000.0, Dimension::Rate)
        );
        assert_eq!(
            of("frontend.bundle_size"),
            (19, Limit::AtMost, 500e3, Dimension::Bytes)
        );
        assert_eq!(
            of("frontend.cumulative_layout_shift"),
            (18, Limit::AtMost, 0.1, Dimension::Number)
        );
        assert_eq!(
            of("database.cache_hit_rate"),
            (24, Limit::AtLeast, 90.0, Dimension::Percent)
        );
        assert_eq!(
            of("system.cpu_usage"),
            (27, Limit::Below, 70.0, Dimension::Percent)
        );
        assert_eq!(
            of("system.container_startup"),
            (29, Limit::Below, 30e9, Dimension::Time)
        );
    }

    #[test]
    fn what_is_no_list_of_targets_is_told_with_its_line() {
        for (text, line, says) in [
            ("a: 1\nb: [1, 2]\n", 2, "not a list"),
            ("a: 1\na: 2\n", 2, "twice"),
            ("a: &x 1\nb: *x\n", 2, "aliases"),
            ("- 1\n", 1, "not a list"),
            ("just text\n", 1, "a name and a value"),
            ("a: {\n", 2, ""),
            ("a:\n  b: >90%\n", 2, "quotes"),
        ] {
            let (found, reason) = parse(text).expect_err(text);
            assert_eq!(found, line, "{text}: {reason}");
            assert!(reason.contains(says), "{text}: {reason}");
        }
        let deep = "{a: ".repeat(100) + "1" + &"}".repeat(100);
        assert!(parse(&deep).is_err());
        assert_eq!(parse("# nothing\n"), Ok(Vec::new()));
        let odd = parse("a: fast\nb: '>90%'\nc: \"<= 5 ms\"\n").expect("it is YAML");
        assert_eq!(odd[0].limit, None);
        assert_eq!(odd[1].limit.map(|it| it.0), Some(Limit::Above));
        assert_eq!(odd[2].limit.map(|it| it.0), Some(Limit::AtMost));
    }
}
