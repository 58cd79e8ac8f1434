//! Whose files we make.

use std::{fs::File, io, os::fd::AsFd};

use rustix::{
    fs::fchown,
    process::{Gid, Uid, geteuid},
};

/// The user who is to own what is written: the one behind sudo when there is
/// one, else the one we run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    effective: u32,
    /// Behind sudo, user and group.
    behind: Option<(u32, u32)>,
}

impl Owner {
    pub fn current() -> Self {
        let id = |name| std::env::var(name).ok();
        Self::from(geteuid().as_raw(), id("SUDO_UID"), id("SUDO_GID"))
    }

    /// The variables are believed only when we are root: anybody else can set
    /// them, but gains nothing by it.
    fn from(effective: u32, uid: Option<String>, gid: Option<String>) -> Self {
        let behind = match (effective, uid, gid) {
            (0, Some(uid), Some(gid)) => uid.parse().ok().zip(gid.parse().ok()),
            _ => None,
        }
        // The highest id means "leave as it is" to the kernel.
        .filter(|&(uid, gid)| uid != u32::MAX && gid != u32::MAX && uid != 0);
        Self { effective, behind }
    }

    /// Whether links and pipes of this user may be followed.
    pub fn trusts(&self, uid: u32) -> bool {
        uid == 0 || uid == self.effective || self.behind.is_some_and(|(behind, _)| behind == uid)
    }

    /// Gives a file or directory that we made to its owner.
    pub fn give(&self, made: impl AsFd) -> io::Result<()> {
        let Some((uid, gid)) = self.behind else {
            return Ok(());
        };
        fchown(made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(Into::into)
    }
}

/// As [`Owner::give`], but a file system without owners (FAT, some network
/// mounts) is no reason to lose a result.
pub fn give_if_possible(owner: &Owner, file: &File) -> io::Result<()> {
    match owner.give(file) {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EPERM | libc::ENOSYS | libc::EOPNOTSUPP | libc::EINVAL)
            ) =>
        {
            Ok(())
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudo_is_believed_only_by_root() {
        let some = |text: &str| Some(text.to_string());
        assert_eq!(
            Owner::from(0, some("1000"), some("1001")).behind,
            Some((1000, 1001))
        );
        for (euid, uid, gid) in [
            (1000, some("1001"), some("1001")),
            (0, some("x"), some("1")),
            (0, some("1000"), None),
            (0, None, None),
            (0, some("-1"), some("1")),
            (0, some("4294967295"), some("1")),
            (0, some("0"), some("0")),
        ] {
            assert_eq!(Owner::from(euid, uid, gid).behind, None);
        }
        let owner = Owner::from(0, some("1000"), some("1000"));
        assert!(owner.trusts(0) && owner.trusts(1000) && !owner.trusts(1001));
        let owner = Owner::from(1001, some("1000"), some("1000"));
        assert!(owner.trusts(1001) && !owner.trusts(1000));
    }
}
