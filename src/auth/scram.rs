//! SCRAM-SHA-256 (RFC 5802, RFC 7677), both sides: text in, text out, no socket.
//!
//! Each step consumes the one before, so a message cannot be answered twice or out of order:
//!
//! ```text
//! client                                        server
//! ClientExchange::begin     -- client-first -->  ServerExchange::begin    who is it? look the verifier up
//! ClientExchange::answer    <- server-first ---  ServerExchange::challenge
//!                           -- client-final -->  Awaiting::finish         the proof is right: a login
//! ClientProof::check        <- server-final ---
//! ```

use super::keys::{self, Key};
use super::table::Found;
use super::verifier;
use super::{Password, UserName};
use base64::engine::{Engine, general_purpose::STANDARD};
use std::io;
use subtle::ConstantTimeEq;
use thiserror::Error;

/// Characters of one message, at most; true ones have about 100.
const LONGEST_MESSAGE: usize = 2048;
/// Characters of a nonce of the other side, at most.
const LONGEST_NONCE: usize = 256;
/// Random bytes of a nonce of ours; 24 characters in base64.
const NONCE: usize = 18;

/// What ties a login to the channel it travels in, so that nobody can sit between two channels and pass it on. Both
/// sides must be given the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// Nothing: the mechanism is SCRAM-SHA-256. For plain text and Unix sockets.
    None,
    /// The `tls-exporter` value of this TLS connection (RFC 9266): the mechanism is SCRAM-SHA-256-PLUS, nothing less.
    TlsExporter([u8; 32]),
}

/// Why an exchange ended without a login.
#[derive(Debug, Error)]
pub enum ScramError {
    /// Not a message of RFC 5802 where one is due.
    #[error("{0} of the login is malformed")]
    Malformed(&'static str),
    /// An extension that must not be ignored (`m=`).
    #[error("the login asks for an extension that is not offered")]
    Extension,
    /// One side binds the login to the channel and the other does not, or the channels differ.
    #[error("the login is bound to another channel: someone may stand between client and server")]
    Binding,
    /// A user who wants to act as another user.
    #[error("logging in as one user to act as another is not offered")]
    Authzid,
    /// The nonce is not the one of this exchange: an old message sent again, or one of somebody else.
    #[error("the login does not belong to this exchange")]
    Nonce,
    /// The server asks for a count that is too weak, or too much work.
    #[error(
        "the server asks for an iteration count outside {} to {}",
        verifier::FEWEST_ITERATIONS,
        verifier::MOST_ITERATIONS
    )]
    Iterations,
    /// The proof is wrong. Whether the user exists is not told.
    #[error("wrong name or password")]
    Refused,
    /// The server's signature is wrong: it does not know the user's verifier.
    #[error("the server could not prove that it knows your password: it is not the server it claims to be")]
    Server,
    /// The kernel has no random bytes.
    #[error("no random bytes: {0}")]
    Random(#[from] io::Error),
}

/// A message as it stands in a line: base64, padded.
pub fn encode(message: &str) -> String {
    STANDARD.encode(message)
}

/// A message out of its base64.
pub fn decode(word: &str) -> Result<String, ScramError> {
    const WHAT: ScramError = ScramError::Malformed("the base64");
    if word.len() > LONGEST_MESSAGE {
        return Err(WHAT);
    }
    String::from_utf8(STANDARD.decode(word).map_err(|_| WHAT)?).map_err(|_| WHAT)
}

impl Binding {
    /// The mechanism's name (RFC 7677).
    pub fn mechanism(&self) -> &'static str {
        match self {
            Binding::None => "SCRAM-SHA-256",
            Binding::TlsExporter(_) => "SCRAM-SHA-256-PLUS",
        }
    }

    /// How a client's first message begins (GS2 header, RFC 5801).
    fn header(&self) -> &'static str {
        match self {
            Binding::None => "n,,",
            Binding::TlsExporter(_) => "p=tls-exporter,,",
        }
    }

    /// Whether a client's flag fits. `y` says "I could bind, but you do not offer it", which is a lie of somebody's where
    /// it is offered.
    fn accepts(&self, flag: &str) -> bool {
        match self {
            Binding::None => flag == "n" || flag == "y",
            Binding::TlsExporter(_) => flag == "p=tls-exporter",
        }
    }

    /// `c=`: the header as it was sent and the channel's own bytes.
    fn input(&self, header: &str) -> String {
        match self {
            Binding::None => STANDARD.encode(header),
            Binding::TlsExporter(bytes) => STANDARD.encode([header.as_bytes(), bytes].concat()),
        }
    }
}

