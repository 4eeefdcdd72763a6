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

/// Keeps `digest` with a file. It is tied to the content's size, time and place; failing to keep it costs only time.
pub fn keep(file: BorrowedFd, meta: &Meta, digest: Digest) {
    let _ = xattr::set(file, ATTRIBUTE, note(meta, digest).as_bytes());
}

/// The digest kept with a file, unless the file has changed since: then it is of another content and not believed.
pub fn recall(file: BorrowedFd, meta: &Meta) -> Option<Digest> {
    let mut buffer = [0; 256];
    let length = xattr::get(file, ATTRIBUTE, &mut buffer).ok()?;
    let kept = std::str::from_utf8(buffer.get(..length)?).ok()?;
    let digest: Digest = kept.rsplit(' ').next()?.parse().ok()?;
    (kept == note(meta, digest)).then_some(digest)
}

fn note(meta: &Meta, digest: Digest) -> String {
    format!("1 {} {} {} {digest}", meta.size, meta.mtime, meta.inode)
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
