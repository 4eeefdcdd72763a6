//! The trash as it is told: an id for each thing in it, and a row of its listing.

use super::answer::BadAnswer;
use super::value::{self, Mtime};
use super::{EntryKind, RemotePath, limits};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// What a thing in the trash is called: when it was deleted, and a random part. It prints as `<seconds>-<random>`, both hexadecimal, and
/// is the name of a file at the server: only the one way to write it is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrashId {
    /// When it was deleted, in seconds since 1970 UTC; at most [`limits::NUMBER`].
    pub seconds: u64,
    /// What keeps the ids of one second apart.
    pub random: [u8; 8],
}

/// A word that is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("that is no id of a thing in the trash; TRASH LIST tells them")]
pub struct BadTrashId;

impl fmt::Display for TrashId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.seconds, hex::encode(self.random))
    }
}

impl FromStr for TrashId {
    type Err = BadTrashId;
    fn from_str(word: &str) -> Result<Self, BadTrashId> {
        let (seconds, digits) = word.split_once('-').ok_or(BadTrashId)?;
        let mut random = [0; 8];
        hex::decode_to_slice(digits, &mut random).map_err(|_| BadTrashId)?;
        let seconds = u64::from_str_radix(seconds, 16).map_err(|_| BadTrashId)?;
        let id = TrashId { seconds, random };
        if seconds > limits::NUMBER || id.to_string() != word {
            return Err(BadTrashId); // a sign, a capital or a zero in front: another name for the same file
        }
        Ok(id)
    }
}

/// One row of a listing of the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trashed {
    /// What to call it.
    pub id: TrashId,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of a file; what the file system says for the others.
    pub size: u64,
    /// When it was deleted.
    pub deleted: Mtime,
    /// Where it was.
    pub path: RemotePath,
}

impl fmt::Display for Trashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {} {}", self.id, self.kind.as_str(), self.size, self.deleted, self.path)
    }
}

impl FromStr for Trashed {
    type Err = BadAnswer;
    fn from_str(rest: &str) -> Result<Self, BadAnswer> {
        let mut words = rest.split(' ');
        let mut next = |what| words.next().ok_or(BadAnswer::Field(what));
        let row = Trashed {
            id: next("id")?.parse().map_err(|_| BadAnswer::Field("id"))?,
            kind: next("type")?.parse()?,
            size: value::number(next("size")?).map_err(|_| BadAnswer::Field("size"))?,
            deleted: next("time")?.parse().map_err(|_| BadAnswer::Field("time"))?,
            path: next("path")?.parse().map_err(|_| BadAnswer::Field("path"))?,
        };
        words.next().map_or(Ok(row), |_| Err(BadAnswer::Field("path")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_has_one_way_to_be_written_and_is_never_a_path() {
        let id = TrashId { seconds: 0x69e0_b3c1, random: [1, 2, 3, 4, 5, 6, 7, 0xff] };
        assert_eq!(id.to_string(), "69e0b3c1-01020304050607ff");
        assert_eq!("69e0b3c1-01020304050607ff".parse(), Ok(id));
        for bad in [
            "",
            "-",
            "..",
            "69e0b3c1",
            "69e0b3c1-",
            "-01020304050607ff",
            "+69e0b3c1-01020304050607ff",
            "069e0b3c1-01020304050607ff",
            "69E0B3C1-01020304050607ff",
            "69e0b3c1-01020304050607FF",
            "69e0b3c1-01020304050607ff0",
            "69e0b3c1-01020304050607ff.note",
            "69e0b3c1-../../../../../x",
            "8000000000000000-01020304050607ff",
            "10000000000000000-01020304050607ff",
        ] {
            assert_eq!(bad.parse::<TrashId>(), Err(BadTrashId), "{bad}");
        }
    }

    #[test]
    fn a_row_with_the_wrong_words_is_refused() {
        let good = "69e0b3c1-01020304050607ff link 5 1776333761.000000000 a%20b";
        assert_eq!(good.parse::<Trashed>().unwrap().to_string(), good);
        for bad in [
            "",
            "x link 5 1 a",
            "69e0b3c1-01020304050607ff link 5 1",
            "69e0b3c1-01020304050607ff link 5 1 a b",
            "69e0b3c1-01020304050607ff link 5 1 ../a",
            "69e0b3c1-01020304050607ff what 5 1 a",
            "69e0b3c1-01020304050607ff link x 1 a",
        ] {
            assert!(bad.parse::<Trashed>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn ids_survive_the_wire(seconds in 0..=limits::NUMBER, random: [u8; 8]) {
            let id = TrashId { seconds, random };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn no_word_panics(word in "\\PC*") {
            let _ = (word.parse::<TrashId>(), word.parse::<Trashed>());
        }
    }
}
