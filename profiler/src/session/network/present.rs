//! Sockets that are there, used or not, as `/proc` has them.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use rustc_hash::FxHashSet;

/// Lines that are read of a file that has one for each socket.
const MAX_LINES: usize = 1 << 16;
/// `TCP_ESTABLISHED` as `/proc/net/tcp` has it.
const ESTABLISHED: &str = "01";

/// An established TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Established {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub inode: u64,
}

/// All in the network namespace of a process; none if it ended. `None`: there are
/// too many to look at.
pub fn established(pid: u32) -> Option<Vec<Established>> {
    let mut found = Vec::new();
    for name in ["tcp", "tcp6"] {
        let mut read = 0;
        let lines = lines(format!("/proc/{pid}/net/{name}")).inspect(|_| read += 1);
        found.extend(lines.filter_map(|line| connection(&line)));
        if read >= MAX_LINES {
            return None;
        }
    }
    Some(found)
}

/// Inodes of the UNIX sockets in the network namespace of a process; `None` if it
/// ended.
pub fn unix(pid: u32) -> Option<FxHashSet<u64>> {
    let inodes: FxHashSet<u64> = lines(format!("/proc/{pid}/net/unix"))
        // Num RefCount Protocol Flags Type St Inode Path
        .filter_map(|line| line.split_whitespace().nth(6)?.parse().ok())
        .collect();
    // One who has such a socket is in there itself.
    (!inodes.is_empty()).then_some(inodes)
}

/// Inodes of the sockets that a process has open.
pub fn sockets_of(pid: u32) -> FxHashSet<u64> {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .take(MAX_LINES)
        .filter_map(|entry| {
            let target = fs::read_link(entry.ok()?.path()).ok()?;
            let inode = target.to_str()?.strip_prefix("socket:[")?;
            inode.strip_suffix(']')?.parse().ok()
        })
        .collect()
}

fn lines(path: String) -> impl Iterator<Item = String> {
    fs::File::open(path)
        .into_iter()
        .flat_map(|file| BufReader::new(file).lines().skip(1).take(MAX_LINES))
        .map_while(Result::ok)
}

/// A line of `/proc/net/tcp` (net/ipv4/tcp_ipv4.c, get_tcp4_sock): sl
/// local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid
/// timeout inode.
fn connection(line: &str) -> Option<Established> {
    let words: Vec<&str> = line.split_whitespace().take(10).collect();
    let &[_, local, remote, ESTABLISHED, .., inode] = words.as_slice() else {
        return None;
    };
    Some(Established {
        local: address(local)?,
        remote: address(remote)?,
        inode: inode.parse().ok()?,
    })
}

/// Words of 32 bits in the machine's order, then the port. IPv4 in IPv6 is IPv4.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (place, bytes) in bytes.chunks_exact_mut(4).enumerate() {
                bytes.copy_from_slice(&word(place * 8)?);
            }
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        os::unix::net::{UnixListener, UnixStream},
    };

    use super::*;

    fn inode(socket: &impl std::os::fd::AsRawFd) -> u64 {
        let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd()))
            .expect("the descriptor is open");
        let text = link.to_str().expect("it is text").to_owned();
        let digits = text.trim_matches(|letter: char| !letter.is_ascii_digit());
        digits.parse().expect("a number")
    }

    #[test]
    fn connections_of_both_families() {
        let own = std::process::id();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let service = listener.local_addr().expect("it is bound");
            let client = TcpStream::connect(service).expect("it listens");
            let found = established(own).expect("few");
            let expected = Established {
                local: client.local_addr().expect("it is connected"),
                remote: service,
                inode: inode(&client),
            };
            assert!(found.contains(&expected), "no {expected:?}");
            assert!(sockets_of(own).contains(&expected.inode));
        }
        assert!(!sockets_of(own).contains(&1));
    }

    #[test]
    fn unix_sockets() {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = scratch.path().join("socket");
        let _listener = UnixListener::bind(&path).expect("it is free");
        let client = UnixStream::connect(&path).expect("it listens");
        assert!(unix(std::process::id()).is_some_and(|found| found.contains(&inode(&client))));
    }

    #[test]
    fn lines_of_proc() {
        let line = "   1: 0100007F:1538 0200007F:A1B2 01 00000000:00000000 00:00000000 00000000  \
                    1000        0 4711 1 0000000000000000 20 4 30 10 -1";
        let found = connection(line).expect("it is established");
        if cfg!(target_endian = "little") {
            assert_eq!(found.local.to_string(), "127.0.0.1:5432");
            assert_eq!(found.remote.to_string(), "127.0.0.2:41394");
        }
        assert_eq!(found.inode, 4711);
        for broken in [
            "",
            "1: x y 01",
            "1: 01:1 02:2 01 a b c d e f",
            "1: é00000000:1 02:2 01 a b c d e 5",
        ] {
            assert_eq!(connection(broken), None);
        }
    }
}
