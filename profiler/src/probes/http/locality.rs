//! Which addresses are of this host, or of the containers on it.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    path::Path,
};

/// Whether a packet to `address` stays on this host.
pub fn is_of_this_host(address: IpAddr) -> bool {
    let address = address.to_canonical();
    if address.is_multicast() || is_broadcast(address) {
        return false;
    }
    address.is_loopback()
        || address.is_unspecified()
        || is_own(address)
        || bridged().iter().any(|network| network.contains(address))
}

fn is_broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.is_broadcast())
}

/// Only an address of this host can be bound.
fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    start: IpAddr,
    prefix: u32,
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        match (self.start, address) {
            (IpAddr::V4(start), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - self.prefix).unwrap_or(0);
                (start.to_bits() ^ address.to_bits()) & mask == 0
            }
            (IpAddr::V6(start), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - self.prefix).unwrap_or(0);
                (start.to_bits() ^ address.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

/// The networks of bridges that lead nowhere else: of container engines, of
/// CNI plugins, of virtual machines.
fn bridged() -> Vec<Network> {
    let mut networks = Vec::new();
    if let Ok(routes) = fs::read_to_string("/proc/net/route") {
        networks.extend(
            routes
                .lines()
                .skip(1)
                .filter_map(|line| of_ipv4(line, is_inner_bridge)),
        );
    }
    if let Ok(routes) = fs::read_to_string("/proc/net/ipv6_route") {
        networks.extend(
            routes
                .lines()
                .filter_map(|line| of_ipv6(line, is_inner_bridge)),
        );
    }
    networks
}

/// A bridge without a port that is hardware: over that it would reach others.
fn is_inner_bridge(interface: &str) -> bool {
    let directory = Path::new("/sys/class/net").join(interface);
    if !directory.join("bridge").is_dir() {
        return false;
    }
    fs::read_dir(directory.join("brif")).is_ok_and(|mut ports| {
        ports.all(|port| {
            port.is_ok_and(|port| {
                !Path::new("/sys/class/net")
                    .join(port.file_name())
                    .join("device")
                    .exists()
            })
        })
    })
}

/// A line of /proc/net/route: interface, destination, gateway, flags, three
/// counters, mask; addresses as the hexadecimal of a word in network order,
/// read in host order (net/ipv4/fib_trie.c, fib_route_seq_show).
fn of_ipv4(line: &str, is_bridge: impl Fn(&str) -> bool) -> Option<Network> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let &[interface, destination, gateway, _, _, _, _, mask, ..] = &fields[..] else {
        return None;
    };
    let word = |text| Some(u32::from_str_radix(text, 16).ok()?.swap_bytes());
    let mask = word(mask)?;
    if word(gateway)? != 0 || mask == 0 || !is_bridge(interface) {
        return None;
    }
    Some(Network {
        start: Ipv4Addr::from_bits(word(destination)?).into(),
        prefix: mask.leading_ones(),
    })
}

/// A line of /proc/net/ipv6_route: destination, its prefix, source, its prefix,
/// next hop, metric, two counters, flags, interface (net/ipv6/route.c,
/// ipv6_route_native_seq_show).
fn of_ipv6(line: &str, is_bridge: impl Fn(&str) -> bool) -> Option<Network> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let &[destination, prefix, _, _, next_hop, _, _, _, _, interface] = &fields[..] else {
        return None;
    };
    let address = |text| u128::from_str_radix(text, 16).ok();
    let prefix = u32::from_str_radix(prefix, 16).ok()?;
    if address(next_hop)? != 0 || !(1..=128).contains(&prefix) || !is_bridge(interface) {
        return None;
    }
    Some(Network {
        start: Ipv6Addr::from_bits(address(destination)?).into(),
        prefix,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn this_host_and_others() {
        for own in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "0.0.0.0",
            "::ffff:127.0.0.1",
        ] {
            assert!(is_of_this_host(address(own)), "{own}");
        }
        for other in [
            "192.0.2.1",
            "203.0.113.9",
            "2001:db8::1",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!is_of_this_host(address(other)), "{other}");
        }
    }

    #[test]
    fn routes_of_bridges() {
        let is_bridge = |name: &str| name == "docker0";
        let network = of_ipv4(
            "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0",
            is_bridge,
        )
        .expect("a network");
        assert!(network.contains(address("172.17.200.3")));
        assert!(!network.contains(address("172.18.0.1")));
        for line in [
            // Over a gateway, the default route, of another interface.
            "docker0\t000011AC\t010011AC\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0",
            "docker0\t00000000\t00000000\t0003\t0\t0\t0\t00000000\t0\t0\t0",
            "eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0",
            "",
            "docker0 x y z 0 0 0 q",
        ] {
            assert_eq!(of_ipv4(line, is_bridge), None, "{line}");
        }
        let network = of_ipv6(
            "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 \
             00000000000000000000000000000000 00000100 00000001 00000000 00000001 docker0",
            is_bridge,
        )
        .expect("a network");
        assert!(network.contains(address("fd00::5")));
        assert!(!network.contains(address("fd00:0:0:1::5")));
        assert!(!network.contains(address("10.0.0.1")));
    }
}
