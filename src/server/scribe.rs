//! The scribe: the one process that owns the log and the audit. It names each line's sender by what the kernel says of it, and leads the
//! process group that all sessions join. It ends when everybody who could send has gone.

pub mod hooks;
mod journal;
mod known;
pub mod output;
mod ways;

pub use known::House;
#[cfg(test)]
pub(super) use ways::way;
pub use ways::{Ends, Ways, resume, ways};

use super::action::Action;
use super::audit::Line;
use super::inlet::Inlet;
use super::options::LogTarget;
use super::record::{LARGEST, Level, Parting, Record};
use crate::proto::limits;
use crate::proto::unseen::is_unsafe;
use crate::sys::notice::Notice;
use hooks::{Event, Hooks, Job, Orders, Report};
use journal::Journal;
use known::Known;
use nix::errno::Errno;
use nix::poll::{PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal};
use nix::unistd::Pid;
use output::{Output, RETRY, Topic};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a record may wait for the listener's word of who its sender is: the child may be faster than its parent.
const HOLD: Duration = Duration::from_secs(1);

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
    log: Output,
    audit: Option<Journal>,
    hooks: Hooks,
    /// The server has ended, and that is told when the last program has.
    owes_stop: bool,
    known: Known,
    early: VecDeque<(Instant, Pid, Record)>,
    /// Bytes of those.
    held: usize,
    level: Level,
    /// Another takes its place: it ends once every line that it has taken is written.
    leaving: bool,
}

