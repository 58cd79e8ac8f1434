//! How one logs in to MySQL and MariaDB, as bytes (MySQL's source documentation,
//! "Connection Phase" and "Authentication Methods").

use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use super::wire::{LONGEST_PACKET, Reader, Result, WireError, server_error};

/// utf8mb4_general_ci.
const CHARACTER_SET: u8 = 45;

const CLIENT_LONG_PASSWORD: u32 = 1;
const CLIENT_CONNECT_WITH_DB: u32 = 1 << 3;
const CLIENT_PROTOCOL_41: u32 = 1 << 9;
const CLIENT_SSL: u32 = 1 << 11;
const CLIENT_TRANSACTIONS: u32 = 1 << 13;
const CLIENT_SECURE_CONNECTION: u32 = 1 << 15;
const CLIENT_PLUGIN_AUTH: u32 = 1 << 19;
const CLIENT_CONNECT_ATTRS: u32 = 1 << 20;

/// What a server says first.
#[derive(Debug, PartialEq, Eq)]
pub struct Greeting {
    pub version: String,
    pub challenge: Challenge,
    capabilities: u32,
}

/// A way to show that one knows the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    method: String,
    salt: Vec<u8>,
}

impl Greeting {
    /// # Errors
    /// The server's, such as that it has too many connections, or that it is none.
    pub fn parse(message: &[u8]) -> Result<Self> {
        if message.first() == Some(&0xff) {
            return Err(server_error(message));
        }
        let mut reader = Reader(message);
        if reader.integer(1)? != 10 {
            return Err(WireError::NotTheProtocol);
        }
        let version = String::from_utf8_lossy(reader.text()).into_owned();
        reader.take(4)?;
        let mut salt = reader.take(8)?.to_vec();
        reader.take(1)?;
        let low = reader.integer(2)?;
        reader.take(3)?;
        let high = reader.integer(2)?;
        let salt_length = reader.integer(1)? as usize;
        reader.take(10)?;
        let second = reader.take(salt_length.saturating_sub(8).max(13))?;
        // It ends with a zero, which is not a part of it.
        salt.extend_from_slice(&second[..second.len() - 1]);
        let capabilities = (high << 16 | low) as u32;
        if capabilities & CLIENT_PROTOCOL_41 == 0 || capabilities & CLIENT_SECURE_CONNECTION == 0 {
            return Err(WireError::NotTheProtocol);
        }
        Ok(Self {
            version,
            challenge: Challenge {
                method: String::from_utf8_lossy(reader.text()).into_owned(),
                salt,
            },
            capabilities,
        })
    }

    pub fn offers_encryption(&self) -> bool {
        self.capabilities & CLIENT_SSL != 0
    }

    fn common(&self, encrypted: bool, database: bool) -> Vec<u8> {
        let mut wanted = CLIENT_LONG_PASSWORD
            | CLIENT_PROTOCOL_41
            | CLIENT_TRANSACTIONS
            | CLIENT_SECURE_CONNECTION
            | CLIENT_PLUGIN_AUTH
            | CLIENT_CONNECT_ATTRS;
        if encrypted {
            wanted |= CLIENT_SSL;
        }
        if database {
            wanted |= CLIENT_CONNECT_WITH_DB;
        }
        let mut message = (wanted & self.capabilities).to_le_bytes().to_vec();
        message.extend((LONGEST_PACKET as u32).to_le_bytes());
        message.push(CHARACTER_SET);
        message.extend([0; 23]);
        message
    }

    /// Asks for TLS, which begins right after it.
    pub fn ask_for_encryption(&self, database: bool) -> Vec<u8> {
        self.common(true, database)
    }

    /// Who logs in.
    pub fn login(
        &self,
        user: &str,
        password: &str,
        database: Option<&str>,
        encrypted: bool,
    ) -> Vec<u8> {
        let mut message = self.common(encrypted, database.is_some());
        message.extend(user.bytes().chain([0]));
        // One that is not known is named by the server again.
        let proof = self.challenge.proof(password).unwrap_or_default();
        message.push(proof.len() as u8);
        message.extend(proof);
        if let Some(database) = database {
            message.extend(database.bytes().chain([0]));
        }
        if self.capabilities & CLIENT_PLUGIN_AUTH != 0 {
            message.extend(self.challenge.method.bytes().chain([0]));
        }
        if self.capabilities & CLIENT_CONNECT_ATTRS != 0 {
            let mut attributes = Vec::new();
            for word in ["program_name", "profiler"] {
                attributes.push(word.len() as u8);
                attributes.extend(word.bytes());
            }
            message.push(attributes.len() as u8);
            message.extend(attributes);
        }
        message
    }
}

impl Challenge {
    /// What shows that the password is known; it does not tell the password.
    fn proof(&self, password: &str) -> Result<Vec<u8>> {
        if password.is_empty() {
            return Ok(Vec::new());
        }
        match self.method.as_str() {
            "mysql_native_password" | "" => Ok(native_proof(password, &self.salt)),
            "caching_sha2_password" => Ok(sha2_proof(password, &self.salt)),
            // By the socket's owner, whom the server knows.
            "auth_socket" | "unix_socket" => Ok(Vec::new()),
            method => Err(WireError::Method(method.to_owned())),
        }
    }
}

