//! The server's certificate and key. A helper reads or makes them and leaves them in a sealed file in memory; each session
//! takes them from there for its one handshake, so that no key is ever in the memory that sessions inherit, and none is left in a
//! session after its handshake.

use super::pin::Pin;
use super::{ALPN, provider};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ED25519, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, version};
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a sealed identity, at most: a chain of certificates has some thousands.
const LARGEST: u64 = 1 << 20;

/// Why a certificate and its key cannot be used.
#[derive(Debug, Error)]
pub enum BadIdentity {
    /// No certificate in the PEM file.
    #[error("there is no certificate in it (a PEM file, BEGIN CERTIFICATE)")]
    NoCertificate,
    /// No key in the PEM file.
    #[error("there is no private key in it (a PEM file without a passphrase, BEGIN PRIVATE KEY)")]
    NoKey,
    /// The key does not belong to the certificate, or is of no kind that TLS 1.3 can use.
    #[error("certificate and key do not go together: {0}")]
    Mismatch(rustls::Error),
    /// Not a certificate.
    #[error("the certificate is damaged")]
    Certificate,
    /// Making one failed.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// A certificate chain and its key, checked to belong together.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl Identity {
    /// Takes a chain, its own certificate first, and its key out of two PEM texts.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, BadIdentity> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(BadIdentity::NoCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| BadIdentity::NoKey)?;
        let identity = Identity { chain, key };
        identity.certified()?;
        Ok(identity)
    }

    /// What clients know the server by.
    pub fn pin(&self) -> Result<Pin, BadIdentity> {
        self.chain.first().and_then(Pin::of).ok_or(BadIdentity::Certificate)
    }

    fn certified(&self) -> Result<CertifiedKey, BadIdentity> {
        let key = provider().key_provider.load_private_key(self.key.clone_key()).map_err(BadIdentity::Mismatch)?;
        let certified = CertifiedKey::new(self.chain.clone(), key);
        certified.keys_match().map_err(BadIdentity::Mismatch)?;
        Ok(certified)
    }

    /// Lays it down for [`config`]: the kind of the key, its length and bytes, then each certificate's.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let kind = match &self.key {
            PrivateKeyDer::Pkcs1(_) => 1,
            PrivateKeyDer::Sec1(_) => 2,
            _ => 8,
        };
        let parts = || std::iter::once(self.key.secret_der()).chain(self.chain.iter().map(|der| der.as_ref()));
        // All the room beforehand: a buffer that grows leaves copies behind that nobody wipes.
        let room = 1 + parts().map(|part| 4 + part.len()).sum::<usize>();
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        bytes.push(kind);
        for part in parts() {
            bytes.extend((part.len() as u32).to_be_bytes());
            bytes.extend(part);
        }
        bytes
    }
}

/// Makes a key for a server that has none, as PEM.
pub fn make_key() -> Result<Zeroizing<String>, BadIdentity> {
    Ok(Zeroizing::new(KeyPair::generate_for(&PKCS_ED25519)?.serialize_pem()))
}

/// Makes a certificate that the key of `key` signs itself, as PEM. Clients know it by its key, so its names are for people and
/// its end is far away.
pub fn make_certificate(key: &str, host: Option<&str>) -> Result<String, BadIdentity> {
    let key = KeyPair::from_pem(key)?;
    let mut names = vec!["localhost".to_owned()];
    names.extend(host.map(str::to_owned));
    let mut params = CertificateParams::new(names)?;
    for loopback in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        params.subject_alt_names.push(SanType::IpAddress(loopback));
    }
    params.distinguished_name.push(DnType::CommonName, host.unwrap_or("DFOS"));
    Ok(params.self_signed(&key)?.pem())
}

/// How a session speaks TLS with the identity in `sealed`.
pub fn config(sealed: &File) -> io::Result<Arc<ServerConfig>> {
    let length = sealed.metadata()?.len().min(LARGEST);
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(length).map_err(io::Error::other)?]);
    sealed.read_exact_at(&mut bytes, 0)?;
    let certified = decode(&bytes).ok_or_else(|| io::Error::other("the sealed certificate is damaged"))?;
    server_config(Arc::new(SingleCertAndKey::from(certified))).map_err(io::Error::other)
}

fn decode(bytes: &[u8]) -> Option<CertifiedKey> {
    let (kind, mut rest) = bytes.split_first()?;
    let mut part = || {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let (part, tail) = tail.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        rest = tail;
        Some(part)
    };
    let key = part()?;
    let key: PrivateKeyDer = match kind {
        1 => PrivatePkcs1KeyDer::from(key).into(),
        2 => PrivateSec1KeyDer::from(key).into(),
        _ => PrivatePkcs8KeyDer::from(key).into(),
    };
    // By the provider's own function, which borrows: the usual one takes a copy that nobody would wipe.
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).ok()?;
    let chain: Vec<_> = std::iter::from_fn(part).map(|der| CertificateDer::from(der.to_vec())).collect();
    Some(CertifiedKey::new(chain, key))
}

fn server_config(resolver: Arc<dyn ResolvesServerCert>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&version::TLS13])?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A ticket spares the server next to nothing, and its keys would have to be shared by all processes.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::sealed;
    use std::io::Write;

    fn made() -> (Zeroizing<String>, String) {
        let key = make_key().unwrap();
        let certificate = make_certificate(&key, Some("files.example")).unwrap();
        (key, certificate)
    }

    #[test]
    fn what_was_sealed_serves() {
        let (key, certificate) = made();
        let identity = Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        let mut file = sealed::create(c"test").unwrap();
        file.write_all(&identity.encode()).unwrap();
        sealed::seal(&file).unwrap();
        assert_eq!(config(&file).unwrap().alpn_protocols, [b"dfos/1"]);
        assert_eq!(identity.pin().unwrap().to_string().len(), 64);
    }

    #[test]
    fn every_cut_of_a_sealed_identity_is_an_error() {
        let (key, certificate) = made();
        let bytes = Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap().encode();
        let whole = decode(&bytes).unwrap();
        assert_eq!(whole.cert.len(), 1);
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_none_or(|cut| cut.cert.is_empty()), "{end}");
        }
    }

    #[test]
    fn a_pair_that_does_not_go_together_is_refused() {
        let ((key, certificate), (other, _)) = (made(), made());
        let pair = |certificate: &str, key: &str| Identity::from_pem(certificate.as_bytes(), key.as_bytes()).map(drop);
        assert!(pair(&certificate, &key).is_ok());
        assert!(matches!(pair(&certificate, &other), Err(BadIdentity::Mismatch(_))));
        assert!(matches!(pair("", &key), Err(BadIdentity::NoCertificate)));
        assert!(matches!(pair(&certificate, ""), Err(BadIdentity::NoKey)));
        assert!(matches!(pair(&key, &certificate), Err(BadIdentity::NoCertificate)));
    }
}
