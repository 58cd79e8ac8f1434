//! Disk requests: the block layer's hooks, what they read of its structures,
//! and the tables that they count in.

use aya::{
    Ebpf, Pod,
    maps::{HashMap, MapData, MapError},
};
use profiler_ebpf::{
    CacheUse, DiskKey, DiskOffsets, DiskUse, FileKey, FileUse, KernelOffsets, MAX_DISK_CACHE,
    MAX_DISK_FILES, MAX_DISK_REQUESTS, MAX_DISK_USES, ProcessKey,
};

use super::{
    Shared,
    btf::Btf,
    kernel::{Kernel, KernelError, take},
};

/// The maps, and how many entries each has while disk requests are recorded.
pub const MAPS: [(&str, usize); 4] = [
    ("DISK_REQUESTS", MAX_DISK_REQUESTS),
    ("DISK_USES", MAX_DISK_USES),
    ("DISK_FILES", MAX_DISK_FILES),
    ("DISK_CACHE", MAX_DISK_CACHE),
];

/// `BPF_EXIST`: not again after the kernel side removed it.
const EXIST: u64 = 2;

/// What this kernel tells of disk requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFacts {
    pub offsets: DiskOffsets,
    /// What of the requests' structure is missing.
    pub lacks: Option<&'static str>,
    /// It tells of requests when they are made (6.5).
    pub has_submission: bool,
    /// And of requests that are merged (5.11).
    pub has_merge: bool,
    /// Pages become dirty as folios (5.18).
    pub has_folios: bool,
    /// It tells of look-ups in the page cache (6.12).
    pub has_look_ups: bool,
}

impl DiskFacts {
    pub fn read(btf: &Btf<'_>) -> Self {
        let mut lacks = None;
        let optional = |structure: &str, members: &[&str]| {
            members
                .iter()
                .find_map(|member| btf.offset(structure, member))
                .unwrap_or(KernelOffsets::ABSENT)
        };
        let mut needed = |structure: &'static str, member: &'static str| {
            btf.offset(structure, member).unwrap_or_else(|| {
                lacks = Some(member);
                KernelOffsets::ABSENT
            })
        };
        let request_disk = optional("request", &["rq_disk"]);
        let offsets = DiskOffsets {
            request_disk,
            request_queue: needed("request", "q"),
            queue_disk: if request_disk == KernelOffsets::ABSENT {
                needed("request_queue", "disk")
            } else {
                KernelOffsets::ABSENT
            },
            request_flags: needed("request", "cmd_flags"),
            request_length: needed("request", "__data_len"),
            request_bio: needed("request", "bio"),
            request_start: needed("request", "start_time_ns"),
            disk_major: needed("gendisk", "major"),
            disk_first_minor: needed("gendisk", "first_minor"),
            bio_vectors: needed("bio", "bi_io_vec"),
            bio_vector_index: needed("bio", "bi_iter.bi_idx"),
            bio_group: optional("bio", &["bi_blkg"]),
            group_cgroup: optional("blkcg_gq", &["blkcg"]),
            cgroup_state: optional("blkcg", &["css"]),
            page_mapping: needed("page", "mapping"),
            page_head: optional("page", &["compound_head", "compound_info"]),
            // Before 6.1 only XFS (5.18) had large folios, and the order in
            // another place: they count as one page there.
            folio_order: optional("folio", &["_folio_order", "_flags_1"]),
            mapping_host: needed("address_space", "host"),
            inode_number: needed("inode", "i_ino"),
            inode_device: needed("inode", "i_rdev"),
            inode_file_system: needed("inode", "i_sb"),
            inode_names: needed("inode", "i_dentry"),
            file_system_device: needed("super_block", "s_dev"),
            // Not in a union any more in 7.2.
            name_link: btf
                .offset("dentry", "d_u.d_alias")
                .unwrap_or_else(|| needed("dentry", "d_alias")),
            name_text: needed("dentry", "d_name.name"),
            large_folio: btf.enumerator("PG_head").unwrap_or(KernelOffsets::ABSENT),
            passes_queue: (btf.tracepoint_arguments("block_rq_issue") == Some(2)).into(),
        };
        let has = |tracepoint| btf.tracepoint_arguments(tracepoint).is_some();
        Self {
            offsets,
            lacks,
            has_submission: has("block_io_start"),
            has_merge: has("block_rq_merge"),
            has_folios: has("writeback_dirty_folio"),
            has_look_ups: has("mm_filemap_get_pages"),
        }
    }

