//! Which names of options, variables and fields hold secrets.

/// What a name says about its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The value is a secret.
    Secret,
    /// The value is one if it looks random: `--key`, `SESSION`.
    Perhaps,
    Harmless,
}

/// Secret when one word of the name is one of these.
const SECRET: &[&str] = &[
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "pass",
    "passcode",
    "pwd",
    "pw",
    "secret",
    "secrets",
    "token",
    "apikey",
    "authkey",
    "credential",
    "credentials",
    "creds",
    "jwt",
    "bearer",
    "authorization",
    "cookie",
    "accesskey",
    "secretkey",
    "privatekey",
    "authtoken",
    "requirepass",
    "masterauth",
];

/// Secret when one word ends with one of these: `redispassword`, `usertoken`.
const SECRET_ENDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
];

/// Secret when these words stand next to `key`.
const KEYS: &[&str] = &[
    "api",
    "access",
    "private",
    "secret",
    "signing",
    "encryption",
    "account",
    "master",
    "shared",
    "storage",
    "auth",
    "app",
    "application",
    "service",
    "client",
    "session",
    "deploy",
];

/// Worth a look at the value.
const PERHAPS: &[&str] = &[
    "key",
    "keys",
    "auth",
    "signature",
    "sig",
    "hash",
    "salt",
    "session",
    "sid",
    "sessionid",
    "nonce",
    "hmac",
    "license",
    "licence",
    "code",
    "pat",
    "seed",
    "sas",
    "webhook",
    "dsn",
    "otp",
];

/// As the last word they say that the value only describes a secret.
const DESCRIBES: &[&str] = &[
    "file",
    "files",
    "path",
    "dir",
    "directory",
    "type",
    "url",
    "uri",
    "endpoint",
    "expiry",
    "expires",
    "expiration",
    "ttl",
    "lifetime",
    "length",
    "len",
    "size",
    "count",
    "policy",
    "timeout",
    "limit",
    "max",
    "min",
    "prompt",
    "env",
    "algorithm",
    "algo",
    "store",
    "provider",
    "command",
    "cmd",
    "mode",
    "format",
    "field",
    "header",
    "required",
    "enabled",
    "disabled",
    "rotation",
    "version",
    "kind",
    "stdin",
    "budget",
    "location",
    "manager",
    "name",
    "names",
    "address",
    "host",
    "port",
    "issuer",
    "audience",
    "attempts",
    "retries",
    "index",
    "ids",
];

pub fn kind(name: &str) -> Kind {
    // The working directory of a shell.
    if matches!(name, "PWD" | "OLDPWD") {
        return Kind::Harmless;
    }
    // curl's `-HName: value`.
    let words = split(name.strip_prefix("-H").unwrap_or(name));
    let Some(last) = words.last() else {
        return Kind::Harmless;
    };
    if words.len() > 1 && DESCRIBES.contains(&last.as_str()) {
        return Kind::Harmless;
    }
    // `aws_access_key_id` names a key; a Vault `secret_id` is one.
    if last == "id" && words.len() > 1 && words[words.len() - 2] != "secret" {
        return Kind::Harmless;
    }
    // Switches: `--no-password`, `--ask-pass`.
    if matches!(
        words[0].as_str(),
        "no" | "ask"
            | "skip"
            | "disable"
            | "enable"
            | "max"
            | "min"
            | "num"
            | "require"
            | "without"
    ) && words.len() > 1
    {
        return Kind::Harmless;
    }
    let is_secret = |word: &String| {
        SECRET.contains(&word.as_str())
            || SECRET_ENDS.iter().any(|end| word.ends_with(end))
            || (word.ends_with("pwd") && word.len() <= 8)
    };
    if words.iter().any(is_secret)
        || words
            .windows(2)
            .any(|pair| pair[1] == "key" && KEYS.contains(&pair[0].as_str()))
    {
        return Kind::Secret;
    }
    // Run together, as in `dbpass`; but not `bypass` and `compass`.
    if words.iter().any(|word| {
        [
            "db", "user", "root", "redis", "mysql", "pg", "smtp", "ssh", "ldap", "admin", "key",
            "auth",
        ]
        .iter()
        .any(|owner| {
            word.strip_prefix(owner)
                .is_some_and(|rest| matches!(rest, "pass" | "pw" | "pwd"))
        })
    }) {
        return Kind::Secret;
    }
    if words
        .iter()
        .any(|word| PERHAPS.contains(&word.as_str()) || (word.len() > 5 && word.ends_with("key")))
    {
        return Kind::Perhaps;
    }
    Kind::Harmless
}

