//! Options whose value is a word of its own, and the short options of
//! well-known tools.

use super::{
    MASK,
    names::{self, Kind},
    text,
};

/// How a tool takes a secret in a short option.
struct Tool {
    /// The program's name starts with one of these.
    names: &'static [&'static str],
    /// `-p secret`.
    separate: &'static [&'static str],
    /// `-psecret`.
    attached: &'static [&'static str],
    /// `-u user:secret`: the user stays.
    user: &'static [&'static str],
}

const TOOLS: &[Tool] = &[
    Tool {
        names: &[
            "mysql",
            "mariadb",
            "mycli",
            "mytop",
            "xtrabackup",
            "mariabackup",
            "innotop",
        ],
        // `-p` alone asks for the password; the next word is a database.
        separate: &[],
        attached: &["-p"],
        user: &[],
    },
    Tool {
        names: &["sshpass"],
        separate: &["-p"],
        attached: &["-p"],
        user: &[],
    },
    Tool {
        names: &[
            "redis-cli",
            "redis-benchmark",
            "valkey-cli",
            "valkey-benchmark",
            "keydb-cli",
        ],
        separate: &["-a"],
        attached: &[],
        user: &[],
    },
    Tool {
        names: &[
            "mongo",
            "bsondump",
            "docker",
            "podman",
            "nerdctl",
            "helm",
            "az",
            "cqlsh",
            "rabbitmqadmin",
            "influx",
        ],
        separate: &["-p"],
        attached: &[],
        user: &[],
    },
    Tool {
        names: &["curl"],
        separate: &[],
        attached: &[],
        user: &["-u", "-U", "--user", "--proxy-user"],
    },
    Tool {
        names: &["http", "https", "xh"],
        separate: &[],
        attached: &[],
        user: &["-a", "--auth"],
    },
    Tool {
        names: &["ab"],
        separate: &[],
        attached: &[],
        user: &["-A", "-P"],
    },
    Tool {
        names: &["lftp", "smbclient", "rpcclient"],
        separate: &[],
        attached: &[],
        user: &["-u", "-U", "--user"],
    },
    Tool {
        names: &["ldap"],
        separate: &["-w"],
        attached: &["-w"],
        user: &[],
    },
    Tool {
        names: &[
            "sqlcmd",
            "bcp",
            "mosquitto_",
            "unzip",
            "zip",
            "isql",
            "tsql",
        ],
        separate: &["-P"],
        attached: &["-P"],
        user: &[],
    },
    Tool {
        names: &["7z", "7za", "7zr", "rar", "unrar"],
        separate: &[],
        attached: &["-p", "-hp"],
        user: &[],
    },
];

/// Programs whose `-p` is a port or the like in most of their verbs, and a
/// password in `login` alone.
const ONLY_IN_LOGIN: &[&str] = &["docker", "podman", "nerdctl", "helm", "az"];

pub fn mask_argv(arguments: Vec<String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(arguments.len());
    let mut shell = false;
    for argument in arguments {
        // `sh -c TEXT`, `bash -lc TEXT`.
        let masked = text::mask(&argument, !shell);
        shell = is_shell_option(&argument) && out.iter().any(|word| is_shell(word));
        out.push(masked);
    }
    mask_words(&mut out, 0);
    out
}

fn is_shell_option(word: &str) -> bool {
    word.len() <= 6
        && word.starts_with('-')
        && word.ends_with('c')
        && word[1..].bytes().all(|b| b.is_ascii_lowercase())
}

fn is_shell(word: &str) -> bool {
    matches!(
        base_name(word),
        "sh" | "bash" | "dash" | "zsh" | "ash" | "ksh" | "fish" | "su" | "busybox"
    )
}

fn base_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// What the word before says of this one.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    Anything,
    Secret,
    /// A secret if it looks random.
    Perhaps,
    /// `user:secret`.
    User,
}

