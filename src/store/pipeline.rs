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
    /// Whether it is a directory, which others may lie below.
    is_dir: bool,
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
    /// A new directory may not be there after a power cut, and with it what came after.
    doubtful: bool,
    flush: fn(&Load) -> Flushed,
}

impl<T> Default for Pipeline<T> {
    fn default() -> Self {
        let (gathered, named) = (Vec::new(), Vec::new());
        Pipeline { gathered, bytes: 0, dirs: 0, flight: None, named, doubtful: false, flush: Load::flush }
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
            None => _ = self.take_off(tree),
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
        let settled = settle(flight.named, &flight.dirs, &dirs, &mut self.doubtful);
        self.doubtful &= !self.is_empty();
        settled
    }

    /// Begins a flush if none is under way and there is something to flush. Whether one is done.
    pub fn take_off(&mut self, tree: &mut Tree) -> bool {
        if let Some(flight) = &mut self.flight {
            return flight.flush.is_done();
        }
        if self.is_empty() {
            return false;
        }
        tree.forget_parents();
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
        let flush = Flush::begin(Load { files, together, dirs: dirs.clone() }, self.flush);
        self.flight = Some(Flight { flush, data, named, dirs });
        false
    }
}

impl<T> Named<T> {
    fn new(tag: T, change: Change, result: Result<()>) -> Self {
        let (is_dir, dirs) = match change {
            Change::Dirs(dirs) => (true, dirs),
            Change::File(_) if result.is_err() => (false, Vec::new()),
            Change::File(complete) => (false, vec![complete.parent]),
        };
        Named { tag, result, is_dir, dirs }
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
    if data.is_empty() {
        return Vec::new(); // a flush of directories alone
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

/// What has become of changes whose directories have been flushed. A failure makes them `uncertain`; after that of a new directory, all
/// that were sent behind it: they may lie below it.
fn settle<T>(
    named: Vec<Named<T>>,
    dirs: &[Arc<OwnedFd>],
    flushed: &[nix::Result<()>],
    doubtful: &mut bool,
) -> Vec<(T, Result<()>)> {
    let is_flushed = |dir: &Arc<OwnedFd>| {
        let at = dirs.iter().position(|known| Arc::ptr_eq(known, dir));
        at.and_then(|at| flushed.get(at)).is_some_and(|flushed| flushed.is_ok())
    };
    let settle = |named: Named<T>| {
        let is_flushed = named.dirs.iter().all(is_flushed);
        *doubtful |= named.is_dir && !is_flushed;
        let certain = is_flushed && !*doubtful;
        (named.tag, named.result.and_then(|()| if certain { Ok(()) } else { Err(Trouble::uncertain()) }))
    };
    named.into_iter().map(settle).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Patient;
    use crate::store::stage::Wanted;
    use crate::store::tree::Policy;
    use nix::errno::Errno;
    use nix::sys::stat::Mode;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    struct Home {
        storage: tempfile::TempDir,
        tree: Tree,
        pipeline: Pipeline<&'static str>,
    }

    impl Home {
        fn new(flush: fn(&Load) -> Flushed) -> Home {
            let (storage, policy) = (tempfile::tempdir().unwrap(), Policy::new(Mode::empty()));
            let root = Tree::open_root(File::open(storage.path()).unwrap().as_fd(), "alice", policy).unwrap();
            let tree = Tree::new(root, policy, &mut Patient).unwrap();
            Home { storage, tree, pipeline: Pipeline { flush, ..Pipeline::default() } }
        }

        fn upload(&mut self, path: &'static str) {
            let wanted = Wanted { path: path.parse().unwrap(), size: Some(1), mtime: None, new: false, behind: false };
            let mut staged = self.tree.stage(wanted, &mut Patient).unwrap();
            staged.write(&mut self.tree, b"x", &mut Patient).unwrap();
            let Ok(complete) = staged.finish(&self.tree, None) else { panic!("{path} is not whole") };
            self.pipeline.add(path, Change::File(complete));
        }

        fn mkdir(&mut self, path: &'static str) {
            let dirs = self.tree.make_dir(&path.parse().unwrap(), false, &mut Patient).unwrap();
            self.pipeline.add(path, Change::Dirs(dirs));
        }

        fn step(&mut self) -> String {
            let told = |(path, result): (&str, Result<()>)| match result {
                Ok(()) => format!("{path} ok"),
                Err(trouble) => format!("{path} {}", trouble.code()),
            };
            self.pipeline.step(&mut self.tree, &mut Patient).into_iter().map(told).collect::<Vec<_>>().join(", ")
        }

        fn settle(&mut self) -> String {
            let mut told = Vec::new();
            while !self.pipeline.is_empty() {
                told.push(self.step());
            }
            told.retain(|told| !told.is_empty());
            told.join("; ")
        }

        fn has(&self, path: &str) -> bool {
            self.storage.path().join("alice").join(path).exists()
        }

        fn staged(&self) -> usize {
            std::fs::read_dir(self.storage.path().join("alice/.dfos/uploads")).unwrap().count()
        }
    }

    fn all_is_well(load: &Load) -> Flushed {
        Flushed { files: vec![Ok(()); load.files.len()], dirs: vec![Ok(()); load.dirs.len()] }
    }

    #[test]
    fn what_lies_below_a_directory_whose_name_is_uncertain_is_uncertain_too() {
        static FAILED: AtomicBool = AtomicBool::new(true);
        let mut home = Home::new(|load| {
            let mut flushed = all_is_well(load);
            if let (Some(first), false) = (flushed.dirs.first_mut(), FAILED.load(Ordering::Relaxed)) {
                FAILED.store(true, Ordering::Relaxed);
                *first = Err(Errno::EIO);
            }
            flushed
        });
        home.upload("before");
        home.step();
        assert!(home.has("before"));
        assert_eq!(home.settle(), "before ok");
        FAILED.store(false, Ordering::Relaxed);
        home.mkdir("d");
        home.upload("d/f");
        home.upload("g");
        assert_eq!(home.settle(), "d uncertain, d/f uncertain, g uncertain");
        home.upload("d/f");
        assert_eq!(home.settle(), "d/f ok");
    }

    #[test]
    fn a_flush_that_fails_takes_its_own_uploads_down_and_no_others() {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        let mut home = Home::new(|load| match CALLS.fetch_add(1, Ordering::Relaxed) {
            1 => Flushed { files: vec![Err(Errno::EIO); load.files.len()], ..all_is_well(load) },
            _ => all_is_well(load),
        });
        home.upload("a");
        home.upload("b");
        assert!(!home.pipeline.take_off(&mut home.tree));
        home.upload("c");
        home.upload("d");
        assert_eq!(home.step(), "", "a and b have their names, and are not durable");
        assert!(home.has("a") && home.has("b"));
        home.upload("e");
        assert_eq!(home.step(), "a ok, b ok");
        assert_eq!(home.settle(), "c io-error, d io-error; e ok");
        assert!(!home.has("c") && !home.has("d") && home.has("e"));
        assert_eq!(home.staged(), 0);
    }

    #[test]
    fn of_a_flush_that_died_nothing_is_believed() {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        let mut home = Home::new(|load| match CALLS.fetch_add(1, Ordering::Relaxed) {
            1 => panic!("as it was told to"),
            _ => all_is_well(load),
        });
        home.upload("named");
        assert!(!home.pipeline.take_off(&mut home.tree));
        home.upload("nameless");
        assert_eq!(home.settle(), "named uncertain; nameless io-error");
        assert!(home.has("named") && !home.has("nameless"));
        assert_eq!(home.staged(), 0);
        home.upload("nameless");
        assert_eq!(home.settle(), "nameless ok");
    }

    #[test]
    fn no_more_gather_than_may_and_whoever_waits_hears_of_it() {
        static MAY_END: AtomicBool = AtomicBool::new(false);
        struct Count(usize);
        impl Pulse for Count {
            fn beat(&mut self) -> bool {
                self.0 += 1;
                MAY_END.store(true, Ordering::Relaxed);
                true
            }
        }
        let mut home = Home::new(|load| {
            while !MAY_END.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            all_is_well(load)
        });
        let (mut pulse, mut gathered) = (Count(0), 0);
        let dirs = home.tree.make_dir(&"d".parse().unwrap(), false, &mut Patient).unwrap();
        while pulse.0 == 0 && gathered < 5000 {
            home.pipeline.add("d", Change::Dirs(dirs.clone()));
            gathered += 1;
            home.pipeline.push(&mut home.tree, &mut pulse);
        }
        assert_eq!(gathered, limits::BATCH_FILES / 2 + limits::BATCH_FILES);
        while !home.pipeline.is_empty() {
            home.pipeline.step(&mut home.tree, &mut pulse);
        }
    }
}
