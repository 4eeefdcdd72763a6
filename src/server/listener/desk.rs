//! The listener at the operator's desk: it tells how it goes, ends sessions, and lets the server run empty. It reads what sessions say of
//! themselves when it is asked, and believes none of it.

use super::Listener;
use super::end::Phase;
use crate::server::children::Child;
use crate::server::desk::answer::{self, VERSION};
use crate::server::desk::request::{Request, Whom};
use crate::server::level::Level;
use crate::server::scoreboard::{Figure, Look, Work};
use crate::sys::signals::KICKED;
use crate::sys::title;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What the listener keeps for the operator alone.
pub(super) struct Books {
    /// The most sessions that there have been.
    pub(super) peak: usize,
    pub(super) kicked: u64,
    /// What the title says: how many sessions there are, and what the server is doing.
    titled: Option<(usize, &'static str)>,
}

impl Books {
    /// From now on.
    pub(super) fn new() -> Self {
        Books { peak: 0, kicked: 0, titled: None }
    }
}

impl Listener {
    /// The name of a session, which no other has, of this server or of those before it; the audit knows it by the same.
    fn name_of(&self, child: &Child) -> String {
        format!("{:x}-{}", self.started, child.serial)
    }

    /// Answers who has asked, and keeps the books and the title.
    pub(super) fn serve_desk(&mut self) {
        self.keep_books();
        for (whose, asked) in self.desk.turn(Instant::now()) {
            let answer = match asked {
                Ok(Request::Status) => answer::text(&self.status()),
                Ok(Request::Kick(whom)) => self.kick(&whom),
                Ok(Request::Drain(within)) => self.drain(within),
                Ok(Request::Upgrade) => self.upgrade_for_the_operator(),
                Err(why) => answer::fault(&why),
            };
            self.desk.answer(whose, answer);
        }
    }

    /// What the server is doing.
    fn doing(&self) -> &'static str {
        match self.phase {
            Phase::Serving if self.upgrade.is_under_way() => "upgrading",
            _ => self.phase.as_str(),
        }
    }

    /// Begins an upgrade; how it goes on, the status tells.
    fn upgrade_for_the_operator(&mut self) -> String {
        let upgrades = self.upgrade.count();
        match self.begin_upgrade() {
            Ok(()) => answer::text(&answer::Upgrading { v: VERSION, upgrades }),
            Err(why) => answer::fault(&why),
        }
    }

    fn keep_books(&mut self) {
        let (count, state) = (self.children.count(), self.doing());
        self.books.peak = self.books.peak.max(count);
        if self.books.titled.replace((count, state)) != Some((count, state)) {
            let state = if state == "serving" { "" } else { state };
            let gap = if state.is_empty() { "" } else { ", " };
            title::set(format_args!("dfos-forkd: listener {count} of {}{gap}{state}", self.options.max_clients));
        }
    }

    fn status(&self) -> answer::Status {
        let mut totals = self.totals;
        let mut all: Vec<_> = self.children.all().collect();
        all.sort_unstable_by_key(|(_, child)| child.serial);
        let now = OffsetDateTime::now_utc();
        let start = i64::try_from(self.started).unwrap_or_default();
        let begun = OffsetDateTime::from_unix_timestamp(start).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let sessions = all.into_iter().map(|(pid, child)| {
            let look = self.scoreboard.look(child.slot);
            totals.add(&look.totals);
            self.session(pid, &child, look, now)
        });
        let sessions = sessions.collect();
        answer::Status {
            v: VERSION,
            version: env!("CARGO_PKG_VERSION").into(),
            pid: self.pid.as_raw(),
            state: self.doing().into(),
            time: stamp(now),
            started: stamp(begun),
            start,
            uptime: (now - begun).as_seconds_f64().max(0.0),
            listeners: self.sockets.iter().map(|socket| socket.address.to_string()).collect(),
            max_clients: self.options.max_clients.into(),
            peak: self.books.peak as u64,
            connections: self.connections,
            logins: totals.get(Figure::Logins),
            logins_refused: totals.get(Figure::Refusals),
            turned_away: self.gate.tally.by_reason().map(|(reason, count)| (reason.into(), count)).collect(),
            sent_away: self.sent_away,
            kicked: self.books.kicked,
            upgrades: self.upgrade.count(),
            upgrade_refused: self.upgrade.refused().map(Into::into),
            files_in: totals.get(Figure::FilesIn),
            bytes_in: totals.get(Figure::BytesIn),
            files_out: totals.get(Figure::FilesOut),
            bytes_out: totals.get(Figure::BytesOut),
            sessions,
        }
    }

