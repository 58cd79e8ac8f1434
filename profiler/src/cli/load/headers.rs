//! Headers of the command line, which may hold secrets under any name.

use std::{env, fs};

use anyhow::{Context as _, anyhow, bail};
use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};

use super::ConnectionArgs;
use crate::privacy;

/// Those of --header and --bearer-env.
pub fn read(arguments: &ConnectionArgs) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for text in &arguments.header {
        match text.strip_prefix('@') {
            None => add_header(&mut headers, text)?,
            Some(file) => {
                let lines = fs::read_to_string(file)
                    .with_context(|| format!("cannot read --header @{file}"))?;
                for line in lines.lines().filter(|line| !line.trim().is_empty()) {
                    add_header(&mut headers, line)?;
                }
            }
        }
    }
    if let Some(variable) = &arguments.bearer_env {
        let token = env::var(variable)
            .map_err(|_| anyhow!("--bearer-env {variable}: there is no such variable"))?;
        let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| anyhow!("--bearer-env {variable}: its value cannot be sent"))?;
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

/// Errors name the header, not its value.
fn add_header(headers: &mut HeaderMap, text: &str) -> anyhow::Result<()> {
    let Some((name, value)) = text.split_once(':') else {
        bail!("--header takes `Name: value`, or @FILE");
    };
    let name = HeaderName::from_bytes(name.trim().as_bytes())
        .map_err(|_| anyhow!("--header: `{}` is no name of a header", name.trim()))?;
    let mut value = HeaderValue::from_str(value.trim())
        .map_err(|_| anyhow!("--header: the value of `{name}` cannot be sent"))?;
    value.set_sensitive(true);
    headers.append(name, value);
    Ok(())
}

/// A command line without the values of its headers and other secrets.
pub fn command_line(command_line: &[String]) -> String {
    let mut words = Vec::with_capacity(command_line.len());
    let mut is_header = false;
    for word in command_line {
        let hidden = match word.split_once(['=', ':']) {
            _ if is_header => Some(header_shown(word)),
            Some(("--header", value)) => Some(format!("--header={}", header_shown(value))),
            _ if word.starts_with("-H") && word.len() > 2 => {
                Some(format!("-H{}", header_shown(&word[2..])))
            }
            _ => None,
        };
        is_header = !is_header && (word == "-H" || word == "--header");
        words.push(hidden.unwrap_or_else(|| word.clone()));
    }
    privacy::command_line(&words)
}

fn header_shown(header: &str) -> String {
    match header.split_once(':') {
        Some((name, _)) => format!("{name}: {}", privacy::MASK),
        None if header.starts_with('@') => header.to_owned(),
        None => privacy::MASK.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_header_is_shown() {
        let words =
            |text: &[&str]| -> Vec<String> { text.iter().map(ToString::to_string).collect() };
        for (line, expected) in [
            (&["x", "-H", "X-Odd: hunter2", "u"][..], "x -H X-Odd: *** u"),
            (&["x", "-HX-Odd:hunter2"], "x -HX-Odd: ***"),
            (&["x", "--header", "hunter2"], "x --header ***"),
            (&["x", "--header=X-Odd: hunter2"], "x --header=X-Odd: ***"),
            (&["x", "-H", "@headers", "-v"], "x -H @headers -v"),
        ] {
            assert_eq!(command_line(&words(line)), expected);
        }
    }

    #[test]
    fn a_bad_header_is_not_repeated() {
        for text in ["hunter2", "X-A: hunter2\u{1}", "b d: hunter2"] {
            let error = add_header(&mut HeaderMap::new(), text).expect_err(text);
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
