//! The scoreboard: what each session has done so far, in memory that it shares with the listener, one page a session. Figures for
//! people only; nothing that decides anything is read from it.

use super::places::Places;
use crate::sys::shared::{SharedPages, Slot, WORDS};
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the pages hold, counted: one who takes a scoreboard over reads figures only where it means the same by them.
pub const LAYOUT: u32 = 1;

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
    /// Records that the log did not take, and of which it has not been told.
    Unsaid = 5,
}

/// The sum of many sessions' figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Totals(pub [u64; WORDS]);

impl Totals {
    /// One of the figures.
    pub fn get(&self, figure: Figure) -> u64 {
        self.0[figure as usize]
    }
}

/// The listener's view: all slots.
pub struct Scoreboard {
    pages: SharedPages,
    places: Places,
}

impl Scoreboard {
    /// A scoreboard for `count` sessions at a time.
    pub fn new(count: usize) -> io::Result<Self> {
        Ok(Scoreboard { pages: SharedPages::new(count)?, places: Places::new(count) })
    }

    /// A scoreboard that another program made: `taken` are the slots of the sessions that live. There are at least `count`.
    pub fn resume(file: File, count: usize, taken: &[usize]) -> io::Result<Self> {
        let count = taken.iter().map(|slot| slot + 1).chain([count]).max().unwrap_or(count);
        Ok(Scoreboard { pages: SharedPages::of(file, count)?, places: Places::with_taken(count, taken) })
    }

    /// The file, to be handed over.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pages.fd()
    }

    /// Takes a free slot, its figures zero.
    pub fn take(&mut self) -> Option<usize> {
        self.places.take()
    }

    /// Adds a slot's figures to `totals`, returns them, and frees it. Nobody else has it any more: it is set to zero here, not when it is taken, so that
    /// the listener touches no page of a session that lives.
    pub fn give_back(&mut self, slot: usize, totals: &mut Totals) -> Totals {
        let mut figures = Totals::default();
        for ((total, word), figure) in totals.0.iter_mut().zip(self.pages.slot(slot)).zip(&mut figures.0) {
            *figure = word.swap(0, Relaxed);
            *total = total.saturating_add(*figure);
        }
        self.places.give_back(slot);
        figures
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_summed_once_and_whoever_has_the_slot_next_begins_at_zero() {
        let (mut board, mut totals) = (Scoreboard::new(1).unwrap(), Totals::default());
        for round in 1..=3 {
            let slot = board.take().unwrap();
            assert_eq!(board.take(), None);
            assert!(board.pages.slot(slot).iter().all(|word| word.load(Relaxed) == 0));
            board.pages.slot(slot)[Figure::Logins as usize].store(7, Relaxed); // as the session does
            assert_eq!(board.give_back(slot, &mut totals).get(Figure::Logins), 7);
            assert_eq!(totals.get(Figure::Logins), 7 * round);
        }
    }
}