    /// The hooks, by program and tracepoint.
    fn hooks(&self) -> Vec<(&'static str, &'static str)> {
        let mut hooks = vec![
            ("request_complete", "block_rq_complete"),
            ("page_add", "mm_filemap_add_to_page_cache"),
            if self.has_folios {
                ("page_dirty", "writeback_dirty_folio")
            } else {
                ("page_dirty", "writeback_dirty_page")
            },
        ];
        if self.has_submission {
            hooks.push(("request_issue", "block_rq_issue"));
            hooks.push(("request_submit", "block_io_start"));
        } else {
            hooks.push(("request_direct", "block_rq_issue"));
            hooks.push(("request_submit", "block_rq_insert"));
        }
        if self.has_merge {
            hooks.push(("request_merge", "block_rq_merge"));
        }
        if self.has_look_ups {
            hooks.push(("page_look_up", "mm_filemap_get_pages"));
        }
        hooks
    }
}

pub(super) struct DiskMaps {
    facts: DiskFacts,
    uses: HashMap<MapData, Shared<DiskKey>, Shared<DiskUse>>,
    files: HashMap<MapData, Shared<FileKey>, Shared<FileUse>>,
    cache: HashMap<MapData, Shared<ProcessKey>, Shared<CacheUse>>,
}

impl DiskMaps {
    pub fn take(ebpf: &mut Ebpf, facts: DiskFacts) -> Result<Self, KernelError> {
        Ok(Self {
            facts,
            uses: HashMap::try_from(take(ebpf, "DISK_USES")?)?,
            files: HashMap::try_from(take(ebpf, "DISK_FILES")?)?,
            cache: HashMap::try_from(take(ebpf, "DISK_CACHE")?)?,
        })
    }
}

/// All that is there. What goes while it is read is left out.
fn entries<K: Copy + 'static, V: Copy + 'static>(
    map: &HashMap<MapData, Shared<K>, Shared<V>>,
) -> Vec<(K, V)>
where
    Shared<K>: Pod,
    Shared<V>: Pod,
{
    map.iter()
        .filter_map(|entry| entry.ok())
        .map(|(key, value)| (key.0, value.0))
        .collect()
}

/// Begins to count anew, without taking the entries away from requests that are
/// under way.
fn reset<K: Copy + 'static, V: Copy + 'static>(
    map: &mut HashMap<MapData, Shared<K>, Shared<V>>,
    clear: impl Fn(&mut V),
) -> Result<(), MapError>
where
    Shared<K>: Pod,
    Shared<V>: Pod,
{
    for (key, mut value) in entries(map) {
        clear(&mut value);
        match map.insert(Shared(key), Shared(value), EXIST) {
            Ok(()) => {}
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Kernel {
    /// Follows disk requests from now on.
    ///
    /// # Errors
    ///
    /// If the kernel refuses one of the hooks. None stays attached then.
    pub fn follow_disk(&mut self) -> Result<DiskFacts, KernelError> {
        let facts = self.disk.facts;
        if let Some(member) = facts.lacks {
            return Err(KernelError::Member(member));
        }
        let hooks = facts.hooks();
        for (name, tracepoint) in &hooks {
            if let Err(error) = self.attach_tracepoint(name, tracepoint) {
                for (name, _) in &hooks {
                    self.detach_tracepoint(name);
                }
                return Err(error);
            }
        }
        Ok(facts)
    }

    /// Counts from now on.
    pub fn reset_disk(&mut self) -> Result<(), KernelError> {
        reset(&mut self.disk.uses, |usage| {
            *usage = DiskUse {
                residual: usage.residual,
                kernel_thread: usage.kernel_thread,
                process_name: usage.process_name,
                ..DiskUse::NEW
            };
        })?;
        reset(&mut self.disk.files, |file| {
            *file = FileUse {
                name: file.name,
                ..FileUse::NEW
            };
        })?;
        reset(&mut self.disk.cache, |cache| {
            (cache.dirtied, cache.looked_up, cache.missed, cache.faulted) = (0, 0, 0, 0);
        })?;
        Ok(())
    }

    pub fn disk_uses(&self) -> Vec<(DiskKey, DiskUse)> {
        entries(&self.disk.uses)
    }

    pub fn disk_files(&self) -> Vec<(FileKey, FileUse)> {
        entries(&self.disk.files)
    }

    pub fn disk_cache(&self) -> Vec<(ProcessKey, CacheUse)> {
        entries(&self.disk.cache)
    }

    /// Makes room; what it holds must have been read.
    pub fn forget_disk_use(&mut self, key: DiskKey) {
        // It fails when it is gone, which is what we want; so do the others.
        let _ = self.disk.uses.remove(&Shared(key));
    }

    pub fn forget_disk_file(&mut self, key: FileKey) {
        let _ = self.disk.files.remove(&Shared(key));
    }

    pub fn forget_disk_cache(&mut self, key: ProcessKey) {
        let _ = self.disk.cache.remove(&Shared(key));
    }
}
