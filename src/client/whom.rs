//! Whom to connect to, and as whom: from what was said to a target.

use super::cli::Options;
use super::failure::{Exit, Failure};
use super::password::Secret;
use super::target::Target;
use crate::auth::{Password, UserName};
use nix::unistd::{User, getuid};
use std::time::Duration;

/// Whom to connect to, and with how much patience. `find` knows the password of whom it is told.
pub fn target(
    options: &Options,
    find: impl FnOnce(&Options, &str) -> Result<Secret, Failure>,
) -> Result<Target, Failure> {
    let address = options.address()?;
    let trusted = options.trusted()?;
    let user = user(options)?;
    let secret = find(options, &format!("{user} at {address}"))?;
    let password = Password::new(secret.as_slice()).map_err(|why| Failure::new(Exit::Login, why.to_string()))?;
    let mut target = Target::new(address, user, password);
    target.trusted = trusted;
    target.retries = options.retries;
    target.silence = Duration::from_secs(options.timeout);
    target.connect = target.connect.min(target.silence);
    Ok(target)
}

/// Who logs in: as said, else the login name on this machine if a server can know such a name.
pub fn user(options: &Options) -> Result<UserName, Failure> {
    if let Some(name) = &options.user {
        return name.parse().map_err(|why| Failure::new(Exit::Usage, format!("{why}")));
    }
    let login = User::from_uid(getuid()).ok().flatten().and_then(|user| user.name.parse().ok());
    login.ok_or_else(|| Failure::new(Exit::Usage, "name the user: --user NAME or DFOS_USER"))
}
