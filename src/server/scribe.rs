//! The scribe: the one process that owns the log and the audit. It names each line's sender by what the kernel says of it, and leads the
//! process group that all sessions join. It ends when everybody who could send has gone.

mod books;
pub mod hooks;
mod journal;
mod known;
pub mod output;
mod waiting;
mod ways;

pub use known::House;
#[cfg(test)]
pub(super) use ways::way;
pub use ways::{Ends, Ways, resume, ways};

use super::action::Action;
use super::audit::Line;
use super::inlet::Inlet;
use super::level::Level;
use super::options::LogTarget;
use super::record::{LARGEST, Parting, Record};
use crate::proto::limits;
use crate::sys::notice::Notice;
use books::Books;
use hooks::{Event, Hooks, Job, Orders, Report};
use known::Known;
use nix::errno::Errno;
use nix::poll::{PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal};
use nix::unistd::Pid;
use output::Topic;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use waiting::{Held, Waiting};

/// How often it is looked whether that time is over.
const LOOK: Duration = Duration::from_millis(50);

/// How long it rests before it takes what has come: so long a line may be late, and whoever sends many does not wake it for each. In milliseconds.
const REST: u8 = 1;

/// What a scribe writes, and where.
pub struct Setup {
    /// Lines that matter less are not written.
    pub level: Level,
    /// Where the log goes.
    pub target: LogTarget,
    /// The file of the audit, if there is one.
    pub audit: Option<PathBuf>,
    /// Where it says whether the audit can be written, if it must be.
    pub notice: Option<Notice>,
    /// The operator's programs.
    pub hooks: Orders,
    /// The listening sockets, in the order in which the listener counts them.
    pub houses: Vec<House>,
    /// When the server was started, in Unix seconds.
    pub started: u64,
    /// Why it begins: a sentence for the audit.
    pub occasion: &'static str,
}

/// The scribe.
pub struct Scribe {
    from_listener: Inlet,
    from_sessions: Inlet,
    listener: Pid,
    books: Books,
    hooks: Hooks,
    /// The server has ended, and that is told when the last program has.
    owes_stop: bool,
    known: Known,
    waiting: Waiting,
    /// Another takes its place: it ends once every line that it has taken is written.
    leaving: bool,
}

impl Scribe {
    /// A scribe that reads from `ends` and believes `listener`.
    pub fn new(ends: Ends, listener: Pid, setup: Setup) -> Self {
        let books = Books::new(setup.target, setup.level, setup.audit, setup.notice, setup.occasion);
        let keeps = books.keep_back();
        Scribe {
            from_listener: Inlet::new(ends.listener),
            from_sessions: if keeps { Inlet::keeping(ends.sessions) } else { Inlet::new(ends.sessions) },
            listener,
            books,
            hooks: Hooks::new(setup.hooks),
            owes_stop: false,
            known: Known::new(setup.houses, setup.started),
            waiting: Waiting::default(),
            leaving: false,
        }
    }

