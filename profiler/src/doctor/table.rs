//! The findings for people.

use std::io::IsTerminal as _;

use super::{Findings, State};

/// How a table is shown.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub colors: bool,
}

impl Look {
    /// Colours on a terminal, unless NO_COLOR forbids them.
    pub fn of_stdout() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            colors: std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb,
        }
    }

    fn state(self, state: State) -> String {
        let (name, color) = match state {
            State::Ok => ("ok", 32),
            State::Limited => ("limited", 33),
            State::Missing => ("missing", 31),
            State::Unknown => ("unknown", 36),
        };
        if self.colors {
            format!("\u{1b}[{color}m{name:<7}\u{1b}[0m")
        } else {
            format!("{name:<7}")
        }
    }
}

pub fn table(findings: &Findings, look: Look) -> String {
    let width = findings
        .checks
        .iter()
        .map(|check| check.name.len())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(text.trim_end());
        out.push('\n');
    };
    let indent = " ".repeat(7 + 2 + width + 2);
    for check in &findings.checks {
        let state = look.state(check.state);
        line(format!("{state}  {:<width$}  {}", check.name, check.found));
        if check.state == State::Ok {
            continue;
        }
        for (what, text) in [("costs", &check.cost), ("to get", &check.remedy)] {
            if !text.is_empty() {
                line(format!("{indent}{what}: {text}"));
            }
        }
    }
    line(String::new());
    if findings.usable() {
        line("A recording works on this host.".to_string());
    } else {
        let obstacles: Vec<&str> = findings.obstacles().map(|check| check.name).collect();
        line(format!(
            "No recording works here until this is solved: {}.",
            obstacles.join(", ")
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{super::Check, *};

    fn findings() -> Findings {
        Findings::new(
            "6.1.0".to_string(),
            vec![
                Check::ok("kernel", "6.1.0"),
                Check::limited("clock source", "hpet")
                    .costs("slow")
                    .remedy("tsc"),
                Check::missing("BTF", "not there").remedy("boot").required(),
            ],
        )
    }

    #[test]
    fn it_lines_up() {
        let text = table(&findings(), Look { colors: false });
        assert_eq!(
            text,
            "\
ok       kernel        6.1.0
limited  clock source  hpet
                       costs: slow
                       to get: tsc
missing  BTF           not there
                       costs: no recording works without it
                       to get: boot

No recording works here until this is solved: BTF.
"
        );
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn colors_when_wanted() {
        assert!(table(&findings(), Look { colors: true }).contains("\u{1b}[31mmissing"));
    }
}
