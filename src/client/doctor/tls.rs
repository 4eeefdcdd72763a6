//! The encrypted channel: whether it comes about, what the certificate says, and whether the key is the one that is known.

use super::finding::{Chart, Step, took};
use super::stranger;
use crate::client::connection::{self, secure};
use crate::client::failure::{Exit, Failure};
use crate::client::limits::CERTIFICATE_DAYS;
use crate::client::target::Target;
use crate::net::Wire;
use crate::net::tls::pin::Pin;
use crate::net::tls::validity::{self, Validity};
use crate::net::tls::verify::{Shown, Trust, Verifier};
use rustls::{CertificateError, Error};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;

/// A day.
const DAY: i64 = 86_400;

/// Shakes hands, where the address has TLS; `None` if that failed.
pub fn shake_hands(
    chart: &mut Chart,
    target: &Target,
    wire: &mut Wire,
    peer: Option<SocketAddr>,
) -> Result<Option<Option<Arc<Verifier>>>, Failure> {
    let verifier = match connection::verifier(target) {
        Ok(Some(verifier)) => verifier,
        Ok(None) => return Ok(Some(None)),
        Err(_) => return Ok(None), // the file of known servers; said already
    };
    let began = Instant::now();
    let result = secure(wire, target, Some(&verifier));
    let shown = verifier.shown();
    match (&result, &shown) {
        (Ok(()), _) => chart.fine(Step::Tls, &format!("TLS 1.3 after {}", took(began)))?,
        // It has come as far as a certificate: what is wrong is said of that.
        (Err(failure), Some(_)) if failure.exit == Exit::Identity => chart.fine(Step::Tls, "TLS 1.3")?,
        (Err(failure), _) => stranger::explain(chart, Step::Tls, target, peer, failure)?,
    }
    if let Some(shown) = &shown {
        certificate(chart, &verifier, shown)?;
        key(chart, target, &verifier, shown, result.as_ref().err())?;
    }
    Ok(result.is_ok().then_some(Some(verifier)))
}

/// What the certificate is worth. That no authority vouches for it is no fault: then the key counts.
fn certificate(chart: &mut Chart, verifier: &Verifier, shown: &Shown) -> Result<(), Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()).cast_signed();
    let validity = validity::of(&shown.certificate);
    let dates = validity.map_or("of unknown dates".to_owned(), |Validity { from, until }| {
        format!("valid from {} to {} ({})", date(from), date(until), left(until, now))
    });
    let known = matches!(verifier.seen(), Some((_, Trust::Pinned)));
    let told = match verifier.opinion(shown) {
        Some(Ok(())) => {
            let found = format!("an authority vouches for it; {dates}");
            if validity.is_some_and(|validity| validity.until - now < CERTIFICATE_DAYS * DAY) {
                return chart.warning(Step::Certificate, &found, "tell the operator, who has to renew it");
            }
            return chart.fine(Step::Certificate, &found);
        }
        None => {
            return chart.fine(Step::Certificate, &format!("there is no authority to ask, the key counts; {dates}"));
        }
        Some(Err(why)) => told(&why),
    };
    let (found, todo) = (format!("{}; {dates}", told.0), told.1);
    // A server's own certificate is the usual thing where its key is what is known of it.
    match todo {
        Some(todo) if !known => chart.warning(Step::Certificate, &found, todo),
        _ => chart.fine(Step::Certificate, &found),
    }
}

/// Why authorities do not vouch for a certificate, and what to do if that is not meant.
fn told(why: &Error) -> (String, Option<&'static str>) {
    use CertificateError::*;
    let Error::InvalidCertificate(why) = why else { return (format!("no authority vouches for it: {why}"), None) };
    match why {
        Expired | ExpiredContext { .. } => (
            "no authority vouches for it: it has expired".into(),
            Some("tell the operator, who has to renew it; until then only its key counts"),
        ),
        NotValidYet | NotValidYetContext { .. } => (
            "no authority vouches for it: it is not valid yet".into(),
            Some("look at the clock of this machine (timedatectl), then tell the operator"),
        ),
        NotValidForName | NotValidForNameContext { .. } => (
            "it is for another name".into(),
            Some("use the name that the certificate is for, or tell the operator; until then only its key counts"),
        ),
        _ => ("the server's own, for which no authority vouches: its key counts".into(), None),
    }
}

/// Whether the key is the one that is known.
fn key(
    chart: &mut Chart,
    target: &Target,
    verifier: &Verifier,
    shown: &Shown,
    failure: Option<&Failure>,
) -> Result<(), Failure> {
    let Some(pin) = Pin::of(&shown.certificate) else { return Ok(()) };
    if let Some(failure) = failure {
        // Only another key than expected ends a handshake after the certificate.
        let todo = match target.trusted.fixed() {
            Some(_) => "compare with what 'dfos-forkd check' prints on the server; then take out --pin or correct it",
            None => "ask the operator before you do that, not by this connection",
        };
        return chart.failed(Step::Key, failure, todo);
    }
    let found = match verifier.seen() {
        Some((_, Trust::Pinned)) if target.trusted.fixed().is_some() => format!("sha256:{pin}, as --pin says"),
        Some((_, Trust::Pinned)) => format!("sha256:{pin}, known"),
        Some((_, Trust::Authority)) => format!("sha256:{pin}, not remembered: the authority vouches for it"),
        _ => {
            let todo = "compare it with what the operator tells you; the first login proves it, and makes it known";
            return chart.warning(Step::Key, &format!("sha256:{pin}, new here"), todo);
        }
    };
    chart.fine(Step::Key, &found)
}

fn date(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds).map_or("?".into(), |at| at.date().to_string())
}

fn left(until: i64, now: i64) -> String {
    match (until - now).div_euclid(DAY) {
        days if days < 0 => format!("over since {} days", -days),
        days if days > 36_525 => "no end in sight".to_owned(),
        days => format!("{days} days left"),
    }
}
