//! The scribe: the one process that owns the log. It names each line's sender by what the kernel says of it, and leads the
//! process group that all sessions join. It ends when everybody who could send has gone.

use super::options::LogTarget;
use super::record::{LARGEST, Level, Log, Record};
use super::syslog_output::SyslogOutput;
use crate::proto::unseen::is_unsafe;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, setsockopt, socketpair, sockopt,
};
use nix::unistd::Pid;
use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::io::{self, IoSliceMut, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// How long a record may wait for the listener's word of who its sender is: the child may be faster than its parent.
const HOLD: Duration = Duration::from_secs(1);

/// How long it rests before it takes what has come: so long a line may be late, and whoever sends many does not wake it for each. In milliseconds.
const REST: u8 = 1;

/// RFC 3339 in UTC, with microseconds.
const STAMP: &[BorrowedFormatItem] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// Makes the socket that records travel over, and lines that matter as much as `level`: the end to send to, for all, and the end to
/// read.
pub fn socket(level: Level) -> io::Result<(Log, OwnedFd)> {
    let (log, scribe) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    setsockopt(&scribe, sockopt::PassCred, &true)?;
    Ok((Log::new(log, level), scribe))
}

/// What is known of a session.
struct Session {
    peer: String,
    user: Option<String>,
}

/// Where lines go.
enum Output {
    Stderr,
    Syslog(Box<SyslogOutput>),
}

/// The scribe.
pub struct Scribe {
    socket: OwnedFd,
    listener: Pid,
    output: Output,
    sessions: HashMap<Pid, Session>,
    early: VecDeque<(Instant, Pid, Record)>,
    level: Level,
}

impl Scribe {
    /// A scribe that reads from `socket` and believes `listener`.
    pub fn new(socket: OwnedFd, listener: Pid, target: LogTarget, level: Level) -> Self {
        let output = match target {
            LogTarget::Stderr => Output::Stderr,
            LogTarget::Syslog => Output::Syslog(Box::default()),
        };
        Scribe { socket, listener, output, sessions: HashMap::new(), early: VecDeque::new(), level }
    }

    /// Writes until everybody who could send has gone.
    pub fn run(mut self) -> nix::Result<()> {
        // The listener decides when to end, not a signal to the group; and a terminal that stops background output must not stop
        // the log.
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGTTOU] {
            crate::sys::signals::set(signal, SigHandler::SigIgn)?;
        }
        let mut buffer = vec![0; LARGEST];
        loop {
            let wait = if self.early.is_empty() { PollTimeout::NONE } else { PollTimeout::from(50u8) };
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, wait) {
                Err(Errno::EINTR) => continue,
                Ok(0) => {}
                other => {
                    other?;
                    let _ = poll(&mut [], REST);
                    if !self.take_all(&mut buffer)? {
                        return Ok(());
                    }
                }
            }
            self.release(|_| false);
        }
    }

    /// Takes all that has come. `false` when nobody is left to send.
    fn take_all(&mut self, buffer: &mut [u8]) -> nix::Result<bool> {
        loop {
            match receive(&self.socket, buffer) {
                Ok(Some((sender, length))) => self.take(sender, Record::decode(&buffer[..length])),
                Ok(None) => return Ok(false),
                Err(Errno::EAGAIN) => return Ok(true),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, sender: Pid, record: Option<Record>) {
        let Some(record) = record else { return };
        if sender == self.listener {
            return self.heed(record);
        }
        if !self.sessions.contains_key(&sender) {
            return self.early.push_back((Instant::now(), sender, record));
        }
        self.write_for(sender, record);
    }

    /// Takes the listener's word.
    fn heed(&mut self, record: Record) {
        match record {
            Record::Opened(pid, peer, text) => {
                self.sessions.insert(pid, Session { peer, user: None });
                if !text.is_empty() {
                    self.write(self.listener, Level::Info, "", &text);
                }
                self.release(|_| false);
            }
            Record::Closed(pid, level, text) => {
                self.release(|sender| sender == pid);
                self.sessions.remove(&pid);
                self.write(self.listener, level, "", &text);
            }
            Record::Line(level, text) => self.write(self.listener, level, "", &text),
            Record::User(_) | Record::End => self.release(|_| true),
        }
    }

    /// Writes what was held back, once its sender is known or has been waited for long enough.
    fn release(&mut self, now: impl Fn(Pid) -> bool) {
        for (since, sender, record) in std::mem::take(&mut self.early) {
            if now(sender) || self.sessions.contains_key(&sender) || since.elapsed() > HOLD {
                self.write_for(sender, record);
            } else {
                self.early.push_back((since, sender, record));
            }
        }
    }

    /// Writes a session's record. Who it is and where it comes from is not its own to say.
    fn write_for(&mut self, sender: Pid, record: Record) {
        let session = self.sessions.get_mut(&sender);
        match (record, session) {
            (Record::User(name), Some(session)) if session.user.is_none() => {
                let (who, text) = (format!("{} ", session.peer), format!("login of {name}"));
                session.user = Some(name);
                self.write(sender, Level::Info, &who, &text);
            }
            (Record::Line(level, text), session) => {
                let who = match session {
                    Some(Session { peer, user: Some(user) }) => format!("{user}@{peer} "),
                    Some(Session { peer, user: None }) => format!("{peer} "),
                    None => String::new(),
                };
                self.write(sender, level, &who, &text);
            }
            _ => {} // only the listener opens, closes and ends
        }
    }

    fn write(&mut self, sender: Pid, level: Level, who: &str, text: &str) {
        if level > self.level {
            return;
        }
        let text = printable(text);
        match &mut self.output {
            Output::Stderr => {
                let stamp = OffsetDateTime::now_utc().format(STAMP).unwrap_or_default();
                let line = format!("{stamp} dfos-forkd[{sender}] {} {who}{text}\n", level.as_str());
                let _ = io::stderr().write_all(line.as_bytes()); // nobody is left to tell
            }
            Output::Syslog(syslog) => syslog.write(sender, level, &format!("{who}{text}")),
        }
    }
}

/// Replaces what could move an operator's terminal or begin a line of its own.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) {
            let _ = write!(out, "\\u{{{:x}}}", c as u32);
        } else {
            out.push(c);
        }
    }
    out
}

