//! Logging in with SCRAM-SHA-256: the password never crosses the wire, and the server proves that it knows the user. Over TLS the
//! login is bound to the channel (SCRAM-SHA-256-PLUS) or does not happen, whatever a server, or somebody in its place, offers.

use super::connection::Connection;
use super::failure::{Exit, Failure};
use super::target::Target;
use super::trust::Trust;
use crate::auth::scram::{decode, encode};
use crate::auth::{ClientExchange, ScramError};
use crate::proto::{Answer, Code};
use std::time::Duration;

/// Logs in; how long the server keeps what goes to the trash, if it says so. `LOGIN`, which sends the password, is never used. `trust` is why the server is believed so far.
pub fn log_in(
    connection: &mut Connection,
    target: &Target,
    offered: &str,
    trust: Option<Trust>,
) -> Result<Option<Duration>, Failure> {
    let binding = connection.binding()?;
    let mechanism = binding.mechanism();
    if !offered.split(',').any(|offer| offer == mechanism) {
        let text = format!("the server does not offer {mechanism}, and the password is not sent in any other way");
        return Err(Failure::new(Exit::Identity, text));
    }
    let step = |connection: &mut Connection, message: &str| match connection
        .ask(format_args!("AUTH {mechanism} {}", encode(message)))?
    {
        Answer::Err(code, text) => Err(refused(connection, code, &text, trust)),
        answer => Ok(answer),
    };
    let (exchange, first) =
        ClientExchange::begin(&target.user, &target.password, binding).map_err(|why| failed(&why))?;
    let challenge = match step(connection, &first)? {
        Answer::Challenge(word) => decode(&word).map_err(|why| failed(&why))?,
        other => return Err(connection.unexpected(&other)),
    };
    let (proof, last) = exchange.answer(&challenge).map_err(|why| failed(&why))?;
    let fields = match step(connection, &last)? {
        Answer::Ok(fields) => fields,
        other => return Err(connection.unexpected(&other)),
    };
    // A server that just says "welcome" has proved nothing.
    let signature =
        fields.get("scram").ok_or(ScramError::Server).and_then(decode).map_err(|_| failed(&ScramError::Server))?;
    proof.check(&signature).map_err(|why| failed(&why))?;
    Ok(fields.number("trash").ok().map(Duration::from_secs))
}

/// At a first meeting a refusal may have another reason than the password.
fn refused(connection: &mut Connection, code: Code, text: &str, trust: Option<Trust>) -> Failure {
    let failure = connection.refused(b"", code, text);
    if code != Code::LoginRefused || trust != Some(Trust::Unknown) {
        return failure;
    }
    let text =
        format!("{}, or somebody stands between you and the server, whose key is not known here yet", failure.text);
    Failure { text, ..failure }
}

/// Whatever is wrong with the server's side of the login, it is not the server that holds this account.
fn failed(why: &ScramError) -> Failure {
    let exit = match why {
        ScramError::Refused => Exit::Login,
        ScramError::Random(_) => Exit::Other,
        _ => Exit::Identity,
    };
    Failure::new(exit, why.to_string())
}
