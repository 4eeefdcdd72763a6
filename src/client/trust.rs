//! Which server to believe, and what to do about one that is not believed. No question is ever asked: an authority vouches for the
//! server, or its key is known, or the login proves it and its key is known from then on.

use super::failure::{Exit, Failure};
use super::known_servers::KnownServers;
use crate::net::Address;
use crate::net::tls::pin::Pin;
use crate::net::tls::verify::{self, Authorities, Expectation, Verifier, WrongKey};
use crate::proto::Code;
use rustls::{AlertDescription, Error, InvalidMessage};
use std::sync::Arc;

pub use crate::net::tls::verify::Trust;

/// What the user has said about servers, and what is known of them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Trusted {
    authorities: Arc<Authorities>,
    /// The key that it must be, whatever else is known.
    fixed: Option<Pin>,
    /// `None` where nothing can be remembered.
    known: Option<KnownServers>,
    /// Whether one that is met for the first time may prove itself by the login.
    strangers: bool,
}

/// A server whose key has become known with this login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduction {
    /// The server.
    pub address: Address,
    /// Its key.
    pub pin: Pin,
    /// Why it will not be remembered.
    pub trouble: Option<String>,
}

impl Default for Trusted {
    fn default() -> Self {
        Trusted { authorities: Arc::new(Authorities::of_system()), fixed: None, known: None, strangers: true }
    }
}

impl Trusted {
    /// Believes these authorities, or the key `fixed` and no other; remembers in `known`.
    pub fn new(authorities: Authorities, fixed: Option<Pin>, known: Option<KnownServers>) -> Self {
        Trusted { authorities: Arc::new(authorities), fixed, known, strangers: true }
    }

    /// Believes only servers that are known already, or vouched for.
    pub fn without_strangers(self) -> Self {
        Trusted { strangers: false, ..self }
    }

    /// Whether one whom only the login can prove may be logged in to.
    pub fn admits(&self, trust: Option<Trust>) -> bool {
        self.strangers || trust != Some(Trust::Unknown)
    }

    /// The key that it must be, whatever else is known.
    pub fn fixed(&self) -> Option<Pin> {
        self.fixed
    }

    /// Where keys are remembered.
    pub fn known(&self) -> Option<&KnownServers> {
        self.known.as_ref()
    }

    /// What looks at the certificate of the server at `address`.
    pub fn verifier(&self, address: &Address) -> Result<Arc<Verifier>, Failure> {
        let pinned = match &self.known {
            Some(known) => known.find(address)?,
            None => None,
        };
        Ok(Verifier::new(self.authorities.clone(), Expectation { fixed: self.fixed, pinned }))
    }

    /// After a login that has proved the server: a key that was unknown is remembered.
    pub fn settle(&self, address: &Address, verifier: &Verifier) -> Result<Option<Introduction>, Failure> {
        let Some((pin, Trust::Unknown)) = verifier.seen() else { return Ok(None) };
        let trouble = match self.known.as_ref().map(|known| known.remember(address, pin)) {
            Some(Err(failure)) if failure.exit == Exit::Identity => return Err(failure),
            Some(Err(failure)) => Some(failure.text),
            Some(Ok(())) => None,
            None => Some("there is no home directory to keep it in".into()),
        };
        Ok(Some(Introduction { address: address.clone(), pin, trouble }))
    }

    /// The failure of a handshake.
    pub fn handshake_failed(&self, address: &Address, why: &Error) -> Failure {
        match (verify::wrong_key(why), why) {
            (Some(wrong), _) => self.wrong_key(address, wrong),
            (None, Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                let hint = "if it speaks plain text, its address begins with tcp://";
                Failure::new(Exit::Protocol, format!("what listens at {address} does not speak TLS; {hint}"))
            }
            // What the listener says to those it turns away, before there is a channel for words.
            (None, Error::AlertReceived(AlertDescription::AccessDenied)) => {
                let why = "it is full or about to end, or too many logins from your address failed";
                Failure::refused(
                    Code::Busy,
                    format!("{address} does not serve you at present ({why}); try again later"),
                )
            }
            (None, why) if verify::is_damage(why) => {
                let text = format!("the handshake with {address} was damaged on the way: {why}");
                Failure::passing(Exit::Integrity, text)
            }
            _ => Failure::new(Exit::Identity, format!("cannot speak TLS with {address}: {why}")),
        }
    }

    fn wrong_key(&self, address: &Address, WrongKey { expected, found }: WrongKey) -> Failure {
        let text = if self.fixed.is_some() {
            format!("the key of {address} is sha256:{found}, not the one given by --pin: this is another server")
        } else {
            let file = match &self.known {
                Some(known) if Some(known.path()) != KnownServers::usual().as_ref().map(KnownServers::path) => {
                    format!("--known-servers {} ", known.path().display())
                }
                _ => String::new(),
            };
            format!(
                "{address} has another key than before (sha256:{found}, known is sha256:{expected}): it was set up anew, or somebody \
                 stands between. If its operator confirms the new key, run: dfos-client {file}forget {address}"
            )
        };
        Failure::new(Exit::Identity, text)
    }
}
