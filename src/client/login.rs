//! Logging in with SCRAM-SHA-256: the password never crosses the wire, and the server proves that it knows the user.

use super::connection::Connection;
use super::failure::{Exit, Failure};
use super::target::Target;
use crate::auth::scram::{decode, encode};
use crate::auth::{Binding, ClientExchange, ScramError};
use crate::proto::Answer;

const MECHANISM: &str = "SCRAM-SHA-256";

/// Logs in. `LOGIN`, which sends the password, is never used, whatever the server offers.
pub fn log_in(connection: &mut Connection, target: &Target, offered: &str) -> Result<(), Failure> {
    if !offered.split(',').any(|mechanism| mechanism == MECHANISM) {
        let text = format!("the server does not offer {MECHANISM}, and the password is not sent in any other way");
        return Err(Failure::new(Exit::Identity, text));
    }
    let (exchange, first) =
        ClientExchange::begin(&target.user, &target.password, Binding::None).map_err(|why| failed(&why))?;
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
    proof.check(&signature).map_err(|why| failed(&why))
}

fn step(connection: &mut Connection, message: &str) -> Result<Answer, Failure> {
    match connection.ask(format_args!("AUTH {MECHANISM} {}", encode(message)))? {
        Answer::Err(code, text) => Err(connection.refused(b"", code, &text)),
        answer => Ok(answer),
    }
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
