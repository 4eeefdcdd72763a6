//! The way to the disk, which uploads and new directories go together. The promise stays per file, the flushes are shared, and more
//! may be received while one runs:
//!
//! ```text
//! gathered    whole and verified, under a name of the server's own
//! flushing    their data is on its way to the disk, and with it the directories of those before them
//! named       under their names, in the order of the requests; their directories go with the next flush
//! settled     durable
//! ```
//!
//! No name is given before its data is on the disk, and nothing is settled before its directories are.

use super::flush::{Flush, Flushed, Load};
use super::stage::Complete;
use super::{Pulse, Result, Tree, Trouble};
use crate::proto::{Code, limits};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

/// Something that is to be durable.
pub enum Change {
    /// A whole upload.
    File(Complete),
    /// New directories: those in which their names stand.
    Dirs(Vec<Arc<OwnedFd>>),
}

impl Change {
    fn file(&self) -> Option<&Complete> {
        match self {
            Change::File(complete) => Some(complete),
            Change::Dirs(_) => None,
        }
    }

    /// How many directories it holds open.
    fn dirs(&self) -> usize {
        match self {
            Change::File(_) => 1,
            Change::Dirs(dirs) => dirs.len(),
        }
    }
}

/// What has taken its name, or has not.
struct Named<T> {
    tag: T,
    result: Result<()>,
    dirs: Vec<Arc<OwnedFd>>,
}

/// A flush under way: of the data of some, and of the directories of those before them.
struct Flight<T> {
    flush: Flush,
    data: Vec<(T, Change)>,
    named: Vec<Named<T>>,
    dirs: Vec<Arc<OwnedFd>>,
}

/// Changes on their way to the disk, each with what its owner knows it by.
pub struct Pipeline<T> {
    gathered: Vec<(T, Change)>,
    bytes: u64,
    dirs: usize,
    flight: Option<Flight<T>>,
    named: Vec<Named<T>>,
}

impl<T> Default for Pipeline<T> {
    fn default() -> Self {
        Pipeline { gathered: Vec::new(), bytes: 0, dirs: 0, flight: None, named: Vec::new() }
    }
}

impl<T> Pipeline<T> {
    /// Whether nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.gathered.is_empty() && self.flight.is_none() && self.named.is_empty()
    }

    /// Whether an upload is on its way that has no name yet.
    pub fn has_nameless(&self) -> bool {
        let flying = self.flight.iter().flat_map(|flight| &flight.data);
        flying.chain(&self.gathered).any(|(_, change)| change.file().is_some())
    }

    /// Adds a change behind the others.
    pub fn add(&mut self, tag: T, change: Change) {
        self.bytes += change.file().map_or(0, |complete| complete.size);
        self.dirs += change.dirs();
        self.gathered.push((tag, change));
    }

    /// Goes on where that costs no waiting, or where no more may gather. What has been settled, in order.
    pub fn push(&mut self, tree: &mut Tree, pulse: &mut dyn Pulse) -> Vec<(T, Result<()>)> {
        let (count, bytes) = (self.gathered.len().max(self.dirs), self.bytes);
        if count < limits::BATCH_FILES / 2 && bytes < limits::BATCH_BYTES / 2 {
            return Vec::new();
        }
        match &mut self.flight {
            None => self.take_off(tree),
            Some(flight) => {
                if flight.flush.is_done() || count >= limits::BATCH_FILES || bytes >= limits::BATCH_BYTES {
                    return self.step(tree, pulse);
                }
            }
        }
        Vec::new()
    }

    /// Waits for the flush under way, or for one of all that has gathered, and begins the next. What has been settled, in order;
    /// after `uncertain` a name holds the old content or the new, whole.
    pub fn step(&mut self, tree: &mut Tree, pulse: &mut dyn Pulse) -> Vec<(T, Result<()>)> {
        self.take_off(tree);
        let Some(flight) = self.flight.take() else { return Vec::new() };
        let Flushed { files, dirs } = flight.flush.wait(pulse);
        self.named = name(flight.data, files, tree, pulse);
        self.take_off(tree);
        settle(flight.named, &flight.dirs, &dirs)
    }

    /// Begins a flush if none is under way and there is something to flush.
    fn take_off(&mut self, tree: &mut Tree) {
        if self.flight.is_some() || self.is_empty() {
            return;
        }
        tree.parents.clear();
        (self.bytes, self.dirs) = (0, 0);
        let (mut data, mut named) = (std::mem::take(&mut self.gathered), std::mem::take(&mut self.named));
        if data.iter().all(|(_, change)| change.file().is_none()) {
            named.extend(data.drain(..).map(|(tag, change)| Named::new(tag, change, Ok(())))); // they have their names
        }
        let mut dirs: Vec<Arc<OwnedFd>> = Vec::new();
        for dir in named.iter().flat_map(|named| &named.dirs) {
            if !dirs.iter().rev().any(|known| Arc::ptr_eq(known, dir)) {
                dirs.push(dir.clone());
            }
        }
        let completes = || data.iter().filter_map(|(_, change)| change.file());
        let mut mounts = completes().map(|complete| &complete.spool.reserved);
        let first = mounts.next();
        let together = first.is_some_and(|first| mounts.all(|other| Rc::ptr_eq(first, other)));
        let files = completes().map(|complete| complete.spool.file.clone()).collect();
        let flush = Flush::begin(Load { files, together, dirs: dirs.clone() });
        self.flight = Some(Flight { flush, data, named, dirs });
    }
}

impl<T> Named<T> {
    fn new(tag: T, change: Change, result: Result<()>) -> Self {
        let dirs = match change {
            _ if result.is_err() => Vec::new(),
            Change::File(complete) => vec![complete.parent],
            Change::Dirs(dirs) => dirs,
        };
        Named { tag, result, dirs }
    }
}

/// Gives uploads their names whose data has been flushed.
fn name<T>(
    data: Vec<(T, Change)>,
    mut flushed: Vec<nix::Result<()>>,
    tree: &mut Tree,
    pulse: &mut dyn Pulse,
) -> Vec<Named<T>> {
    let batch: Vec<&Complete> = data.iter().filter_map(|(_, change)| change.file()).collect();
    if batch.is_empty() {
        return data.into_iter().map(|(tag, change)| Named::new(tag, change, Ok(()))).collect();
    }
    flushed.resize(batch.len(), Err(nix::Error::EIO));
    let mut results = tree.take_names(&batch, flushed, pulse).into_iter();
    let result = |change: &Change| match change {
        Change::File(_) => results.next().unwrap_or_else(|| Err(Trouble::of(Code::Internal))),
        Change::Dirs(_) => Ok(()),
    };
    let results: Vec<Result<()>> = data.iter().map(|(_, change)| change).map(result).collect();
    data.into_iter().zip(results).map(|((tag, change), result)| Named::new(tag, change, result)).collect()
}

/// What has become of changes whose directories have been flushed. A failure makes them `uncertain`.
fn settle<T>(named: Vec<Named<T>>, dirs: &[Arc<OwnedFd>], flushed: &[nix::Result<()>]) -> Vec<(T, Result<()>)> {
    let is_flushed = |dir: &Arc<OwnedFd>| {
        let at = dirs.iter().position(|known| Arc::ptr_eq(known, dir));
        at.and_then(|at| flushed.get(at)).is_some_and(|flushed| flushed.is_ok())
    };
    let settle = |named: Named<T>| match named.result {
        Ok(()) if !named.dirs.iter().all(is_flushed) => (named.tag, Err(Trouble::of(Code::Uncertain))),
        result => (named.tag, result),
    };
    named.into_iter().map(settle).collect()
}
