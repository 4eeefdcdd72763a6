//! What holds for all files of a command, whichever way they go.

use crate::client::filter::Filter;
use crate::proto::Mtime;

/// What becomes of a file whose name is taken at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clobber {
    /// It takes the other one's place.
    #[default]
    Always,
    /// It stays where it is.
    Never,
    /// It takes the other one's place if it changed after that one did.
    Older,
}

/// The rules of one command.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Which names are taken.
    pub filter: Filter,
    /// What becomes of names that are taken.
    pub clobber: Clobber,
    /// Nothing is changed at either end: what would be done is told and no more.
    pub dry_run: bool,
    /// The sources come from a list: each keeps the directories that lead to it.
    pub listed: bool,
    /// Earlier parts of that list have been moved: what is said once has been said.
    pub begun: bool,
}

/// Why a directory that the user has named was left alone: with patterns for files in mind it comes as a surprise.
pub const LEFT_OUT: &str =
    "--exclude leaves it out, with all that is in it; --include '*/' before that takes directories";
/// Why a file was left alone, as it is told.
pub const TAKEN: &str = "the name is taken";
/// The same for [`Clobber::Older`].
pub const NOT_NEWER: &str = "the one there is not older";

impl Clobber {
    /// Why a file of this time is left alone; `None` if it goes. `there` is what has its name: its time, or `None` of what has none that
    /// counts (a directory: the transfer itself will say what is wrong).
    pub fn spares(self, time: Mtime, there: Option<Mtime>) -> Option<&'static str> {
        match (self, there) {
            (Clobber::Always, _) | (Clobber::Older, None) => None,
            (Clobber::Never, _) => Some(TAKEN),
            (Clobber::Older, Some(there)) => (!is_newer(time, there)).then_some(NOT_NEWER),
        }
    }
}

/// Whether `ours` is later than `theirs`, as far as theirs can tell: a file system that keeps whole seconds, or microseconds, cut our
/// time off when the file was put there, and it is the same file all the same.
fn is_newer(ours: Mtime, theirs: Mtime) -> bool {
    let grain = (0..=9)
        .map(|digits| 10u32.pow(digits))
        .take_while(|grain| theirs.nanos.is_multiple_of(*grain))
        .last()
        .unwrap_or(1);
    (ours.seconds, ours.nanos / grain) > (theirs.seconds, theirs.nanos / grain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, nanos: u32) -> Mtime {
        Mtime { seconds, nanos }
    }

    #[test]
    fn newer_is_said_of_what_the_other_end_can_tell_apart() {
        assert!(is_newer(at(2, 0), at(1, 999_999_999)));
        assert!(is_newer(at(1, 2), at(1, 1)));
        assert!(!is_newer(at(1, 1), at(1, 1)));
        assert!(!is_newer(at(1, 0), at(1, 1)));
        assert!(!is_newer(at(1, 123_456_789), at(1, 0)), "whole seconds");
        assert!(!is_newer(at(1, 123_456_789), at(1, 123_456_000)), "microseconds");
        assert!(is_newer(at(1, 123_457_000), at(1, 123_456_000)));
        assert!(is_newer(at(2, 0), at(1, 0)) && !is_newer(at(-2, 0), at(-1, 0)));
    }

    #[test]
    fn what_has_no_time_is_spared_only_where_every_name_is() {
        assert_eq!(Clobber::Never.spares(at(9, 0), None), Some(TAKEN));
        assert_eq!(Clobber::Older.spares(at(9, 0), None), None);
        assert_eq!(Clobber::Older.spares(at(9, 0), Some(at(9, 0))), Some(NOT_NEWER));
        assert_eq!(Clobber::Always.spares(at(0, 0), Some(at(9, 0))), None);
    }
}
