//! The audit as the scribe keeps it: its file, what is said of it when it cannot be written, and the notice that sessions heed where it
//! must be.

use super::output::file::LineFile;
use crate::server::audit::Line;
use crate::server::level::Level;
use crate::sys::notice::Notice;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often it is said that the audit cannot be written: a disk that is full may be so for days.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// The audit.
pub struct Journal {
    file: LineFile,
    /// Where it says whether anything may be done, if the audit is required.
    notice: Option<Notice>,
    complained: Option<Instant>,
    is_broken: bool,
}

impl Journal {
    /// The audit in the file at `path`; with a notice, one that must be written.
    pub fn new(path: PathBuf, notice: Option<Notice>) -> Self {
        Journal { file: LineFile::new(path, notice.is_some()), notice, complained: None, is_broken: false }
    }

    /// Whether nothing may be done that is not written.
    pub fn is_required(&self) -> bool {
        self.notice.is_some()
    }

    /// Adds a line.
    pub fn push(&mut self, line: &mut Line) {
        self.file.push(&line.finish());
    }

    /// Writes what was added, and returns what the log should tell of that.
    pub fn flush(&mut self) -> Option<(Level, String)> {
        self.file.flush();
        if let Some(notice) = &self.notice {
            notice.put(u64::from(self.file.trouble().is_some()));
        }
        if let Some(why) = self.file.trouble() {
            self.is_broken = true;
            let due = self.complained.is_none_or(|then| then.elapsed() >= COMPLAIN_EVERY);
            let refused = if self.notice.is_some() { "; requests are refused" } else { "" };
            return due.then(|| {
                self.complained = Some(Instant::now());
                (Level::Error, format!("the audit cannot be written: {why}{refused}"))
            });
        }
        let lost = self.file.recovered();
        if lost > 0 {
            self.push(Line::of("lost").number("lines", lost).text("text", "the audit could not be written"));
            self.file.flush();
        }
        let was_broken = std::mem::take(&mut self.is_broken);
        (was_broken || lost > 0).then(|| {
            self.complained = None;
            (Level::Warning, format!("the audit is written again, {lost} lines of it were lost"))
        })
    }

    /// Goes on in a new file, where the old one has been put away.
    pub fn reopen(&mut self) {
        self.file.reopen();
    }

    /// Whether every line that was added is in the file, though there may be no room for more.
    pub fn is_complete(&self) -> bool {
        self.file.is_complete()
    }

    /// Whether something waits to be tried again.
    pub fn is_behind(&self) -> bool {
        self.file.is_behind()
    }
}
