//! What travels to the scribe: one record a datagram, over sockets on which the kernel names the sender. No session can speak for
//! another; who is who only the listener says, over a socket of its own, which no session can fill.

use super::action::{Action, ENCODED};
use super::level::Level;
pub use super::log::{Audit, LARGEST, Log, Way};
use crate::auth::UserName;
use crate::proto::limits;
use nix::unistd::Pid;
use std::time::Duration;

/// A session, as the listener knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its process.
    pub pid: Pid,
    /// Which connection it serves, counted since the server's start.
    pub serial: u64,
    /// Which listening socket the connection came to.
    pub at: usize,
    /// Who is there.
    pub peer: String,
}

/// How a session went, as the listener saw it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parting {
    /// How it ended, in one word.
    pub word: String,
    /// How long it lasted.
    pub took: Duration,
    /// Files and bytes uploaded, files and bytes downloaded.
    pub moved: [u64; 4],
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Of the listener: this child serves this peer. With a line for the log.
    Opened(Caller, String),
    /// Of the listener: this child's user has logged in. The line for the log is the scribe's.
    User(Pid, String),
    /// Of the listener: this child has been reaped. With a line for the log.
    Closed(Pid, Level, Parting, String),
    /// Of the listener: what it has said of its children is void. Those that there are follow.
    Forget,
    /// Of the listener: this child serves this peer, and this user once that is known, and has done so for a while.
    Known(Caller, Option<String>),
    /// Of the listener: a connection to this listening socket, from this peer, got no session; how much that matters to the log, if the
    /// log wants it; and why, in a word and in a sentence.
    TurnedAway(usize, String, Option<Level>, String, String),
    /// Of the listener: write into new files, the old ones have been put away.
    Reopen,
    /// Of the listener: lines that matter less than this are not written from now on.
    Level(Level),
    /// Of the listener: nothing more will come, and the operator's programs have so long.
    End(Duration),
    /// Of the listener, to this scribe: another one takes over and reads what comes from now on.
    Leave(Pid),
    /// Of anybody: so many records are missing here, and why.
    Lost(u64, String),
    /// Of anybody: a line for the log.
    Line(Level, String),
    /// Of a session after its login: a line for the log, which waits until the listener has said who the user is.
    OfUser(Level, String),
    /// Of a session before its login: a refused one, counted, with the account that was asked for if it exists and what else there is to
    /// say of it.
    Refused(u32, Option<String>, String),
    /// Of a session after its login: what it did.
    Action(Box<Action>),
}

impl Record {
    /// As it travels to the scribe.
    pub fn encode(&self) -> String {
        match self {
            Record::Opened(caller, text) => format!("O{} {text}", of_caller(caller)),
            Record::Closed(pid, level, parting, text) => {
                let Parting { word, took, moved: [a, b, c, d] } = parting;
                format!("C{pid} {} {word} {} {a} {b} {c} {d} {text}", *level as u8, took.as_micros())
            }
            Record::User(pid, name) => format!("U{pid} {name}"),
            Record::Forget => "F".into(),
            Record::Known(caller, user) => format!("K{} {}", of_caller(caller), user.as_deref().unwrap_or_default()),
            Record::TurnedAway(at, peer, level, word, text) => {
                let level = level.map_or("-".to_owned(), |level| (level as u8).to_string());
                format!("T{at} {peer} {level} {word} {text}")
            }
            Record::Reopen => "N".into(),
            Record::Level(level) => format!("V{}", *level as u8),
            Record::End(patience) => format!("E{}", patience.as_millis()),
            Record::Leave(pid) => format!("Y{pid}"),
            Record::Lost(count, why) => format!("X{count} {why}"),
            Record::Line(level, text) => format!("{}{text}", *level as u8),
            Record::OfUser(level, text) => format!("L{}{text}", *level as u8),
            Record::Refused(attempt, account, text) => {
                format!("R{attempt} {} {text}", account.as_deref().unwrap_or_default())
            }
            Record::Action(action) => {
                let mut text = String::with_capacity(ENCODED);
                text.push('A');
                action.encode_into(&mut text);
                text
            }
        }
    }

    /// Reads a record; `None` for what is none, since a session that was taken over can send anything.
    pub fn decode(bytes: &[u8]) -> Option<Record> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (kind, rest) = (*bytes.first()?, text.get(1..)?);
        match kind {
            b'O' => caller(rest).map(|(caller, text)| Record::Opened(caller, text.into())),
            b'U' => {
                let (pid, name) = rest.split_once(' ')?;
                Some(Record::User(self::pid(pid)?, user(name)?))
            }
            b'C' => closed(rest),
            b'F' => Some(Record::Forget),
            b'K' => {
                let (caller, name) = caller(rest)?;
                Some(Record::Known(caller, user_or_none(name)?))
            }
            b'T' => {
                let [at, peer, level, word, text] = words(rest)?;
                let level = if level == "-" { None } else { Some(levelled(level)?.0) };
                Some(Record::TurnedAway(at.parse().ok()?, peer.into(), level, word.into(), text.into()))
            }
            b'N' => Some(Record::Reopen),
            b'V' => levelled(rest).map(|(level, _)| Record::Level(level)),
            b'E' => rest.parse::<u32>().ok().map(|millis| Record::End(Duration::from_millis(millis.into()))),
            b'Y' => pid(rest).map(Record::Leave),
            b'X' => {
                let [count, why] = words(rest)?;
                let count = count.parse().ok().filter(|count| *count <= MOST_LOST)?;
                Some(Record::Lost(count, why.chars().take(limits::ACTION_TEXT).collect()))
            }
            b'L' => levelled(rest).map(|(level, text)| Record::OfUser(level, text)),
            b'R' => {
                let [attempt, account, text] = words(rest)?;
                let attempt = attempt.parse().ok().filter(|attempt| *attempt <= limits::LOGIN_ATTEMPTS)?;
                let text = text.chars().take(limits::ACTION_TEXT).collect();
                Some(Record::Refused(attempt, user_or_none(account)?, text))
            }
            b'A' => Action::decode(rest).map(|action| Record::Action(Box::new(action))),
            _ => levelled(text).map(|(level, text)| Record::Line(level, text)),
        }
    }

    /// Bytes that it takes in memory, about.
    pub fn weight(&self) -> usize {
        let text = match self {
            Record::Line(_, text) | Record::OfUser(_, text) | Record::Refused(_, _, text) | Record::Lost(_, text) => {
                text.len()
            }
            Record::Action(action) => {
                let paths = [&action.path, &action.to].into_iter().flatten();
                paths.map(String::len).sum::<usize>() + action.text.len()
            }
            _ => 0,
        };
        text + limits::LOG_RECORD
    }
}