fn mask_words(words: &mut [String], depth: u32) {
    let mut tool: Option<&Tool> = None;
    let mut login = true;
    let mut next = Next::Anything;
    for slot in words {
        let word = slot.clone();
        let expected = std::mem::replace(&mut next, Next::Anything);
        let bare = word.trim_matches(['"', '\'']);
        match expected {
            Next::Secret if !is_option(bare) => {
                if matches!(bare.to_ascii_lowercase().as_str(), "bearer" | "basic") {
                    next = Next::Secret;
                } else if !names::harmless_value(bare) && !bare.contains(MASK) {
                    *slot = MASK.to_string();
                }
                continue;
            }
            Next::Perhaps if names::looks_random(bare) => {
                *slot = MASK.to_string();
                continue;
            }
            Next::User if !is_option(bare) => {
                if let Some(at) = bare.find([':', '%', ',']) {
                    *slot = format!("{}{MASK}", &bare[..=at]);
                }
                continue;
            }
            _ => {}
        }
        if depth < 2 && word.contains(char::is_whitespace) {
            *slot = mask_text_of_shell(&word, depth);
            continue;
        }
        if bare == "login" {
            login = true;
        }
        if let Some(found) = tool_of(bare) {
            tool = Some(found);
            login = !ONLY_IN_LOGIN.contains(&base_name(bare));
            continue;
        }
        if let Some(current) = tool
            && login
        {
            // The command that sshpass runs has options of its own.
            if current.names == ["sshpass"] && bare.starts_with("-p") {
                tool = None;
            }
            if current.separate.contains(&bare) {
                next = Next::Secret;
                continue;
            }
            if current.user.contains(&bare) {
                next = Next::User;
                continue;
            }
            if let Some((option, user)) = bare.split_once('=')
                && current.user.contains(&option)
            {
                if let Some(at) = user.find([':', '%', ',']) {
                    *slot = format!("{option}={}{MASK}", &user[..=at]);
                }
                continue;
            }
            if let Some(short) = current
                .user
                .iter()
                .find(|short| short.len() == 2 && bare.starts_with(**short))
            {
                let user = &bare[short.len()..];
                if let Some(at) = user.find([':', '%', ',']) {
                    *slot = format!("{short}{}{MASK}", &user[..=at]);
                }
                continue;
            }
            if let Some(short) = current.attached.iter().find(|short| {
                bare.len() > short.len() && bare.starts_with(**short) && !bare.starts_with("--")
            }) {
                *slot = format!("{short}{MASK}");
                continue;
            }
        }
        next = after(bare);
    }
}

/// What follows a word that is a name on its own: `--password`, `-password`,
/// `Authorization:`, `Bearer`, and the `requirepass` of Redis.
fn after(word: &str) -> Next {
    if word.contains('=') {
        return Next::Anything;
    }
    let lower = word.to_ascii_lowercase();
    if lower == "bearer" {
        return Next::Secret;
    }
    let is_name = matches!(lower.as_str(), "requirepass" | "masterauth")
        || (word.starts_with('-') && word.len() > 2)
        || word.ends_with(':');
    match names::kind(word) {
        Kind::Secret if is_name => Next::Secret,
        Kind::Perhaps if is_name => Next::Perhaps,
        _ => Next::Anything,
    }
}

/// `-x`, `--word`: a secret that starts with a dash is longer than the one and
/// has other characters than the other.
fn is_option(word: &str) -> bool {
    match word.strip_prefix("--") {
        Some(name) => {
            !name.is_empty()
                && name
                    .split('=')
                    .next()
                    .is_some_and(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
        }
        None => {
            word.len() == 2 && word.starts_with('-') && word.as_bytes()[1].is_ascii_alphabetic()
        }
    }
}

fn tool_of(word: &str) -> Option<&'static Tool> {
    if word.starts_with('-') {
        return None;
    }
    // `mysqld` is a server: its `-p` is none of ours. Prefixes serve
    // `mysqldump`, `mongorestore`, `ldapsearch`.
    let name = base_name(word);
    if matches!(
        name,
        "mysqld" | "mariadbd" | "mysqld_safe" | "mongod" | "mongos" | "dockerd"
    ) {
        return None;
    }
    TOOLS.iter().find(|tool| {
        tool.names.iter().any(|&prefix| {
            name == prefix
                || (matches!(
                    prefix,
                    "mysql" | "mariadb" | "mongo" | "ldap" | "mosquitto_"
                ) && name.starts_with(prefix)
                    && name
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')))
        })
    })
}

/// The words of a text, such as a shell is given, with the space between them
/// as it was.
fn mask_text_of_shell(text: &str, depth: u32) -> String {
    let mut words = Vec::new();
    let mut gaps = Vec::new();
    let mut rest = text;
    loop {
        let gap = rest.len() - rest.trim_start().len();
        gaps.push(rest[..gap].to_string());
        rest = &rest[gap..];
        if rest.is_empty() {
            break;
        }
        let mut quote = None;
        let end = rest
            .char_indices()
            .find(|&(_, c)| {
                match quote {
                    Some(open) if c == open => quote = None,
                    Some(_) => {}
                    None if c == '"' || c == '\'' => quote = Some(c),
                    None => return c.is_whitespace(),
                }
                false
            })
            .map_or(rest.len(), |(at, _)| at);
        words.push(rest[..end].to_string());
        rest = &rest[end..];
    }
    mask_words(&mut words, depth + 1);
    let mut out = gaps[0].clone();
    for (word, gap) in words.iter().zip(&gaps[1..]) {
        out.push_str(word);
        out.push_str(gap);
    }
    out
}
