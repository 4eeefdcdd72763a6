//! Secrets behind a descriptor: a file in memory without a name (memfd_create(2)), written once by a helper, then sealed. The
//! listener hands the descriptor on and never has the contents; sessions read at stated offsets, since a forked
//! descriptor shares its position.

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::ffi::CStr;
use std::fs::File;
use std::io;

/// A new empty file in memory. `name` is for /proc alone.
pub fn create(name: &CStr) -> io::Result<File> {
    Ok(memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?.into())
}

/// Makes it unchangeable for good, for this process as for all that hold the descriptor.
pub fn seal(file: &File) -> io::Result<()> {
    let all = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(file, FcntlArg::F_ADD_SEALS(all))?;
    Ok(())
}

/// Whether nobody can change it any more.
pub fn is_sealed(file: &File) -> bool {
    let all = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(file, FcntlArg::F_GET_SEALS).is_ok_and(|seals| SealFlag::from_bits_retain(seals).contains(all))
}
