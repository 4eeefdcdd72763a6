//! Digests: computing them, and keeping them with files so that a download need not read twice.

use super::meta::Meta;
use super::{Pulse, Result};
use crate::hash;
use crate::proto::Digest;
use crate::sys::xattr;
use sha2::Sha256;
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::BorrowedFd;

/// The extended attribute that holds a digest. Where a file system has none, digests are computed each time.
const ATTRIBUTE: &CStr = c"user.dfos.sha256";
/// Bytes of it: a digest, and what it is tied to. With this name it is the most that ext4 can keep within an inode of 256 bytes; one
/// byte more would cost a block for each file.
const NOTE: usize = 32 + 28;

/// Keeps `digest` with a file. It is tied to the content's size, time and place; failing to keep it costs only time.
pub fn keep(file: BorrowedFd, meta: &Meta, digest: Digest) {
    let _ = xattr::set(file, ATTRIBUTE, &note(meta, digest));
}

/// The digest kept with a file, unless the file has changed since: then it is of another content and not believed.
pub fn recall(file: BorrowedFd, meta: &Meta) -> Option<Digest> {
    let mut kept = [0; NOTE];
    if xattr::get(file, ATTRIBUTE, &mut kept).ok()? != NOTE {
        return None;
    }
    let digest = Digest(*kept.first_chunk()?);
    (kept == note(meta, digest)).then_some(digest)
}

/// The digest, then size, time and inode of the content that it is of, all in the order of the network.
fn note(meta: &Meta, digest: Digest) -> [u8; NOTE] {
    let mut note = [0; NOTE];
    let parts: [&[u8]; 5] = [
        &digest.0,
        &meta.size.to_be_bytes(),
        &meta.mtime.seconds.to_be_bytes(),
        &meta.mtime.nanos.to_be_bytes(),
        &meta.inode.to_be_bytes(),
    ];
    for (to, from) in note.iter_mut().zip(parts.into_iter().flatten()) {
        *to = *from;
    }
    note
}

/// Adds the first `length` bytes of `file` to `hasher`.
pub fn absorb(hasher: &mut Sha256, file: &File, length: u64, pulse: &mut dyn Pulse) -> Result<()> {
    hash::absorb(hasher, file, 0, length, || pulse.check())
}

/// The digest of the first `length` bytes of `file`.
pub fn compute(file: &File, length: u64, pulse: &mut dyn Pulse) -> Result<Digest> {
    let mut hasher = Sha256::default();
    absorb(&mut hasher, file, length, pulse)?;
    Ok(hash::finish(hasher))
}