/// The attributes of one message, in order.
struct Attributes<'a> {
    rest: Option<&'a str>,
    message: &'static str,
}

impl<'a> Attributes<'a> {
    fn of(text: &'a str, message: &'static str) -> Result<Self, ScramError> {
        if text.len() > LONGEST_MESSAGE {
            return Err(ScramError::Malformed(message));
        }
        let attributes = Attributes { rest: Some(text), message };
        if text.starts_with("m=") { Err(ScramError::Extension) } else { Ok(attributes) }
    }

    /// The value of the next attribute, which must be called `key`.
    fn next(&mut self, key: &str) -> Result<&'a str, ScramError> {
        let (first, rest) = match self.rest.and_then(|text| text.split_once(',')) {
            Some((first, rest)) => (Some(first), Some(rest)),
            None => (self.rest, None),
        };
        self.rest = rest;
        let value = first.and_then(|text| text.strip_prefix(key)).and_then(|text| text.strip_prefix('='));
        value.filter(|value| !value.is_empty()).ok_or(ScramError::Malformed(self.message))
    }

    /// What follows are optional extensions (`x=...`), skipped, since their makers allow it.
    fn end(self) -> Result<(), ScramError> {
        let extension = |text: &str| {
            let mut bytes = text.bytes();
            bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
                && bytes.next() == Some(b'=')
                && bytes.next().is_some()
        };
        let sound = self.rest.is_none_or(|rest| rest.split(',').all(extension));
        if sound { Ok(()) } else { Err(ScramError::Malformed(self.message)) }
    }
}

/// A nonce of our own.
fn fresh_nonce() -> Result<String, ScramError> {
    let mut bytes = [0; NONCE];
    keys::random(&mut bytes)?;
    Ok(STANDARD.encode(bytes))
}

/// A nonce is printable ASCII without comma.
fn check_nonce(nonce: &str, message: &'static str) -> Result<(), ScramError> {
    let sound = nonce.len() <= LONGEST_NONCE && nonce.bytes().all(|b| b.is_ascii_graphic() && b != b',');
    if sound { Ok(()) } else { Err(ScramError::Malformed(message)) }
}

/// A name out of its `=2C` and `=3D`.
fn name_from_wire(text: &str) -> Result<String, ScramError> {
    let plain = text.replace("=2C", "").replace("=3D", "");
    if plain.contains('=') {
        return Err(ScramError::Malformed("the user name"));
    }
    Ok(text.replace("=2C", ",").replace("=3D", "="))
}

/// The client's side: its first message is out.
pub struct ClientExchange {
    password: Password,
    binding: Binding,
    nonce: String,
    first_bare: String,
}

impl ClientExchange {
    /// Begins a login; the text is the client-first message.
    pub fn begin(user: &UserName, password: &Password, binding: Binding) -> Result<(Self, String), ScramError> {
        Ok(Self::begin_with(user, password, binding, fresh_nonce()?))
    }

    fn begin_with(user: &UserName, password: &Password, binding: Binding, nonce: String) -> (Self, String) {
        // A user name holds neither ',' nor '=', so nothing in it needs to be escaped.
        let first_bare = format!("n={user},r={nonce}");
        let message = format!("{}{first_bare}", binding.header());
        (ClientExchange { password: password.clone(), binding, nonce, first_bare }, message)
    }

    /// Answers the server-first message; the text is the client-final message. This hashes the password, unless it has been hashed
    /// so before: with the most iterations that are accepted, about a second.
    pub fn answer(self, server_first: &str) -> Result<(ClientProof, String), ScramError> {
        let mut attributes = Attributes::of(server_first, "the server's challenge")?;
        let (nonce, salt, count) = (attributes.next("r")?, attributes.next("s")?, attributes.next("i")?);
        attributes.end()?;
        check_nonce(nonce, "the server's nonce")?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ScramError::Nonce);
        }
        let salt = verifier::salt(salt).map_err(|_| ScramError::Malformed("the server's salt"))?;
        let count = verifier::iterations(count).map_err(|_| ScramError::Iterations)?;

        let keys = self.password.keys(&salt, count);
        let bare = format!("c={},r={nonce}", self.binding.input(self.binding.header()));
        let auth_message = format!("{},{server_first},{bare}", self.first_bare);
        let signature = keys::hmac(&keys::stored_key(&keys.client), &[auth_message.as_bytes()]);
        let proof = STANDARD.encode(*keys::xor(&keys.client, &signature));
        let expected = keys::hmac(&keys.server, &[auth_message.as_bytes()]);
        Ok((ClientProof { expected }, format!("{bare},p={proof}")))
    }
}

