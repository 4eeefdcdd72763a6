//! Whom a client believes. A certificate that an authority vouches for is believed for its name; any other is known by its key, as
//! a pin says, or not known yet: then only the login decides, which proves the server or fails.

use super::pin::Pin;
use super::{ALPN, provider};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme, version,
};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use thiserror::Error;

/// What a client knows of a server before it connects.
#[derive(Debug, Clone, Default)]
pub struct Expectation {
    /// The user said which key it must be: no authority can overrule that.
    pub fixed: Option<Pin>,
    /// The key of an earlier connection.
    pub pinned: Option<Pin>,
}

/// Why a client believes a server so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// An authority vouches for its name.
    Authority,
    /// Its key is the one that was pinned.
    Pinned,
    /// It has not been met before; only a login that is bound to this channel can prove it.
    Unknown,
}

/// A server that is another one than expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the server's key is {found}, not {expected}")]
pub struct WrongKey {
    /// The pin.
    pub expected: Pin,
    /// The key that the server has.
    pub found: Pin,
}

/// Certificate authorities, read when they are asked: a server whose key is known needs none, and a system has more than a hundred.
#[derive(Debug)]
pub struct Authorities {
    given: Option<RootCertStore>,
    found: OnceLock<Option<Arc<WebPkiServerVerifier>>>,
}

impl Authorities {
    /// Those in a PEM file. What is there and cannot be used is an error: the user named the file.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            store.add(certificate.map_err(|why| Error::General(why.to_string()))?)?;
        }
        if store.is_empty() { Err(Error::General("no certificate in it".into())) } else { Ok(Self::given(store)) }
    }

    /// None: every server is known by its key.
    pub fn none() -> Self {
        Self::given(RootCertStore::empty())
    }

    /// Those of this system, if it has any.
    pub fn of_system() -> Self {
        Authorities { given: None, found: OnceLock::new() }
    }

    fn given(store: RootCertStore) -> Self {
        Authorities { given: Some(store), found: OnceLock::new() }
    }

    /// What asks them; `None` where there are none.
    fn ask(&self) -> Option<&Arc<WebPkiServerVerifier>> {
        let find = || {
            let roots = self.given.clone().unwrap_or_else(|| {
                let mut store = RootCertStore::empty();
                store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                store
            });
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().ok()
        };
        self.found.get_or_init(find).as_ref()
    }
}

/// Looks at a server's certificate, and remembers what it saw.
#[derive(Debug)]
pub struct Verifier {
    provider: Arc<CryptoProvider>,
    authorities: Arc<Authorities>,
    expected: Expectation,
    seen: Mutex<Option<(Pin, Trust)>>,
    shown: Mutex<Option<Shown>>,
}

/// What a server has shown of itself, whether it was believed or not.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Its certificate.
    pub certificate: CertificateDer<'static>,
    /// Those that are to lead from it to an authority.
    chain: Vec<CertificateDer<'static>>,
    /// The name that it was asked for.
    name: ServerName<'static>,
}

impl Verifier {
    /// A verifier for one connection.
    pub fn new(authorities: Arc<Authorities>, expected: Expectation) -> Arc<Self> {
        Arc::new(Verifier {
            provider: provider(),
            authorities,
            expected,
            seen: Mutex::new(None),
            shown: Mutex::new(None),
        })
    }

    /// The server's key, and why it was believed; `None` before the handshake.
    pub fn seen(&self) -> Option<(Pin, Trust)> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the server has shown; `None` before that.
    pub fn shown(&self) -> Option<Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the authorities say of what was shown, whether their answer counts or not; `None` where there are none to ask.
    pub fn opinion(&self, shown: &Shown) -> Option<Result<(), Error>> {
        let by = self.authorities.ask()?;
        Some(by.verify_server_cert(&shown.certificate, &shown.chain, &shown.name, &[], UnixTime::now()).map(drop))
    }

    /// How a client speaks TLS that believes this verifier.
    pub fn config(self: &Arc<Self>) -> Result<Arc<ClientConfig>, Error> {
        let builder =
            ClientConfig::builder_with_provider(self.provider.clone()).with_protocol_versions(&[&version::TLS13])?;
        let mut config = builder.dangerous().with_custom_certificate_verifier(self.clone()).with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = rustls::client::Resumption::disabled(); // each connection proves itself
        Ok(Arc::new(config))
    }

    /// Decides about a key. `vouched` asks the authorities, only where their answer counts.
    fn judge(&self, found: Pin, vouched: impl FnOnce() -> bool) -> Result<Trust, WrongKey> {
        let fits =
            |expected: Pin| if expected == found { Ok(Trust::Pinned) } else { Err(WrongKey { expected, found }) };
        match (self.expected.fixed, self.expected.pinned) {
            (Some(expected), _) => fits(expected),
            (None, Some(expected)) if expected == found => Ok(Trust::Pinned),
            _ if vouched() => Ok(Trust::Authority),
            (None, Some(expected)) => fits(expected),
            (None, None) => Ok(Trust::Unknown),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer,
        chain: &[CertificateDer],
        name: &ServerName,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = Pin::of(certificate).ok_or(CertificateError::BadEncoding)?;
        let shown = Shown {
            certificate: certificate.clone().into_owned(),
            chain: chain.iter().map(|certificate| certificate.clone().into_owned()).collect(),
            name: name.to_owned(),
        };
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        let vouched = || {
            let ask = |by: &Arc<WebPkiServerVerifier>| by.verify_server_cert(certificate, chain, name, stapled, now);
            self.authorities.ask().is_some_and(|by| ask(by).is_ok())
        };
        let trust = self.judge(found, vouched).map_err(|wrong| CertificateError::Other(OtherError(Arc::new(wrong))))?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((found, trust));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".into()))
    }

    /// The server has the key of the certificate that it shows.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether a handshake failed because what arrived is not what was sent, at either end: by chance, or by somebody who could as well cut
/// the line.
pub fn is_damage(error: &Error) -> bool {
    use AlertDescription::{BadRecordMac, DecryptError};
    matches!(error, Error::DecryptError | Error::InvalidMessage(_) | Error::AlertReceived(BadRecordMac | DecryptError))
}

/// What is wrong with a handshake if it is the server's key.
pub fn wrong_key(error: &Error) -> Option<WrongKey> {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(why))) => why.downcast_ref().copied(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(byte: u8) -> Pin {
        hex::encode([byte; 32]).parse().unwrap()
    }

    #[test]
    fn each_kind_of_trust_has_its_place() {
        let (a, b) = (pin(1), pin(2));
        let judge = |fixed, pinned, vouched| {
            Verifier::new(Arc::new(Authorities::none()), Expectation { fixed, pinned }).judge(a, || vouched)
        };
        let wrong = Err(WrongKey { expected: b, found: a });
        for (fixed, pinned, vouched, expected) in [
            (None, None, false, Ok(Trust::Unknown)),
            (None, None, true, Ok(Trust::Authority)),
            (None, Some(a), false, Ok(Trust::Pinned)),
            (None, Some(b), false, wrong),
            (None, Some(b), true, Ok(Trust::Authority)),
            (Some(a), Some(b), false, Ok(Trust::Pinned)),
            (Some(b), Some(a), false, wrong),
            (Some(b), None, true, wrong),
        ] {
            assert_eq!(judge(fixed, pinned, vouched), expected, "{fixed:?} {pinned:?} {vouched}");
        }
    }

    #[test]
    fn a_file_of_authorities_that_holds_none_is_an_error() {
        assert!(Authorities::from_pem(b"").is_err());
        assert!(Authorities::from_pem(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err());
    }
}
