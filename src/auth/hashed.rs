//! What a client's password has been hashed to. Hashing is slow on purpose, some milliseconds: a client that connects again, or
//! several times at once, does it once for all its logins. A server never keeps any of this.

use super::Password;
use super::keys::{self, Key};
use std::sync::{Arc, Mutex, PoisonError};

/// The two keys of RFC 5802 that a login needs of a password, wiped when the last who has them is done.
pub(super) struct Keys {
    /// What the client proves to know.
    pub(super) client: Key,
    /// What the server proves to know.
    pub(super) server: Key,
}

/// The keys that were derived last, and from what.
struct Last {
    salt: Vec<u8>,
    iterations: u32,
    keys: Arc<Keys>,
}

/// A password's place to keep its keys.
#[derive(Default)]
pub(super) struct Hashed(Mutex<Option<Last>>);

impl Password {
    /// The keys of this password with this salt and this count. Whoever asks while another thread hashes waits for that, since it
    /// would be no faster by itself.
    pub(super) fn keys(&self, salt: &[u8], iterations: u32) -> Arc<Keys> {
        let mut last = self.hashed().0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.as_ref().filter(|last| last.salt == salt && last.iterations == iterations) {
            return last.keys.clone();
        }
        let salted = keys::salted_password(self, salt, iterations);
        let keys = Arc::new(Keys { client: keys::client_key(&salted), server: keys::server_key(&salted) });
        *last = Some(Last { salt: salt.to_vec(), iterations, keys: keys.clone() });
        keys
    }

    /// The salt, the count and the keys of the last login; `None` before the first.
    pub(super) fn last_keys(&self) -> Option<(Vec<u8>, u32, Arc<Keys>)> {
        let last = self.hashed().0.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().map(|last| (last.salt.clone(), last.iterations, last.keys.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text).unwrap()
    }

    #[test]
    fn a_password_is_hashed_once_for_all_its_clones() {
        let one = password("secret");
        let keys = one.clone().keys(b"salt", 4096);
        assert!(Arc::ptr_eq(&keys, &one.keys(b"salt", 4096)));
    }

    #[test]
    fn another_salt_another_count_and_another_password_have_keys_of_their_own() {
        let one = password("secret");
        let fresh = |text: &str, salt: &[u8], count| *password(text).keys(salt, count).client;
        for (salt, count) in [(&b"salt"[..], 4096), (b"salu", 4096), (b"sal", 4096), (b"salt", 4097), (b"salt", 4096)] {
            let (keys, salted) = (one.keys(salt, count), keys::salted_password(&one, salt, count));
            assert_eq!(
                (keys.client.clone(), keys.server.clone()),
                (keys::client_key(&salted), keys::server_key(&salted))
            );
            assert_eq!(*keys.client, fresh("secret", salt, count));
        }
        assert_ne!(fresh("secret", b"salt", 4096), fresh("secreu", b"salt", 4096));
    }
}
