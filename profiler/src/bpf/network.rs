//! The network's hooks, what they must know of the kernel's sockets, and what
//! they counted.

use aya::programs::{BtfTracePoint, RawTracePoint, links::FdLink};
use profiler_ebpf::{
    Connection, KernelOffsets, NetworkCounter, NetworkOffsets, NetworkSettings, ThreadTraffic,
};

use super::{
    btf::Btf,
    kernel::{Kernel, KernelError, loader_btf, refused},
};

/// Hooks that tell of messages, by program and tracepoint (6.3).
const MESSAGES: [(&str, &str); 2] = [
    ("network_send", "sock_send_length"),
    ("network_receive", "sock_recv_length"),
];
/// In their place on older kernels.
const CALLS: (&str, &str) = ("network_call", "sys_exit");
/// What becomes of connections and packets.
const EVENTS: [(&str, &str); 5] = [
    ("network_state", "inet_sock_set_state"),
    ("network_retransmit", "tcp_retransmit_skb"),
    ("network_reset_sent", "tcp_send_reset"),
    ("network_reset", "tcp_receive_reset"),
    ("network_drop", "kfree_skb"),
];

/// The network as this kernel has it.
#[derive(Default)]
pub(super) struct Network {
    pub settings: NetworkSettings,
    pub drop_reasons: Vec<(u32, String)>,
    /// Keeps the hooks in place.
    links: Vec<FdLink>,
}

impl Network {
    /// # Errors
    ///
    /// The member of a structure that this kernel does not have.
    pub fn of(btf: &Btf<'_>) -> Result<Self, &'static str> {
        Ok(Self {
            settings: settings(btf)?,
            drop_reasons: drop_reasons(btf),
            links: Vec::new(),
        })
    }
}

/// What a kernel does not tell of the network.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetworkLimits {
    /// Messages are known from system calls only.
    pub calls_only: bool,
    /// Why packets are dropped.
    pub no_drop_reasons: bool,
}

