//! Listing the trash: any number of things in constant memory.

use super::note::{self, Note};
use crate::proto::{Mtime, RemotePath, Trashed};
use crate::store::meta::meta_at;
use crate::store::{Pulse, Result, Tree};
use crate::sys::dirent::DirStream;
use std::os::fd::{AsFd, OwnedFd};

/// A listing of the trash being told.
pub struct TrashListing {
    /// The notes, and the directory that they are read from; `None` where there is no trash.
    notes: Option<(OwnedFd, DirStream)>,
    name: Vec<u8>,
    /// The trash of another mount that was used last, by the top of that mount.
    other: Option<(RemotePath, Option<OwnedFd>)>,
}

impl Tree {
    /// Begins a listing of the trash.
    pub fn trash_listing(&self) -> Result<TrashListing> {
        let notes = match self.notes(false)? {
            Some(fd) => Some((fd.try_clone()?, DirStream::new(fd))),
            None => None,
        };
        Ok(TrashListing { notes, name: Vec::new(), other: None })
    }
}

impl TrashListing {
    /// The next thing; `None` at the end. What is over its time, what vanishes meanwhile and what lies on a mount that is away is left
    /// out, and so is a note of nothing.
    pub fn next(&mut self, tree: &Tree, pulse: &mut dyn Pulse) -> Result<Option<Trashed>> {
        let Some((notes, stream)) = &mut self.notes else { return Ok(None) };
        while stream.next(&mut self.name)?.is_some() {
            pulse.check()?;
            let Some(id) = note::is_of(&self.name).filter(|id| !tree.is_over(id)) else { continue };
            let Ok(Some(Note { path, top })) = note::read(notes, &id) else { continue };
            if !top.is_root() && self.other.as_ref().is_none_or(|(of, _)| *of != top) {
                let bin = tree.other_bin(&top).ok().flatten();
                self.other = Some((top.clone(), bin));
            }
            let bin = match &self.other {
                Some((_, bin)) if !top.is_root() => bin.as_ref(),
                _ => Some(&*notes),
            };
            let Some(bin) = bin else { continue };
            let Ok(meta) = meta_at(bin.as_fd(), id.to_string().as_bytes()) else { continue };
            let deleted = Mtime { seconds: i64::try_from(id.seconds).unwrap_or(i64::MAX), nanos: 0 };
            return Ok(Some(Trashed { id, kind: meta.kind, size: meta.size, deleted, path }));
        }
        Ok(None)
    }
}