/// Receives one record: its sender and its length. `None` when nobody is left to send.
pub(super) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> nix::Result<Option<(Pid, usize)>> {
    let mut space = nix::cmsg_space!(nix::sys::socket::UnixCredentials);
    let mut slices = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags)?;
    let sender = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::ScmCredentials(who) => Some(Pid::from_raw(who.pid())),
        _ => None,
    });
    match (message.bytes, sender) {
        (0, _) if hung_up(socket) => Ok(None),
        (length, Some(sender)) => Ok(Some((sender, length))),
        (_, None) => Err(Errno::EAGAIN),
    }
}

/// Whether the other end is closed everywhere: an empty record alone does not say so, any session can send one.
fn hung_up(socket: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok()
        && fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_forge_another() {
        assert_eq!(printable("a\nb\x1b[2J\u{9b}\u{202e}c"), "a\\u{a}b\\u{1b}[2J\\u{9b}\\u{202e}c");
        assert_eq!(printable("grün"), "grün");
    }

    #[test]
    fn the_kernel_names_the_sender_and_an_empty_record_is_no_end() {
        let (log, socket) = socket(Level::Info).unwrap();
        let mut buffer = [0; 100];
        log.line(Level::Debug, "nobody would write this");
        log.line(Level::Info, "hello");
        let (sender, length) = receive(&socket, &mut buffer).unwrap().unwrap();
        assert_eq!((sender, &buffer[..length]), (Pid::this(), &b"2hello"[..]));
        assert_eq!(receive(&socket, &mut buffer), Err(Errno::EAGAIN));
        drop(log);
        assert_eq!(receive(&socket, &mut buffer), Ok(None));
    }
}
