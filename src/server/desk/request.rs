//! What can be asked at the desk, as a line of words.

use crate::auth::UserName;
use nix::unistd::Pid;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// How it goes.
    Status,
    /// End sessions.
    Kick(Whom),
    /// Take nobody new, and end when all have gone; those that are still there after this time are ended.
    Drain(Option<Duration>),
    /// Go on as the program that lies where the server was started from.
    Upgrade,
}

/// Which sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// The one of this name, as `status` and the audit show it.
    Session(String),
    /// The one of this process.
    Process(Pid),
    /// All of this user.
    User(UserName),
}

impl FromStr for Whom {
    type Err = String;

    /// A session's name or its process id, as people give it.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(pid @ 1..) = text.parse::<i32>() {
            return Ok(Whom::Process(Pid::from_raw(pid)));
        }
        let is_name = |(server, number): (&str, &str)| {
            let is_hex = !server.is_empty() && server.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_hex && number.parse::<u64>().is_ok()
        };
        if text.split_once('-').is_some_and(is_name) {
            return Ok(Whom::Session(text.into()));
        }
        Err("a session as 'dfos-forkd status' shows it (6920a1b3-17), or a process id".into())
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::Status => f.write_str("STATUS"),
            Request::Kick(Whom::Session(name)) => write!(f, "KICK session {name}"),
            Request::Kick(Whom::Process(pid)) => write!(f, "KICK session {pid}"),
            Request::Kick(Whom::User(user)) => write!(f, "KICK user {user}"),
            Request::Upgrade => f.write_str("UPGRADE"),
            Request::Drain(None) => f.write_str("DRAIN"),
            Request::Drain(Some(within)) => write!(f, "DRAIN {}", within.as_secs()),
        }
    }
}

impl FromStr for Request {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["STATUS"] => Ok(Request::Status),
            ["KICK", "session", whom] => whom.parse().map(Request::Kick),
            ["KICK", "user", name] => {
                let user = name.parse().map_err(|_| "that is no user's name".to_owned())?;
                Ok(Request::Kick(Whom::User(user)))
            }
            ["UPGRADE"] => Ok(Request::Upgrade),
            ["DRAIN"] => Ok(Request::Drain(None)),
            ["DRAIN", seconds] => {
                let seconds = seconds.parse::<u32>().map_err(|_| "a number of seconds is due".to_owned())?;
                Ok(Request::Drain(Some(Duration::from_secs(seconds.into()))))
            }
            _ => Err("STATUS, KICK session ID, KICK user NAME, DRAIN [SECONDS] and UPGRADE are understood here".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_reads_as_it_is_written() {
        for line in
            ["STATUS", "KICK session 7", "KICK session 6920a1b3-17", "KICK user anna", "DRAIN", "DRAIN 0", "DRAIN 30"]
        {
            assert_eq!(line.parse::<Request>().unwrap().to_string(), line);
        }
        for bad in [
            "",
            "status",
            "KICK session 0",
            "KICK session -1",
            "KICK session x-1",
            "KICK session 1-",
            "KICK user A",
            "DRAIN -1",
        ] {
            assert!(bad.parse::<Request>().is_err(), "{bad}");
        }
    }
}
