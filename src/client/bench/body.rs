//! The content of files: made from a seed, so that no file has to be kept to know what it must hold.
//!
//! Making it must not cost more than moving it. So there is one block of random bytes, and a file is slices of it: each piece
//! begins at a place in the block that depends on the file and the piece, and with a stamp that no other piece has. A piece
//! that is lost, doubled, swapped or another file's is therefore seen.

use super::random::Random;
use crate::client::limits;

/// Bytes of the stamp at the beginning of each piece.
const STAMP: usize = 16;

/// A file: which one, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body {
    /// What its bytes follow from.
    pub seed: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// The bytes that all bodies are cut from.
pub struct Stuff {
    block: Vec<u8>,
}

impl Stuff {
    /// The stuff that follows from `random`.
    pub fn new(random: &mut Random) -> Self {
        let mut block = Vec::with_capacity(limits::BENCH_BLOCK);
        while block.len() < limits::BENCH_BLOCK {
            block.extend_from_slice(&random.number().to_le_bytes());
        }
        Stuff { block }
    }

    /// Fills `buffer` with a piece of `body`: the one that begins at `at`, a multiple of [`limits::PIECE`], of which the buffer
    /// is no longer.
    pub fn fill(&self, body: &Body, at: u64, buffer: &mut [u8]) {
        let mut random = Random::from_seed(body.seed ^ at.rotate_left(32));
        let start = random.below(self.block.len() as u64) as usize;
        let from = self.block.get(start..).unwrap_or_default();
        let first = buffer.len().min(from.len());
        let (head, tail) = buffer.split_at_mut(first);
        copy(from, head);
        copy(&self.block, tail);
        let stamp = [random.number().to_le_bytes(), random.number().to_le_bytes()].concat();
        let stamped = buffer.len().min(STAMP);
        copy(&stamp, buffer.split_at_mut(stamped).0);
    }
}

/// Copies as much as both have.
fn copy(from: &[u8], to: &mut [u8]) {
    let n = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..n), to.get_mut(..n)) {
        to.copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::digest_of;

    fn whole(stuff: &Stuff, body: &Body) -> Vec<u8> {
        let mut all = vec![0; body.size as usize];
        for (n, piece) in all.chunks_mut(limits::PIECE).enumerate() {
            stuff.fill(body, (n * limits::PIECE) as u64, piece);
        }
        all
    }

    #[test]
    fn content_can_be_made_again_and_a_flipped_bit_changes_its_digest() {
        let stuff = Stuff::new(&mut Random::from_seed(3));
        for size in [0, 1, 15, 16, 17, 4096, limits::PIECE as u64 + 1, 3 * limits::BENCH_BLOCK as u64 + 5] {
            let body = Body { seed: 99, size };
            let content = whole(&stuff, &body);
            let digest = digest_of(&content);
            assert_eq!(digest_of(&whole(&stuff, &body)), digest, "{size}");
            for at in [0, content.len() / 2, content.len().saturating_sub(1)] {
                let mut damaged = content.clone();
                let Some(byte) = damaged.get_mut(at) else { continue };
                *byte ^= 1;
                assert_ne!(digest_of(&damaged), digest, "{size} at {at}");
            }
        }
    }

    #[test]
    fn no_two_pieces_of_any_files_are_alike() {
        // Not even if they are cut from the same place of the block: the stamp alone tells them apart.
        let stuff = Stuff { block: vec![0; limits::BENCH_BLOCK] };
        let mut seen = std::collections::HashSet::new();
        for seed in 0..4 {
            let content = whole(&stuff, &Body { seed, size: 20 * limits::PIECE as u64 });
            for piece in content.chunks(limits::PIECE) {
                assert!(seen.insert(digest_of(piece).0), "a piece of file {seed} was there before");
            }
        }
        let mut small: Vec<Vec<u8>> = (0..1000).map(|seed| whole(&stuff, &Body { seed, size: 32 })).collect();
        small.sort();
        small.dedup();
        assert_eq!(small.len(), 1000);
    }
}
