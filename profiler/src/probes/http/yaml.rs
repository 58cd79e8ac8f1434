//! YAML as the JSON that it means: the core schema of YAML 1.2,
//! <https://yaml.org/spec/1.2.2/#103-core-schema>.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};
use thiserror::Error;

/// Deeper than any description.
const MAX_DEPTH: usize = 128;
/// Values of a document with all that its aliases repeat, which can be many
/// more than its text has.
const MAX_VALUES: usize = 1 << 20;

#[derive(Debug, Error)]
pub enum YamlError {
    #[error("line {line}: {text}")]
    Syntax { line: usize, text: String },
    #[error("it nests deeper than {MAX_DEPTH}")]
    Deep,
    #[error("with its aliases it has more than {MAX_VALUES} values")]
    Large,
    #[error("an alias of something that is not there yet")]
    Alias,
    #[error("a name that is no scalar")]
    Name,
    #[error("it is empty")]
    Empty,
}

/// A list or mapping that is not complete yet.
struct Open {
    anchor: usize,
    /// Values in it.
    size: usize,
    kind: Kind,
}

enum Kind {
    List(Vec<Value>),
    Mapping(Map<String, Value>, Option<String>),
}

/// Reads the first document.
///
/// # Errors
/// When it is no YAML, or more than anybody would write.
pub fn parse(text: &str) -> Result<Value, YamlError> {
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: HashMap<usize, (Value, usize)> = HashMap::new();
    // With those that are kept for aliases.
    let mut values = 0;
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| YamlError::Syntax {
            line: error.marker().line(),
            text: error.info().to_owned(),
        })?;
        let (value, size, anchor) = match event {
            Event::MappingStart(anchor, _) => {
                let kind = Kind::Mapping(Map::new(), None);
                begin(&mut open, anchor, kind)?;
                continue;
            }
            Event::SequenceStart(anchor, _) => {
                begin(&mut open, anchor, Kind::List(Vec::new()))?;
                continue;
            }
            Event::MappingEnd | Event::SequenceEnd => {
                let Some(done) = open.pop() else { continue };
                let value = match done.kind {
                    Kind::List(list) => Value::Array(list),
                    Kind::Mapping(mapping, _) => Value::Object(mapping),
                };
                (value, done.size + 1, done.anchor)
            }
            Event::Scalar(text, style, anchor, _) => {
                let value = match style {
                    ScalarStyle::Plain => plain(&text),
                    _ => Value::String(text.into_owned()),
                };
                // A name is a string, whatever it looks like: `200:`.
                if let Some(Open {
                    kind: Kind::Mapping(_, name @ None),
                    ..
                }) = open.last_mut()
                {
                    *name = Some(match value {
                        Value::String(text) => text,
                        other => other.to_string(),
                    });
                    continue;
                }
                (value, 1, anchor)
            }
            Event::Alias(anchor) => {
                let (value, size) = anchors.get(&anchor).ok_or(YamlError::Alias)?;
                values += size;
                if values > MAX_VALUES {
                    return Err(YamlError::Large);
                }
                (value.clone(), *size, 0)
            }
            Event::DocumentEnd => break,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {
                continue;
            }
        };
        values += 1;
        if values > MAX_VALUES {
            return Err(YamlError::Large);
        }
        if anchor != 0 {
            values += size;
            anchors.insert(anchor, (value.clone(), size));
        }
        let Some(outer) = open.last_mut() else {
            return Ok(value);
        };
        outer.size += size;
        match &mut outer.kind {
            Kind::List(list) => list.push(value),
            Kind::Mapping(mapping, name) => {
                mapping.insert(name.take().ok_or(YamlError::Name)?, value);
            }
        }
    }
    Err(YamlError::Empty)
}

fn begin(open: &mut Vec<Open>, anchor: usize, kind: Kind) -> Result<(), YamlError> {
    if open.len() == MAX_DEPTH {
        return Err(YamlError::Deep);
    }
    open.push(Open {
        anchor,
        size: 0,
        kind,
    });
    Ok(())
}

/// A scalar that is not quoted.
fn plain(text: &str) -> Value {
    let string = || Value::String(text.to_owned());
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let based = [("0x", 16), ("0o", 8)]
        .into_iter()
        .find_map(|(prefix, base)| Some((text.strip_prefix(prefix)?, base)));
    if let Some((digits, base)) = based {
        let sign = digits.starts_with(['+', '-']);
        let number = i64::from_str_radix(digits, base).ok().filter(|_| !sign);
        return number.map_or_else(string, Value::from);
    }
    let unsigned = text.trim_start_matches(['+', '-']);
    let begins = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    if !begins || text.len() - unsigned.len() > 1 || unsigned == "." {
        return string();
    }
    let number = text.strip_prefix('+').unwrap_or(text);
    if let Ok(number) = number.parse::<i64>() {
        return Value::from(number);
    }
    let float = number.parse::<f64>().ok().and_then(Number::from_f64);
    float.map_or_else(string, Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_mean_what_they_look_like() {
        let text = "
openapi: 3.1.0
quoted: '12'
double: \"true\"
numbers: [12, -7, +3, 0x1F, 0o17, 1.5, 1e3, .5, 1.]
no numbers: [1.2.3, 12:30, ., 0xZZ, '', ++1, 2024-01-01, .inf]
nothing: [~, null, ]
empty:
yes: [true, False, yes]
paths:
  /items/{id}:
    get:
      responses:
        200:
          description: |
            Two
            lines
        default:
          description: >-
            folded
            text
";
        assert_eq!(
            parse(text).expect("YAML"),
            json!({
                "openapi": "3.1.0",
                "quoted": "12",
                "double": "true",
                "numbers": [12, -7, 3, 31, 15, 1.5, 1000.0, 0.5, 1.0],
                "no numbers": ["1.2.3", "12:30", ".", "0xZZ", "", "++1", "2024-01-01", ".inf"],
                "nothing": [null, null],
                "empty": null,
                "yes": [true, false, "yes"],
                "paths": {"/items/{id}": {"get": {"responses": {
                    "200": {"description": "Two\nlines\n"},
                    "default": {"description": "folded text"},
                }}}},
            })
        );
    }

    #[test]
    fn aliases_stand_for_what_they_name() {
        let text = "a: &x {one: 1}\nb: *x\nc: [&y 2, *y]\n";
        assert_eq!(
            parse(text).expect("YAML"),
            json!({"a": {"one": 1}, "b": {"one": 1}, "c": [2, 2]})
        );
    }

    /// Ten aliases of ten aliases, nine levels deep.
    #[test]
    fn aliases_do_not_fill_the_memory() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let inner = format!("*a{}", level - 1);
            let list = vec![inner; 10].join(", ");
            text += &format!("a{level}: &a{level} [{list}]\n");
        }
        assert!(matches!(parse(&text), Err(YamlError::Large)));
    }

    #[test]
    fn what_is_no_yaml() {
        for text in ["a: [", "a: b: c", "{a: 1", "*x", "a: 'x"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(matches!(parse(""), Err(YamlError::Empty)));
        assert!(parse(&"[".repeat(1000)).is_err());
        assert!(matches!(parse("? [a]\n: b"), Err(YamlError::Name)));
    }
}
