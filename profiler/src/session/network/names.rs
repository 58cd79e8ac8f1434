//! Names of hosts that this one talked to, by reverse DNS. Only on request: it
//! takes time, and the questions leave the host.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use crate::profile::{Network, Note, ip_of};

/// For all answers together.
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions that are out at a time: the C library waits for each answer.
const WORKERS: usize = 16;
/// Addresses that are asked for: those with the most bytes.
const MOST: usize = 256;
/// RFC 1035, 2.3.4.
const LONGEST_NAME: usize = 253;

/// Looks up who has the remote addresses of which it is not known already.
/// Returns what a reader must know of those that have no name.
pub fn look_up(network: &mut Network) -> Option<Note> {
    let addresses = strangers(network);
    let all = addresses.len();
    let asked: Vec<IpAddr> = addresses.into_iter().take(MOST).collect();
    let (names, answers) = ask(&asked, |address| dns_lookup::lookup_addr(address).ok());
    network.host_names = names;
    let (silent, left_out) = (asked.len() - answers, all - asked.len());
    let mut said = Vec::new();
    if silent > 0 {
        said.push(format!(
            "no answer for {silent} of {} addresses within {} s",
            asked.len(),
            PATIENCE.as_secs()
        ));
    }
    if left_out > 0 {
        said.push(format!("{left_out} addresses were not looked up"));
    }
    (!said.is_empty()).then(|| Note::missing(format!("names of hosts: {}", said.join("; "))))
}

/// Addresses that are not of this host, each once, those with the most bytes first.
fn strangers(network: &Network) -> Vec<IpAddr> {
    let of_flows = network.flows.iter().map(|flow| (&flow.remote, flow.peer));
    let of_connections = network
        .connections
        .iter()
        .map(|connection| (&connection.remote, connection.peer));
    let mut found = Vec::new();
    for (remote, peer) in of_flows.chain(of_connections) {
        let Some(address) = ip_of(remote) else {
            continue;
        };
        let is_far = !(address.is_loopback() || address.is_unspecified() || address.is_multicast());
        if peer.is_none() && is_far && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

/// The names that were found, by address, and how many answers there were.
fn ask(
    addresses: &[IpAddr],
    name_of: impl Fn(&IpAddr) -> Option<String> + Send + Copy + 'static,
) -> (BTreeMap<IpAddr, String>, usize) {
    let deadline = Instant::now() + PATIENCE;
    let left: Vec<IpAddr> = addresses.iter().rev().copied().collect();
    let left = Arc::new(Mutex::new(left));
    let (send, receive) = channel();
    for _ in 0..WORKERS.min(addresses.len()) {
        let (left, send) = (Arc::clone(&left), send.clone());
        // Nobody waits for one that has no answer at the end.
        let worker = thread::Builder::new().name("names".to_owned());
        let _ = worker.spawn(move || {
            let next = || left.lock().ok()?.pop();
            while let Some(address) = next() {
                if Instant::now() >= deadline || send.send((address, name_of(&address))).is_err() {
                    return;
                }
            }
        });
    }
    drop(send);
    let (mut names, mut answers) = (BTreeMap::new(), 0);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match receive.recv_timeout(left) {
            Ok((address, name)) => {
                answers += 1;
                if let Some(name) = name.filter(|name| is_name(name, address)) {
                    names.insert(address, name);
                }
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                return (names, answers);
            }
        }
    }
}

/// Anyone can say anything of an address that is his. Without a name, the C
/// library gives back the address.
fn is_name(name: &str, address: IpAddr) -> bool {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    name.len() <= LONGEST_NAME
        && name.contains(|letter: char| letter.is_ascii_alphabetic())
        && name.chars().all(allowed)
        && name.parse() != Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(address: &IpAddr) -> Option<String> {
        match address.to_string().as_str() {
            "192.0.2.1" => Some("db.example.test".to_owned()),
            "192.0.2.2" => Some("192.0.2.2".to_owned()),
            "192.0.2.3" => Some("evil\u{1b}[2J".to_owned()),
            "192.0.2.4" => None,
            _ => {
                thread::sleep(2 * PATIENCE);
                Some("late.example.test".to_owned())
            }
        }
    }

    #[test]
    fn names_are_names_and_nobody_is_waited_for() {
        let addresses: Vec<IpAddr> = (1..=5)
            .map(|last| IpAddr::from([192, 0, 2, last]))
            .collect();
        let begin = Instant::now();
        let (names, answers) = ask(&addresses, name_of);
        let expected = BTreeMap::from([(addresses[0], "db.example.test".to_owned())]);
        assert_eq!((names, answers), (expected, 4));
        assert!(begin.elapsed() < 2 * PATIENCE);
        assert_eq!(ask(&[], name_of), (BTreeMap::new(), 0));
    }
}
