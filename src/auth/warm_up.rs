//! A login of nobody, done once by the listener: what a process finds out at its first login and remembers (which instructions the
//! processor has, which calls the kernel) every session then has from the beginning.

use super::scram::{ClientExchange, ScramError, ServerExchange};
use super::table::Found;
use super::verifier::{FEWEST_ITERATIONS, SALT, Verifier};
use super::{Binding, Password, UserName};

/// Logs nobody in, with a password that everybody may know.
pub fn warm_up() -> Result<(), ScramError> {
    const WHAT: ScramError = ScramError::Malformed("the name of nobody");
    let user: UserName = "nobody".parse().map_err(|_| WHAT)?;
    let password = Password::new("nobody").map_err(|_| WHAT)?;
    let found = Found::user(user, Verifier::derive(&password, FEWEST_ITERATIONS, &[0; SALT]));
    let (client, first) = ClientExchange::begin(&user, &password, Binding::None)?;
    let (server, challenge) = ServerExchange::begin(&first, Binding::None)?.challenge(found)?;
    let (client, last) = client.answer(&challenge)?;
    let (_, signature) = server.finish(&last)?;
    client.check(&signature)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_login_of_nobody_succeeds() {
        super::warm_up().unwrap();
    }
}
