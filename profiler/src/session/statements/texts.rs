//! Texts of statements by the hash that the kernel side has of them.

use profiler_ebpf::{KNOWN_STATEMENTS, STATEMENT_BYTES, UNREADABLE};
use rustc_hash::FxHashMap;

use crate::probes::database::literals::without_literals;

/// The kernel side remembers one hash in each place. On several CPUs, what it sends
/// may be in another order than what it remembers: so a few before are kept too.
const DEPTH: usize = 4;

/// Most statements that are told apart, …
const MAX_STATEMENTS: usize = 5000;
/// … and what stands for the rest, and for those of which nothing is known.
pub const OTHERS: u32 = 0;
pub const UNKNOWN: u32 = 1;

/// A statement without its literals.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Text {
    pub text: String,
    pub cut: bool,
}

pub struct Texts {
    /// By the place of the hash.
    recent: Vec<[(u64, u32); DEPTH]>,
    ids: FxHashMap<Text, u32>,
    texts: Vec<Text>,
}

impl Default for Texts {
    fn default() -> Self {
        let stands_for = |text: &str| Text {
            text: text.to_owned(),
            cut: false,
        };
        Self {
            recent: vec![[(0, UNKNOWN); DEPTH]; KNOWN_STATEMENTS],
            ids: FxHashMap::default(),
            texts: vec![
                stands_for("[other statements]"),
                stands_for("[text unknown]"),
            ],
        }
    }
}

impl Texts {
    /// The kernel side told a text.
    pub fn learn(&mut self, hash: u64, text: &[u8]) {
        let id = self.id(text);
        let place = &mut self.recent[hash as usize % KNOWN_STATEMENTS];
        if !place.contains(&(hash, id)) {
            place.rotate_right(1);
            place[0] = (hash, id);
        }
    }

    pub fn of(&self, hash: u64) -> u32 {
        if hash == UNREADABLE {
            return UNKNOWN;
        }
        self.recent[hash as usize % KNOWN_STATEMENTS]
            .iter()
            .find(|(known, _)| *known == hash)
            .map_or(UNKNOWN, |&(_, id)| id)
    }

    pub fn text(&self, id: u32) -> &Text {
        &self.texts[id as usize]
    }

    fn id(&mut self, text: &[u8]) -> u32 {
        let cut = text.len() == STATEMENT_BYTES - 1;
        let text = without_literals(&String::from_utf8_lossy(text));
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let text = Text {
            text: text.trim_end_matches([';', ' ']).to_owned(),
            cut,
        };
        if let Some(&id) = self.ids.get(&text) {
            return id;
        }
        if self.texts.len() >= MAX_STATEMENTS {
            return OTHERS;
        }
        let id = self.texts.len() as u32;
        self.texts.push(text.clone());
        self.ids.insert(text, id);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_make_no_other_statement() {
        let mut texts = Texts::default();
        texts.learn(10, b"SELECT *\n  FROM t WHERE a = 1");
        texts.learn(11, b"SELECT * FROM t WHERE a = 23 ;");
        texts.learn(12, b"SELECT 'secret");
        assert_eq!(texts.of(10), texts.of(11));
        assert_eq!(texts.text(texts.of(10)).text, "SELECT * FROM t WHERE a = ?");
        assert_eq!(texts.text(texts.of(12)).text, "SELECT ?");
        assert_eq!(texts.text(texts.of(13)).text, "[text unknown]");
        assert_eq!(texts.of(UNREADABLE), UNKNOWN);
    }

    #[test]
    fn a_place_remembers_some_before() {
        let mut texts = Texts::default();
        let hash = |round: u64| 7 + round * KNOWN_STATEMENTS as u64;
        for round in 0..=DEPTH as u64 {
            texts.learn(hash(round), format!("SELECT a{round}").as_bytes());
        }
        assert_eq!(texts.of(hash(0)), UNKNOWN);
        for round in 1..=DEPTH as u64 {
            let text = &texts.text(texts.of(hash(round))).text;
            assert_eq!(*text, format!("SELECT a{round}"));
        }
        // Told again: nothing else is forgotten for it.
        texts.learn(hash(1), b"SELECT a1");
        assert_ne!(texts.of(hash(4)), UNKNOWN);
    }

    #[test]
    fn there_is_an_end_to_them() {
        let mut texts = Texts::default();
        for number in 0..2 * MAX_STATEMENTS as u64 {
            texts.learn(number + 2, format!("SELECT a{number}").as_bytes());
        }
        assert_eq!(texts.texts.len(), MAX_STATEMENTS);
        assert_eq!(texts.of(2 * MAX_STATEMENTS as u64 + 1), OTHERS);
        let long = [b'a'; STATEMENT_BYTES - 1];
        let mut texts = Texts::default();
        texts.learn(2, &long);
        texts.learn(3, &[0xff, 0xfe]);
        assert!(texts.text(texts.of(2)).cut);
    }
}
