//! Walking down a tree, depth first, without recursion and with a bounded number of open directories: a tree may be
//! deeper than the stack, the descriptor limit and PATH_MAX.

use super::Result;
use super::beneath;
use crate::proto::{Code, limits};
use crate::store::Trouble;
use crate::sys::dirent::{DirStream, Hint};
use nix::sys::stat::{FileStat, fstat};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A place in a tree: the directories from where the walk began down to the one being read.
pub struct Walk {
    levels: Vec<Level>,
}

struct Level {
    /// The name by which the directory above holds it.
    name: Vec<u8>,
    /// Closed in the middle of a deep descent.
    stream: Option<DirStream>,
    /// Where to go on when it is opened again.
    place: i64,
    /// What it must be when it is found again.
    identity: (u64, u64),
}

fn identity(stat: &FileStat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

impl Level {
    fn new(name: Vec<u8>, fd: OwnedFd) -> Result<Level> {
        let identity = identity(&fstat(&fd)?);
        Ok(Level { name, stream: Some(DirStream::new(fd)), place: 0, identity })
    }
}

impl Walk {
    /// Begins in the directory that `fd` has open for reading.
    pub fn new(fd: OwnedFd) -> Result<Self> {
        Ok(Walk { levels: vec![Level::new(Vec::new(), fd)?] })
    }

    fn stream(&mut self) -> Result<&mut DirStream> {
        self.levels.last_mut().and_then(|level| level.stream.as_mut()).ok_or_else(|| Trouble::of(Code::Internal))
    }

    /// The directory being read.
    pub fn dir(&self) -> Result<BorrowedFd<'_>> {
        let stream = self.levels.last().and_then(|level| level.stream.as_ref());
        stream.map(AsFd::as_fd).ok_or_else(|| Trouble::of(Code::Internal))
    }

    /// Directories between where the walk began and here.
    pub fn depth(&self) -> usize {
        self.levels.len() - 1
    }

    /// The next name in the directory being read, copied into `name`; `None` at its end, and where it has been removed meanwhile: that
    /// is no reason to give up all the others.
    pub fn next(&mut self, name: &mut Vec<u8>) -> Result<Option<Hint>> {
        match self.stream()?.next(name) {
            Err(gone) if gone.kind() == ErrorKind::NotFound => Ok(None),
            other => Ok(other?),
        }
    }

    /// Goes down into the directory `name` of the one being read. A symbolic link there is an error, not a way.
    pub fn enter(&mut self, name: &[u8]) -> Result<()> {
        let fd = beneath::open_dir(self.dir()?, name)?;
        let level = Level::new(name.to_vec(), fd)?;
        self.levels.push(level);
        if let Some(at) = self.levels.len().checked_sub(limits::WALK_OPEN + 1) {
            let level = &mut self.levels[at];
            if let Some(stream) = level.stream.take() {
                level.place = stream.place();
            }
        }
        Ok(())
    }

    /// Goes up again; the name of the directory that was left. `None` where the walk began.
    ///
    /// A directory above that was closed is found again through `..` of the one left, and must be the same one: a tree
    /// that is moved meanwhile leads nowhere else.
    pub fn leave(&mut self) -> Result<Option<Vec<u8>>> {
        if self.levels.len() < 2 {
            return Ok(None);
        }
        let Some(left) = self.levels.pop() else { return Ok(None) };
        let Some(level) = self.levels.last_mut() else { return Ok(None) };
        if level.stream.is_none() {
            let from = left.stream.as_ref().ok_or_else(|| Trouble::of(Code::Internal))?;
            let fd = beneath::open_above(from)?;
            if identity(&fstat(&fd)?) != level.identity {
                return Err(Trouble::new(Code::Changed, "the directory was moved meanwhile"));
            }
            let mut stream = DirStream::new(fd);
            stream.seek(level.place)?;
            level.stream = Some(stream);
        }
        Ok(Some(left.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::OFlag;
    use nix::sys::stat::{Mode, mkdirat};
    use std::fs::File;

    /// A chain of directories so deep that no path leads to its end, with a file at the end.
    fn deep(depth: usize) -> tempfile::TempDir {
        let top = tempfile::tempdir().unwrap();
        let mut here: OwnedFd = File::open(top.path()).unwrap().into();
        for _ in 0..depth {
            mkdirat(&here, "down", Mode::S_IRWXU).unwrap();
            here = beneath::open_dir(&here, b"down").unwrap();
        }
        let flags = OFlag::O_CREAT | OFlag::O_WRONLY;
        beneath::open(&here, b"bottom", flags, Mode::S_IRUSR).unwrap();
        top
    }

    fn walk(top: &tempfile::TempDir) -> Walk {
        Walk::new(File::open(top.path()).unwrap().into()).unwrap()
    }

    #[test]
    fn a_tree_deeper_than_any_path_is_walked_down_and_up_with_few_descriptors() {
        let top = deep(2500);
        let mut walk = walk(&top);
        let (mut name, mut deepest, mut bottoms) = (Vec::new(), 0, 0);
        loop {
            match walk.next(&mut name).unwrap() {
                Some(_) if name == b"down" => walk.enter(b"down").unwrap(),
                Some(_) => bottoms += 1,
                None => match walk.leave().unwrap() {
                    Some(left) => assert_eq!(left, b"down"),
                    None => break,
                },
            }
            deepest = deepest.max(walk.depth());
            assert!(walk.levels.iter().filter(|level| level.stream.is_some()).count() <= limits::WALK_OPEN);
        }
        assert_eq!((deepest, bottoms), (2500, 1));
        drop(walk);
        crate::store::remove::tests::empty_all(File::open(top.path()).unwrap().into());
    }

    #[test]
    fn a_directory_that_was_moved_meanwhile_is_not_taken_for_another() {
        let top = deep(limits::WALK_OPEN + 5);
        let other = tempfile::tempdir_in(top.path()).unwrap();
        let mut walk = walk(&top);
        while walk.depth() < limits::WALK_OPEN + 5 {
            walk.enter(b"down").unwrap();
        }
        // The third directory is closed by now; its child goes elsewhere, and `..` of that with it.
        let third = top.path().join("down/down/down");
        std::fs::rename(third.join("down"), other.path().join("down")).unwrap();
        let result = std::iter::repeat_with(|| walk.leave()).find(|left| !matches!(left, Ok(Some(_))));
        assert_eq!(result.unwrap().unwrap_err().code(), Code::Changed);
        drop(walk);
        crate::store::remove::tests::empty_all(File::open(top.path()).unwrap().into());
    }

    #[test]
    fn a_directory_that_is_removed_meanwhile_ends_and_the_walk_goes_on() {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir(top.path().join("down")).unwrap();
        let (mut walk, mut name) = (walk(&top), Vec::new());
        walk.enter(b"down").unwrap();
        std::fs::remove_dir(top.path().join("down")).unwrap();
        assert_eq!(walk.next(&mut name).unwrap(), None);
        assert_eq!(walk.leave().unwrap(), Some(b"down".to_vec()));
    }

    #[test]
    fn a_link_is_not_a_way_down() {
        let top = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/", top.path().join("link")).unwrap();
        assert_eq!(walk(&top).enter(b"link").unwrap_err().code(), Code::BadPath);
    }
}