/// The client's side: its proof is out, and the server owes its own.
#[must_use = "only the server's signature tells that it is the true server"]
pub struct ClientProof {
    expected: Key,
}

impl ClientProof {
    /// Checks the server-final message. An `Ok` says: this server knows the user's verifier.
    pub fn check(self, server_final: &str) -> Result<(), ScramError> {
        if server_final.starts_with("e=") {
            return Err(ScramError::Refused);
        }
        let mut attributes = Attributes::of(server_final, "the server's signature")?;
        let signature = attributes.next("v")?;
        attributes.end()?;
        let signature = verifier::key(signature).map_err(|_| ScramError::Server)?;
        if bool::from(signature.ct_eq(&*self.expected)) { Ok(()) } else { Err(ScramError::Server) }
    }
}

/// The server's side: a client has said who it claims to be.
#[derive(Debug)]
pub struct ServerExchange {
    binding: Binding,
    header: String,
    user: String,
    nonce: String,
    first_bare: String,
}

impl ServerExchange {
    /// Takes the client-first message.
    pub fn begin(client_first: &str, binding: Binding) -> Result<Self, ScramError> {
        const WHAT: &str = "the first message";
        let (flag, rest) = client_first.split_once(',').ok_or(ScramError::Malformed(WHAT))?;
        let (authzid, bare) = rest.split_once(',').ok_or(ScramError::Malformed(WHAT))?;
        if !binding.accepts(flag) {
            return Err(ScramError::Binding);
        }
        let mut attributes = Attributes::of(bare, WHAT)?;
        let (user, nonce) = (name_from_wire(attributes.next("n")?)?, attributes.next("r")?);
        attributes.end()?;
        check_nonce(nonce, "the client's nonce")?;
        if !authzid.is_empty()
            && name_from_wire(authzid.strip_prefix("a=").ok_or(ScramError::Malformed(WHAT))?)? != user
        {
            return Err(ScramError::Authzid);
        }
        let header = format!("{flag},{authzid},");
        Ok(ServerExchange { binding, header, user, nonce: nonce.into(), first_bare: bare.into() })
    }

    /// Who the client claims to be: any text. Look it up as it is, valid or not, so that all take the same path.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Challenges the client with what was found for [`user`](Self::user); the text is the server-first message.
    pub fn challenge(self, found: Found) -> Result<(Awaiting, String), ScramError> {
        Ok(self.challenge_with(found, &fresh_nonce()?))
    }

    fn challenge_with(self, found: Found, nonce: &str) -> (Awaiting, String) {
        let nonce = format!("{}{nonce}", self.nonce);
        let verifier = found.verifier();
        let message = format!("r={nonce},s={},i={}", STANDARD.encode(verifier.salt()), verifier.iterations());
        let so_far = format!("{},{message}", self.first_bare);
        let channel = self.binding.input(&self.header);
        (Awaiting { found, nonce, channel, so_far }, message)
    }
}

/// The server's side: the challenge is out, and the client owes its proof.
pub struct Awaiting {
    found: Found,
    nonce: String,
    /// What `c=` must be in the client-final message.
    channel: String,
    /// The first two messages, as both sides sign them.
    so_far: String,
}

impl Awaiting {
    /// Checks the client-final message: on success who has logged in, and the server-final message.
    pub fn finish(self, client_final: &str) -> Result<(UserName, String), ScramError> {
        const WHAT: &str = "the proof";
        let (without_proof, proof) = client_final.rsplit_once(",p=").ok_or(ScramError::Malformed(WHAT))?;
        let proof = verifier::key(proof).map_err(|_| ScramError::Malformed(WHAT))?;
        self.check_channel(without_proof)?;

        let auth_message = format!("{},{without_proof}", self.so_far);
        let verifier = self.found.verifier();
        let signature = keys::hmac(verifier.stored_key(), &[auth_message.as_bytes()]);
        let claimed = keys::stored_key(&keys::xor(&proof, &signature));
        let right = claimed.ct_eq(&**verifier.stored_key());
        let own = keys::hmac(verifier.server_key(), &[auth_message.as_bytes()]);
        let user = self.found.name_if(right.into()).ok_or(ScramError::Refused)?;
        Ok((user, format!("v={}", STANDARD.encode(*own))))
    }

