//! Paths: the bytes of a name below a user's own directory, percent-encoded on the wire.
//!
//! This is the only place where a path is normalised, and the normal form is the only form accepted: a path that is not
//! already plain is refused, so no two layers can read one path differently.

use super::limits;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// A checked path relative to the user's directory. Holds no empty, `.`, `..` or reserved component and no NUL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemotePath {
    /// Components joined by `/`; empty for the user's directory itself.
    bytes: Vec<u8>,
}

/// Why a text is not a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadPath {
    /// A `%` that two hexadecimal digits do not follow.
    #[error("a '%' in a path must be followed by two hexadecimal digits")]
    Encoding,
    /// `%00` or `%2F`.
    #[error("a name cannot hold NUL or '/'")]
    Forbidden,
    /// Begins with `/`.
    #[error("paths are relative to your own directory: leave out the leading '/'")]
    Absolute,
    /// Nothing, or nothing between two slashes, or a slash at the end.
    #[error("a path has no empty component")]
    Empty,
    /// `.` within a path.
    #[error("'.' stands for your own directory only when it stands alone")]
    Dot,
    /// `..`.
    #[error("'..' is not followed: name the path from your own directory")]
    DotDot,
    /// The reserved name.
    #[error("the name {} is reserved for the server", limits::RESERVED)]
    Reserved,
    /// A component over 255 bytes.
    #[error("a name is longer than {} bytes", limits::NAME)]
    NameTooLong,
    /// A path over 4,095 bytes.
    #[error("the path is longer than {} bytes", limits::PATH)]
    TooLong,
}

/// What is printed as `%XX`: all but letters, digits and `-._~@:+,=/`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'@')
    .remove(b':')
    .remove(b'+')
    .remove(b',')
    .remove(b'=')
    .remove(b'/');

/// Percent-encodes `bytes` as the protocol prints names. The result is printable ASCII without spaces.
pub fn encode(bytes: &[u8]) -> impl fmt::Display + '_ {
    percent_encode(bytes, ENCODED)
}

/// Undoes percent-encoding strictly: a stray `%` is an error, `%00` too. `%2F` is for the caller to judge.
pub fn decode(text: &str) -> Result<Vec<u8>, BadPath> {
    let mut bytes = Vec::with_capacity(text.len());
    decode_to(text, &mut bytes)?;
    Ok(bytes)
}

/// The same, behind what is in `bytes`.
fn decode_to(text: &str, bytes: &mut Vec<u8>) -> Result<(), BadPath> {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&b| b == b'%') {
        bytes.extend_from_slice(&rest[..at]);
        let digits = rest.get(at + 1..at + 3).ok_or(BadPath::Encoding)?;
        let mut byte = [0];
        hex::decode_to_slice(digits, &mut byte).map_err(|_| BadPath::Encoding)?;
        if byte[0] == 0 {
            return Err(BadPath::Forbidden);
        }
        bytes.push(byte[0]);
        rest = &rest[at + 3..];
    }
    bytes.extend_from_slice(rest);
    Ok(())
}

/// Checks one decoded component.
fn check_name(name: &[u8]) -> Result<(), BadPath> {
    match name {
        b"" => Err(BadPath::Empty),
        b"." => Err(BadPath::Dot),
        b".." => Err(BadPath::DotDot),
        _ if name == limits::RESERVED.as_bytes() => Err(BadPath::Reserved),
        _ if name.contains(&0) || name.contains(&b'/') => Err(BadPath::Forbidden),
        _ if name.len() > limits::NAME => Err(BadPath::NameTooLong),
        _ => Ok(()),
    }
}

impl RemotePath {
    /// The user's own directory.
    pub fn root() -> Self {
        RemotePath { bytes: Vec::new() }
    }

    /// A path from raw bytes with `/` between components, checked like one from the wire.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadPath> {
        if bytes == b"." {
            return Ok(Self::root());
        }
        if bytes.starts_with(b"/") {
            return Err(BadPath::Absolute);
        }
        if bytes.len() > limits::PATH {
            return Err(BadPath::TooLong);
        }
        bytes.split(|&b| b == b'/').try_for_each(check_name)?;
        Ok(RemotePath { bytes: bytes.to_vec() })
    }

    /// Whether this is the user's own directory.
    pub fn is_root(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The decoded bytes, `.` for the user's own directory: what may be handed to `openat2` and nothing else.
    pub fn as_bytes(&self) -> &[u8] {
        if self.is_root() { b"." } else { &self.bytes }
    }

    /// The decoded components; none for the user's own directory.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split(|&b| b == b'/').filter(|name| !name.is_empty())
    }

    /// The last component; `None` for the user's own directory.
    pub fn name(&self) -> Option<&[u8]> {
        self.components().last()
    }

    /// The directory that holds this name; `None` for the user's own directory.
    pub fn parent(&self) -> Option<RemotePath> {
        if self.is_root() {
            return None;
        }
        let cut = self.bytes.iter().rposition(|&b| b == b'/').unwrap_or(0);
        Some(RemotePath { bytes: self.bytes[..cut].to_vec() })
    }

    /// This path with one more component.
    pub fn join(&self, name: &[u8]) -> Result<RemotePath, BadPath> {
        check_name(name)?;
        let mut bytes = self.bytes.clone();
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        if bytes.len() > limits::PATH {
            return Err(BadPath::TooLong);
        }
        Ok(RemotePath { bytes })
    }

    /// This path with all of `tail` below it.
    pub fn join_path(&self, tail: &RemotePath) -> Result<RemotePath, BadPath> {
        tail.components().try_fold(self.clone(), |path, name| path.join(name))
    }
}

