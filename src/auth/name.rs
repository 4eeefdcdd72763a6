//! User names. They become directory names, so a name is a type that cannot hold anything else.

use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Bytes of a user name, at most: what `useradd` allows.
pub const LONGEST: usize = 32;

/// A user name: `[a-z_][a-z0-9_.-]{0,31}`. Cannot be `.` or `..`, hold a slash, or be taken for an option.
///
/// It has its bytes in itself, zeros behind them, and nothing on the heap: the listener keeps one for each session, and each forked child
/// would write into the holes between thousands of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName([u8; LONGEST]);

/// A text that is no user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a user name begins with a-z or '_', goes on with a-z, 0-9, '_', '.' or '-', and has at most 32 characters")]
pub struct BadName;

impl UserName {
    /// No name at all: no text is it.
    pub(super) const NOBODY: UserName = UserName([0; LONGEST]);

    /// The name as text.
    pub fn as_str(&self) -> &str {
        let text = self.0.split(|byte| *byte == 0).next().unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default() // it is ASCII
    }
}

impl FromStr for UserName {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let first = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        let rest = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b));
        let mut bytes = [0; LONGEST];
        let place = bytes.get_mut(..text.len()).filter(|_| first && rest).ok_or(BadName)?;
        place.copy_from_slice(text.as_bytes());
        Ok(UserName(bytes))
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_safe_directory_names_are_user_names() {
        let longest = "a".repeat(32);
        for good in ["a", "_", "alice", "_www-data", "j.doe2", "a..", longest.as_str()] {
            assert_eq!(good.parse::<UserName>().unwrap().as_str(), good);
        }
        let too_long = "a".repeat(33);
        for bad in ["", ".", "..", "-a", "0a", "Alice", "a b", "a/b", "a:b", "a\n", "a\0", "é", too_long.as_str()] {
            assert_eq!(bad.parse::<UserName>(), Err(BadName), "{bad:?}");
        }
    }

    #[test]
    fn names_stand_in_the_order_of_their_texts() {
        let mut texts = ["b", "a_", "a", "aa", "a.", "_"];
        let mut names = texts.map(|text| text.parse::<UserName>().unwrap());
        texts.sort_unstable();
        names.sort();
        assert_eq!(names.map(|name| name.to_string()), texts);
    }

    proptest! {
        #[test]
        fn whatever_parses_is_one_plain_component(text in ".{0,40}") {
            if let Ok(name) = text.parse::<UserName>() {
                prop_assert!(crate::proto::RemotePath::root().join(name.as_str().as_bytes()).is_ok());
                prop_assert!(!name.as_str().contains([':', '\n', ' ', '#']));
            }
        }
    }
}
