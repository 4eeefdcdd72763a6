//! The size of a page of memory, which is not 4096 bytes on every machine (sysconf(3)).

use nix::unistd::{SysconfVar, sysconf};
use std::io;

/// Bytes of a page.
pub fn page_size() -> io::Result<usize> {
    let size = sysconf(SysconfVar::PAGE_SIZE)?;
    size.and_then(|size| usize::try_from(size).ok()).ok_or_else(|| io::ErrorKind::Unsupported.into())
}
