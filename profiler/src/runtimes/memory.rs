//! Reading the memory of a process that runs on.

use std::io::IoSliceMut;

use rustix::process::Pid;
use thiserror::Error;

/// The address is not mapped, or the process is gone.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{length} bytes at {address:#x} cannot be read")]
pub struct Unreadable {
    pub address: u64,
    pub length: usize,
}

/// The memory of a process, or of a test.
pub trait Memory {
    /// Fills `buffer` from `address`, wholly or not at all.
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Unreadable>;

    /// The bytes from `address` on that can be read, at most `limit`.
    fn bytes(&self, address: u64, limit: usize) -> Result<Vec<u8>, Unreadable> {
        let mut bytes = vec![0; limit];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    fn u8(&self, address: u64) -> Result<u8, Unreadable> {
        let mut bytes = [0; 1];
        self.read(address, &mut bytes)?;
        Ok(bytes[0])
    }

    fn u16(&self, address: u64) -> Result<u16, Unreadable> {
        let mut bytes = [0; 2];
        self.read(address, &mut bytes)?;
        Ok(u16::from_le_bytes(bytes))
    }

    fn u32(&self, address: u64) -> Result<u32, Unreadable> {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn u64(&self, address: u64) -> Result<u64, Unreadable> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// Memory of a live process, read with `process_vm_readv`: the process does
/// not notice and is not stopped.
pub struct ProcessMemory {
    pid: Pid,
}

impl ProcessMemory {
    /// `None` for a pid that no process can have.
    pub fn new(tgid: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(tgid).ok()?)?;
        Some(Self { pid })
    }
}

impl Memory for ProcessMemory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Unreadable> {
        let length = buffer.len();
        let unreadable = Unreadable { address, length };
        let local = IoSliceMut::new(buffer);
        let remote = libc::iovec {
            iov_base: address as *mut libc::c_void,
            iov_len: length,
        };
        // SAFETY: an IoSliceMut has the layout of an iovec, and `buffer` lives
        // until the call returns; the kernel checks the remote address.
        let read = unsafe {
            libc::process_vm_readv(
                self.pid.as_raw_nonzero().get(),
                std::ptr::from_ref(&local).cast(),
                1,
                &remote,
                1,
                0,
            )
        };
        if read == length as isize {
            Ok(())
        } else {
            Err(unreadable)
        }
    }
}
