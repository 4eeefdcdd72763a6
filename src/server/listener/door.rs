//! The listener at the door: it carries out what the gate says, and sends sessions away.

use super::Listener;
use super::end::Phase;
use crate::auth::UserName;
use crate::net::{Peer, tls};
use crate::proto::{Answer, Code, limits};
use crate::server::ending::Fate;
use crate::server::gate::{Refusal, Verdict};
use crate::server::level::Level;
use crate::server::new_password::NewPassword;
use crate::server::record::Record;
use crate::server::words::Word;
use crate::sys::signals::{MAKE_ROOM, USER_GONE};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a refused connection is kept open, so that the refusal is read before the close.
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// How many such connections are kept.
const LINGERING: usize = 64;

impl Listener {
    /// Whether a connection gets a session; makes room for it, or turns it away.
    pub(super) fn may_enter(&mut self, at: usize, socket: &OwnedFd, peer: &Peer) -> bool {
        let now = Instant::now();
        if matches!(self.phase, Phase::Draining(_)) {
            self.turn_away(at, socket, peer, Refusal::Draining);
            return false;
        }
        match self.gate.admit(peer, now) {
            Verdict::Admit => true,
            Verdict::AdmitInsteadOf(stranger) => {
                self.send_away(stranger, MAKE_ROOM, now);
                true
            }
            Verdict::Refuse(refusal) => {
                self.tell_refused(at, socket, peer, refusal);
                false
            }
        }
    }

    /// Turns away a connection that the gate had let pass.
    pub(super) fn turn_away(&mut self, at: usize, socket: &OwnedFd, peer: &Peer, refusal: Refusal) {
        self.gate.tally.count(refusal);
        self.tell_refused(at, socket, peer, refusal);
    }

    /// Tells the log, and the client, why it is not served; one that speaks TLS at least that it is the server's will. The caller
    /// closes.
    fn tell_refused(&mut self, at: usize, socket: &OwnedFd, peer: &Peer, refusal: Refusal) {
        let now = Instant::now();
        self.tell_turned_away(at, peer, refusal);
        let Some(words) = refusal.words() else { return };
        let line = format!("{}\n", Answer::Err(Code::Busy, words));
        let word = if self.sockets[at].speaks_tls() { tls::TURNED_AWAY } else { line.as_bytes() };
        let sent = send(socket.as_raw_fd(), word, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT);
        if sent.is_err() || shutdown(socket.as_raw_fd(), Shutdown::Write).is_err() {
            return;
        }
        if self.lingering.len() >= LINGERING {
            self.lingering.pop_front();
        }
        if let Ok(kept) = socket.try_clone() {
            self.lingering.push_back((now + LINGER, kept));
        }
    }

    /// Hears who has logged in. Those who have `ended` since are heard like the others, for the log's sake; but their process ids may be
    /// other people's by now.
    /// Returns in a helper only, which changes a password.
    pub(super) fn hear_words(&mut self, ended: &[(Pid, WaitStatus)]) -> Option<Box<NewPassword>> {
        for (pid, word) in self.ears.hear() {
            let still_there = ended.iter().all(|(gone, _)| *gone != pid);
            match self.children.says(pid) {
                Some(0) => {}
                Some(excess) if still_there => {
                    self.silence(pid, excess);
                    continue;
                }
                _ => continue,
            }
            let user = match word {
                None => continue,
                Some(Word::LoggedIn(user)) => user,
                Some(Word::Password(_)) if !still_there => continue,
                Some(Word::Password(words)) => match self.change_password(pid, words) {
                    None => continue,
                    helper => return helper,
                },
            };
            if !self.gate.room.log_in(pid) {
                continue; // no session, or one that has spoken before
            }
            self.tell(&Record::User(pid, user.to_string()));
            let Some(child) = self.children.log_in(pid, user) else { continue };
            if child.generation != self.generation && still_there {
                // The users were loaded again while it logged in with the old ones.
                self.send_away(pid, USER_GONE, Instant::now());
            }
        }
        None
    }

    /// Ends a session that says more than any does: it was taken over, and what it says keeps others waiting.
    fn silence(&mut self, pid: Pid, excess: u8) {
        let _ = kill(pid, Signal::SIGKILL); // not yet reaped, so the number is still its own
        if excess == 1 {
            self.log
                .line(Level::Error, format!("session {pid} says more to the listener than sessions do, and is killed"));
        }
    }

    /// After the users were loaded again: ends the sessions of users who are `gone`, and those of whom nobody knows whether they
    /// are, since they were not among the `asked`: who is about to log in still sees the old users.
    pub(super) fn dismiss(&mut self, asked: &[UserName], gone: &[UserName]) {
        self.generation += 1;
        let now = Instant::now();
        for stranger in self.gate.room.strangers().to_vec() {
            self.send_away(stranger, MAKE_ROOM, now);
        }
        let members: Vec<_> = self.children.members().collect();
        for (pid, user) in members {
            if gone.contains(&user) {
                self.log.line(Level::Info, format!("{user} may no longer log in: session {pid} is ended"));
            }
            if gone.contains(&user) || !asked.contains(&user) {
                self.send_away(pid, USER_GONE, now);
            }
        }
    }

    /// Asks a session to end. Its place is free from now on.
    fn send_away(&mut self, pid: Pid, errand: Signal, now: Instant) {
        self.sent_away += 1;
        self.gate.room.send_away(pid, now);
        let _ = kill(pid, errand); // not yet reaped, so the number is still its own
    }

    /// Kills sessions that were sent away and do not go.
    pub(super) fn kill_the_disobedient(&mut self) {
        let Some(then) = Instant::now().checked_sub(limits::OBEDIENCE) else { return };
        for pid in self.gate.room.overdue(then) {
            self.log.line(Level::Error, format!("session {pid} was sent away and did not go: it is killed"));
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    /// A session has ended: its place is free, and its address answers for how it ended. For being killed it does not where that
    /// was the listener's doing.
    pub(super) fn part_with(&mut self, pid: Pid, peer: &Peer, fate: Fate) {
        let sent_away = self.gate.room.leave(pid);
        if !sent_away || matches!(fate, Fate::Ended(_)) {
            self.gate.remember(peer, fate, Instant::now());
        }
    }

    /// The end of the last line of the log: why connections were turned away, and how many sessions were sent away.
    pub(super) fn told_of_the_door(&self) -> String {
        let mut told = String::new();
        if self.gate.tally.total() > 0 {
            told += &format!("; turned away: {}", self.gate.tally);
        }
        if self.sent_away > 0 {
            told += &format!("; sent away: {}", self.sent_away);
        }
        told
    }
}