impl FromStr for RemotePath {
    type Err = BadPath;
    fn from_str(text: &str) -> Result<Self, BadPath> {
        if text == "." {
            return Ok(Self::root());
        }
        if text.starts_with('/') {
            return Err(BadPath::Absolute);
        }
        let mut bytes = Vec::with_capacity(text.len());
        for word in text.split('/') {
            if !bytes.is_empty() {
                bytes.push(b'/');
            }
            let name = bytes.len();
            decode_to(word, &mut bytes)?;
            check_name(&bytes[name..])?;
            if bytes.len() > limits::PATH {
                return Err(BadPath::TooLong);
            }
        }
        Ok(RemotePath { bytes })
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        encode(self.as_bytes()).fmt(f)
    }
}

impl fmt::Debug for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> Result<RemotePath, BadPath> {
        text.parse()
    }

    #[test]
    fn what_leads_out_or_is_not_plain_is_refused() {
        for (text, why) in [
            ("", BadPath::Empty),
            ("/etc/passwd", BadPath::Absolute),
            ("..", BadPath::DotDot),
            ("a/../b", BadPath::DotDot),
            ("%2e%2e/b", BadPath::DotDot),
            ("a/./b", BadPath::Dot),
            ("./a", BadPath::Dot),
            ("a//b", BadPath::Empty),
            ("a/", BadPath::Empty),
            ("a%2Fb", BadPath::Forbidden),
            ("a%00b", BadPath::Forbidden),
            ("a%", BadPath::Encoding),
            ("a%4", BadPath::Encoding),
            ("a%zz", BadPath::Encoding),
            ("a%+1", BadPath::Encoding),
            (".dfos", BadPath::Reserved),
            ("a/.dfos/b", BadPath::Reserved),
            ("a/%2edfos", BadPath::Reserved),
        ] {
            assert_eq!(path(text), Err(why), "{text}");
        }
    }

    #[test]
    fn lengths_count_decoded_bytes() {
        assert!(path(&"%61".repeat(255)).is_ok());
        assert_eq!(path(&"a".repeat(256)), Err(BadPath::NameTooLong));
        let long = vec!["a".repeat(255); 16].join("/");
        assert_eq!(long.len(), 4095);
        assert!(path(&long).is_ok());
        assert_eq!(path(&format!("{long}/b")), Err(BadPath::TooLong));
    }

    #[test]
    fn parts_of_a_path() {
        let p = path("a/b%20c/d").unwrap();
        assert_eq!(p.name(), Some(&b"d"[..]));
        assert_eq!(p.parent(), Some(path("a/b%20c").unwrap()));
        assert_eq!(path("a").unwrap().parent(), Some(RemotePath::root()));
        assert_eq!(RemotePath::root().parent(), None);
        assert_eq!(RemotePath::root().to_string(), ".");
        assert_eq!(RemotePath::root().as_bytes(), b".");
        assert_eq!(path("a=b").unwrap().to_string(), "a=b");
    }

    proptest! {
        #[test]
        fn any_legal_name_survives_the_wire(name in proptest::collection::vec(1u8..=255, 1..=255)) {
            prop_assume!(check_name(&name).is_ok());
            let p = RemotePath::root().join(b"dir").unwrap().join(&name).unwrap();
            let text = p.to_string();
            prop_assert!(text.bytes().all(|b| b.is_ascii_graphic()));
            prop_assert_eq!(text.parse::<RemotePath>(), Ok(p.clone()));
            prop_assert_eq!(RemotePath::from_bytes(p.as_bytes()), Ok(p));
        }

        #[test]
        fn any_text_parses_or_is_refused_and_what_parses_is_plain(text in "\\PC*") {
            if let Ok(p) = text.parse::<RemotePath>() {
                prop_assert!(p.components().all(|name| check_name(name).is_ok()));
                prop_assert_eq!(p.to_string().parse::<RemotePath>(), Ok(p));
            }
        }
    }
}
