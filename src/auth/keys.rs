//! The keys of SCRAM (RFC 5802 section 3, with the hash of RFC 7677), each wiped when dropped.

use super::Password;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::io;
use zeroize::Zeroizing;

/// 32 bytes that must not stay in memory.
pub(super) type Key = Zeroizing<[u8; 32]>;

/// Fills `bytes` from the kernel, which never gives two forked processes the same.
pub(super) fn random(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes)
        .map_err(|why| why.raw_os_error().map_or(io::ErrorKind::Other.into(), io::Error::from_raw_os_error))
}

/// HMAC-SHA-256 over the parts, one after the other.
pub(super) fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> Key {
    // A key of 32 bytes is shorter than the block of SHA-256 and so is taken as it is.
    let mut mac = Hmac::<Sha256>::new(&block(key));
    parts.iter().for_each(|part| mac.update(part));
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// The key filled up with zeros to a block, as RFC 2104 says; in this form HMAC takes it without a way to fail.
fn block(key: &[u8; 32]) -> hmac::digest::Key<Hmac<Sha256>> {
    let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    block
}

/// `SaltedPassword`: the slow step, on purpose.
pub(super) fn salted_password(password: &Password, salt: &[u8], iterations: u32) -> Key {
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::pbkdf2_hmac::<Sha256>(&password.normalised(), salt, iterations, &mut *key);
    key
}

/// `ClientKey`: what the client proves to know.
pub(super) fn client_key(salted: &Key) -> Key {
    hmac(salted, &[b"Client Key"])
}

/// `StoredKey`: what the server keeps to check the client.
pub(super) fn stored_key(client_key: &Key) -> Key {
    Zeroizing::new(Sha256::digest(**client_key).into())
}

/// `ServerKey`: what the server proves to know.
pub(super) fn server_key(salted: &Key) -> Key {
    hmac(salted, &[b"Server Key"])
}

/// The two keys, bit by bit exclusive or: hides the client key in a proof, and finds it again.
pub(super) fn xor(a: &[u8; 32], b: &[u8; 32]) -> Key {
    let mut out = Zeroizing::new(*a);
    out.iter_mut().zip(b).for_each(|(to, from)| *to ^= from);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_takes_its_key_as_rfc_2104_says() {
        let usual = Hmac::<Sha256>::new_from_slice(&[7; 32]).unwrap().chain_update(b"ab").finalize().into_bytes();
        assert_eq!(hmac(&[7; 32], &[b"a", b"b"])[..], usual[..]);
    }
}