fn settings(btf: &Btf<'_>) -> Result<NetworkSettings, &'static str> {
    macro_rules! offset {
        ($structure:literal, $path:literal) => {
            btf.offset($structure, $path)
                .ok_or(concat!($structure, ".", $path))?
        };
    }
    let optional =
        |structure: &str, path: &str| btf.offset(structure, path).unwrap_or(KernelOffsets::ABSENT);
    let drop_arguments = btf.tracepoint_arguments("kfree_skb").unwrap_or(0);
    let has_cookies = btf.tracepoint_arguments("sock_send_length").is_some();
    Ok(NetworkSettings {
        enabled: 0,
        knows_sockets: 1,
        has_cookies: has_cookies.into(),
        has_drop_reason: (drop_arguments >= 3).into(),
        has_drop_socket: (drop_arguments >= 4 && has_cookies).into(),
        offsets: NetworkOffsets {
            family: offset!("sock_common", "skc_family"),
            local_address: offset!("sock_common", "skc_rcv_saddr"),
            remote_address: offset!("sock_common", "skc_daddr"),
            local_address_6: optional("sock_common", "skc_v6_rcv_saddr"),
            remote_address_6: optional("sock_common", "skc_v6_daddr"),
            local_port: offset!("sock_common", "skc_num"),
            remote_port: offset!("sock_common", "skc_dport"),
            namespace: offset!("sock_common", "skc_net"),
            namespace_inode: offset!("net", "ns.inum"),
            kind: offset!("sock", "sk_type"),
            protocol: offset!("sock", "sk_protocol"),
            error: offset!("sock", "sk_err"),
            socket: offset!("sock", "sk_socket"),
            round_trip: offset!("tcp_sock", "srtt_us"),
            round_trip_deviation: offset!("tcp_sock", "mdev_us"),
            retransmits: offset!("tcp_sock", "total_retrans"),
            unix_address: offset!("unix_sock", "addr"),
            unix_peer: offset!("unix_sock", "peer"),
            unix_length: offset!("unix_address", "len"),
            unix_name: offset!("unix_address", "name"),
            socket_file: offset!("socket", "file"),
            socket_sock: offset!("socket", "sk"),
            inode_number: offset!("inode", "i_ino"),
            file_private: offset!("file", "private_data"),
        },
    })
}

/// Names of the reasons for which packets are dropped, by number, as
/// `enum skb_drop_reason` has them without their common prefix.
fn drop_reasons(btf: &Btf<'_>) -> Vec<(u32, String)> {
    btf.enumerators("skb_drop_reason")
        .into_iter()
        .map(|(name, value)| {
            let name = name
                .trim_start_matches("SKB_DROP_REASON_")
                .trim_start_matches("SKB_")
                .to_ascii_lowercase();
            (value, name)
        })
        .collect()
}

impl Kernel {
    /// Loads the hooks; nothing is counted until [`Self::open_network`].
    ///
    /// # Errors
    ///
    /// If the kernel refuses one of them, or does not have what they read.
    pub fn load_network(&mut self) -> Result<NetworkLimits, KernelError> {
        let settings = self.network.settings;
        if settings.enabled == 0 {
            return Err(KernelError::Incomplete("what it must know of sockets"));
        }
        let btf = loader_btf()?;
        for (name, tracepoint) in traced(&settings) {
            self.program::<BtfTracePoint>(name)?
                .load(tracepoint, &btf)
                .map_err(refused(name))?;
        }
        if settings.has_cookies == 0 {
            let name = CALLS.0;
            self.program::<RawTracePoint>(name)?
                .load()
                .map_err(refused(name))?;
        }
        Ok(NetworkLimits {
            calls_only: settings.has_cookies == 0,
            no_drop_reasons: settings.has_drop_reason == 0,
        })
    }

    /// Counts from now on.
    pub fn open_network(&mut self) -> Result<(), KernelError> {
        let settings = self.network.settings;
        for (name, _) in traced(&settings) {
            let program: &mut BtfTracePoint = self.program(name)?;
            let link = program
                .attach()
                .and_then(|id| program.take_link(id))
                .map_err(refused(name))?;
            self.network.links.push(link.into());
        }
        if settings.has_cookies == 0 {
            let (name, tracepoint) = CALLS;
            let program: &mut RawTracePoint = self.program(name)?;
            let link = program
                .attach(tracepoint)
                .and_then(|id| program.take_link(id))
                .map_err(refused(name))?;
            self.network.links.push(link.into());
        }
        Ok(())
    }

    /// Counts no more.
    pub fn close_network(&mut self) {
        self.network.links.clear();
    }

    /// What each thread that is there has sent and received.
    pub fn traffic(&self) -> Vec<(u32, ThreadTraffic)> {
        self.traffic
            .iter()
            .filter_map(|entry| entry.ok())
            .map(|(tid, traffic)| (tid, traffic.0))
            .collect()
    }

    /// All sockets in the table, by their keys.
    pub fn connections(&self) -> Vec<(u64, Connection)> {
        self.connections
            .iter()
            .filter_map(|entry| entry.ok())
            .map(|(key, connection)| (key, connection.0))
            .collect()
    }

    pub fn remove_connection(&mut self, key: u64) {
        // Gone already, which is what we want.
        let _ = self.connections.remove(&key);
    }

    /// The counters, all CPUs together, by [`NetworkCounter`].
    pub fn network_counters(&self) -> Result<Vec<u64>, KernelError> {
        (0..NetworkCounter::TOTAL as u32)
            .map(|index| self.network_counter(index))
            .collect()
    }

    pub fn network_counter(&self, index: u32) -> Result<u64, KernelError> {
        Ok(self.network_counters.get(&index, 0)?.iter().sum())
    }

    pub fn drop_reasons(&self) -> &[(u32, String)] {
        &self.network.drop_reasons
    }
}

fn traced(settings: &NetworkSettings) -> impl Iterator<Item = (&'static str, &'static str)> {
    let messages: &[_] = if settings.has_cookies == 0 {
        &[]
    } else {
        &MESSAGES
    };
    messages.iter().chain(&EVENTS).copied()
}
