//! The scribe: the one process that owns the log. It names each line's sender by what the kernel says of it, and leads the
//! process group that all sessions join. It ends when everybody who could send has gone.

use super::inlet::Inlet;
use super::options::LogTarget;
use super::record::{LARGEST, Level, Log, Record};
use super::syslog_output::SyslogOutput;
use crate::proto::limits;
use crate::proto::unseen::is_unsafe;
use nix::errno::Errno;
use nix::poll::{PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};
use nix::unistd::Pid;
use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
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

/// The sending ends of both ways to the scribe.
pub struct Ways {
    /// The listener's own: no session can fill it, and what is said here of sessions is believed.
    pub listener: Log,
    /// The one that all sessions share.
    pub sessions: Log,
}

/// The ends that a scribe reads. The listener keeps them too, so that nothing is lost between one scribe and the next.
pub struct Ends {
    listener: OwnedFd,
    sessions: OwnedFd,
}

impl Ends {
    /// The same, for a scribe.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Ends { listener: self.listener.try_clone()?, sessions: self.sessions.try_clone()? })
    }

    /// The listener's and the sessions', to be handed over.
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.listener.as_fd(), self.sessions.as_fd()]
    }
}

/// Both ways, and their ends, as another program left them: what has been said and not been read is still in them.
pub fn resume(mouths: [OwnedFd; 2], ends: [OwnedFd; 2], level: Level) -> (Ways, Ends) {
    let [listener, sessions] = mouths.map(|socket| Log::new(Arc::new(socket.into()), level));
    let [heard, read] = ends;
    (Ways { listener, sessions }, Ends { listener: heard, sessions: read })
}

/// Makes the two ways to the scribe, for lines that matter as much as `level`.
pub fn ways(level: Level) -> io::Result<(Ways, Ends)> {
    let ((listener, heard), (sessions, read)) = (way()?, way()?);
    let log = |socket: OwnedFd| Log::new(Arc::new(socket.into()), level);
    Ok((Ways { listener: log(listener), sessions: log(sessions) }, Ends { listener: heard, sessions: read }))
}

/// One way to the scribe: the end to send to, and the end to read.
pub(super) fn way() -> io::Result<(OwnedFd, OwnedFd)> {
    let (mouth, ear) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    setsockopt(&mouth, sockopt::SndBuf, &(limits::LOG_QUEUE / 2))?; // the kernel doubles it
    setsockopt(&ear, sockopt::PassCred, &true)?;
    Ok((mouth, ear))
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
    #[cfg(test)]
    Kept(Vec<String>),
}

/// The scribe.
pub struct Scribe {
    from_listener: Inlet,
    from_sessions: Inlet,
    listener: Pid,
    output: Output,
    sessions: HashMap<Pid, Session>,
    early: VecDeque<(Instant, Pid, Record)>,
    /// Bytes of those.
    held: usize,
    level: Level,
    /// Another takes its place: it ends once every line that it has taken is written.
    leaving: bool,
}