/// More dropped records than this no session can count in its life.
pub const MOST_LOST: u64 = 1_000_000_000;

/// The first words of a text, and the rest of it as the last.
fn words<const N: usize>(text: &str) -> Option<[&str; N]> {
    let mut words = text.splitn(N, ' ');
    let mut all = [""; N];
    for place in &mut all {
        *place = words.next()?;
    }
    Some(all)
}

fn pid(text: &str) -> Option<Pid> {
    text.parse().ok().map(Pid::from_raw)
}

fn of_caller(Caller { pid, serial, at, peer }: &Caller) -> String {
    format!("{pid} {serial} {at} {peer}")
}

fn caller(text: &str) -> Option<(Caller, &str)> {
    let [pid, serial, at, peer, rest] = words(text)?;
    let (serial, at) = (serial.parse().ok()?, at.parse().ok()?);
    Some((Caller { pid: self::pid(pid)?, serial, at, peer: peer.into() }, rest))
}

fn closed(text: &str) -> Option<Record> {
    let [pid, level, word, micros, a, b, c, d, text] = words(text)?;
    let (level, _) = levelled(level)?;
    let moved = [a.parse().ok()?, b.parse().ok()?, c.parse().ok()?, d.parse().ok()?];
    let parting = Parting { word: word.into(), took: Duration::from_micros(micros.parse().ok()?), moved };
    Some(Record::Closed(self::pid(pid)?, level, parting, text.into()))
}

/// A user's name. It stands in every line of the session from then on: what is none could forge others.
fn user(name: &str) -> Option<String> {
    name.parse::<UserName>().ok().map(|_| name.into())
}

/// The same, or nothing where nothing stands.
fn user_or_none(name: &str) -> Option<Option<String>> {
    if name.is_empty() { Some(None) } else { user(name).map(Some) }
}

fn levelled(text: &str) -> Option<(Level, String)> {
    Some((Level::from_byte(*text.as_bytes().first()?)?, text.get(1..)?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Caller {
        Caller { pid: Pid::from_raw(7), serial: 12, at: 1, peer: "127.0.0.1:5".into() }
    }

    #[test]
    fn records_survive_the_way_and_rubbish_is_none() {
        let parting = Parting { word: "killed".into(), took: Duration::from_micros(5), moved: [1, 2, 3, 4] };
        for record in [
            Record::Opened(session(), "a line with spaces".into()),
            Record::User(Pid::from_raw(7), "alice".into()),
            Record::Closed(Pid::from_raw(7), Level::Error, parting, "a line".into()),
            Record::Forget,
            Record::Known(session(), None),
            Record::Known(session(), Some("alice".into())),
            Record::TurnedAway(0, "uid:5".into(), None, "full".into(), "no room".into()),
            Record::TurnedAway(0, "uid:5".into(), Some(Level::Info), "full".into(), "no room".into()),
            Record::Reopen,
            Record::Level(Level::Debug),
            Record::End(Duration::from_millis(1500)),
            Record::Leave(Pid::from_raw(7)),
            Record::Lost(7, "the log was too slow".into()),
            Record::Line(Level::Debug, "text with spaces".into()),
            Record::OfUser(Level::Debug, "text with spaces".into()),
            Record::Refused(2, None, String::new()),
            Record::Refused(3, Some("alice".into()), "the account is disabled".into()),
            Record::Action(Box::new(Action::unknown())),
        ] {
            assert_eq!(Record::decode(record.encode().as_bytes()), Some(record));
        }
        let forged = b"U7 x\n2026-01-01T00:00:00.000000Z dfos-forkd[1] info bob";
        for rubbish in [
            &b""[..],
            b"O",
            b"Ox 1 0 y z",
            b"O7 y",
            b"O7 x 0 y z",
            b"C",
            b"C7",
            b"C7 ",
            b"C7 9 w 1 1 1 1 1 t",
            b"C7 2 w 1 1 1 1 t",
            b"Cx 2 w 1 1 1 1 1 t",
            b"9x",
            b"\xff",
            "\u{e9}".as_bytes(),
            b"U",
            b"U7",
            b"U7 ",
            b"Ualice",
            forged,
            b"U7 \x1b[2J",
            b"K7",
            b"K7 1 0 y",
            b"K7 1 0 y \x1b[2J",
            b"L",
            b"L9x",
            b"T",
            b"Tx y 2 z t",
            b"T1 y 9 z t",
            b"X",
            b"X-1 x",
            b"X18446744073709551615 x",
            b"X7",
            b"R",
            b"R1",
            b"R4  x",
            b"R1 \x1b[2J x",
            b"A",
            b"V",
            b"V9",
            b"E",
            b"E-1",
        ] {
            assert_eq!(Record::decode(rubbish), None, "{rubbish:?}");
        }
    }
}
