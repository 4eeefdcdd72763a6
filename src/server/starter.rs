//! What the one who started the server says in the environment to this process alone: a service manager that wants to be told, sockets to
//! listen on, or the server that was here before. It is read and removed first of all; no session and no program finds it.

use super::handover::{self, Invitation};
use super::manager::Manager;
use crate::sys::environment;
use crate::sys::exec::Program;
use nix::unistd::Pid;
use std::io;
use std::os::fd::RawFd;

/// The sockets that were passed to this process, and their names. Those of others are none of its business, names included.
fn passed() -> io::Result<Vec<(RawFd, String)>> {
    let numbers = sd_notify::listen_fds()?;
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_else(|_| vec!["unknown"; numbers.len()].join(":"));
    let names: Vec<_> = names.split(':').map(str::to_owned).collect();
    if numbers.len() > 0 && numbers.len() != names.len() {
        let text = format!("there are {} of them, and LISTEN_FDNAMES names {}", numbers.len(), names.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(numbers.zip(names).collect())
}

/// The variables of sd_notify(3), sd_watchdog_enabled(3) and sd_listen_fds(3), and the server's own.
const VARIABLES: [&str; 7] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    handover::VARIABLE,
];

/// What was said.
pub struct Starter {
    /// The service manager, or why there is none that can be told anything.
    pub manager: Result<Manager, String>,
    /// Sockets to listen on, and their names.
    pub passed: Vec<(RawFd, String)>,
    /// The server that was here before.
    pub invitation: Option<Invitation>,
    /// How this program was started, without what was said.
    pub program: Program,
}

impl Starter {
    /// Hears it. To be called first in `main`.
    pub fn hear() -> Result<Self, String> {
        let manager = Manager::new(std::env::var_os("NOTIFY_SOCKET"), sd_notify::watchdog_enabled());
        let passed =
            passed().map_err(|why| format!("the sockets that were passed (LISTEN_FDS) cannot be used: {why}"))?;
        let invited = std::env::var(handover::VARIABLE).ok();
        let invitation = invited.and_then(|text| Invitation::parse(&text, Pid::this()));
        environment::remove(&VARIABLES).map_err(|why| format!("cannot start: {why}"))?;
        let program = Program::this().map_err(|why| format!("cannot find out where this program lies: {why}"))?;
        Ok(Starter { manager, passed, invitation, program })
    }
}
