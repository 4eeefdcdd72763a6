//! How the listener makes a session: it accepts, asks the gate, and forks; the child drops all that is not its own.

use super::{Listener, REST, telling};
use crate::net::Peer;
use crate::net::listen::Listener as Socket;
use crate::server::children::Child;
use crate::server::ending::Ending;
use crate::server::gate::Refusal;
use crate::server::level::Level;
use crate::server::record::Record;
use crate::server::session::{Brief, Times};
use crate::sys::fork::{Fork, exit_child, fork};
use crate::sys::signals;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, getppid, setpgid};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

/// Somebody who has come, in the child that was forked for it.
pub(super) struct Arrival {
    /// Which listening socket.
    at: usize,
    socket: OwnedFd,
    peer: Peer,
    slot: usize,
    group: Pid,
    login_by: Instant,
}

impl Listener {
    /// Accepts a connection from a socket, and forks a session for it or turns it away. Returns in the child only.
    pub(super) fn accept(&mut self, at: usize) -> io::Result<Option<(Arrival, SigSet)>> {
        // A request to end that was heard after the wait has closed them: whoever knocked just then has come too late.
        let Some(listening) = self.sockets.get(at) else { return Ok(None) };
        let (socket, peer) = match listening.accept() {
            Ok(Some(accepted)) => accepted,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.rest(&format!("cannot accept: {error}"));
                return Ok(None);
            }
        };
        self.connections += 1;
        if !self.may_enter(at, &socket, &peer) {
            return Ok(None);
        }
        self.fork_session(at, socket, peer)
    }

    fn fork_session(&mut self, at: usize, socket: OwnedFd, peer: Peer) -> io::Result<Option<(Arrival, SigSet)>> {
        let Some(slot) = self.scoreboard.take() else {
            self.turn_away(at, &socket, &peer, Refusal::Full);
            return Ok(None);
        };
        let group = self.scribe.unwrap_or(self.pid);
        let login_by = Instant::now() + self.options.login_timeout;
        let mask = signals::block()?;
        match fork() {
            Ok(Fork::Child) => Ok(Some((Arrival { at, socket, peer, slot, group, login_by }, mask))),
            Ok(Fork::Parent(pid)) => {
                let _ = setpgid(pid, group); // the child does it too: whichever is first, it has happened
                let (since, generation, serial) = (Instant::now(), self.generation, self.connections);
                let (at, user, said) = (at as u32, None, 0);
                let child = Child { peer, slot, group, since, generation, serial, at, user, said };
                self.children.add(pid, child);
                self.gate.room.enter(pid, &peer, since);
                let text = format!("{peer} connected, session {pid}, {} active", self.children.count());
                self.tell(&Record::Opened(telling::caller(pid, &child), text));
                signals::restore(&mask)?;
                Ok(None)
            }
            Err(error) => {
                signals::restore(&mask)?;
                self.scoreboard.give_back(slot, &mut self.totals);
                self.turn_away(at, &socket, &peer, Refusal::Short);
                self.rest(&format!("cannot fork: {error}"));
                Ok(None)
            }
        }
    }

    /// In the child: takes what the session needs, and closes all else.
    pub(super) fn become_session(self, arrival: Arrival) -> Brief {
        let Arrival { at, socket, peer, slot, group, login_by } = arrival;
        let with_tls = self.sockets.get(at).is_some_and(Socket::speaks_tls);
        let Listener {
            pid, options, configuration, storage, sources, users, identity, children, scoreboard, gate, ..
        } = self;
        let (manager, upgrade) = (self.manager, self.upgrade);
        let log = self.session_log; // the listener's own is closed here
        let tally = join(group, pid).and_then(|()| scoreboard.keep_only(slot)).unwrap_or_else(|error| {
            log.line(Level::Error, format!("cannot start a session: {error}"));
            exit_child(Ending::Failed as u8)
        });
        let times = Times { login_by, idle: options.idle_timeout, grace: options.grace };
        drop(children);
        gate.leave_behind();
        upgrade.leave_behind();
        // Memory alone, without a descriptor in it: to free it would be to write to it, and so to have a copy of it.
        std::mem::forget((options, configuration, sources, manager));
        Brief {
            socket,
            peer,
            storage,
            users: users.table,
            identity: identity.filter(|_| with_tls),
            limits: users.limits,
            log,
            mouth: self.mouth,
            tally,
            times,
            policy: self.policy,
            walls: self.walls,
            listener: pid,
        }
    }

    /// Stops accepting for a moment: what is short now may be there again then.
    pub(super) fn rest(&mut self, why: &str) {
        self.log.line(Level::Error, format!("{why}; accepting again in {} ms", REST.as_millis()));
        self.rest_until = Some(Instant::now() + REST);
    }
}

/// In the child: one of the sessions, to be ended with the listener.
fn join(group: Pid, listener: Pid) -> io::Result<()> {
    let _ = setpgid(Pid::from_raw(0), group);
    nix::sys::prctl::set_pdeathsig(Signal::SIGINT)?;
    // It may have gone before that could have been noticed.
    if getppid() == listener { Ok(()) } else { Err(io::Error::other("the listener has gone")) }
}
