//! A comparison as JUnit XML, as CI servers read it: a test case a metric and
//! target. What got worse failed; what is not known was skipped, with its reason,
//! since JUnit has no other word for it.

use std::io::{self, Write};

use super::{
    super::{Comparison, targets::Status, verdict::Verdict},
    change, measured, value,
};
use crate::report::text::clean;

enum Result {
    Passed,
    Failed(String),
    Skipped(String),
}

struct Case {
    suite: &'static str,
    name: String,
    result: Result,
}

pub fn write(comparison: &Comparison, out: &mut dyn Write) -> io::Result<()> {
    let cases: Vec<Case> = metrics(comparison).chain(targets(comparison)).collect();
    writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    let (tests, failures, skipped) = counts(cases.iter());
    writeln!(
        out,
        r#"<testsuites name="profiler compare" tests="{tests}" failures="{failures}" errors="0" skipped="{skipped}">"#
    )?;
    for suite in ["metrics", "targets"] {
        let of = || cases.iter().filter(|case| case.suite == suite);
        let (tests, failures, skipped) = counts(of());
        if tests == 0 {
            continue;
        }
        writeln!(
            out,
            r#"  <testsuite name="{suite}" tests="{tests}" failures="{failures}" errors="0" skipped="{skipped}">"#
        )?;
        for case in of() {
            let name = escape(&case.name);
            write!(
                out,
                r#"    <testcase classname="profiler.{suite}" name="{name}""#
            )?;
            match &case.result {
                Result::Passed => writeln!(out, "/>")?,
                Result::Failed(why) => {
                    let why = escape(why);
                    writeln!(out, r#"><failure message="{why}"/></testcase>"#)?;
                }
                Result::Skipped(why) => {
                    let why = escape(why);
                    writeln!(out, r#"><skipped message="{why}"/></testcase>"#)?;
                }
            }
        }
        writeln!(out, "  </testsuite>")?;
    }
    writeln!(out, "</testsuites>")
}

fn counts<'c>(cases: impl Iterator<Item = &'c Case>) -> (usize, usize, usize) {
    cases.fold((0, 0, 0), |(tests, failures, skipped), case| {
        match case.result {
            Result::Passed => (tests + 1, failures, skipped),
            Result::Failed(_) => (tests + 1, failures + 1, skipped),
            Result::Skipped(_) => (tests + 1, failures, skipped + 1),
        }
    })
}

fn metrics(comparison: &Comparison) -> impl Iterator<Item = Case> + '_ {
    let metrics = comparison.judgement.iter().flat_map(|it| &it.metrics);
    metrics.map(|judged| {
        let (change, interval) = change(judged);
        let numbers = format!(
            "{change} ({interval}), from {} to {}: {}",
            value(judged, judged.baseline),
            value(judged, judged.candidate),
            judged.reason(&comparison.rules)
        );
        Case {
            suite: "metrics",
            name: judged.key.id(),
            result: match judged.verdict {
                Verdict::Worse => Result::Failed(format!("worse: {numbers}")),
                Verdict::NotEnoughEvidence => {
                    Result::Skipped(format!("not enough evidence: {numbers}"))
                }
                Verdict::Better | Verdict::Same => Result::Passed,
            },
        }
    })
}

fn targets(comparison: &Comparison) -> impl Iterator<Item = Case> + '_ {
    comparison.targets.iter().map(|checked| {
        let limit = checked.limit();
        Case {
            suite: "targets",
            name: checked.target.name(),
            result: match checked.status {
                Status::Pass => Result::Passed,
                Status::Fail => {
                    Result::Failed(format!("{} measured, target {limit}", measured(checked)))
                }
                Status::Unknown => {
                    Result::Skipped(format!("unknown, target {limit}: {}", checked.reason))
                }
            },
        }
    })
}

fn escape(text: &str) -> String {
    clean(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
