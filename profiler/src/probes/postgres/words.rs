//! Statements as words, for what is read from their text.

/// Names, parameters and operators of a statement, in lower case but for quoted
/// names.
pub fn words(query: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut in_word = false;
    let mut quoted = false;
    for character in query.chars() {
        let part = quoted || matches!(character, '_' | '$' | '?') || character.is_alphanumeric();
        if character == '"' {
            quoted = !quoted;
            in_word = false;
        } else if part {
            if !in_word {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                if quoted {
                    word.push(character);
                } else {
                    word.extend(character.to_lowercase());
                }
            }
            in_word = true;
        } else {
            in_word = false;
            if !character.is_whitespace() {
                words.push(character.to_string());
            }
        }
    }
    words
}

/// Whether a statement has the table in its FROM, or changes it.
pub fn names(words: &[String], table: &str) -> bool {
    words.iter().enumerate().any(|(at, word)| {
        let next = |ahead: usize| words.get(at + ahead).map(String::as_str);
        // A schema may stand before it; before a point, it is an alias.
        let place = if next(2) == Some(".") {
            next(3)
        } else {
            next(1)
        };
        matches!(word.as_str(), "from" | "join" | "update" | "into" | ",") && place == Some(table)
    })
}

/// Whether a statement looks for rows by a column's value: `WHERE … column = $1`.
pub fn compares(words: &[String], column: &str) -> bool {
    let Some(from) = words.iter().position(|word| word == "where") else {
        return false;
    };
    words[from..].windows(3).any(|three| {
        let value = |word: &str| word.starts_with('$') || word == "?";
        three[0] == column
            && ((matches!(three[1].as_str(), "=") && value(&three[2]))
                || (three[1] == "in" && three[2] == "("))
    })
}

/// The table that a statement changes, or whose rows it locks, in its words.
pub fn target(words: &[String]) -> Option<String> {
    let first = words.first()?.as_str();
    let before = match first {
        "update" => "update",
        "insert" | "merge" => "into",
        "lock" => "table",
        "select" | "delete" | "with" => "from",
        _ => return None,
    };
    let mut rest = words.iter().skip_while(|word| *word != before).skip(1);
    let mut name = rest.find(|word| *word != "only")?.clone();
    while rest.next().is_some_and(|word| word == ".") {
        name = rest.next()?.clone();
    }
    name.chars()
        .next()
        .is_some_and(|first| first.is_alphabetic() || first == '_')
        .then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_statement_compares() {
        let words = words(
            "SELECT o.id FROM public.orders o JOIN \"Items\" i ON i.o = o.id \
             WHERE o.customer_id = $1 AND status IN ($2, $3) AND a > $4 ORDER BY total",
        );
        assert!(names(&words, "orders") && names(&words, "Items"));
        assert!(!names(&words, "o"));
        for (column, expected) in [
            ("customer_id", true),
            ("status", true),
            ("a", false),
            ("total", false),
            ("id", false),
        ] {
            assert_eq!(compares(&words, column), expected, "{column}");
        }
    }

    #[test]
    fn what_a_statement_changes() {
        for (statement, expected) in [
            (
                "UPDATE ONLY stock SET available = ? WHERE id = $1",
                Some("stock"),
            ),
            (
                "INSERT INTO public.\"Orders\" (id) VALUES ($1)",
                Some("Orders"),
            ),
            ("DELETE FROM carts WHERE id = $1", Some("carts")),
            ("SELECT * FROM jobs WHERE id = $1 FOR UPDATE", Some("jobs")),
            ("LOCK TABLE stock IN SHARE MODE", Some("stock")),
            ("SELECT * FROM (SELECT 1) AS one", None),
            ("SELECT pg_advisory_lock($1)", None),
            ("COMMIT", None),
        ] {
            assert_eq!(
                target(&words(statement)).as_deref(),
                expected,
                "{statement}"
            );
        }
    }
}
