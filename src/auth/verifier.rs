//! What the server keeps of a password: enough to check a login, not enough to make one.

use super::Password;
use super::keys::{self, Key};
use crate::proto::value;
use base64::display::Base64Display;
use base64::engine::{Engine, general_purpose::STANDARD};
use std::fmt;
use std::io;
use std::str::FromStr;
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

/// How a verifier's text begins; no other kind is understood.
pub const SCHEME: &str = "SCRAM-SHA-256$";
/// Iterations of a new verifier. Costs a login some milliseconds, and a guesser the same for each guess.
pub const ITERATIONS: u32 = 32_768;
/// Iterations below this are refused: RFC 7677 section 4.
pub const FEWEST_ITERATIONS: u32 = 4_096;
/// Iterations above this are refused: they would only keep a processor busy for seconds.
pub const MOST_ITERATIONS: u32 = 10_000_000;
/// Bytes of a new salt.
pub const SALT: usize = 16;
/// Bytes of a salt at most; what others write has 16.
pub const LONGEST_SALT: usize = 64;

/// A verifier of SCRAM-SHA-256 (RFC 5802 section 3). Its text is PostgreSQL's notation:
/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, the last three in base64.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Key,
    server_key: Key,
}

/// Why a text is not a verifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadVerifier {
    /// Parts are missing, or it is of another kind.
    #[error("a verifier is written SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>")]
    Malformed,
    /// No number, or out of bounds.
    #[error("the iterations of a verifier are a number from {FEWEST_ITERATIONS} to {MOST_ITERATIONS}")]
    Iterations,
    /// Not base64, empty, or over [`LONGEST_SALT`] bytes.
    #[error("the salt of a verifier is 1 to {LONGEST_SALT} bytes in base64")]
    Salt,
    /// Not base64, or not 32 bytes.
    #[error("the keys of a verifier are 32 bytes each in base64")]
    Key,
}

impl Verifier {
    /// The verifier of `password`. The iterations and the salt are brought within their bounds by the caller.
    pub(super) fn derive(password: &Password, iterations: u32, salt: &[u8]) -> Self {
        let salted = keys::salted_password(password, salt, iterations);
        Verifier {
            iterations,
            salt: salt.to_vec(),
            stored_key: keys::stored_key(&keys::client_key(&salted)),
            server_key: keys::server_key(&salted),
        }
    }

    /// A new verifier of `password` with a random salt and [`ITERATIONS`]. Fails only if the kernel has no random bytes.
    pub fn fresh(password: &Password) -> io::Result<Self> {
        let mut salt = [0; SALT];
        keys::random(&mut salt)?;
        Ok(Self::derive(password, ITERATIONS, &salt))
    }

    /// A verifier that no password fits, for a user who does not exist.
    pub(super) fn decoy(iterations: u32, salt: &[u8]) -> io::Result<Self> {
        let (mut stored_key, mut server_key) = (Key::default(), Key::default());
        keys::random(&mut *stored_key)?;
        keys::random(&mut *server_key)?;
        Ok(Verifier { iterations, salt: salt.to_vec(), stored_key, server_key })
    }

    /// Whether this is a verifier of `password`. The comparison takes the same time wherever the keys differ.
    pub fn matches(&self, password: &Password) -> bool {
        let other = Self::derive(password, self.iterations, &self.salt);
        (self.stored_key.ct_eq(&*other.stored_key) & self.server_key.ct_eq(&*other.server_key)).into()
    }

    /// How often the hash is repeated.
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// What is hashed with the password, so that equal passwords differ.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// `StoredKey` of RFC 5802.
    pub(super) fn stored_key(&self) -> &Key {
        &self.stored_key
    }

    /// `ServerKey` of RFC 5802.
    pub(super) fn server_key(&self) -> &Key {
        &self.server_key
    }
}

/// Iterations from a text, within their bounds.
pub(super) fn iterations(text: &str) -> Result<u32, BadVerifier> {
    let number = value::number(text).ok().and_then(|number| u32::try_from(number).ok());
    number.filter(|number| (FEWEST_ITERATIONS..=MOST_ITERATIONS).contains(number)).ok_or(BadVerifier::Iterations)
}

/// A salt from base64, within its bounds.
pub(super) fn salt(text: &str) -> Result<Vec<u8>, BadVerifier> {
    let salt = STANDARD.decode(text).map_err(|_| BadVerifier::Salt)?;
    if (1..=LONGEST_SALT).contains(&salt.len()) { Ok(salt) } else { Err(BadVerifier::Salt) }
}

