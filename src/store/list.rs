//! Listing: any number of entries in constant memory.

use super::meta::{Meta, meta_at};
use super::walk::Walk;
use super::{Pulse, Result, Tree, beneath};
use crate::proto::answer::Entry;
use crate::proto::{Code, EntryKind, RemotePath, limits};
use crate::sys::dirent::Hint;

/// What a listing came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Entries told.
    pub entries: u64,
    /// Directories that could not be read, and names too long to be told.
    pub skipped: u64,
}

/// A listing being told.
pub struct Listing {
    walk: Walk,
    /// From the directory listed down to the one being read.
    here: RemotePath,
    /// Bytes of the path of the directory listed: with the entry's own it must stay a path that can be asked for.
    above: usize,
    recursive: bool,
    name: Vec<u8>,
    so_far: Listed,
}

impl Tree {
    /// Begins a listing of the directory `path`, with `recursive` of all that is below it.
    pub fn list(&self, path: &RemotePath, recursive: bool) -> Result<Listing> {
        let walk = Walk::new(beneath::open_dir(self.root(), path.as_bytes())?)?;
        let above = if path.is_root() { 0 } else { path.as_bytes().len() + 1 };
        Ok(Listing { walk, here: RemotePath::root(), above, recursive, name: Vec::new(), so_far: Listed::default() })
    }
}

impl Listing {
    /// The next entry; `None` at the end. Entries that vanish meanwhile are left out.
    pub fn next(&mut self, pulse: &mut dyn Pulse) -> Result<Option<Entry>> {
        loop {
            pulse.check()?;
            let Some(hint) = self.walk.next(&mut self.name)? else {
                if self.walk.leave()?.is_none() {
                    return Ok(None);
                }
                self.here = self.here.parent().unwrap_or_else(RemotePath::root);
                continue;
            };
            if self.name == limits::RESERVED.as_bytes() {
                continue;
            }
            let Some(path) =
                self.here.join(&self.name).ok().filter(|p| self.above + p.as_bytes().len() <= limits::PATH)
            else {
                self.so_far.skipped += 1;
                continue;
            };
            let meta = match meta_at(self.walk.dir()?, &self.name) {
                Ok(meta) => meta,
                Err(nix::Error::ENOENT) => continue,
                Err(_) => {
                    self.so_far.skipped += 1;
                    continue;
                }
            };
            self.so_far.entries += 1;
            if self.recursive && hint != Hint::NotDir && meta.kind == EntryKind::Dir {
                self.descend(&path);
            }
            return Ok(Some(entry(meta, path)));
        }
    }

    fn descend(&mut self, path: &RemotePath) {
        match self.walk.enter(&self.name) {
            Ok(()) => self.here = path.clone(),
            Err(trouble) if matches!(trouble.code(), Code::NotFound | Code::NotDirectory) => {} // gone meanwhile
            Err(_) => self.so_far.skipped += 1,
        }
    }

    /// What has been told so far.
    pub fn so_far(&self) -> Listed {
        self.so_far
    }
}

fn entry(meta: Meta, path: RemotePath) -> Entry {
    Entry { kind: meta.kind, size: meta.size, mtime: meta.mtime, path }
}