impl Scribe {
    /// A scribe that reads from `ends` and believes `listener`.
    pub fn new(ends: Ends, listener: Pid, setup: Setup) -> Self {
        let mut audit = setup.audit.map(|path| Journal::new(path, setup.notice));
        if let Some(audit) = &mut audit {
            audit.push(Line::of("start").text("text", setup.occasion));
        }
        let keeps = audit.as_ref().is_some_and(Journal::is_required);
        Scribe {
            from_listener: Inlet::new(ends.listener),
            from_sessions: if keeps { Inlet::keeping(ends.sessions) } else { Inlet::new(ends.sessions) },
            listener,
            log: Output::to(setup.target),
            audit,
            hooks: Hooks::new(setup.hooks),
            owes_stop: false,
            known: Known::new(setup.houses, setup.started),
            early: VecDeque::new(),
            held: 0,
            level: setup.level,
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
                Ok(0) => {}
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
        self.leaving && self.early.is_empty()
    }

    /// Whether all that it has taken is written, and it makes room for another scribe. The operator's programs have a moment to end.
    fn has_left(&mut self) -> bool {
        if !self.is_deaf() || !self.hooks.is_idle() {
            return false;
        }
        self.flush();
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
        self.flush();
        true
    }

    /// When it should look up though nothing comes.
    fn due(&self) -> Option<Duration> {
        let is_behind = self.log.is_behind() || self.audit.as_ref().is_some_and(Journal::is_behind);
        let dues = [(!self.early.is_empty()).then_some(LOOK), is_behind.then_some(RETRY), self.hooks.due()];
        dues.into_iter().flatten().min()
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

    /// Takes a session's record of then. It is held while its sender's name is still to come.
    fn take(&mut self, since: Instant, sender: Pid, record: Record) {
        let of_user = match &record {
            Record::Line(..) | Record::Refused(..) | Record::Lost(..) => false,
            Record::OfUser(..) | Record::Action(_) => true,
            _ => return, // only the listener says who is who
        };
        let held = self.held + record.weight();
        if self.known.has(sender, of_user) || held > limits::LOG_HELD {
            self.write_for(sender, record);
        } else {
            self.held = held;
            self.early.push_back((since, sender, record));
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
            Record::Reopen => {
                self.log.reopen();
                self.audit.iter_mut().for_each(Journal::reopen);
            }
            Record::Level(level) => self.level = level,
            Record::Leave => {
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
        self.held = 0;
        for (since, sender, record) in std::mem::take(&mut self.early) {
            if now(sender) || since.elapsed() > HOLD {
                self.write_for(sender, record);
            } else {
                self.take(since, sender, record);
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
        let is_written = self.audit.as_ref().is_none_or(|audit| !audit.is_required() || !audit.is_behind());
        let reports = self.hooks.turn(is_written);
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
        if let Some(audit) = &mut self.audit {
            audit.push(&mut line(&self.known));
        }
    }

    /// Sees to it that what was written goes out: with one call for all that came in a turn.
    fn flush(&mut self) {
        if let Some((level, text)) = self.audit.as_mut().and_then(Journal::flush) {
            self.write(Pid::this(), Topic::House, level, "", &text);
        }
        // For what was said just before sessions saw that there is no more room, room was kept: it is taken, and written, at once.
        if self.audit.as_ref().is_none_or(Journal::is_complete) {
            self.from_sessions.done();
        }
        self.log.flush();
    }

    fn write(&mut self, sender: Pid, topic: Topic, level: Level, who: &str, text: &str) {
        if level <= self.level {
            self.log.write(sender, topic, level, &format!("{who}{}", printable(text)));
        }
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
    use crate::server::record::Caller;

    #[test]
    fn a_line_cannot_forge_another() {
        assert_eq!(printable("a\nb\x1b[2J\u{9b}\u{202e}c"), "a\\u{a}b\\u{1b}[2J\\u{9b}\\u{202e}c");
        assert_eq!(printable("grün"), "grün");
    }

    /// A scribe that keeps its lines, and the ways to it. This process is listener and session: the ways tell them apart.
    fn scribe() -> (Scribe, Ways) {
        let (ways, ends) = ways(Level::Info).unwrap();
        let mut scribe = Scribe::new(ends, Pid::this(), setup(None));
        scribe.log = Output::Kept(Vec::new());
        (scribe, ways)
    }

    fn lines(scribe: &mut Scribe) -> Vec<String> {
        scribe.turn(&mut vec![0; LARGEST]).unwrap();
        match &mut scribe.log {
            Output::Kept(lines) => std::mem::take(lines),
            _ => unreachable!(),
        }
    }

    fn setup(audit: Option<PathBuf>) -> Setup {
        let houses = vec![House { address: "tls://here".into(), speaks_tls: true }];
        let (target, level) = (LogTarget::Stderr, Level::Info);
        let hooks = Orders::default();
        Setup { level, target, audit, notice: None, hooks, houses, started: 0x1234, occasion: "a test" }
    }

    fn caller(peer: &str) -> Caller {
        Caller { pid: Pid::this(), serial: 5, at: 0, peer: peer.into() }
    }

    fn opened(peer: &str) -> Record {
        Record::Opened(caller(peer), format!("{peer} came"))
    }

    fn user(name: &str) -> Record {
        Record::User(Pid::this(), name.into())
    }

    fn closed() -> Record {
        Record::Closed(Pid::this(), Level::Info, Parting::default(), "went".into())
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
        listener.send(&Record::Known(caller("here"), None));
        let away = Record::TurnedAway(0, "there".into(), Some(Level::Info), "full".into(), "x".into());
        let level = Record::Level(Level::Error);
        let orders = [Record::Reopen, Record::Forget, level, Record::End(Duration::ZERO), Record::Leave];
        for claim in [opened("there"), user("mallory"), closed(), away].into_iter().chain(orders) {
            sessions.send(&claim);
            sessions.send(&Record::Line(Level::Info, "a".into()));
            assert_eq!(lines(&mut scribe), ["here a"], "{claim:?}");
            assert!(!scribe.leaving);
        }
        sessions.send(&Record::Known(caller("there"), Some("mallory".into())));
        listener.send(&Record::Known(caller("here"), Some("alice".into())));
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

    #[test]
    fn what_a_session_did_stands_under_the_name_that_the_listener_gives_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let (ways, ends) = ways(Level::Debug).unwrap();
        let mut scribe = Scribe::new(ends, Pid::this(), setup(Some(path.clone())));
        scribe.log = Output::Kept(Vec::new());
        let action = Action { path: Some("a%0Ab".into()), ..Action::unknown() };
        ways.sessions.send(&Record::Action(Box::new(action))); // a child may be faster than its parent
        ways.sessions.send(&Record::Refused(1, Some("bob".into()), "wrong password".into()));
        for word in [opened("there"), user("alice"), closed(), Record::End(Duration::ZERO)] {
            ways.listener.send(&word);
        }
        lines(&mut scribe);
        scribe.flush();
        let text = std::fs::read_to_string(&path).unwrap();
        let told: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let events: Vec<_> = told.iter().map(|line| line["event"].as_str().unwrap()).collect();
        assert_eq!(events, ["start", "connect", "login", "login", "request", "disconnect", "stop"], "{text}");
        let (refused, request) = (&told[2], &told[4]);
        assert_eq!((&refused["account"], &refused["tls"]), (&"bob".into(), &"1.3".into()));
        assert_eq!((&request["user"], &request["path"]), (&"alice".into(), &"a\nb".into()));
        for line in &told[1..6] {
            let is = |key: &str, value: &str| line[key] == value;
            assert!(is("session", "1234-5") && is("peer", "there") && is("listener", "tls://here"), "{line}");
        }
    }
}