    /// Checks that the message speaks of this channel and this exchange.
    fn check_channel(&self, without_proof: &str) -> Result<(), ScramError> {
        let mut attributes = Attributes::of(without_proof, "the last message")?;
        let (channel, nonce) = (attributes.next("c")?, attributes.next("r")?);
        attributes.end()?;
        if nonce != self.nonce {
            return Err(ScramError::Nonce);
        }
        if channel == self.channel { Ok(()) } else { Err(ScramError::Binding) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Verifier;
    use proptest::prelude::*;

    const TLS: Binding = Binding::TlsExporter([7; 32]);

    fn password(text: &str) -> Password {
        Password::new(text).unwrap()
    }

    fn name(text: &str) -> UserName {
        text.parse().unwrap()
    }

    fn alice() -> Found {
        Found::user(name("alice"), Verifier::derive(&password("secret"), verifier::FEWEST_ITERATIONS, b"salt"))
    }

    /// A whole login of alice, each side with its own idea of the channel.
    fn login(word: &str, client: Binding, server: Binding, found: Found) -> Result<UserName, ScramError> {
        let (client, first) = ClientExchange::begin(&name("alice"), &password(word), client)?;
        let server = ServerExchange::begin(&decode(&encode(&first))?, server)?;
        assert_eq!(server.user(), "alice");
        let (server, challenge) = server.challenge(found)?;
        let (client, last) = client.answer(&challenge)?;
        let (user, signature) = server.finish(&last)?;
        client.check(&signature)?;
        Ok(user)
    }

    #[test]
    fn the_example_of_rfc_7677_comes_out_letter_by_letter() {
        let nonce = "rOprNGfwEbeRWgbNEkqO";
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let found = Found::user(name("user"), Verifier::derive(&password("pencil"), 4096, &salt));

        let (client, first) =
            ClientExchange::begin_with(&name("user"), &password("pencil"), Binding::None, nonce.into());
        assert_eq!(first, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let server = ServerExchange::begin(&first, Binding::None).unwrap();
        let (server, challenge) = server.challenge_with(found, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
        let expected = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        assert_eq!(challenge, expected);
        let (client, last) = client.answer(&challenge).unwrap();
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(last, expected);
        let (user, signature) = server.finish(&last).unwrap();
        assert_eq!(signature, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(user.as_str(), "user");
        client.check(&signature).unwrap();
    }

    #[test]
    fn the_right_password_logs_in_over_either_channel() {
        assert_eq!(login("secret", Binding::None, Binding::None, alice()).unwrap().as_str(), "alice");
        assert_eq!(login("secret", TLS, TLS, alice()).unwrap().as_str(), "alice");
    }

    #[test]
    fn a_wrong_password_and_an_unknown_user_are_refused_alike() {
        assert!(matches!(login("wrong", Binding::None, Binding::None, alice()), Err(ScramError::Refused)));
        let nobody = Found::nobody(Verifier::derive(&password("secret"), 4096, b"salt"));
        assert!(matches!(login("secret", Binding::None, Binding::None, nobody), Err(ScramError::Refused)));
    }

    #[test]
    fn a_login_for_one_channel_is_refused_on_another() {
        let other = Binding::TlsExporter([8; 32]);
        for (client, server) in [(TLS, other), (TLS, Binding::None), (Binding::None, TLS)] {
            assert!(
                matches!(login("secret", client, server, alice()), Err(ScramError::Binding)),
                "{client:?} {server:?}"
            );
        }
        // "I could bind, but you do not offer it": somebody took the offer away.
        assert!(matches!(ServerExchange::begin("y,,n=a,r=x", TLS), Err(ScramError::Binding)));
    }

    #[test]
    fn a_client_that_could_bind_is_welcome_where_nothing_is_offered() {
        // It sends its own header's bytes back: "y,," is "eSws" in base64.
        let (_, first) = ClientExchange::begin(&name("alice"), &password("secret"), Binding::None).unwrap();
        let server = ServerExchange::begin(&first.replacen('n', "y", 1), Binding::None).unwrap();
        assert_eq!(server.challenge(alice()).unwrap().0.channel, "eSws");
    }

    #[test]
    fn an_old_proof_is_worth_nothing_in_a_new_exchange() {
        let (client, first) = ClientExchange::begin(&name("alice"), &password("secret"), Binding::None).unwrap();
        let begin = || ServerExchange::begin(&first, Binding::None).unwrap().challenge(alice()).unwrap();
        let (server, challenge) = begin();
        let (_, last) = client.answer(&challenge).unwrap();
        server.finish(&last).unwrap();
        let (server, _) = begin();
        assert!(matches!(server.finish(&last), Err(ScramError::Nonce)));
        // With the new nonce written in, the proof no longer fits.
        let (server, challenge) = begin();
        let (old, new) = (last.split(',').nth(1).unwrap(), challenge.split(',').next().unwrap());
        assert!(matches!(server.finish(&last.replace(old, new)), Err(ScramError::Refused)));
    }

    #[test]
    fn a_client_sees_through_a_false_server() {
        let begin = || ClientExchange::begin_with(&name("alice"), &password("secret"), Binding::None, "abc".into()).0;
        let answer = |text: &str| begin().answer(text).map(|_| ());
        assert!(answer("r=abcd,s=c2FsdA==,i=4096").is_ok());
        assert!(answer("r=abcd,s=c2FsdA==,i=4096,x=later").is_ok());
        assert!(matches!(answer("r=abc,s=c2FsdA==,i=4096"), Err(ScramError::Nonce)));
        assert!(matches!(answer("r=xbcd,s=c2FsdA==,i=4096"), Err(ScramError::Nonce)));
        assert!(matches!(answer("r=abcd,s=c2FsdA==,i=4095"), Err(ScramError::Iterations)));
        assert!(matches!(answer("r=abcd,s=c2FsdA==,i=10000001"), Err(ScramError::Iterations)));
        assert!(matches!(answer("m=new,r=abcd,s=c2FsdA==,i=4096"), Err(ScramError::Extension)));
        for text in [
            "",
            "r=abcd",
            "r=abcd,s=,i=4096",
            "r=abcd,s=*,i=4096",
            "s=c2FsdA==,r=abcd,i=4096",
            "r=abcd,s=c2FsdA==,i=4096,",
        ] {
            assert!(matches!(answer(text), Err(ScramError::Malformed(_))), "{text}");
        }

        let proof = || begin().answer("r=abcd,s=c2FsdA==,i=4096").unwrap().0;
        let wrong = format!("v={}", STANDARD.encode([0; 32]));
        assert!(matches!(proof().check(&wrong), Err(ScramError::Server)));
        assert!(matches!(proof().check("v=AAAA"), Err(ScramError::Server)));
        assert!(matches!(proof().check("e=invalid-proof"), Err(ScramError::Refused)));
        assert!(matches!(proof().check(""), Err(ScramError::Malformed(_))));
    }

    #[test]
    fn a_server_refuses_what_is_not_offered() {
        let begin = |text: &str| ServerExchange::begin(text, Binding::None);
        assert!(matches!(begin("p=tls-unique,,n=a,r=x"), Err(ScramError::Binding)));
        assert!(matches!(begin("n,,m=new,n=a,r=x"), Err(ScramError::Extension)));
        assert!(matches!(begin("n,a=bob,n=alice,r=x"), Err(ScramError::Authzid)));
        assert_eq!(begin("n,a=alice,n=alice,r=x,z=later").unwrap().user(), "alice");
        assert_eq!(begin("n,,n=a=2Cb=3Dc,r=x").unwrap().user(), "a,b=c");
        let long = format!("n,,n=a,r={}", "x".repeat(257));
        for text in [
            "",
            "n",
            "n,,",
            "n,,n=a",
            "n,,n=,r=x",
            "n,,n=a=2,r=x",
            "n,,n=a,r=",
            "n,,n=a,r=é",
            "n,b,n=a,r=x",
            "n,,r=x,n=a",
            &long,
        ] {
            assert!(matches!(begin(text), Err(ScramError::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn base64_is_strict() {
        assert_eq!(decode(&encode("n,,n=é")).unwrap(), "n,,n=é");
        for bad in ["biws=", "biw", "b iw", "/w==", &"AAAA".repeat(1000)] {
            assert!(decode(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_message_of_a_client_breaks_the_server(
            first in "(n,,)?(n=[a-z]{1,3},)?(r=)?.{0,40}",
            last in "(c=biws,)?(r=)?.{0,30}(,p=.{0,50})?",
        ) {
            let _ = ServerExchange::begin(&first, Binding::None);
            let server = ServerExchange::begin("n,,n=alice,r=x", Binding::None).unwrap();
            let found = Found::nobody(Verifier::decoy(verifier::ITERATIONS, b"salt").unwrap());
            prop_assert!(server.challenge(found).unwrap().0.finish(&last).is_err());
        }
    }
}
