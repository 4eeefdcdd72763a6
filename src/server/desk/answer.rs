//! The answers of the desk: objects of JSON, version 1. A reader passes over what it does not know; the version grows when a field
//! changes its meaning or goes, not when one is added. Fields that do not apply are left out.

use crate::proto::unseen::json_spelled_out;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of all of them.
pub const VERSION: u32 = 1;

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// [`VERSION`].
    pub v: u32,
    /// One sentence.
    pub error: String,
}

/// How many sessions a `kick` has met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kicked {
    /// [`VERSION`].
    pub v: u32,
    /// Their names.
    pub kicked: Vec<String>,
}

/// What a `drain` has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draining {
    /// [`VERSION`].
    pub v: u32,
    /// Sessions that go on.
    pub sessions: u64,
}

/// That an upgrade has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrading {
    /// [`VERSION`].
    pub v: u32,
    /// How often the server has been upgraded before.
    pub upgrades: u64,
}

/// How the server is. Of each session, `user`, `peer`, `pid`, `session` and `since` are the listener's knowledge; the rest is what the
/// session says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`VERSION`].
    pub v: u32,
    /// The server's version.
    pub version: String,
    /// The listener's process id.
    pub pid: i32,
    /// `serving`, `upgrading` (it serves, and another program gets ready to take over), `draining` (it takes nobody new) or `ending`.
    pub state: String,
    /// When this was said: RFC 3339 in UTC, as all times.
    pub time: String,
    /// When the server began.
    pub started: String,
    /// The same in seconds since 1970; in hexadecimal digits it begins the names of all sessions.
    pub start: i64,
    /// Seconds since then.
    pub uptime: f64,
    /// Where it listens.
    pub listeners: Vec<String>,
    /// Sessions that there may be at a time.
    pub max_clients: u64,
    /// The most sessions that there have been.
    pub peak: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Logins.
    pub logins: u64,
    /// Logins that were refused.
    pub logins_refused: u64,
    /// Connections that got no session, by reason.
    pub turned_away: BTreeMap<String, u64>,
    /// Sessions that had to make room, or whose user is gone.
    pub sent_away: u64,
    /// Sessions that the operator has ended.
    pub kicked: u64,
    /// How often it has gone on as another program since it began.
    #[serde(default)]
    pub upgrades: u64,
    /// Why it did not, the last time that it was asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade_refused: Option<String>,
    /// Files uploaded.
    pub files_in: u64,
    /// Bytes of those.
    pub bytes_in: u64,
    /// Files downloaded.
    pub files_out: u64,
    /// Bytes sent, of unfinished downloads too.
    pub bytes_out: u64,
    /// The sessions, the oldest first.
    pub sessions: Vec<Session>,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its name, as in the audit.
    pub session: String,
    /// Its process id.
    pub pid: i32,
    /// Who has logged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where the client is.
    pub peer: String,
    /// When it came.
    pub since: String,
    /// Seconds since then.
    pub seconds: f64,
    /// `greeting`, `login`, `idle`, `busy` (with a request) or `settling` (waits until uploads are durable).
    pub state: String,
    /// Seconds for which nothing has moved.
    pub idle: f64,
    /// The request in hand.
    #[serde(default, skip_serializing_if = "Option::is_none", flatten)]
    pub work: Option<Work>,
}

/// A request in hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// The protocol's verb.
    pub verb: String,
    /// Its path, decoded; a long one has lost its beginning and has an ellipsis there.
    pub path: String,
    /// Seconds since the request.
    pub taken: f64,
    /// Where the transfer began in its file: 0 unless it was resumed.
    pub from: u64,
    /// How far it has come.
    pub done: u64,
    /// Where it will end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Bytes a second since the request.
    pub rate: u64,
}

/// As it goes over the socket: a person may read it at a terminal as it is. What cannot be told is told as a fault.
pub fn text(answer: &impl Serialize) -> String {
    let told = serde_json::to_string(answer).map(|text| json_spelled_out(&text));
    told.unwrap_or_else(|_| format!("{{\"v\":{VERSION},\"error\":\"it cannot be told\"}}"))
}

/// A fault, as it goes over the socket.
pub fn fault(error: &str) -> String {
    text(&Fault { v: VERSION, error: error.into() })
}