/// 32 bytes from base64.
pub(super) fn key(text: &str) -> Result<Key, BadVerifier> {
    let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| BadVerifier::Key)?);
    bytes.as_slice().try_into().map(Zeroizing::new).map_err(|_| BadVerifier::Key)
}

impl FromStr for Verifier {
    type Err = BadVerifier;
    fn from_str(text: &str) -> Result<Self, BadVerifier> {
        let (first, last) =
            text.strip_prefix(SCHEME).and_then(|rest| rest.split_once('$')).ok_or(BadVerifier::Malformed)?;
        let (count, salted) = first.split_once(':').ok_or(BadVerifier::Malformed)?;
        let (stored, server) = last.split_once(':').ok_or(BadVerifier::Malformed)?;
        Ok(Verifier {
            iterations: iterations(count)?,
            salt: salt(salted)?,
            stored_key: key(stored)?,
            server_key: key(server)?,
        })
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base64 = |bytes| Base64Display::new(bytes, &STANDARD);
        write!(f, "{SCHEME}{}:{}$", self.iterations, base64(&self.salt))?;
        write!(f, "{}:{}", base64(&*self.stored_key), base64(&*self.server_key))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} iterations, ***)", self.iterations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn password(text: &str) -> Password {
        Password::new(text).unwrap()
    }

    #[test]
    fn a_verifier_knows_its_password_and_no_other() {
        let verifier = Verifier::derive(&password("pencil"), FEWEST_ITERATIONS, b"salt");
        assert!(verifier.matches(&password("pencil")));
        assert!(!verifier.matches(&password("pencils")));
    }

    #[test]
    fn fresh_verifiers_of_one_password_differ() {
        let (a, b) = (Verifier::fresh(&password("x")).unwrap(), Verifier::fresh(&password("x")).unwrap());
        assert_ne!(a.to_string(), b.to_string());
        assert_eq!((a.iterations(), a.salt().len()), (ITERATIONS, SALT));
    }

    #[test]
    fn the_notation_is_that_of_postgresql() {
        // The password, salt and count of RFC 7677 section 3; the keys were computed with Python's hashlib.
        let text = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
                    wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        let verifier: Verifier = text.parse().unwrap();
        assert!(verifier.matches(&password("pencil")));
        assert_eq!(verifier.to_string(), text);
    }

    #[test]
    fn damaged_verifiers_are_refused_by_what_is_wrong() {
        let key = STANDARD.encode([1; 32]);
        for (text, why) in [
            (String::new(), BadVerifier::Malformed),
            (format!("SCRAM-SHA-1$4096:AAAA${key}:{key}"), BadVerifier::Malformed),
            (format!("SCRAM-SHA-256$4096:AAAA${key}"), BadVerifier::Malformed),
            (format!("SCRAM-SHA-256$4095:AAAA${key}:{key}"), BadVerifier::Iterations),
            (format!("SCRAM-SHA-256$10000001:AAAA${key}:{key}"), BadVerifier::Iterations),
            (format!("SCRAM-SHA-256$4294971392:AAAA${key}:{key}"), BadVerifier::Iterations),
            (format!("SCRAM-SHA-256$+4096:AAAA${key}:{key}"), BadVerifier::Iterations),
            (format!("SCRAM-SHA-256$4096:${key}:{key}"), BadVerifier::Salt),
            (format!("SCRAM-SHA-256$4096:{}${key}:{key}", "A".repeat(88)), BadVerifier::Salt),
            (format!("SCRAM-SHA-256$4096:A*AA${key}:{key}"), BadVerifier::Salt),
            (format!("SCRAM-SHA-256$4096:AAAA$AAAA:{key}"), BadVerifier::Key),
            (format!("SCRAM-SHA-256$4096:AAAA${key}:{key} "), BadVerifier::Key),
        ] {
            assert_eq!(text.parse::<Verifier>().unwrap_err(), why, "{text}");
        }
    }

    proptest! {
        #[test]
        fn verifiers_survive_the_file(
            iterations in FEWEST_ITERATIONS..=MOST_ITERATIONS,
            salt in proptest::collection::vec(any::<u8>(), 1..=LONGEST_SALT),
            stored: [u8; 32],
            server: [u8; 32],
        ) {
            let (stored_key, server_key) = (Zeroizing::new(stored), Zeroizing::new(server));
            let verifier = Verifier { iterations, salt, stored_key, server_key };
            prop_assert_eq!(verifier.to_string().parse::<Verifier>(), Ok(verifier));
        }

        #[test]
        fn any_text_parses_or_is_refused(text in "(SCRAM-SHA-256\\$)?[0-9:$A-Za-z+/=]{0,80}") {
            let _ = text.parse::<Verifier>();
        }
    }
}
