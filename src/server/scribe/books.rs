//! The two books that the scribe keeps: the log, for people, and the audit, for programs.

use super::journal::Journal;
use super::output::{Output, RETRY, Topic};
use crate::proto::unseen::is_unsafe;
use crate::server::audit::Line;
use crate::server::level::Level;
use crate::server::options::LogTarget;
use crate::sys::notice::Notice;
use nix::unistd::Pid;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// The log, and the audit if there is one.
pub struct Books {
    log: Output,
    /// Lines that matter less are not written into the log.
    level: Level,
    audit: Option<Journal>,
}

impl Books {
    /// Opens both. The audit begins with the `occasion`; with a notice it is one that must be written.
    pub fn new(
        log: LogTarget,
        level: Level,
        audit: Option<PathBuf>,
        notice: Option<Notice>,
        occasion: &'static str,
    ) -> Self {
        let mut audit = audit.map(|path| Journal::new(path, notice));
        if let Some(audit) = &mut audit {
            audit.push(Line::of("start").text("text", occasion));
        }
        Books { log: Output::to(log), level, audit }
    }

    /// Whether nothing may be done that the audit does not tell of, so that records stay in their queue until they are written.
    pub fn keep_back(&self) -> bool {
        self.audit.as_ref().is_some_and(Journal::is_required)
    }

    /// Which lines of the log are written from now on.
    pub fn set_level(&mut self, level: Level) {
        self.level = level;
    }

    /// Writes a line of the log. Whoever it is about, it begins no second one.
    pub fn write(&mut self, sender: Pid, topic: Topic, level: Level, who: &str, text: &str) {
        if level <= self.level {
            self.log.write(sender, topic, level, &format!("{who}{}", printable(text)));
        }
    }

    /// Adds a line to the audit, if there is one.
    pub fn note(&mut self, line: impl FnOnce() -> Line) {
        if let Some(audit) = &mut self.audit {
            audit.push(&mut line());
        }
    }

    /// Sees to it that what was added to the audit goes out. The log is told of what goes wrong there.
    pub fn flush_audit(&mut self) {
        if let Some((level, text)) = self.audit.as_mut().and_then(Journal::flush) {
            self.write(Pid::this(), Topic::House, level, "", &text);
        }
    }

    /// The same of the log.
    pub fn flush_log(&mut self) {
        self.log.flush();
    }

    /// Goes on in new files, where the old ones have been put away.
    pub fn reopen(&mut self) {
        self.log.reopen();
        self.audit.iter_mut().for_each(Journal::reopen);
    }

    /// Whether every line that was added to the audit is in its file.
    pub fn are_complete(&self) -> bool {
        self.audit.as_ref().is_none_or(Journal::is_complete)
    }

    /// Whether all is written that must be before anything follows from it.
    pub fn hold_what_they_must(&self) -> bool {
        self.audit.as_ref().is_none_or(|audit| !audit.is_required() || !audit.is_behind())
    }

    /// Whether something waits to be tried again.
    pub fn are_behind(&self) -> bool {
        self.log.is_behind() || self.audit.as_ref().is_some_and(Journal::is_behind)
    }

    /// In how long that is due.
    pub fn due(&self) -> Option<Duration> {
        self.are_behind().then_some(RETRY)
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
impl Books {
    /// From now on the lines of the log stay here.
    pub fn keep_the_log(&mut self) {
        self.log = Output::Kept(Vec::new());
    }

    /// What has stayed here, and stays no longer.
    pub fn kept(&mut self) -> Vec<String> {
        match &mut self.log {
            Output::Kept(lines) => std::mem::take(lines),
            _ => unreachable!(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_forge_another() {
        assert_eq!(printable("a\nb\x1b[2J\u{9b}\u{202e}c"), "a\\u{a}b\\u{1b}[2J\\u{9b}\\u{202e}c");
        assert_eq!(printable("grün"), "grün");
    }
}
