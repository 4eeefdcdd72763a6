//! A user's change of the own password. The client makes the new verifier itself, so that neither password crosses the wire, and
//! proves that it knows the old one as in a login (RFC 5802 section 3): by a client key hidden under a signature, which only the old
//! verifier takes off again. What is signed names the user and the new verifier, so the proof is good for that change alone.

use super::keys::{self, Key};
use super::verifier::{self, BadVerifier};
use super::{Password, UserName, Verifier};
use base64::engine::{Engine, general_purpose::STANDARD};
use std::io;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What is signed begins so: a proof of a login is none of a change.
const PURPOSE: &[u8] = b"dfos change of password:";

/// What a client asks for.
pub struct Change {
    verifier: Verifier,
    proof: Key,
}

/// What a helper says to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The proof is wrong: somebody who does not know the old password.
    Proof,
    /// The new verifier is weaker than the old one, or is of another form: it would tell its user from those who do not exist.
    Form,
}

impl Change {
    /// The change of `user`'s password from `old` to `new`. `old` must have logged in just now: its salt and count are those of that
    /// login. `None` if it has not.
    pub fn new(user: &UserName, old: &Password, new: &Password) -> Option<io::Result<Change>> {
        let (salt, iterations, keys) = old.last_keys()?;
        let mut fresh = vec![0; salt.len()];
        if let Err(why) = keys::random(&mut fresh) {
            return Some(Err(why));
        }
        let verifier = Verifier::derive(new, iterations, &fresh);
        let signature = signature(&keys::stored_key(&keys.client), user, &verifier);
        Some(Ok(Change { proof: keys::xor(&keys.client, &signature), verifier }))
    }

    /// Reads both words of a request.
    pub fn from_words(verifier: &str, proof: &str) -> Result<Change, BadVerifier> {
        Ok(Change { verifier: verifier.parse()?, proof: verifier::key(proof)? })
    }

    /// Both words, for the wire.
    pub fn words(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{} {}", self.verifier, STANDARD.encode(*self.proof)))
    }

    /// The new verifier, if whoever asks for it knows the password of `current`.
    pub fn check(self, user: &UserName, current: &Verifier) -> Result<Verifier, Refused> {
        let signature = signature(current.stored_key(), user, &self.verifier);
        let claimed = keys::stored_key(&keys::xor(&self.proof, &signature));
        if !bool::from(claimed.ct_eq(&**current.stored_key())) {
            return Err(Refused::Proof);
        }
        let same_form = self.verifier.iterations() == current.iterations()
            && self.verifier.salt().len() == current.salt().len()
            && self.verifier.salt() != current.salt();
        if same_form { Ok(self.verifier) } else { Err(Refused::Form) }
    }
}

fn signature(stored_key: &Key, user: &UserName, verifier: &Verifier) -> Key {
    keys::hmac(stored_key, &[PURPOSE, user.as_str().as_bytes(), b":", verifier.to_string().as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::verifier::FEWEST_ITERATIONS;

    fn password(text: &str) -> Password {
        Password::new(text).unwrap()
    }

    fn anna() -> UserName {
        "anna".parse().unwrap()
    }

    /// What the server has of a password, and the password as it has logged in with that.
    fn known(text: &str) -> (Verifier, Password) {
        let (verifier, password) =
            (Verifier::derive(&password(text), FEWEST_ITERATIONS, b"0123456789abcdef"), password(text));
        password.keys(verifier.salt(), verifier.iterations());
        (verifier, password)
    }

    fn sent(change: &Change) -> Change {
        let words = change.words();
        let (verifier, proof) = words.split_once(' ').unwrap();
        Change::from_words(verifier, proof).unwrap()
    }

    #[test]
    fn who_knows_the_old_password_gets_a_new_one() {
        let (current, old) = known("old");
        let change = Change::new(&anna(), &old, &password("new")).unwrap().unwrap();
        let new = sent(&change).check(&anna(), &current).unwrap();
        assert!(new.matches(&password("new")) && !new.matches(&password("old")));
        assert_ne!(new.salt(), current.salt());
        assert!(Change::new(&anna(), &password("old"), &password("new")).is_none(), "no login, no salt");
    }

    #[test]
    fn a_proof_is_good_for_one_user_one_verifier_and_one_old_password() {
        let (current, old) = known("old");
        let change =
            |user: &UserName, old: &Password| sent(&Change::new(user, old, &password("new")).unwrap().unwrap());
        let bob: UserName = "bob".parse().unwrap();
        assert_eq!(change(&bob, &old).check(&anna(), &current), Err(Refused::Proof));
        assert_eq!(change(&anna(), &known("other").1).check(&anna(), &current), Err(Refused::Proof));
        let mut swapped = change(&anna(), &old);
        swapped.verifier = Verifier::derive(&password("mallory"), FEWEST_ITERATIONS, b"fedcba9876543210");
        assert_eq!(swapped.check(&anna(), &current), Err(Refused::Proof));
        let mut flipped = change(&anna(), &old);
        flipped.proof[7] ^= 1;
        assert_eq!(flipped.check(&anna(), &current), Err(Refused::Proof));
        // A second time it meets another current verifier.
        let new = change(&anna(), &old).check(&anna(), &current).unwrap();
        assert_eq!(change(&anna(), &old).check(&anna(), &new), Err(Refused::Proof));
    }

    #[test]
    fn the_new_verifier_has_the_form_of_the_old_one() {
        let (current, old) = known("old");
        for (count, salt) in [
            (FEWEST_ITERATIONS + 1, &b"fedcba9876543210"[..]),
            (FEWEST_ITERATIONS, b"short"),
            (FEWEST_ITERATIONS, b"0123456789abcdef"),
        ] {
            let verifier = Verifier::derive(&password("new"), count, salt);
            let keys = old.keys(current.salt(), current.iterations());
            let signature = signature(&keys::stored_key(&keys.client), &anna(), &verifier);
            let change = Change { proof: keys::xor(&keys.client, &signature), verifier };
            assert_eq!(change.check(&anna(), &current), Err(Refused::Form));
        }
    }
}
