//! A flush that runs beside the session: files and directories on their way to the disk while more is received.

use super::Pulse;
use super::order::fsync_dir;
use super::pulse::BEAT;
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, fstatfs};
use nix::unistd::{fsync, syncfs};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};

/// From so many files on, one flush of the whole file system is cheaper than one of each.
const WORTH_SYNCFS: usize = 8;

/// What is to be flushed.
#[derive(Clone, Default)]
pub(super) struct Load {
    /// Files, for their data.
    pub(super) files: Vec<Arc<File>>,
    /// Whether all files lie on one file system.
    pub(super) together: bool,
    /// Directories, for the names in them, each once.
    pub(super) dirs: Vec<Arc<OwnedFd>>,
}

/// How it went, for each in its order.
#[derive(Default)]
pub(super) struct Flushed {
    pub(super) files: Vec<nix::Result<()>>,
    pub(super) dirs: Vec<nix::Result<()>>,
}

impl Load {
    /// Flushes all, by one call for the files where the file system is known to honour it. With the files of this batch that call
    /// writes the names of the one before, so that there is little left to do for the directories.
    pub(super) fn flush(&self) -> Flushed {
        let at_once = self.together && self.files.len() >= WORTH_SYNCFS;
        let flushed =
            at_once && self.files.first().is_some_and(|file| honours_syncfs(file.as_fd()) && syncfs(file).is_ok());
        let files = self.files.iter().map(|file| if flushed { Ok(()) } else { fsync(file) }).collect();
        Flushed { files, dirs: self.dirs.iter().map(fsync_dir).collect() }
    }
}

/// Whether syncfs(2) reaches the disk and reports errors (from Linux 5.8 on): known of these, and FUSE does not forward it.
fn honours_syncfs(fd: BorrowedFd) -> bool {
    fstatfs(fd).is_ok_and(|fs| [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC].contains(&fs.filesystem_type()))
}

/// A flush under way, or done.
pub(super) enum Flush {
    /// A thread is at it; the other end of the channel goes when it has ended.
    Running(JoinHandle<Flushed>, Receiver<()>),
    Done(Flushed),
}

impl Flush {
    /// Begins to flush by way of `flush`. Where no thread can be had it is done when this returns.
    pub(super) fn begin(load: Load, flush: fn(&Load) -> Flushed) -> Flush {
        if load.files.is_empty() && load.dirs.is_empty() {
            return Flush::Done(Flushed::default());
        }
        let (end, ended) = channel();
        let copy = load.clone();
        let body = move || {
            let _end: Sender<()> = end;
            flush(&copy)
        };
        match thread::Builder::new().stack_size(64 * 1024).spawn(body) {
            Ok(thread) => Flush::Running(thread, ended),
            Err(_) => Flush::Done(flush(&load)),
        }
    }

    /// Whether it is done.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Flush::Running(thread, _) => thread.is_finished(),
            Flush::Done(_) => true,
        }
    }

    /// Waits for its end, keeping the pulse. It cannot be broken off: it ends whatever the pulse says. Of a thread that died nothing is
    /// known to be flushed.
    pub(super) fn wait(self, pulse: &mut dyn Pulse) -> Flushed {
        match self {
            Flush::Done(flushed) => flushed,
            Flush::Running(thread, ended) => {
                while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(BEAT) {
                    pulse.beat();
                }
                thread.join().unwrap_or_default()
            }
        }
    }
}
