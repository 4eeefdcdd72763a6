//! Changes of names that no fsync has made durable yet.
//!
//! What a power cut leaves of them is any selection, each whole or not at all: a rename is one change, as in every journal. Their order
//! is not promised, with the exceptions that file systems with a journal, with soft updates or with copied trees have in common, since
//! without them a disk would not only lose what is new but what is old:
//!
//! - changes of one name, and of one file, stay in their order: a name is one place on the disk, and so is an inode;
//! - a directory that goes was empty: what was moved out of it has arrived;
//! - what is moved into a new directory is not there before the directory is.
//!
//! An fsync of a directory takes what is in it, and what that needs; whether the directory itself can be reached is for an fsync of
//! the one above (fsync(2): "does not necessarily ensure that the entry in the directory containing the file has also reached disk").
//! Most file systems are kinder.

use super::disk::Luck;
use crate::run::Chance;
use std::ffi::OsString;

/// A name in a directory, by the number of the directory's inode.
pub type Slot = (u64, OsString);

/// A change of names, whole or not at all.
pub struct Change {
    /// What comes, moves or goes.
    pub inodes: Vec<u64>,
    /// Names, and what each leads to afterwards.
    pub names: Vec<(Slot, Option<u64>)>,
    /// A directory that had to be empty for it.
    pub emptied: Option<u64>,
}

impl Change {
    fn is_in(&self, dir: u64) -> bool {
        self.names.iter().any(|((of, _), _)| *of == dir)
    }

    /// Whether this one cannot be on the disk without an earlier one.
    fn needs(&self, earlier: &Change) -> bool {
        let same_name = self.names.iter().any(|(slot, _)| earlier.names.iter().any(|(other, _)| slot == other));
        let same_inode = self.inodes.iter().any(|inode| earlier.inodes.contains(inode));
        same_name || same_inode || self.emptied.is_some_and(|dir| earlier.is_in(dir))
    }

    /// Whether it puts something into a directory that an earlier one has made or moved.
    fn is_below(&self, earlier: &Change) -> bool {
        earlier.inodes.iter().any(|dir| self.is_in(*dir))
    }
}

/// All that are pending, the oldest first.
#[derive(Default)]
pub struct Pending(Vec<Change>);

impl Pending {
    /// One more.
    pub fn add(&mut self, change: Change) {
        self.0.push(change);
    }

    /// Those in a directory, and what they need: the directory is flushed.
    pub fn take_of(&mut self, dir: u64) -> Vec<Change> {
        let wanted = self.0.iter().map(|change| change.is_in(dir)).collect();
        self.take(wanted, Change::needs)
    }

    /// Any of them, and what they need: the power goes.
    pub fn take_some(&mut self, luck: Luck, chance: &mut Chance) -> Vec<Change> {
        let wanted = self.0.iter().map(|_| luck.smiles(chance)).collect();
        self.take(wanted, |change, earlier| change.needs(earlier) || change.is_below(earlier))
    }

    fn take(&mut self, mut wanted: Vec<bool>, needs: impl Fn(&Change, &Change) -> bool) -> Vec<Change> {
        for later in (0..self.0.len()).rev().filter(|later| wanted[*later]).collect::<Vec<_>>() {
            self.want_needed(later, &mut wanted, &needs);
        }
        let (taken, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().zip(wanted).partition(|(_, wanted)| *wanted);
        self.0 = left.into_iter().map(|(change, _)| change).collect();
        taken.into_iter().map(|(change, _)| change).collect()
    }

    fn want_needed(&self, later: usize, wanted: &mut [bool], needs: &impl Fn(&Change, &Change) -> bool) {
        for earlier in (0..later).rev() {
            if !wanted[earlier] && needs(&self.0[later], &self.0[earlier]) {
                wanted[earlier] = true;
                self.want_needed(earlier, wanted, needs);
            }
        }
    }
}