impl Scribe {
    /// A scribe that reads from `ends` and believes `listener`.
    pub fn new(ends: Ends, listener: Pid, target: LogTarget, level: Level) -> Self {
        let output = match target {
            LogTarget::Stderr => Output::Stderr,
            LogTarget::Syslog => Output::Syslog(Box::default()),
        };
        let (from_listener, from_sessions) = (Inlet::new(ends.listener), Inlet::new(ends.sessions));
        let (sessions, early) = (HashMap::new(), VecDeque::new());
        Scribe { from_listener, from_sessions, listener, output, sessions, early, held: 0, level, leaving: false }
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
            let inlets = [&self.from_listener, &self.from_sessions];
            let mut fds: Vec<_> = inlets.into_iter().filter_map(Inlet::poll_fd).collect();
            if fds.is_empty() {
                self.release(|_| true);
                return Ok(());
            }
            if self.leaving && self.early.is_empty() {
                return Ok(());
            }
            match poll(&mut fds, wait) {
                Err(Errno::EINTR) => continue,
                Ok(0) => {}
                other => {
                    other?;
                    let _ = poll(&mut [], REST);
                    self.turn(&mut buffer)?;
                }
            }
            self.release(|_| false);
        }
    }

    /// Takes what has come. The listener's words are taken first and heeded last: whatever a session has said before the listener
    /// spoke of it has then been heard.
    fn turn(&mut self, buffer: &mut [u8]) -> nix::Result<()> {
        let words = self.from_listener.take(buffer, Record::decode)?;
        for (sender, record) in self.from_sessions.take(buffer, Record::decode)? {
            self.take(Instant::now(), sender, record);
        }
        for (sender, word) in words {
            if sender == self.listener {
                self.heed(word);
            }
        }
        Ok(())
    }

    /// Takes a session's record of then, which is a line or nothing. It is held while its sender's name is still to come.
    fn take(&mut self, since: Instant, sender: Pid, record: Record) {
        let session = self.sessions.get(&sender);
        let (named, length) = match &record {
            Record::Line(_, text) => (session.is_some(), text.len()),
            Record::OfUser(_, text) => (session.is_some_and(|session| session.user.is_some()), text.len()),
            _ => return, // only the listener says who is who
        };
        let held = self.held + length + limits::LOG_RECORD;
        if named || held > limits::LOG_HELD {
            self.write_for(sender, record);
        } else {
            self.held = held;
            self.early.push_back((since, sender, record));
        }
    }

    /// Takes the listener's word.
    fn heed(&mut self, word: Record) {
        match word {
            Record::Opened(pid, peer, text) => {
                self.sessions.insert(pid, Session { peer, user: None });
                self.write(self.listener, Level::Info, "", &text);
                self.release(|_| false);
            }
            Record::User(pid, name) => {
                let Some(session) = self.sessions.get_mut(&pid) else { return };
                let (who, text) = (format!("{} ", session.peer), format!("login of {name}"));
                session.user = Some(name);
                self.write(pid, Level::Info, &who, &text);
                self.release(|_| false);
            }
            Record::Closed(pid, level, text) => {
                self.release(|sender| sender == pid);
                self.sessions.remove(&pid);
                self.write(self.listener, level, "", &text);
            }
            Record::Forget => self.sessions.clear(),
            Record::Known(pid, peer, user) => {
                self.sessions.insert(pid, Session { peer, user });
                self.release(|_| false);
            }
            Record::End => self.release(|_| true),
            Record::Leave => self.leaving = true,
            Record::Line(level, text) | Record::OfUser(level, text) => self.write(self.listener, level, "", &text),
        }
    }

    /// Writes what was held back, once its sender's name is known or has been waited for long enough.
    fn release(&mut self, now: impl Fn(Pid) -> bool) {
        self.held = 0;
        for (since, sender, record) in std::mem::take(&mut self.early) {
            if now(sender) || since.elapsed() > HOLD {
                self.write_for(sender, record);
            } else {
                self.take(since, sender, record);
            }
        }
    }

    /// Writes a session's line. Who it is and where it comes from is not its own to say.
    fn write_for(&mut self, sender: Pid, record: Record) {
        let (Record::Line(level, text) | Record::OfUser(level, text)) = record else { return };
        let who = match self.sessions.get(&sender) {
            Some(Session { peer, user: Some(user) }) => format!("{user}@{peer} "),
            Some(Session { peer, user: None }) => format!("{peer} "),
            None => String::new(),
        };
        self.write(sender, level, &who, &text);
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
            #[cfg(test)]
            Output::Kept(lines) => lines.push(format!("{who}{text}")),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_forge_another() {
        assert_eq!(printable("a\nb\x1b[2J\u{9b}\u{202e}c"), "a\\u{a}b\\u{1b}[2J\\u{9b}\\u{202e}c");
        assert_eq!(printable("grün"), "grün");
    }

    /// A scribe that keeps its lines, and the ways to it. This process is listener and session: the ways tell them apart.
    fn scribe() -> (Scribe, Ways) {
        let (ways, ends) = ways(Level::Info).unwrap();
        let mut scribe = Scribe::new(ends, Pid::this(), LogTarget::Stderr, Level::Info);
        scribe.output = Output::Kept(Vec::new());
        (scribe, ways)
    }

    fn lines(scribe: &mut Scribe) -> Vec<String> {
        scribe.turn(&mut vec![0; LARGEST]).unwrap();
        match &mut scribe.output {
            Output::Kept(lines) => std::mem::take(lines),
            _ => unreachable!(),
        }
    }

    fn opened(peer: &str) -> Record {
        Record::Opened(Pid::this(), peer.into(), format!("{peer} came"))
    }

    fn user(name: &str) -> Record {
        Record::User(Pid::this(), name.into())
    }

    fn closed() -> Record {
        Record::Closed(Pid::this(), Level::Info, "went".into())
    }

    #[test]
    fn each_line_has_the_name_that_its_session_had_when_it_said_it() {
        for at_once in [false, true] {
            let (mut scribe, Ways { listener, sessions }) = scribe();
            let mut heard = Vec::new();
            let steps: [&dyn Fn(); 6] = [
                &|| sessions.line(Level::Info, "a"), // a child may be faster than its parent
                &|| assert!(listener.send(&opened("here"))),
                &|| assert!(listener.send(&user("alice"))),
                &|| sessions.has_user(),
                &|| sessions.line(Level::Info, "b"),
                &|| assert!(listener.send(&closed())),
            ];
            for step in steps {
                step();
                if !at_once {
                    heard.extend(lines(&mut scribe));
                }
            }
            heard.extend(lines(&mut scribe));
            assert_eq!(heard, ["here came", "here a", "here login of alice", "alice@here b", "went"], "{at_once}");
        }
    }

    #[test]
    fn a_users_line_waits_for_the_name_but_not_for_ever() {
        let (mut scribe, Ways { listener, sessions }) = scribe();
        listener.send(&opened("here"));
        sessions.has_user();
        sessions.line(Level::Info, "a");
        assert_eq!(lines(&mut scribe), ["here came"]);
        listener.send(&user("alice"));
        assert_eq!(lines(&mut scribe), ["here login of alice", "alice@here a"]);
        listener.send(&Record::Forget);
        lines(&mut scribe);
        sessions.line(Level::Info, "b");
        assert_eq!(lines(&mut scribe), [""; 0]);
        scribe.early[0].0 -= 2 * HOLD;
        scribe.release(|_| false);
        assert_eq!(lines(&mut scribe), ["b"], "without a name, rather than with a wrong one");
    }

    #[test]
    fn a_scribe_that_makes_room_ends_once_all_is_written_and_leaves_the_rest_to_the_next() {
        let (scribe, Ways { listener, sessions }) = scribe();
        sessions.line(Level::Info, "a"); // of whom nobody has spoken yet: it waits for that
        listener.send(&Record::Leave);
        let began = Instant::now();
        scribe.run().unwrap();
        assert!(began.elapsed() > HOLD, "what was held back is written first");
        drop((listener, sessions));
    }

    #[test]
    fn who_a_session_is_the_listener_says_alone() {
        let (mut scribe, Ways { listener, sessions }) = scribe();
        listener.send(&Record::Known(Pid::this(), "here".into(), None));
        for claim in [opened("there"), user("mallory"), closed(), Record::Forget, Record::End, Record::Leave] {
            sessions.send(&claim);
            sessions.send(&Record::Line(Level::Info, "a".into()));
            assert_eq!(lines(&mut scribe), ["here a"], "{claim:?}");
            assert!(!scribe.leaving);
        }
        sessions.send(&Record::Known(Pid::this(), "there".into(), Some("mallory".into())));
        listener.send(&Record::Known(Pid::this(), "here".into(), Some("alice".into())));
        sessions.line(Level::Info, "b");
        assert_eq!(lines(&mut scribe), ["here b"]);
        sessions.line(Level::Info, "c");
        assert_eq!(lines(&mut scribe), ["alice@here c"]);
    }

    #[test]
    fn of_senders_without_a_name_no_more_is_held_than_fits() {
        let text = "x".repeat(1000);
        for record in [Record::Line(Level::Info, text.clone()), Record::OfUser(Level::Info, text)] {
            let (mut scribe, _ways) = scribe();
            for _ in 0..1000 {
                scribe.take(Instant::now(), Pid::from_raw(7), record.clone());
            }
            let held = scribe.early.len();
            assert!((100..=limits::LOG_HELD / 1512).contains(&held), "{held}");
            assert_eq!(lines(&mut scribe).len(), 1000 - held);
            scribe.release(|_| true);
            assert_eq!((scribe.held, lines(&mut scribe).len()), (0, held));
        }
    }

    #[test]
    fn sessions_that_fill_their_way_leave_the_listeners_free() {
        let (mut scribe, Ways { listener, sessions }) = scribe();
        while sessions.send(&Record::Line(Level::Info, "flood".into())) {}
        assert!(listener.send(&opened("here")) && listener.send(&user("alice")));
        assert!(lines(&mut scribe).ends_with(&["here login of alice".into()]));
    }
}
