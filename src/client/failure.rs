//! What can go wrong for a user of the client, and the exit status that says so to a script.

use crate::proto::Code;
use std::fmt;

/// Why `dfos-client` ends. The numbers are stable: scripts depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    #[default]
    Ok = 0,
    /// Anything without a number of its own.
    Other = 1,
    /// The command line or a path makes no sense.
    Usage = 2,
    /// Cannot resolve or connect, or the server takes no more clients.
    Connect = 3,
    /// The server is not who it should be.
    Identity = 4,
    /// Wrong user or password.
    Login = 5,
    /// The server does not allow it.
    Denied = 6,
    /// No such file or directory on the server.
    NotFound = 7,
    /// The name is taken, or a file and a directory are mixed up.
    Conflict = 8,
    /// No space or quota left on the server.
    Space = 9,
    /// A local file could not be read or written.
    Local = 10,
    /// The bytes received are not the bytes sent.
    Integrity = 11,
    /// The other end does not speak this protocol.
    Protocol = 12,
    /// Nothing came for too long.
    Timeout = 13,
    /// Some of several files failed.
    Partial = 14,
    /// Interrupted; run the same command again to go on.
    Interrupted = 17,
}

impl Exit {
    /// All exits with what they mean, for help and manual.
    pub const TABLE: &[(Exit, &str)] = &[
        (Exit::Ok, "ok"),
        (Exit::Other, "other failure"),
        (Exit::Usage, "usage"),
        (Exit::Connect, "cannot connect"),
        (Exit::Identity, "server identity"),
        (Exit::Login, "login refused"),
        (Exit::Denied, "denied"),
        (Exit::NotFound, "not found"),
        (Exit::Conflict, "exists or conflict"),
        (Exit::Space, "no space or quota on the server"),
        (Exit::Local, "local file error"),
        (Exit::Integrity, "integrity"),
        (Exit::Protocol, "protocol"),
        (Exit::Timeout, "time-out"),
        (Exit::Partial, "some of several failed"),
        (Exit::Interrupted, "interrupted (resumable)"),
    ];
}

impl From<Code> for Exit {
    fn from(code: Code) -> Exit {
        let status = code.exit_status();
        Exit::TABLE.iter().map(|(exit, _)| *exit).find(|exit| *exit as u8 == status).unwrap_or(Exit::Other)
    }
}

/// A failure: what to exit with, and one clear sentence that says what happened and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit status.
    pub exit: Exit,
    /// The server's code, where it was the server that refused.
    pub code: Option<Code>,
    /// The sentence. Names in it are escaped already.
    pub text: String,
    /// Whether a new connection may help: the connection was lost, or the server was busy or going down.
    pub retry: bool,
}

impl Failure {
    /// A failure that trying again does not cure.
    pub fn new(exit: Exit, text: impl Into<String>) -> Self {
        Failure { exit, code: None, text: text.into(), retry: false }
    }

    /// A failure that a new connection may cure.
    pub fn passing(exit: Exit, text: impl Into<String>) -> Self {
        Failure { exit, code: None, text: text.into(), retry: true }
    }

    /// What the server refused.
    pub fn refused(code: Code, text: impl Into<String>) -> Self {
        let retry = matches!(code, Code::Busy | Code::ShuttingDown | Code::Timeout);
        Failure { exit: code.into(), code: Some(code), text: text.into(), retry }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}