    fn session(&self, pid: Pid, child: &Child, look: Look, now: OffsetDateTime) -> answer::Session {
        let age = child.since.elapsed();
        answer::Session {
            session: self.name_of(child),
            pid: pid.as_raw(),
            user: child.user.map(|user| user.to_string()),
            peer: child.peer.to_string(),
            since: stamp(now - age),
            seconds: seconds(age),
            state: look.state.as_str().into(),
            idle: seconds(look.quiet.min(age)),
            work: look.work.map(work),
        }
    }

    /// Ends sessions, as it ends those of users who are gone: no penalty, and who does not go is killed.
    fn kick(&mut self, whom: &Whom) -> String {
        let is_meant = |pid: Pid, child: &Child| match whom {
            Whom::Session(name) => self.name_of(child) == *name,
            Whom::Process(meant) => pid == *meant,
            Whom::User(user) => child.user == Some(*user),
        };
        let met: Vec<_> = self.children.all().filter(|(pid, child)| is_meant(*pid, child)).collect();
        let now = Instant::now();
        let mut kicked = Vec::new();
        for (pid, child) in met {
            let user = child.user.map_or(String::new(), |user| format!("{user}@"));
            self.log.line(Level::Info, format!("session {pid} of {user}{} is ended by the operator", child.peer));
            self.gate.room.send_away(pid, now);
            let _ = kill(pid, KICKED); // not yet reaped, so the number is still its own
            self.books.kicked += 1;
            kicked.push(self.name_of(&child));
        }
        answer::text(&answer::Kicked { v: VERSION, kicked })
    }

    /// Takes nobody new. Sockets stay open and newcomers are told why: a connection that is only refused says nothing to anybody.
    fn drain(&mut self, within: Option<Duration>) -> String {
        let sessions = self.children.count() as u64;
        match self.phase {
            Phase::Serving | Phase::Draining(_) => {
                let limit = within.map_or("no time limit".into(), |within| format!("at most {} s", within.as_secs()));
                self.log.line(Level::Info, format!("draining: {sessions} active, no new ones, {limit}"));
                self.phase = Phase::Draining(within.map(|within| Instant::now() + within));
                answer::text(&answer::Draining { v: VERSION, sessions })
            }
            Phase::Ending(_) | Phase::Forcing(..) => answer::fault("the server is ending already"),
        }
    }

    /// Ends a server that has run empty, or whose sessions have had their time.
    pub(super) fn end_if_drained(&mut self) {
        let Phase::Draining(until) = self.phase else { return };
        if self.children.count() == 0 || until.is_some_and(|until| until <= Instant::now()) {
            self.end();
        }
    }
}

fn work(work: Work) -> answer::Work {
    let taken = seconds(work.age);
    let moved = work.done.saturating_sub(work.from);
    answer::Work {
        verb: work.verb.to_string(),
        path: work.path,
        taken,
        from: work.from,
        done: work.done,
        size: work.end,
        rate: if taken > 0.0 { (moved as f64 / taken) as u64 } else { 0 },
    }
}

/// Seconds with milliseconds.
fn seconds(span: Duration) -> f64 {
    span.as_millis() as f64 / 1000.0
}

/// RFC 3339 in UTC, whole seconds.
fn stamp(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}
