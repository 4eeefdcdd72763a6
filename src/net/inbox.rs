//! Bytes that have arrived and have not been taken yet.

use zeroize::Zeroize;

/// Room at first: a request, an answer. A session that is idle holds no more than that.
const LEAST: usize = 4096;

/// A buffer that is filled at its end and taken from its beginning. It grows while what arrives fills it, and is never cleared: only the
/// bytes that were written are ever shown.
#[derive(Default)]
pub struct Inbox {
    memory: Vec<u8>,
    taken: usize,
    held: usize,
    /// Whether the last room was filled to its end.
    full: bool,
}

impl Inbox {
    /// What has arrived and has not been taken.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.taken..self.held]
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.taken == self.held
    }

    /// Takes `n` bytes away, at most what there is.
    pub fn take(&mut self, n: usize) {
        self.taken = self.held.min(self.taken.saturating_add(n));
        if self.is_empty() {
            (self.taken, self.held) = (0, 0);
        }
    }

    /// Room for more, at most `most` bytes; how many were put there [`arrived`](Self::arrived) is told afterwards.
    pub fn room(&mut self, most: usize) -> &mut [u8] {
        if self.taken > 0 {
            self.memory.copy_within(self.taken..self.held, 0);
            (self.taken, self.held) = (0, self.held - self.taken);
        }
        if self.full || self.held == self.memory.len() {
            let more = self.memory.len().max(LEAST);
            let wanted = (self.memory.len() + more).min(self.held + most.max(LEAST));
            self.memory.resize(self.memory.len().max(wanted), 0);
            self.full = false;
        }
        let end = self.memory.len().min(self.held + most);
        &mut self.memory[self.held..end]
    }

    /// `n` bytes were put into the room.
    pub fn arrived(&mut self, n: usize) {
        self.held = self.memory.len().min(self.held + n);
        self.full = self.held == self.memory.len();
    }

    /// Overwrites what was taken, as far as it still stands in the memory.
    pub fn forget(&mut self) {
        let (taken, held) = (self.taken, self.held);
        self.memory[..taken].zeroize();
        self.memory[held..].zeroize();
    }

    /// Gives the memory back, if nothing is in it and it is much.
    pub fn shrink(&mut self) {
        if self.is_empty() && self.memory.len() > LEAST {
            *self = Inbox::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(inbox: &mut Inbox, bytes: &[u8], most: usize) -> usize {
        let room = inbox.room(most);
        let n = room.len().min(bytes.len());
        room[..n].copy_from_slice(&bytes[..n]);
        inbox.arrived(n);
        n
    }

    #[test]
    fn what_goes_in_comes_out_in_order() {
        let (mut inbox, sent) = (Inbox::default(), (0..200_000).map(|n| n as u8).collect::<Vec<u8>>());
        let (mut at, mut got) = (0, Vec::new());
        for turn in 0.. {
            at += put(&mut inbox, &sent[at..], 64 * 1024);
            let n = inbox.bytes().len().min(turn * 1013 % 20_000);
            got.extend_from_slice(&inbox.bytes()[..n]);
            inbox.take(n);
            if at == sent.len() && inbox.is_empty() {
                break;
            }
        }
        assert!(got == sent);
    }

    #[test]
    fn what_was_taken_can_be_forgotten_and_the_rest_stands() {
        let mut inbox = Inbox::default();
        put(&mut inbox, b"LOGIN a secret\nPING\nand the beginning", 64 * 1024);
        inbox.take(15);
        inbox.room(64 * 1024); // moves the rest to the front, and leaves a part of it behind
        inbox.take(5);
        inbox.forget();
        assert_eq!(inbox.bytes(), b"and the beginning");
        let left: Vec<u8> = inbox.memory.iter().copied().filter(|byte| *byte != 0).collect();
        assert_eq!(left, b"and the beginning");
    }

    #[test]
    fn it_grows_while_it_is_filled_and_only_then() {
        let mut inbox = Inbox::default();
        for _ in 0..100 {
            put(&mut inbox, &[7; 100], 64 * 1024);
            inbox.take(100);
        }
        assert_eq!(inbox.memory.len(), LEAST);
        for _ in 0..100 {
            put(&mut inbox, &[7; 100_000], 64 * 1024);
            inbox.take(usize::MAX); // who takes all at once is sent more all the same
        }
        assert_eq!(inbox.memory.len(), 64 * 1024);
        while inbox.bytes().len() < 100_000 {
            assert!(put(&mut inbox, &[7; 100_000], 64 * 1024) <= 64 * 1024);
        }
        inbox.shrink();
        assert!(inbox.bytes().len() >= 100_000, "what was not taken is lost");
        inbox.take(usize::MAX);
        inbox.shrink();
        assert_eq!(inbox.memory.capacity(), 0);
    }
}
