//! Which containers are wanted: what `--containers` names.

use thiserror::Error;

/// Fewest digits of an id that select a container.
const MIN_ID_PREFIX: usize = 4;
/// How many names an error lists.
const LISTED: usize = 20;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum SelectError {
    #[error("no container matches `{pattern}`; {there_are}")]
    Unknown { pattern: String, there_are: String },
    #[error("`{pattern}` is the start of several ids: {which}")]
    Ambiguous { pattern: String, which: String },
    #[error("an empty name selects no container")]
    Empty,
}

/// Ids of cgroups to admit in the kernel. Ids of the two hierarchies are
/// numbered apart from each other: the same number can be in both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupIds {
    pub v2: Vec<u64>,
    /// In the hierarchy of the chosen version 1 controller.
    pub v1: Vec<u64>,
}

impl CgroupIds {
    pub fn is_empty(&self) -> bool {
        self.v2.is_empty() && self.v1.is_empty()
    }
}

/// What was selected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub ids: CgroupIds,
    /// Names of the containers and cgroups that match now, in order.
    pub names: Vec<String>,
}

/// All that a container or cgroup can be called.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Whole names: the engine's, `pod/container`, the compose service, …
    pub names: Vec<String>,
    /// Full id, empty for what is no container.
    pub id: String,
    /// Path of the cgroup.
    pub path: String,
}

/// One pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Of a container or unit.
    Name(String),
    /// A cgroup and everything in it: its path, or any directory's name.
    Cgroup(String),
    /// Of names, and of units' paths.
    Glob(String),
    /// The start of a container's id.
    Id(String),
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Self, SelectError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SelectError::Empty);
        }
        Ok(if text.contains(['*', '?']) {
            Self::Glob(text.to_owned())
        } else {
            Self::Name(text.to_owned())
        })
    }

    /// The same text as a cgroup, and as the start of an id if it can be one.
    pub fn others(&self) -> (Option<Self>, Option<Self>) {
        let Self::Name(text) = self else {
            return (None, None);
        };
        let is_id =
            text.len() >= MIN_ID_PREFIX && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        (
            Some(Self::Cgroup(text.trim_matches('/').to_owned())),
            is_id.then(|| Self::Id(text.to_ascii_lowercase())),
        )
    }

    pub fn matches(&self, names: &Names) -> bool {
        let path = names.path.trim_start_matches('/');
        match self {
            Self::Name(text) => names.names.contains(text),
            Self::Cgroup(text) => {
                path.strip_prefix(text.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                    || path.split('/').any(|part| {
                        part == text || part.strip_suffix(".service") == Some(text.as_str())
                    })
            }
            Self::Glob(text) => {
                let matches = |name: &str| glob(text.as_bytes(), name.as_bytes());
                names.names.iter().any(|name| matches(name))
                    // Of a container, its path is its engine's business:
                    // `docker*` must not select every container of Docker.
                    || (names.id.is_empty()
                        && !path.is_empty()
                        && (matches(path) || path.split('/').any(matches)))
            }
            Self::Id(prefix) => !names.id.is_empty() && names.id.starts_with(prefix.as_str()),
        }
    }
}

/// Whether `text` is as `pattern`: `*` is any text, `?` any byte.
pub fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when the text does not match: one byte more for the
    // last star.
    let mut retry = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((after, from)) => {
                    (p, t) = (after, from + 1);
                    retry = Some((after, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// `there are: a, b and 3 more`, one line.
pub fn there_are(mut names: Vec<String>) -> String {
    if names.is_empty() {
        return "there is none on this host".to_owned();
    }
    let more = names.len().saturating_sub(LISTED);
    names.truncate(LISTED);
    let mut text = format!("there are: {}", names.join(", "));
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, matches) in [
            ("web*", "web-1", true),
            ("web*", "web", true),
            ("*web", "my-web", true),
            ("w?b", "web", true),
            ("w?b", "wb", false),
            ("*a*b*", "xaxbx", true),
            ("*a*b", "xaxbx", false),
            ("**", "", true),
            ("", "", true),
            ("*.service", "ssh.service", true),
        ] {
            assert_eq!(
                glob(pattern.as_bytes(), text.as_bytes()),
                matches,
                "{pattern} {text}"
            );
        }
        // No exponential backtracking.
        let hard = format!("{}b", "a*".repeat(50));
        assert!(!glob(hard.as_bytes(), "a".repeat(500).as_bytes()));
    }

    fn container() -> Names {
        Names {
            names: vec!["web".to_owned(), "shop/web".to_owned()],
            id: "4f1c2a9be07d".to_owned(),
            path: "/system.slice/docker-4f1c2a9be07d.scope".to_owned(),
        }
    }

    #[test]
    fn what_a_pattern_means() {
        let pattern = |text: &str| Pattern::parse(text).expect("not empty");
        let cgroup = |text: &str| pattern(text).others().0.expect("a path");
        assert!(pattern("web").matches(&container()));
        assert!(pattern(" shop/* ").matches(&container()));
        assert!(!pattern("we").matches(&container()));
        assert!(!pattern("docker*").matches(&container()));
        assert!(!pattern("system.slice").matches(&container()));
        for text in ["system.slice", "/system.slice/docker-4f1c2a9be07d.scope"] {
            assert!(cgroup(text).matches(&container()), "{text}");
        }
        let id = pattern("4F1C").others().1.expect("an id");
        assert!(id.matches(&container()));
        assert_eq!(pattern("4f1").others().1, None);
        assert_eq!(pattern("web1").others().1, None);
        assert_eq!(Pattern::parse(" "), Err(SelectError::Empty));

        let unit = Names {
            names: vec!["ssh.service".to_owned()],
            id: String::new(),
            path: "/system.slice/ssh.service/worker".to_owned(),
        };
        for text in [
            "ssh",
            "ssh.service",
            "system.slice",
            "system.slice/ssh.service",
        ] {
            assert!(cgroup(text).matches(&unit), "{text}");
        }
        assert!(pattern("ssh*").matches(&unit));
        assert!(!cgroup("system").matches(&unit));
        assert!(!cgroup("system.slice/ssh").matches(&unit));
    }

    #[test]
    fn errors_are_one_line() {
        let names = (0..30).map(|n| format!("c{n}")).collect();
        let error = SelectError::Unknown {
            pattern: "x".to_owned(),
            there_are: there_are(names),
        };
        let text = error.to_string();
        assert!(text.starts_with("no container matches `x`; there are: c0, c1"));
        assert!(text.ends_with("c19 and 10 more"));
        assert!(!text.contains('\n'));
    }
}
