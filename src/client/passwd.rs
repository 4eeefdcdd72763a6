//! `passwd`: another password for the own account. The new verifier is made here, so that neither password leaves this machine.

use super::cli::Passwd;
use super::console::Console;
use super::display::json::Object;
use super::failure::{Exit, Failure};
use super::password::{self, Secret};
use super::remote::Remote;
use crate::auth::{Change, Password};

/// Changes the password, and logs in with the new one to see that it holds.
pub fn passwd(console: &mut Console, options: &Passwd) -> Result<(), Failure> {
    if console.target.address.is_exposed() {
        let text =
            "a new password is not sent in plain text: who reads it on the way could log in; use a tls:// address";
        return Err(Failure::new(Exit::Denied, text));
    }
    console.ask(|_| Ok(()))?; // a wrong old password is to be said before a new one is asked for
    let new = new_password(options)?;
    let target = &console.target;
    let change = match Change::new(&target.user, &target.password, &new) {
        Some(change) => change.map_err(|why| Failure::new(Exit::Other, format!("no random bytes: {why}")))?,
        None => return Err(Failure::new(Exit::Other, "log in before you change the password")),
    };
    let changed = console.ask(|remote| remote.passwd(&change));
    let mut renewed = console.target.clone();
    renewed.password = new;
    if let Err(failure) = changed {
        // An answer that was lost, or an attempt after that: whether the new one holds only a login tells.
        if !(failure.retry || failure.exit == Exit::Login) || Remote::connect(&renewed, &console.stop).is_err() {
            return Err(failure);
        }
    } else {
        let _ = Remote::connect(&renewed, &console.stop)
            .map_err(|why| Failure {
                text: format!("the server took the new password and refuses it: {}", why.text),
                ..why
            })?
            .logout();
    }
    console.target.password = renewed.password;
    if console.output.json {
        return console.output.object(&Object::new("passwd"));
    }
    let old = console.password_from.as_ref().map(|place| format!("; what comes from {place} is the old one"));
    console.output.note(&format!("your password is changed, from the next login on{}", old.unwrap_or_default()));
    Ok(())
}

/// The new password, from where it was said to be, or from the terminal, twice.
fn new_password(options: &Passwd) -> Result<Password, Failure> {
    let secret = match (&options.new_password_command, &options.new_password_file) {
        (Some(command), _) => password::from_shell(command)?,
        (_, Some(path)) => password::from_named_file(path)?,
        (None, None) => typed_twice()?,
    };
    Password::new(secret.as_slice()).map_err(|why| Failure::new(Exit::Usage, format!("the new password: {why}")))
}

fn typed_twice() -> Result<Secret, Failure> {
    const HINT: &str = "use --new-password-command or --new-password-file";
    let first = password::ask("New password: ", HINT)?;
    if first != password::ask("Again: ", HINT)? {
        return Err(Failure::new(Exit::Usage, "the two differ; nothing was changed"));
    }
    Ok(first)
}
