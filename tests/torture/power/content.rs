//! The content of a file: as all calls see it, and as it lies on the disk.

use super::disk::Luck;
use crate::run::Chance;
use std::collections::BTreeSet;

/// What a disk writes at once.
const PAGE: usize = 4096;

/// The content of a file.
#[derive(Default)]
pub struct Content {
    now: Vec<u8>,
    kept: Vec<u8>,
    /// Pages that differ, or may.
    dirty: BTreeSet<usize>,
}

impl Content {
    /// What a read gets.
    pub fn now(&self) -> &[u8] {
        &self.now
    }

    /// Writes; by chance some of it reaches the disk at once, as it does when the kernel has nothing better to do.
    pub fn write(&mut self, at: usize, bytes: &[u8], chance: &mut Chance) {
        let end = at + bytes.len();
        if end > self.now.len() {
            self.set_len(end);
        }
        self.now[at..end].copy_from_slice(bytes);
        for page in at / PAGE..end.div_ceil(PAGE) {
            self.dirty.insert(page);
            if chance.one_in(16) {
                self.keep_len(self.kept.len().max((page + 1) * PAGE).min(self.now.len()), chance);
                self.keep_page(page);
            }
        }
    }

    /// Cuts off, or adds zeros.
    pub fn set_len(&mut self, length: usize) {
        let (shorter, longer) = (length.min(self.now.len()), length.max(self.now.len()));
        self.dirty.extend(shorter / PAGE..longer.div_ceil(PAGE));
        self.now.resize(length, 0);
    }

    /// All of it is on the disk now.
    pub fn keep(&mut self) {
        self.kept.resize(self.now.len(), 0);
        for page in std::mem::take(&mut self.dirty) {
            self.keep_page(page);
        }
    }

    /// The disk could not take it. As Linux does, the pages count as clean from now on: no later fsync writes them, or complains.
    pub fn fail_to_keep(&mut self) {
        self.dirty.clear();
    }

    /// The power goes: some pages, and perhaps the size, have made it to the disk.
    pub fn keep_some(&mut self, luck: Luck, chance: &mut Chance) {
        if self.now.len() != self.kept.len() && luck.smiles(chance) {
            let (shorter, longer) = (self.now.len().min(self.kept.len()), self.now.len().max(self.kept.len()));
            let any = shorter + chance.below((longer - shorter + 1) as u64) as usize / PAGE * PAGE;
            self.keep_len(*chance.of(&[self.now.len(), any]), chance);
        }
        for page in std::mem::take(&mut self.dirty) {
            if luck.smiles(chance) {
                self.keep_page(page);
            }
        }
    }

    /// The power is back: what was kept is all there is.
    pub fn restart(&mut self) {
        self.now.clone_from(&self.kept);
        self.dirty.clear();
    }

    /// The size is on the disk, and what it gains is what lay there: nothing, or what somebody else has deleted.
    fn keep_len(&mut self, length: usize, chance: &mut Chance) {
        let old_bytes = *chance.of(&[0, 0xDB]);
        self.kept.resize(length, old_bytes);
    }

    fn keep_page(&mut self, page: usize) {
        let end = ((page + 1) * PAGE).min(self.now.len()).min(self.kept.len());
        let begin = (page * PAGE).min(end);
        self.kept[begin..end].copy_from_slice(&self.now[begin..end]);
    }
}
