//! What a name stands for: type, size, time, identity.

use super::Weight;
use crate::proto::{EntryKind, Mtime};
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, SFlag, fstatat};
use std::os::fd::BorrowedFd;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// File, directory, link or something else.
    pub kind: EntryKind,
    /// Bytes.
    pub size: u64,
    /// When its content last changed.
    pub mtime: Mtime,
    /// The inode number, as part of a file's identity.
    pub inode: u64,
    /// How many names it has.
    pub links: u64,
}

impl Meta {
    /// What an account gets back when this name goes: one name, and the bytes of a regular file that has no other.
    pub fn weight(&self) -> Weight {
        Weight::one(if self.kind == EntryKind::File && self.links == 1 { self.size } else { 0 })
    }
}

impl From<FileStat> for Meta {
    fn from(stat: FileStat) -> Meta {
        let kind = match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => EntryKind::File,
            SFlag::S_IFDIR => EntryKind::Dir,
            SFlag::S_IFLNK => EntryKind::Link,
            _ => EntryKind::Other,
        };
        Meta {
            kind,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: Mtime { seconds: stat.st_mtime, nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) },
            inode: stat.st_ino,
            links: stat.st_nlink,
        }
    }
}

/// What `name` in `dir` stands for, links not followed.
pub fn meta_at(dir: BorrowedFd, name: &[u8]) -> nix::Result<Meta> {
    fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).map(Meta::from)
}
