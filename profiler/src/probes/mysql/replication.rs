//! What this server replays of another, and how far it is behind.

use serde::Serialize;
use serde_json::{Map, Value};

use super::session::{Product, Session, SessionError};

/// A stream of changes that this server takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Channel {
    pub name: String,
    pub source: String,
    /// Whether the thread runs that fetches changes: Yes, No, Connecting.
    pub fetching: String,
    /// Whether the thread runs that replays them.
    pub replaying: String,
    /// `None` while it does not replay.
    pub behind_seconds: Option<u64>,
    /// Numbers of the last errors, 0 for none. Their texts may quote data.
    pub fetch_error: u64,
    pub replay_error: u64,
}

/// Statements that show it, of which the first that is known counts: SHOW REPLICA
/// STATUS is of MySQL 8.0.22, and SHOW SLAVE STATUS is gone in 8.4.
fn statements(product: Product) -> &'static [&'static str] {
    match product {
        Product::Mariadb => &["SHOW ALL SLAVES STATUS"],
        Product::Mysql => &["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"],
    }
}

impl Channel {
    /// None where the server is nobody's replica.
    ///
    /// # Errors
    /// Those of [`Session::show`].
    pub async fn read(session: &mut Session) -> Result<Vec<Self>, SessionError> {
        let mut last = None;
        for statement in statements(session.product()) {
            match session.show(statement).await {
                Ok(rows) => return Ok(rows.iter().map(Self::of_row).collect()),
                Err(error) if error.is_unknown() => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| SessionError::Answer("no statement is known".to_owned())))
    }

    fn of_row(row: &Map<String, Value>) -> Self {
        let find = |names: &[&str]| names.iter().find_map(|&name| row.get(name));
        let text = |names: &[&str]| {
            let value = find(names).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        let number = |names: &[&str]| {
            let value = find(names)?;
            value.as_u64().or_else(|| value.as_str()?.parse().ok())
        };
        Self {
            name: text(&["Connection_name", "Channel_Name"]),
            source: format!(
                "{}:{}",
                text(&["Source_Host", "Master_Host"]),
                number(&["Source_Port", "Master_Port"]).unwrap_or_default()
            ),
            fetching: text(&["Replica_IO_Running", "Slave_IO_Running"]),
            replaying: text(&["Replica_SQL_Running", "Slave_SQL_Running"]),
            behind_seconds: number(&["Seconds_Behind_Source", "Seconds_Behind_Master"]),
            fetch_error: number(&["Last_IO_Errno"]).unwrap_or_default(),
            replay_error: number(&["Last_SQL_Errno"]).unwrap_or_default(),
        }
    }

    pub fn is_running(&self) -> bool {
        self.fetching == "Yes" && self.replaying == "Yes"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn old_and_new_names_are_read() {
        let old = json!({
            "Connection_name": "", "Master_Host": "db1", "Master_Port": 3306,
            "Slave_IO_Running": "Yes", "Slave_SQL_Running": "No",
            "Seconds_Behind_Master": null, "Last_IO_Errno": 0, "Last_SQL_Errno": 1062,
        });
        let new = json!({
            "Channel_Name": "", "Source_Host": "db1", "Source_Port": 3306,
            "Replica_IO_Running": "Yes", "Replica_SQL_Running": "No",
            "Seconds_Behind_Source": null, "Last_IO_Errno": 0, "Last_SQL_Errno": 1062,
        });
        let read = |row: Value| Channel::of_row(row.as_object().expect("an object"));
        let channel = read(old);
        assert_eq!(channel, read(new));
        assert_eq!(channel.source, "db1:3306");
        assert!(!channel.is_running());
        assert_eq!((channel.behind_seconds, channel.replay_error), (None, 1062));
        assert_eq!(
            statements(Product::Mysql),
            ["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"]
        );
    }
}
