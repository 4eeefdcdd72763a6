//! A password that a user has chosen, in place of the one in the users file. It holds for as long as the users file says what it said
//! then: an operator who gives the user a new password, or removes and adds the user again, has the last word.

use super::table::Found;
use super::{UserName, Verifier, keys};
use sha2::{Digest, Sha256};
use std::io;

/// How the text begins: the version of its form.
const VERSION: &str = "1";
/// Bytes of the text at most: a version, a stamp and the longest verifier.
pub const LONGEST: usize = 512;

/// What stands for an entry of the users file.
type Stamp = [u8; 32];

/// A password of a user's own.
pub struct OwnPassword {
    /// The entry that it was chosen in place of.
    replaces: Stamp,
    verifier: Verifier,
}

impl OwnPassword {
    /// `verifier` in place of what `found` holds by the users file; `None` for nobody.
    pub fn new(found: &Found, verifier: Verifier) -> Option<Self> {
        Some(OwnPassword { replaces: stamp(&found.name()?, found.verifier()), verifier })
    }

    /// One of the same form that belongs to nobody.
    pub fn decoy(&self) -> io::Result<Self> {
        let mut replaces = Stamp::default();
        keys::random(&mut replaces)?;
        let mut salt = self.verifier.salt().to_vec();
        keys::random(&mut salt)?;
        Ok(OwnPassword { replaces, verifier: Verifier::decoy(self.verifier.iterations(), &salt)? })
    }

    /// As it is kept.
    pub fn to_text(&self) -> String {
        format!("{VERSION} {} {}\n", hex::encode(self.replaces), self.verifier)
    }

    /// Reads what was kept; `None` for what is none.
    pub fn from_text(text: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(text).ok()?.strip_suffix('\n')?.split(' ');
        let mut replaces = Stamp::default();
        let version = words.next()?;
        hex::decode_to_slice(words.next()?, &mut replaces).ok()?;
        let verifier = words.next()?.parse().ok()?;
        (version == VERSION && words.next().is_none()).then_some(OwnPassword { replaces, verifier })
    }
}

impl Found {
    /// The same user with the password of the user's own, if it still holds. Nobody stays nobody, after the same work.
    pub fn renewed(self, own: Option<OwnPassword>) -> Found {
        let name = self.name().unwrap_or(UserName::NOBODY);
        let stamp = stamp(&name, self.verifier());
        match own {
            Some(own) if self.name().is_some() && own.replaces == stamp => self.with(own.verifier),
            _ => self,
        }
    }
}

/// Of what the users file says of a user; for a password that stands there readable, of the verifier that is made of it.
fn stamp(user: &UserName, verifier: &Verifier) -> Stamp {
    Sha256::digest(format!("dfos own password:{user}:{verifier}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Password;
    use crate::auth::verifier::FEWEST_ITERATIONS;

    fn verifier(text: &str) -> Verifier {
        Verifier::derive(&Password::new(text).unwrap(), FEWEST_ITERATIONS, b"salt")
    }

    fn anna(password: &str) -> Found {
        Found::user("anna".parse().unwrap(), verifier(password))
    }

    fn logs_in(found: Found, password: &str) -> bool {
        found.check(&Password::new(password).unwrap()).is_some()
    }

    #[test]
    fn it_holds_until_the_users_file_says_something_else() {
        let own =
            || OwnPassword::from_text(OwnPassword::new(&anna("given"), verifier("own")).unwrap().to_text().as_bytes());
        assert!(logs_in(anna("given").renewed(own()), "own"));
        assert!(!logs_in(anna("given").renewed(own()), "given"));
        assert!(logs_in(anna("given anew").renewed(own()), "given anew"));
        assert!(!logs_in(anna("given anew").renewed(own()), "own"));
        let bob = Found::user("bob".parse().unwrap(), verifier("given"));
        assert!(logs_in(bob.renewed(own()), "given"), "another user's is none");
    }

    #[test]
    fn nobody_has_none() {
        let own = || OwnPassword::new(&anna("given"), verifier("own"));
        assert!(OwnPassword::new(&Found::nobody(verifier("given")), verifier("own")).is_none());
        assert!(!logs_in(Found::nobody(verifier("given")).renewed(own()), "own"));
    }

    #[test]
    fn rubbish_is_none() {
        let text = OwnPassword::new(&anna("given"), verifier("own")).unwrap().to_text();
        assert!(text.len() <= LONGEST);
        for rubbish in [
            "",
            "\n",
            "1\n",
            "1 00 x\n",
            &text.replacen('1', "2", 1),
            text.trim_end(),
            &format!("{} x\n", text.trim_end()),
        ] {
            assert!(OwnPassword::from_text(rubbish.as_bytes()).is_none(), "{rubbish:?}");
        }
        assert!(OwnPassword::from_text(b"1 \xff\n").is_none());
    }
}
