//! SCRAM-SHA-256 written from the formulas of docs/PROTOCOL.md §5 alone: it shares nothing with the code it tests.

use base64::engine::{Engine, general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

pub fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().into()
}

fn salted(password: &str, salt: &[u8], iterations: u32) -> [u8; 32] {
    let mut out = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), salt, iterations, &mut out);
    out
}

/// A line of a users file.
pub fn entry(user: &str, password: &str) -> String {
    entry_with(user, password, 4096)
}

/// The same with so many iterations.
pub fn entry_with(user: &str, password: &str, iterations: u32) -> String {
    let salt = Sha256::digest(user);
    let salt = &salt[..16];
    let salted = salted(password, salt, iterations);
    let stored = Sha256::digest(hmac(&salted, b"Client Key"));
    let server = hmac(&salted, b"Server Key");
    let [salt, stored, server] = [salt, &stored, &server].map(|bytes| STANDARD.encode(bytes));
    format!("{user}:SCRAM-SHA-256${iterations}:{salt}${stored}:{server}\n")
}

/// One exchange from the client's side.
pub struct Exchange {
    bare: String,
    password: String,
    pub nonce: String,
    /// What `c=` says.
    channel: String,
}

impl Exchange {
    /// Begins; the first message in base64 comes with it.
    pub fn begin(user: &str, password: &str) -> (Exchange, String) {
        Exchange::begin_bound(user, password, "n,,", &[])
    }

    /// The same with a GS2 header and the channel's own bytes.
    pub fn begin_bound(user: &str, password: &str, header: &str, channel: &[u8]) -> (Exchange, String) {
        let mut random = [0; 18];
        getrandom::fill(&mut random).unwrap();
        let nonce = STANDARD.encode(random);
        let bare = format!("n={user},r={nonce}");
        let message = STANDARD.encode(format!("{header}{bare}"));
        let channel = STANDARD.encode([header.as_bytes(), channel].concat());
        (Exchange { bare, password: password.into(), nonce, channel }, message)
    }

    /// Answers the challenge (in base64) with the last message, and tells what the server's signature must be.
    pub fn answer(&self, challenge: &str) -> (String, String) {
        let challenge = String::from_utf8(STANDARD.decode(challenge).unwrap()).unwrap();
        let part = |key: &str| challenge.split(',').find_map(|part| part.strip_prefix(key)).unwrap().to_owned();
        let (nonce, salt, iterations) = (part("r="), STANDARD.decode(part("s=")).unwrap(), part("i=").parse().unwrap());
        assert!(nonce.starts_with(&self.nonce) && nonce.len() > self.nonce.len(), "{nonce}");
        assert!(iterations >= 4096, "{iterations}");
        let salted = salted(&self.password, &salt, iterations);
        let client_key = hmac(&salted, b"Client Key");
        let stored_key = Sha256::digest(client_key);
        let server_key = hmac(&salted, b"Server Key");
        let without_proof = format!("c={},r={nonce}", self.channel);
        let auth_message = format!("{},{challenge},{without_proof}", self.bare);
        let signature = hmac(&stored_key, auth_message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        let last = format!("{without_proof},p={}", STANDARD.encode(proof));
        let signature = format!("v={}", STANDARD.encode(hmac(&server_key, auth_message.as_bytes())));
        (STANDARD.encode(last), STANDARD.encode(signature))
    }
}

/// The salt that [`entry`] gives a user.
pub fn salt_of(user: &str) -> Vec<u8> {
    Sha256::digest(user)[..16].to_vec()
}

/// Both words of PASSWD, for a user whose password was made by [`entry`], or with another salt.
pub fn change(user: &str, (old, old_salt): (&str, &[u8]), (new, salt): (&str, &[u8])) -> String {
    let old_key = hmac(&salted(old, old_salt, 4096), b"Client Key");
    let salted = salted(new, salt, 4096);
    let stored = Sha256::digest(hmac(&salted, b"Client Key"));
    let server = hmac(&salted, b"Server Key");
    let [salt, stored, server] = [salt, &stored, &server].map(|bytes| STANDARD.encode(bytes));
    let verifier = format!("SCRAM-SHA-256$4096:{salt}${stored}:{server}");
    let message = format!("dfos change of password:{user}:{verifier}");
    let signature = hmac(&Sha256::digest(old_key), message.as_bytes());
    let proof: Vec<u8> = old_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    format!("{verifier} {}", STANDARD.encode(proof))
}
