//! Whom to connect to, as whom, and with how much patience: all that is needed to connect, and to connect again.

use super::limits;
use super::throttle::Throttle;
use super::trust::Trusted;
use crate::auth::{Password, UserName};
use crate::net::Address;
use std::sync::Arc;
use std::time::Duration;

/// A server and a user. Threads share it by reference.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where the server listens.
    pub address: Address,
    /// Who logs in.
    pub user: UserName,
    /// The password; it never crosses the wire.
    pub password: Password,
    /// Which servers to believe.
    pub trusted: Trusted,
    /// Attempts after the first when a connection is lost.
    pub retries: u32,
    /// The waits before them; the last is that of all further ones.
    pub waits: &'static [Duration],
    /// How long connecting may take, over all addresses of a name.
    pub connect: Duration,
    /// Silence after which the server counts as dead.
    pub silence: Duration,
    /// How fast the bytes of files may pass, over all connections together.
    pub throttle: Option<Arc<Throttle>>,
}

impl Target {
    /// A target with the usual patience.
    pub fn new(address: Address, user: UserName, password: Password) -> Self {
        let (retries, connect, silence) = (limits::RETRIES, limits::CONNECT, limits::SILENCE);
        let trusted = Trusted::default();
        Target {
            address,
            user,
            password,
            trusted,
            retries,
            waits: &limits::RETRY_WAITS,
            connect,
            silence,
            throttle: None,
        }
    }
}