    /// Writes until everybody who could send has gone.
    pub fn run(mut self) -> nix::Result<()> {
        // The listener decides when to end, not a signal to the group; it also says when files have been put away. And a terminal that
        // stops background output must not stop the log.
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGTTOU] {
            crate::sys::signals::set(signal, SigHandler::SigIgn)?;
        }
        if let Err(why) = self.hooks.begin() {
            // Those that end are seen all the same, a little later.
            let text = format!("the scribe cannot hear of programs that end: {why}");
            self.write(Pid::this(), Topic::House, Level::Error, "", &text);
        }
        let mut buffer = vec![0; LARGEST];
        loop {
            self.flush();
            self.tend_hooks();
            if self.is_over() {
                return Ok(());
            }
            if self.has_left() {
                return Ok(());
            }
            let wait = self.due().and_then(|due| PollTimeout::try_from(due).ok()).unwrap_or(PollTimeout::NONE);
            // What comes now is for the next scribe.
            let inlets = [&self.from_listener, &self.from_sessions].into_iter().filter(|_| !self.is_deaf());
            let inlets = inlets.filter_map(Inlet::poll_fd);
            let mut fds: Vec<_> = inlets.chain(self.hooks.poll_fd()).collect();
            match poll(&mut fds, wait) {
                Err(Errno::EINTR) => continue,
                // While records are held back those behind them are still in the queue, and poll tells nothing.
                Ok(0) if self.waiting.is_empty() => {}
                other => {
                    other?;
                    let _ = poll(&mut [], REST);
                    if self.is_deaf() {
                        continue;
                    }
                    self.turn(&mut buffer)?;
                }
            }
            self.release(|_| false);
        }
    }

    /// Whether it reads no more, since another scribe will.
    fn is_deaf(&self) -> bool {
        self.leaving && self.waiting.is_empty()
    }

    /// Whether all that it has taken is written, and it makes room for another scribe. The operator's programs have a moment to end.
    fn has_left(&mut self) -> bool {
        if !self.is_deaf() || !self.hooks.is_idle() {
            return false;
        }
        self.flush_to_the_last();
        true
    }

    /// Whether everybody who could send has gone, all of it is written, and the programs that follow from it have ended.
    fn is_over(&mut self) -> bool {
        let is_quiet = self.from_listener.is_over() || self.hooks.is_ending();
        if !is_quiet || !self.from_sessions.is_over() {
            return false;
        }
        self.release(|_| true);
        if !self.hooks.is_ending() {
            self.hooks.end_by(Instant::now()); // the listener was killed, and nobody waits
        }
        self.tend_hooks();
        if !self.hooks.is_idle() {
            return false;
        }
        self.note_stop();
        self.flush_to_the_last();
        true
    }

    /// When it should look up though nothing comes.
    fn due(&self) -> Option<Duration> {
        let dues = [(!self.waiting.is_empty()).then_some(LOOK), self.books.due(), self.hooks.due()];
        dues.into_iter().flatten().min()
    }

    /// Takes what has come. The listener's words are taken first and heeded last: whatever a session has said before the listener
    /// spoke of it has then been heard.
    fn turn(&mut self, buffer: &mut [u8]) -> nix::Result<()> {
        let words = self.from_listener.take(buffer, Record::decode)?;
        let (since, place) = (Instant::now(), self.from_sessions.place());
        for (sender, record) in self.from_sessions.take(buffer, Record::decode)? {
            self.take(Held { since, place, sender, record });
        }
        for (sender, word) in words {
            if sender == self.listener {
                self.heed(word);
            }
        }
        Ok(())
    }

    /// Takes a session's record. It is held while its sender's name is still to come.
    fn take(&mut self, taken: Held) {
        let Held { sender, record, .. } = &taken;
        let of_user = match record {
            Record::Line(..) | Record::Refused(..) | Record::Lost(..) => false,
            Record::OfUser(..) | Record::Action(_) => true,
            _ => return, // only the listener says who is who
        };
        if self.known.has(*sender, of_user) || !self.waiting.has_room_for(record) {
            self.write_for(taken.sender, taken.record);
        } else {
            self.waiting.add(taken);
        }
    }

    /// Takes the listener's word.
    fn heed(&mut self, word: Record) {
        match word {
            Record::Opened(caller, text) => {
                let pid = caller.pid;
                self.known.add(caller, None);
                self.note(|known| known.line("connect", pid));
                self.write(self.listener, Topic::House, Level::Info, "", &text);
                self.release(|_| false);
            }
            Record::User(pid, name) => {
                let (who, text) = (self.known.who(pid), format!("login of {name}"));
                let Some(()) = self.known.log_in(pid, name) else { return };
                self.note(|known| {
                    let mut line = known.line("login", pid);
                    line.maybe("tls", known.speaks_tls(pid).then_some("1.3")).text("result", "ok");
                    line
                });
                self.write(pid, Topic::Logins, Level::Info, &who, &text);
                self.release(|_| false);
            }
            Record::Closed(pid, level, parting, text) => {
                self.release(|sender| sender == pid);
                self.note(|known| parted(known.line("disconnect", pid), &parting));
                self.known.remove(pid);
                self.write(self.listener, Topic::House, level, "", &text);
            }
            Record::Forget => self.known.clear(),
            Record::Known(caller, user) => {
                self.known.add(caller, user);
                self.release(|_| false);
            }
            Record::TurnedAway(at, peer, level, word, text) => {
                self.note(|known| {
                    let mut line = Line::of("turned-away");
                    known.place(&mut line, at, &peer).text("result", &word).text("text", &text);
                    line
                });
                if let Some(level) = level {
                    self.write(self.listener, Topic::Logins, level, &format!("{peer} turned away: "), &text);
                }
            }
            Record::Reopen => self.books.reopen(),
            Record::Level(level) => self.books.set_level(level),
            // One that did not hear of it before it was killed leaves it to the next, which is not meant.
            Record::Leave(pid) if pid != Pid::this() => {}
            Record::Leave(_) => {
                self.leaving = true;
                self.hooks.end_by(Instant::now() + limits::HOOK_MERCY / 2);
            }
            Record::End(patience) => {
                self.release(|_| true);
                self.owes_stop |= !self.hooks.is_ending();
                self.hooks.end_by(Instant::now() + patience);
                if let Some(text) = self.hooks.left(patience) {
                    self.write(self.listener, Topic::House, Level::Info, "", &text);
                }
                self.note_stop();
            }
            Record::Lost(count, why) => self.miss(self.listener, count, &why),
            Record::Line(level, text) => self.write(self.listener, Topic::House, level, "", &text),
            Record::OfUser(..) | Record::Refused(..) | Record::Action(_) => {} // a listener serves nobody
        }
    }

    /// Writes what was held back, once its sender's name is known or has been waited for long enough.
    fn release(&mut self, now: impl Fn(Pid) -> bool) {
        for held in self.waiting.take() {
            if now(held.sender) || held.is_old() {
                self.write_for(held.sender, held.record);
            } else {
                self.take(held);
            }
        }
    }

    /// Writes what a session has said. Who it is and where it comes from is not its own to say.
    fn write_for(&mut self, sender: Pid, record: Record) {
        let who = self.known.who(sender);
        match record {
            Record::Line(level, text) | Record::OfUser(level, text) => {
                self.write(sender, Topic::House, level, &who, &text);
            }
            Record::Lost(count, why) => self.miss(sender, count, &why),
            Record::Refused(attempt, account, why) => {
                self.note(|known| {
                    let mut line = known.line("login", sender);
                    line.maybe("tls", known.speaks_tls(sender).then_some("1.3")).text("result", "login-refused");
                    line.maybe("account", account.as_deref()).maybe("text", Some(&why));
                    line
                });
                self.refused(sender, attempt, account.as_deref(), &why);
                let of_whom = account.map_or_else(String::new, |account| format!(": {account}: {why}"));
                let text = format!("login refused, attempt {attempt} of {}{of_whom}", limits::LOGIN_ATTEMPTS);
                self.write(sender, Topic::Logins, Level::Warning, &who, &text);
            }
            Record::Action(action) => {
                self.note(|known| {
                    let mut line = known.line("request", sender);
                    line.action(&action);
                    line
                });
                self.write(sender, Topic::House, action.level(), &who, &action.line());
                self.done(sender, &action);
            }
            _ => {}
        }
    }

    /// A session has done something, and it has been written down. What is to follow from that begins here; whatever it has to wait for
    /// belongs into the list that [`run`](Self::run) polls, for the scribe itself never waits.
    fn done(&mut self, sender: Pid, action: &Action) {
        let Some(event) = Event::of(action).filter(|event| self.hooks.wants(*event)) else { return };
        let job = self.known.get(sender);
        let job = job.and_then(|session| Job::of_action(event, &self.known, session, action));
        self.run_after(sender, event, job);
    }

    /// A login was refused, and that has been written down.
    fn refused(&mut self, sender: Pid, attempt: u32, account: Option<&str>, why: &str) {
        let event = Event::LoginFailed;
        if self.hooks.wants(event) {
            let session = self.known.get(sender);
            let job = session.map(|session| Job::of_login(&self.known, session, attempt, account, why));
            self.run_after(sender, event, job);
        }
    }

    /// Has a program run, if there is something to tell it.
    fn run_after(&mut self, sender: Pid, event: Event, job: Option<Job>) {
        if let Some(job) = job {
            return self.hooks.push(job);
        }
        let text = format!("hook on-{}: not run: its user or its path is not known", event.as_str());
        self.note(|known| {
            let mut line = known.line("hook", sender);
            line.text("text", &text).text("result", "dropped");
            line
        });
        self.write(sender, Topic::House, Level::Warning, &self.known.who(sender), &text);
    }

    /// Lets programs run, and tells of those that have ended. What they follow is in the audit already, where it must be.
    fn tend_hooks(&mut self) {
        let reports = self.hooks.turn(self.books.hold_what_they_must());
        if reports.is_empty() {
            return;
        }
        for report in reports {
            self.tell_of(&report);
        }
        self.flush();
    }

    fn tell_of(&mut self, report: &Report) {
        let (level, who, text) = match report {
            Report::Dropped(count, why) => {
                (Level::Warning, String::new(), format!("hooks: {count} programs were not run: {why}"))
            }
            Report::Ended(ended) => {
                let level = if ended.word == "ok" { Level::Debug } else { Level::Warning };
                let path = ended.job.path.as_ref().map_or_else(String::new, |path| format!(" {path}"));
                let (event, word, took) = (ended.job.event.as_str(), ended.word, ended.took.as_secs_f64());
                let text = format!("hook on-{event}{path}: {word}, {took:.3}s: {}", ended.text);
                (level, ended.job.session.who(), text)
            }
        };
        self.note(|known| match report {
            Report::Dropped(..) => {
                let mut line = Line::of("hook");
                line.text("text", &text).text("result", "dropped");
                line
            }
            Report::Ended(ended) => {
                let mut line = known.line_of("hook", &ended.job.session);
                let path = ended.job.path.as_ref().map(ToString::to_string);
                line.path("path", "path_b64", path.as_deref()).seconds("seconds", ended.took);
                line.text("text", &format!("on-{}: {}", ended.job.event.as_str(), ended.text));
                line.text("result", ended.word);
                line
            }
        });
        self.write(Pid::this(), Topic::House, level, &who, &text);
    }

    /// Tells the audit that the server has ended, once nothing else is to follow.
    fn note_stop(&mut self) {
        if !self.hooks.is_idle() || !std::mem::take(&mut self.owes_stop) {
            return;
        }
        self.note(|_| {
            let mut line = Line::of("stop");
            line.text("text", "the server has ended");
            line
        });
    }

    /// Tells that records of a sender are missing.
    fn miss(&mut self, sender: Pid, count: u64, why: &str) {
        self.note(|known| {
            let mut line = if known.has(sender, false) { known.line("lost", sender) } else { Line::of("lost") };
            line.number("lines", count).text("text", why);
            line
        });
        let who = self.known.who(sender);
        self.write(sender, Topic::House, Level::Warning, &who, &format!("{count} log lines were lost: {why}"));
    }

    /// Adds a line to the audit, if there is one.
    fn note(&mut self, line: impl FnOnce(&Known) -> Line) {
        self.books.note(|| line(&self.known));
    }

    /// Sees to it that what was written goes out: with one call for all that came in a turn.
    fn flush(&mut self) {
        self.books.flush_audit();
        // For what was said just before sessions saw that there is no more room, room was kept: it is taken, and written, at once. What
        // waits for a name is written nowhere yet, and stays in the queue with all that is behind it.
        if self.books.are_complete() {
            self.from_sessions.done(self.waiting.first_place().unwrap_or(u64::MAX));
        }
        self.books.flush_log();
    }

    /// The same for the last time: lines of files that have been put away wait for nobody's word any more.
    fn flush_to_the_last(&mut self) {
        self.flush();
        if self.books.are_behind() {
            self.books.reopen();
            self.flush();
        }
    }

    fn write(&mut self, sender: Pid, topic: Topic, level: Level, who: &str, text: &str) {
        self.books.write(sender, topic, level, who, text);
    }
}

/// How a session went.
fn parted(mut line: Line, parting: &Parting) -> Line {
    line.seconds("seconds", parting.took);
    for (key, count) in ["files_in", "bytes_in", "files_out", "bytes_out"].into_iter().zip(parting.moved) {
        line.number(key, count);
    }
    line.text("result", &parting.word);
    line
}

#[cfg(test)]
mod tests;
