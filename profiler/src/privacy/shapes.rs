//! Tokens that are known by their shape, wherever they stand.

use super::MASK;

/// A prefix and the least length of what must follow it.
const PREFIXES: &[(&str, usize)] = &[
    ("AKIA", 16),
    ("ASIA", 16),
    ("AGPA", 16),
    ("AROA", 16),
    ("AIDA", 16),
    ("AIza", 35),
    ("ghp_", 20),
    ("gho_", 20),
    ("ghu_", 20),
    ("ghs_", 20),
    ("ghr_", 20),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("xoxa-", 10),
    ("xoxb-", 10),
    ("xoxp-", 10),
    ("xoxr-", 10),
    ("xoxs-", 10),
    ("xapp-", 10),
    ("sk_live_", 10),
    ("sk_test_", 10),
    ("rk_live_", 10),
    ("whsec_", 16),
    ("sk-", 20),
    ("npm_", 30),
    ("pypi-", 30),
    ("hf_", 30),
    ("dop_v1_", 30),
    ("hvs.", 20),
    ("SG.", 30),
    ("shpat_", 20),
    ("ya29.", 20),
    ("AGE-SECRET-KEY-", 20),
];

const PRIVATE_KEY: &str = "PRIVATE KEY-----";

fn in_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Masks every token in the text.
pub fn mask(text: &str) -> String {
    // A private key has line breaks and all; nothing after its header is
    // worth the risk.
    if let Some(at) = text.find(PRIVATE_KEY) {
        return format!("{}{MASK}", mask_tokens(&text[..at + PRIVATE_KEY.len()]));
    }
    mask_tokens(text)
}

fn mask_tokens(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    let mut at = 0;
    while at < bytes.len() {
        if !in_token(bytes[at]) {
            at += 1;
            continue;
        }
        let end = at + bytes[at..].iter().take_while(|&&b| in_token(b)).count();
        if let Some(kept) = secret_part(&text[at..end]) {
            out.push_str(&text[copied..at + kept]);
            out.push_str(MASK);
            copied = end;
        }
        at = end;
    }
    out.push_str(&text[copied..]);
    out
}

/// How many bytes of a token may stay, when it is secret: its prefix says
/// what it was.
fn secret_part(token: &str) -> Option<usize> {
    if is_jwt(token) {
        return Some(0);
    }
    PREFIXES.iter().find_map(|&(prefix, least)| {
        let rest = token.strip_prefix(prefix)?;
        let random = rest.bytes().any(|b| b.is_ascii_digit())
            || rest.bytes().any(|b| b.is_ascii_uppercase());
        (rest.len() >= least && random).then_some(prefix.len())
    })
}

/// Three base64url parts, the first a JSON object.
fn is_jwt(token: &str) -> bool {
    let mut parts = token.split('.');
    let long = |part: Option<&str>| part.is_some_and(|part| part.len() >= 8);
    token.starts_with("eyJ") && long(parts.next()) && long(parts.next()) && parts.next().is_some()
}