/// The words of a name in lower case: `--dbPassword`, `DB_PASSWORD` and
/// `db.password` are all `db password`.
fn split(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut previous_lower = false;
    for c in name.chars() {
        let boundary = !c.is_ascii_alphanumeric();
        if (boundary || (c.is_ascii_uppercase() && previous_lower)) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if !boundary {
            word.push(c.to_ascii_lowercase());
        }
        previous_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Values that are no secret whatever the name: switches, small numbers,
/// references to where the secret is.
pub fn harmless_value(value: &str) -> bool {
    let value = value.trim_matches(['"', '\'']);
    if value.is_empty() || value == super::MASK {
        return true;
    }
    let lower = value.to_ascii_lowercase();
    matches!(
        lower.as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "none" | "null" | "prompt" | "stdin" | "-"
    ) || is_reference(value)
        || (value.len() == 1 && value.as_bytes()[0].is_ascii_digit())
}

/// `$PASSWORD`, `${PASSWORD}`, `$(cat file)`, `env:NAME`, `@file`.
fn is_reference(value: &str) -> bool {
    let variable = |name: &str| {
        !name.is_empty()
            && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if let Some(name) = value.strip_prefix('$') {
        return variable(name)
            || name
                .strip_prefix('{')
                .and_then(|name| name.strip_suffix('}'))
                .is_some_and(variable)
            || name.starts_with('(');
    }
    ["env:", "file:/", "@/", "@./"]
        .iter()
        .any(|prefix| value.starts_with(prefix))
}

/// Whether it looks random: long, mixed, no path, no word.
pub fn looks_random(value: &str) -> bool {
    let value = value.trim_matches(['"', '\'']);
    if value.len() < 20
        || value.starts_with(['/', '.', '~', '$'])
        || !value.bytes().all(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'-' | b'_' | b'.')
        })
    {
        return false;
    }
    if value.bytes().all(|b| b.is_ascii_hexdigit()) {
        return value.len() >= 32 && entropy(value) > 2.8;
    }
    let has = |test: fn(&u8) -> bool| value.as_bytes().iter().any(test);
    let mixed = [
        has(u8::is_ascii_lowercase),
        has(u8::is_ascii_uppercase),
        has(u8::is_ascii_digit),
    ]
    .into_iter()
    .filter(|&found| found)
    .count();
    mixed >= 2 && has(u8::is_ascii_digit) && entropy(value) > 3.4
}

/// Bits a character.
fn entropy(value: &str) -> f64 {
    let mut counts = [0u32; 256];
    for byte in value.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let length = value.len() as f64;
    counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| {
            let share = f64::from(count) / length;
            -share * share.log2()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        for name in [
            "--password",
            "PASSWORD",
            "PGPASSWORD",
            "MYSQL_PWD",
            "--db-password",
            "dbPassword",
            "spring.datasource.password",
            "--token",
            "GITHUB_TOKEN",
            "accessToken",
            "--api-key",
            "--apikey",
            "API_KEY",
            "client_secret",
            "AWS_SECRET_ACCESS_KEY",
            "--auth-token",
            "Authorization",
            "Proxy-Authorization",
            "X-Api-Key",
            "Cookie",
            "AccountKey",
            "secret_id",
            "REDISCLI_AUTH_TOKEN",
            "--passphrase",
            "requirepass_pw",
            "ROOTPASS",
            "--private-key",
            "JWT_SECRET",
            "--admin-pass",
        ] {
            assert_eq!(kind(name), Kind::Secret, "{name}");
        }
        for name in [
            "--key",
            "SESSION",
            "sig",
            "X-Amz-Signature",
            "--auth",
            "REDISCLI_AUTH",
            "--license",
        ] {
            assert_eq!(kind(name), Kind::Perhaps, "{name}");
        }
        for name in [
            "--password-file",
            "--token-path",
            "AWS_ACCESS_KEY_ID",
            "--max-tokens",
            "--tokenizer",
            "--bypass",
            "--compass",
            "--secret-name",
            "--no-password",
            "--ask-pass",
            "--passive",
            "--user",
            "--host",
            "-p",
            "",
            "--",
            "--keyboard",
            "--passthrough",
            "--token-url",
            "--authority",
            "--secretary",
            "--num-tokens",
            "PWD",
            "OLDPWD",
        ] {
            assert_eq!(kind(name), Kind::Harmless, "{name}");
        }
    }

    #[test]
    fn random_values() {
        for value in [
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY1",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822c",
            "Zk3x9QmPq27TbLw05RnD",
        ] {
            assert!(looks_random(value), "{value}");
        }
        for value in [
            "/etc/ssl/private/server-2024.key",
            "server-certificate.pem",
            "primary",
            "00000000000000000000",
            "a-plain-sentence-of-words",
            "./keys/server1-a-b-c-d-e-f",
            "2024-01-01",
        ] {
            assert!(!looks_random(value), "{value}");
        }
    }
}
