//! What one client has put and not replaced: what it may ask for, and what a listing of its directory must show.

use super::body::Body;
use super::random::Random;
use crate::client::limits;
use crate::proto::Digest;
use std::collections::{HashMap, HashSet, VecDeque};

/// A file on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// Its number; its name follows from it.
    pub number: u64,
    /// Its content.
    pub body: Body,
    /// The digest of that.
    pub digest: Digest,
}

/// The files of one client, the oldest first. Their number and bytes are bounded, so that a long run does not fill the disk: where
/// there is no room, the next file replaces the oldest.
pub struct Shelf {
    files: VecDeque<File>,
    sizes: HashMap<u64, u64>,
    /// Names of which a lost connection left unknown what they hold.
    doubtful: HashSet<u64>,
    bytes: u64,
    room: u64,
    next: u64,
}

/// Whether a name may stand in a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// It must be there, and it is as it should be.
    Right,
    /// Nobody knows.
    Doubtful,
    /// It must not be there, or not with this size.
    Wrong,
}

impl Shelf {
    /// An empty one for about `room` bytes.
    pub fn new(room: u64) -> Self {
        let (files, sizes, doubtful) = (VecDeque::new(), HashMap::new(), HashSet::new());
        Shelf { files, sizes, doubtful, bytes: 0, room, next: 0 }
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether the next file replaces an older one.
    pub fn is_full(&self) -> bool {
        self.files.len() >= limits::BENCH_KEPT_FILES || self.bytes >= self.room
    }

    /// The number for the next file. Until [`Shelf::put`] says how that went, its name is doubtful.
    pub fn reserve(&mut self) -> u64 {
        let replaced = if self.is_full() { self.files.pop_front() } else { None };
        let number = match replaced {
            Some(file) => {
                self.bytes -= file.body.size;
                self.sizes.remove(&file.number);
                file.number
            }
            None => {
                self.next += 1;
                self.next
            }
        };
        self.doubtful.insert(number);
        number
    }

    /// A file has arrived.
    pub fn put(&mut self, file: File) {
        self.doubtful.remove(&file.number);
        self.bytes += file.body.size;
        self.sizes.insert(file.number, file.body.size);
        self.files.push_back(file);
    }

    /// Any of the files.
    pub fn any(&self, random: &mut Random) -> Option<File> {
        self.files.get(random.below(self.files.len() as u64) as usize).copied()
    }

    /// What to think of a row of a listing.
    pub fn judge(&self, name: &[u8], size: u64) -> Listed {
        let Some(number) = number(name) else { return Listed::Wrong };
        match self.sizes.get(&number) {
            Some(known) if *known == size => Listed::Right,
            None if self.doubtful.contains(&number) => Listed::Doubtful,
            _ => Listed::Wrong,
        }
    }
}

/// The name of a file.
pub fn name(number: u64) -> String {
    format!("f{number}")
}

fn number(name: &[u8]) -> Option<u64> {
    std::str::from_utf8(name).ok()?.strip_prefix('f')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(shelf: &mut Shelf, size: u64) -> u64 {
        let number = shelf.reserve();
        shelf.put(File { number, body: Body { seed: 0, size }, digest: Digest([0; 32]) });
        number
    }

    #[test]
    fn a_full_shelf_replaces_the_oldest_file() {
        let mut shelf = Shelf::new(100);
        assert_eq!((put(&mut shelf, 60), put(&mut shelf, 60)), (1, 2));
        assert!(shelf.is_full());
        assert_eq!((put(&mut shelf, 70), put(&mut shelf, 10), put(&mut shelf, 10)), (1, 2, 3));
        assert_eq!(shelf.len(), 3);
        let mut many = Shelf::new(u64::MAX);
        for _ in 0..limits::BENCH_KEPT_FILES {
            put(&mut many, 1);
        }
        assert_eq!(put(&mut many, 1), 1);
        assert_eq!(many.len(), limits::BENCH_KEPT_FILES);
    }

    #[test]
    fn what_a_listing_shows_is_judged() {
        let mut shelf = Shelf::new(100);
        put(&mut shelf, 60);
        let lost = shelf.reserve();
        assert_eq!(shelf.judge(b"f1", 60), Listed::Right);
        assert_eq!(shelf.judge(b"f1", 61), Listed::Wrong);
        assert_eq!(shelf.judge(name(lost).as_bytes(), 5), Listed::Doubtful);
        assert_eq!(shelf.judge(b"f3", 5), Listed::Wrong);
        assert_eq!(shelf.judge(b"x", 5), Listed::Wrong);
        assert_eq!(shelf.judge(b"f\xff", 5), Listed::Wrong);
        assert_eq!(shelf.len(), 1, "what is doubtful is not asked for");
    }
}
