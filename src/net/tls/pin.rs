//! Pins: a server is known by the SHA-256 of its public key, as it stands in its certificate (SubjectPublicKeyInfo, RFC 5280 and
//! RFC 7469). A certificate may be renewed; whoever has the key is the server.

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;
use webpki::EndEntityCert;

/// What a server's key is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

/// Why a text is no pin.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{0}' is no pin: 64 hexadecimal digits, as the server's log and `dfos-forkd check` show them")]
pub struct BadPin(String);

impl Pin {
    /// The pin of a certificate's key; `None` if it is no X.509 certificate.
    pub fn of(certificate: &CertificateDer) -> Option<Pin> {
        let key = EndEntityCert::try_from(certificate).ok()?.subject_public_key_info();
        Some(Pin(Sha256::digest(&key).into()))
    }
}

impl FromStr for Pin {
    type Err = BadPin;
    fn from_str(text: &str) -> Result<Self, BadPin> {
        let mut bytes = [0; 32];
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| BadPin(text.into()))?;
        Ok(Pin(bytes))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_parse_and_print() {
        let text = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        assert_eq!(text.parse::<Pin>().unwrap().to_string(), text);
        assert_eq!(format!("sha256:{}", text.to_uppercase()).parse::<Pin>().unwrap().to_string(), text);
        for bad in ["", "sha256:", &text[1..], "zz", &format!("{text}0")] {
            assert!(bad.parse::<Pin>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_renewed_certificate_has_the_same_pin_and_another_key_another() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = |name: &str, key: &rcgen::KeyPair| {
            rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(key).unwrap().der().clone()
        };
        let pin = Pin::of(&certificate("a", &key)).unwrap();
        assert_eq!(Pin::of(&certificate("b", &key)).unwrap(), pin);
        assert_ne!(Pin::of(&certificate("a", &rcgen::KeyPair::generate().unwrap())).unwrap(), pin);
        assert_eq!(Pin::of(&CertificateDer::from(vec![0x30, 0])), None);
    }
}
