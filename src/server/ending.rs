//! How a session ended, as its exit status: the only thing that a child tells its parent.

use nix::sys::wait::WaitStatus;
use std::fmt;

/// What a client hears whose session the operator has ended. No code that clients try again for by themselves.
pub const KICKED: &str = "the operator has ended your session";

/// Why a session ended. The numbers keep clear of 1 and 2, which a program ends with by accident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Ending {
    /// LOGOUT.
    LoggedOut = 0,
    /// The client closed, or vanished.
    Vanished = 10,
    /// The client kept still for too long.
    TimedOut = 11,
    /// Nobody logged in within the time given for it.
    LoginTimedOut = 12,
    /// Three refused logins.
    LoginRefused = 13,
    /// The client does not speak the protocol.
    Protocol = 14,
    /// The server is ending.
    ShutDown = 15,
    /// Something on the server failed.
    Failed = 16,
    /// The client left, in whatever way, after a refused login and before the last attempt.
    Guessed = 17,
    /// The listener asked for it: somebody else needed the place, or the user is gone.
    SentAway = 18,
    /// A user left for whom a login had been refused before the true one.
    GuessedFirst = 19,
    /// The user has as many sessions as allowed.
    Turned = 20,
    /// The operator has ended it.
    Kicked = 21,
}

impl Ending {
    const ALL: [Ending; 13] = [
        Ending::LoggedOut,
        Ending::Vanished,
        Ending::TimedOut,
        Ending::LoginTimedOut,
        Ending::LoginRefused,
        Ending::Protocol,
        Ending::ShutDown,
        Ending::Failed,
        Ending::Guessed,
        Ending::SentAway,
        Ending::GuessedFirst,
        Ending::Turned,
        Ending::Kicked,
    ];
}

impl Ending {
    /// The word for it in the audit.
    pub fn word(self) -> &'static str {
        match self {
            Ending::LoggedOut => "logged-out",
            Ending::Vanished => "vanished",
            Ending::TimedOut => "timed-out",
            Ending::LoginTimedOut => "login-timed-out",
            Ending::LoginRefused => "login-refused",
            Ending::Protocol => "protocol",
            Ending::ShutDown => "shut-down",
            Ending::Failed => "failed",
            Ending::Guessed => "guessed",
            Ending::SentAway => "sent-away",
            Ending::GuessedFirst => "guessed-first",
            Ending::Turned => "turned",
            Ending::Kicked => "kicked",
        }
    }

    /// What it is where a login has been refused on the connection. Who leaves before the last attempt, in silence or politely, has
    /// guessed all the same; so has, perhaps, who then logged in with an account of their own.
    pub fn after_a_guess(self, logged_in: bool) -> Ending {
        match self {
            Ending::Vanished | Ending::LoggedOut | Ending::TimedOut | Ending::Turned | Ending::Failed if logged_in => {
                Ending::GuessedFirst
            }
            Ending::Vanished | Ending::LoggedOut | Ending::LoginTimedOut | Ending::SentAway if !logged_in => {
                Ending::Guessed
            }
            other => other,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ending::LoggedOut => "logged out",
            Ending::Vanished => "the client closed the connection",
            Ending::TimedOut => "idle for too long",
            Ending::LoginTimedOut => "no login in time",
            Ending::LoginRefused => "three refused logins",
            Ending::Protocol => "not the DFOS protocol",
            Ending::ShutDown => "the server is ending",
            Ending::Failed => "the session failed",
            Ending::Guessed => "left after a refused login",
            Ending::SentAway => "sent away",
            Ending::GuessedFirst => "left; a login had been refused before the true one",
            Ending::Turned => "the user has as many sessions as allowed",
            Ending::Kicked => "kicked by the operator",
        })
    }
}

/// What the kernel says of a child's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It ended by itself.
    Ended(Ending),
    /// It exited with a status that is no [`Ending`]: 101 after a panic.
    Status(i32),
    /// A signal ended it.
    Killed(nix::sys::signal::Signal),
}

impl Fate {
    /// The fate in a wait status; `None` if the child still lives.
    pub fn of(status: WaitStatus) -> Option<Fate> {
        match status {
            WaitStatus::Exited(_, code) => {
                let ending = Ending::ALL.into_iter().find(|ending| *ending as i32 == code);
                Some(ending.map_or(Fate::Status(code), Fate::Ended))
            }
            WaitStatus::Signaled(_, signal, _) => Some(Fate::Killed(signal)),
            _ => None,
        }
    }

    /// The word for it in the audit.
    pub fn word(&self) -> &'static str {
        match self {
            Fate::Ended(ending) => ending.word(),
            Fate::Status(_) => Ending::Failed.word(),
            Fate::Killed(_) => "killed",
        }
    }

    /// Whether an operator should look at it.
    pub fn is_alarming(&self) -> bool {
        !matches!(self, Fate::Ended(ending) if *ending != Ending::Failed)
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fate::Ended(ending) => ending.fmt(f),
            Fate::Status(code) => write!(f, "unexpected exit status {code}"),
            Fate::Killed(signal) => write!(f, "killed by {signal}"),
        }
    }
}
