//! The scoreboard: what each session has done so far, in memory that it shares with the listener, one page a session. Figures for
//! people only; nothing that decides anything is read from it.

use crate::sys::shared::{SharedPages, Slot, WORDS};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One figure of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Figure {
    /// Logins.
    Logins = 0,
    /// Files published.
    FilesIn = 1,
    /// Bytes of those.
    BytesIn = 2,
    /// Files sent whole to their end.
    FilesOut = 3,
    /// Bytes of bodies sent.
    BytesOut = 4,
}

/// The sum of many sessions' figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals([u64; WORDS]);

impl Totals {
    /// One of the figures.
    pub fn get(&self, figure: Figure) -> u64 {
        self.0[figure as usize]
    }
}

/// The listener's view: all slots.
pub struct Scoreboard {
    pages: SharedPages,
    free: Vec<usize>,
}

impl Scoreboard {
    /// A scoreboard for `count` sessions at a time.
    pub fn new(count: usize) -> io::Result<Self> {
        Ok(Scoreboard { pages: SharedPages::new(count)?, free: (0..count).rev().collect() })
    }

    /// Takes a free slot, its figures zero.
    pub fn take(&mut self) -> Option<usize> {
        let slot = self.free.pop()?;
        self.pages.slot(slot).iter().for_each(|word| word.store(0, Relaxed));
        Some(slot)
    }

    /// Adds a slot's figures to `totals` and frees it.
    pub fn give_back(&mut self, slot: usize, totals: &mut Totals) {
        for (total, word) in totals.0.iter_mut().zip(self.pages.slot(slot)) {
            *total = total.saturating_add(word.load(Relaxed));
        }
        self.free.push(slot);
    }

    /// In a session: keeps its own slot and unmaps the others.
    pub fn keep_only(self, slot: usize) -> io::Result<Tally> {
        Ok(Tally(self.pages.keep_only(slot)?))
    }
}

/// A session's own figures.
pub struct Tally(Slot);

impl Tally {
    /// Adds to a figure.
    pub fn add(&self, figure: Figure, n: u64) {
        let word: &AtomicU64 = &self.0.words()[figure as usize];
        word.fetch_add(n, Relaxed);
    }
}
