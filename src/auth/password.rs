//! Passwords: bytes that are overwritten when dropped and never printed.

use super::hashed::Hashed;
use crate::proto::limits;
use std::fmt;
use std::sync::Arc;
use thiserror::Error;
use zeroize::Zeroizing;

/// A password as it was typed: 1 to [`limits::PASSWORD`] bytes, UTF-8 or not.
#[derive(Clone)]
pub struct Password {
    bytes: Zeroizing<Vec<u8>>,
    /// Shared by all clones, which are the same password.
    hashed: Arc<Hashed>,
}

/// Why bytes are not taken as a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadPassword {
    /// No bytes at all.
    #[error("an empty password is not allowed")]
    Empty,
    /// More than [`limits::PASSWORD`] bytes.
    #[error("a password has at most {} bytes", limits::PASSWORD)]
    TooLong,
}

impl Password {
    /// Takes the bytes over, so that they are wiped also when they are refused.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, BadPassword> {
        let bytes = Zeroizing::new(bytes.into());
        match bytes.len() {
            0 => Err(BadPassword::Empty),
            1..=limits::PASSWORD => Ok(Password { bytes, hashed: Arc::default() }),
            _ => Err(BadPassword::TooLong),
        }
    }

    /// What is hashed: SASLprep (RFC 4013) of the password, so that one typed on another keyboard is the same. Where
    /// SASLprep refuses it (not UTF-8, control characters, nothing left), the raw bytes, as PostgreSQL does: a
    /// password must not depend on how strict a client is.
    pub fn normalised(&self) -> Zeroizing<Vec<u8>> {
        let prepared = std::str::from_utf8(&self.bytes).ok().and_then(|text| stringprep::saslprep(text).ok());
        match prepared {
            Some(text) if !text.is_empty() => Zeroizing::new(text.into_owned().into_bytes()),
            _ => self.bytes.clone(),
        }
    }

    /// Where its keys are kept once they have been derived.
    pub(super) fn hashed(&self) -> &Hashed {
        &self.hashed
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(bytes: &[u8]) -> Vec<u8> {
        Password::new(bytes).unwrap().normalised().to_vec()
    }

    #[test]
    fn empty_and_endless_passwords_are_refused() {
        assert_eq!(Password::new("").unwrap_err(), BadPassword::Empty);
        assert!(Password::new(vec![b'a'; limits::PASSWORD]).is_ok());
        assert_eq!(Password::new(vec![b'a'; 1 << 20]).unwrap_err(), BadPassword::TooLong);
    }

    #[test]
    fn passwords_never_print() {
        assert_eq!(format!("{:?}", Password::new("secret").unwrap()), "Password(***)");
    }

    #[test]
    fn equal_looking_passwords_are_equal() {
        // The examples of RFC 4013, section 3.
        assert_eq!(normalised("I\u{AD}X".as_bytes()), b"IX");
        assert_eq!(normalised("\u{2168}".as_bytes()), b"IX");
        assert_eq!(normalised(b"USER"), b"USER");
        assert_eq!(normalised("e\u{301}".as_bytes()), "é".as_bytes());
    }

    #[test]
    fn what_saslprep_refuses_counts_byte_by_byte() {
        assert_eq!(normalised(b"\x07"), b"\x07");
        assert_eq!(normalised(b"\xFF\xFE"), b"\xFF\xFE");
        assert_eq!(normalised("\u{AD}".as_bytes()), "\u{AD}".as_bytes());
    }
}