fn native_proof(password: &str, salt: &[u8]) -> Vec<u8> {
    let once = Sha1::digest(password);
    let twice = Sha1::digest(once);
    let mask = Sha1::new().chain_update(salt).chain_update(twice);
    exclusive_or(&once, &mask.finalize())
}

fn sha2_proof(password: &str, salt: &[u8]) -> Vec<u8> {
    let once = Sha256::digest(password);
    let twice = Sha256::digest(once);
    let mask = Sha256::new().chain_update(twice).chain_update(salt);
    exclusive_or(&once, &mask.finalize())
}

fn exclusive_or(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).map(|(a, b)| a ^ b).collect()
}

/// A server's word during the login.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Done,
    /// More will come.
    Wait,
    Send(Vec<u8>),
}

/// What to do after a message of the server that follows a login; `secret` is
/// whether nobody can listen.
///
/// # Errors
/// The server's, and methods that are not known.
pub fn step(
    message: &[u8],
    challenge: &mut Challenge,
    password: &str,
    secret: bool,
) -> Result<Step> {
    let in_clear = || {
        if !secret {
            return Err(WireError::Unencrypted);
        }
        Ok(Step::Send(password.bytes().chain([0]).collect()))
    };
    match message {
        [0x00, ..] => Ok(Step::Done),
        [0xff, ..] => Err(server_error(message)),
        [0xfe, rest @ ..] if !rest.is_empty() => {
            let mut reader = Reader(rest);
            let method = String::from_utf8_lossy(reader.text()).into_owned();
            *challenge = Challenge {
                method,
                salt: reader.text().to_vec(),
            };
            if challenge.method == "sha256_password" {
                return in_clear();
            }
            Ok(Step::Send(challenge.proof(password)?))
        }
        [0xfe] => Err(WireError::Method("mysql_old_password".to_owned())),
        // caching_sha2_password: known to the server's cache, or not.
        [0x01, 3] => Ok(Step::Wait),
        [0x01, 4] => in_clear(),
        _ => Err(WireError::NotTheProtocol),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting() -> Vec<u8> {
        let mut message = vec![10];
        message.extend(b"8.4.2\0");
        message.extend([1, 0, 0, 0]);
        message.extend(b"12345678\0");
        message.extend([0xff, 0xff, CHARACTER_SET, 2, 0, 0xff, 0xdf, 21]);
        message.extend([0; 10]);
        message.extend(b"abcdefghijkl\0caching_sha2_password\0");
        message
    }

    #[test]
    fn a_server_says_who_it_is() {
        let greeting = Greeting::parse(&greeting()).expect("it is one");
        assert_eq!(greeting.version, "8.4.2");
        assert_eq!(greeting.challenge.method, "caching_sha2_password");
        assert_eq!(greeting.challenge.salt, b"12345678abcdefghijkl");
        assert!(greeting.offers_encryption());
        let login = greeting.login("me", "secret", Some("shop"), true);
        assert!(login.windows(3).any(|three| three == b"me\0"));
        assert!(!login.windows(6).any(|six| six == b"secret"));
        for broken in [&b""[..], b"HTTP/1.1 400", &[10], &[0xff]] {
            assert_eq!(Greeting::parse(broken), Err(WireError::NotTheProtocol));
        }
    }

    /// As the server checks it, which keeps no more than a hash of the hash.
    #[test]
    fn passwords_are_proven() {
        let salt = b"12345678abcdefghijkl";
        let stored = Sha1::digest(Sha1::digest("secret"));
        let mask = Sha1::new().chain_update(salt).chain_update(stored);
        let proof = native_proof("secret", salt);
        let once = exclusive_or(&proof, &mask.finalize());
        assert_eq!(Sha1::digest(once), stored);
        let stored = Sha256::digest(Sha256::digest("secret"));
        let mask = Sha256::new().chain_update(stored).chain_update(salt);
        let once = exclusive_or(&sha2_proof("secret", salt), &mask.finalize());
        assert_eq!(Sha256::digest(once), stored);
    }

    #[test]
    fn passwords_are_not_said_aloud() {
        let mut challenge = Challenge {
            method: "caching_sha2_password".to_owned(),
            salt: Vec::new(),
        };
        let mut step = |message: &[u8], secret| step(message, &mut challenge, "secret", secret);
        assert_eq!(step(&[1, 3], false), Ok(Step::Wait));
        assert_eq!(step(&[1, 4], false), Err(WireError::Unencrypted));
        assert_eq!(step(&[1, 4], true), Ok(Step::Send(b"secret\0".to_vec())));
        assert_eq!(step(&[0], false), Ok(Step::Done));
        let clear = b"\xfemysql_clear_password\0";
        assert_eq!(
            step(clear, true),
            Err(WireError::Method("mysql_clear_password".to_owned()))
        );
        let refused = b"\xff\x15\x04#28000Access denied";
        assert_eq!(
            step(refused, true),
            Err(WireError::Server {
                code: 1045,
                message: "Access denied".to_owned()
            })
        );
    }
}
