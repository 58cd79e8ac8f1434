//! Readers of folded stacks: `container;process;frame;…;frame weight`.
use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};

pub struct Stack {
    pub container: String,
    pub process: String,
    /// Outermost first.
    pub frames: Vec<String>,
    pub weight: f64,
}

pub struct Folded {
    pub stacks: Vec<Stack>,
}

impl Folded {
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text)
    }

    pub fn parse(text: &str) -> Result<Self> {
        let stacks = text
            .lines()
            // The one comment says that there is nothing.
            .filter(|line| !line.starts_with("# "))
            .map(|line| {
                let (stack, weight) = line
                    .rsplit_once(' ')
                    .with_context(|| format!("no weight: {line}"))?;
                let mut parts = stack.split(';').map(str::to_owned);
                Ok(Stack {
                    container: parts.next().unwrap_or_default(),
                    process: parts
                        .next()
                        .with_context(|| format!("no process: {line}"))?,
                    frames: parts.collect(),
                    weight: weight
                        .parse()
                        .with_context(|| format!("weight of {line}"))?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { stacks })
    }

    pub fn keep(&mut self, mut wanted: impl FnMut(&Stack) -> bool) {
        self.stacks.retain(|stack| wanted(stack));
    }

    pub fn total(&self) -> f64 {
        self.stacks.iter().map(|stack| stack.weight).sum()
    }

    /// Percent of the whole weight that satisfies `wanted`.
    pub fn share(&self, wanted: impl Fn(&Stack) -> bool) -> f64 {
        let part: f64 = self
            .stacks
            .iter()
            .filter(|stack| wanted(stack))
            .map(|stack| stack.weight)
            .sum();
        100.0 * part / self.total()
    }

    pub fn by_container(&self) -> BTreeMap<&str, f64> {
        let mut sums = BTreeMap::new();
        for stack in &self.stacks {
            *sums.entry(stack.container.as_str()).or_default() += stack.weight;
        }
        sums
    }

    /// A few of the heaviest stacks that satisfy `wanted`, for a test's message.
    pub fn examples(&self, wanted: impl Fn(&Stack) -> bool) -> String {
        let mut found: Vec<&Stack> = self.stacks.iter().filter(|stack| wanted(stack)).collect();
        found.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        found
            .iter()
            .take(8)
            .map(|stack| {
                format!(
                    "\n  {} {};{};{}",
                    stack.weight,
                    stack.container,
                    stack.process,
                    stack.frames.join(";")
                )
            })
            .collect()
    }
}

impl Stack {
    pub fn has(&self, name: &str) -> bool {
        self.frames.iter().any(|frame| plain(frame) == name)
    }

    /// The innermost frame that is one of `names`: whatever else was called
    /// there, the clock or the kernel, was called on its account.
    pub fn innermost<'a>(&self, names: &[&'a str]) -> Option<&'a str> {
        self.frames
            .iter()
            .rev()
            .find_map(|frame| names.iter().find(|name| **name == plain(frame)).copied())
    }

    pub fn truncated(&self) -> bool {
        self.frames
            .iter()
            .any(|frame| frame.starts_with("[truncated"))
    }

    /// Whether anything outside the kernel is in it.
    pub fn has_user_frames(&self) -> bool {
        self.frames
            .iter()
            .any(|frame| !frame.ends_with("_[k]") && !frame.starts_with('['))
            || self.truncated()
    }
}

/// A frame's function, without what marks it as inlined and where it lies.
pub fn plain(frame: &str) -> &str {
    let frame = frame.strip_suffix("_[i]").unwrap_or(frame);
    frame.split(" (").next().unwrap_or(frame)
}

#[cfg(test)]
mod tests {
    use super::Folded;

    #[test]
    fn reads_what_the_profiler_writes() {
        let folded = Folded::parse(
            "host;a b;_start;main;burn_[i] 30\nweb;nginx;[truncated: no table];f 10\nhost;k;x_[k] 10\n",
        )
        .expect("it is well formed");
        assert_eq!(folded.total(), 50.0);
        assert_eq!(folded.share(|stack| stack.has("burn")), 60.0);
        assert!(folded.stacks[1].truncated());
        assert!(!folded.stacks[2].has_user_frames());
        assert_eq!(
            folded.stacks[0].innermost(&["main", "_start"]),
            Some("main")
        );
    }
}
