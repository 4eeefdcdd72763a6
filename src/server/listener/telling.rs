//! What the listener has to do with the log and the audit: it sets the scribe up, and tells it who comes, who goes and who is
//! turned away.

use super::Listener;
use crate::net::Peer;
use crate::server::children::Child;
use crate::server::ending::Fate;
use crate::server::gate::Refusal;
use crate::server::level::Level;
use crate::server::options::LogOptions;
use crate::server::record::{Audit, Caller, Log, MOST_LOST, Parting, Record};
use crate::server::scoreboard::{Figure, Totals};
use crate::server::scribe::{House, Setup};
use crate::sys::notice::{Notice, notice, resume};
use nix::unistd::Pid;
use std::fs::File;
use std::io;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What sessions say for the audit; and what the scribe tells them by, where it must be written.
/// `before` is what a program that was here before told them by.
pub(super) fn audited(log: Log, options: &LogOptions, before: Option<File>) -> io::Result<(Log, Option<Notice>)> {
    Ok(match (&options.audit, options.audit_required) {
        (None, _) => (log, None),
        (Some(_), false) => (log.audited(Audit::BestEffort), None),
        (Some(_), true) => {
            let (notice, sight) = before.map_or_else(notice, resume)?;
            (log.audited(Audit::Required(sight)), Some(notice))
        }
    })
}

/// The time, in Unix seconds.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A session, as the scribe is told of it.
pub(super) fn caller(pid: Pid, child: &Child) -> Caller {
    Caller { pid, serial: child.serial, at: child.at as usize, peer: child.peer.to_string() }
}

impl Listener {
    /// In a scribe that has just been forked: what it writes, and where.
    pub(super) fn setup(&mut self, occasion: &'static str) -> Setup {
        let options = &self.options.log;
        let house =
            |socket: &super::Socket| House { address: socket.address.to_string(), speaks_tls: socket.speaks_tls() };
        Setup {
            level: options.level(),
            target: options.target(),
            audit: options.audit.clone(),
            notice: self.notice.take(),
            hooks: self.options.hooks.orders(&self.options.dir),
            houses: self.sockets.iter().map(house).collect(),
            started: self.started,
            occasion,
        }
    }

    /// Tells the scribe that its files have been put away; again later, if it did not hear.
    pub(super) fn reopen_logs(&mut self) {
        if self.to_reopen && self.log.send(&Record::Reopen) {
            self.to_reopen = false;
        } else if self.to_reopen {
            self.untold.get_or_insert(Instant::now() + super::REST);
        }
    }

    /// Tells how a session ended, and what it did in all.
    pub(super) fn tell_parted(&mut self, pid: Pid, child: &Child, fate: Fate, figures: &Totals) {
        let unsaid = figures.get(Figure::Unsaid).min(MOST_LOST);
        if unsaid > 0 {
            self.tell(&Record::Lost(unsaid, format!("the log was too slow for session {pid}")));
        }
        let level = if fate.is_alarming() { Level::Error } else { Level::Info };
        let (count, took) = (self.children.count(), child.since.elapsed());
        let moved = [Figure::FilesIn, Figure::BytesIn, Figure::FilesOut, Figure::BytesOut].map(|of| figures.get(of));
        let [files_in, bytes_in, files_out, bytes_out] = moved;
        let told = if moved == [0; 4] {
            String::new()
        } else {
            format!(", {files_in} files in ({bytes_in} bytes), {files_out} files out ({bytes_out} bytes)")
        };
        let (peer, seconds) = (&child.peer, took.as_secs_f64());
        let text = format!("{peer} disconnected, session {pid}: {fate} {seconds:.3}s{told}, {count} active");
        let parting = Parting { word: fate.word().into(), took, moved };
        self.tell(&Record::Closed(pid, level, parting, text));
    }

    /// Tells the log and the audit of a connection that gets no session, as far as they want it.
    pub(super) fn tell_turned_away(&mut self, at: usize, peer: &Peer, refusal: Refusal) {
        let now = Instant::now();
        let mut level = None;
        if let Some(unsaid) = self.throttle.may_say(now) {
            if unsaid > 0 {
                self.log.line(Level::Warning, format!("{unsaid} more connections were turned away"));
            }
            level = Some(if refusal == Refusal::Denied { Level::Info } else { Level::Warning });
        }
        let audited = if self.options.log.audit.is_some() { self.audit_throttle.may_say(now) } else { None };
        self.tell_of_a_flood(audited);
        if level.is_some() || audited.is_some() {
            let (peer, word) = (peer.to_string(), refusal.word().to_owned());
            self.log.send(&Record::TurnedAway(at, peer, level, word, refusal.to_string()));
        }
    }

    /// Tells the audit how many connections that were turned away are not in it.
    pub(super) fn tell_of_a_flood(&self, unsaid: Option<u64>) {
        if let Some(unsaid) = unsaid.filter(|unsaid| *unsaid > 0) {
            self.log.send(&Record::Lost(
                unsaid,
                "of connections that were turned away, the audit takes so many a second".into(),
            ));
        }
    }
}
