//! Where the lines of the log go.

pub mod file;
pub mod opening;
pub mod stderr;
pub mod syslog;

use crate::server::level::Level;
use crate::server::options::LogTarget;
use file::LineFile;
use nix::unistd::Pid;
use std::time::Duration;
use syslog::SyslogOutput;

/// What a line is about, as far as a system log asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// The house: facility daemon.
    House,
    /// Who may come in: facility auth.
    Logins,
}

/// How soon it is tried again to write what could not be written.
pub const RETRY: Duration = Duration::from_millis(200);

/// One of the places.
pub enum Output {
    /// Standard error.
    Stderr,
    /// Standard error that the journal reads.
    Journal,
    /// The system log.
    Syslog(Box<SyslogOutput>),
    /// A file.
    File(Box<LineFile>),
    /// A list, for tests.
    #[cfg(test)]
    Kept(Vec<String>),
}

impl Output {
    /// Writes to `target`.
    pub fn to(target: LogTarget) -> Self {
        match target {
            LogTarget::Stderr => Output::Stderr,
            LogTarget::Journal => Output::Journal,
            LogTarget::Syslog(socket) => Output::Syslog(Box::new(SyslogOutput::new(socket))),
            LogTarget::File(path) => Output::File(Box::new(LineFile::new(path, false))),
        }
    }

    /// Writes a line, said by `sender`. What it holds has been made harmless.
    pub fn write(&mut self, sender: Pid, topic: Topic, level: Level, text: &str) {
        match self {
            Output::Stderr => stderr::write(&stderr::stamped(sender, level, text)),
            Output::Journal => stderr::write(&stderr::for_the_journal(sender, level, text)),
            Output::Syslog(syslog) => syslog.write(sender, topic, level, text),
            Output::File(file) => file.push(&stderr::stamped(sender, level, text)),
            #[cfg(test)]
            Output::Kept(lines) => lines.push(text.to_owned()),
        }
    }

    /// Sees to it that what was written goes out, as far as that costs no waiting.
    pub fn flush(&mut self) {
        match self {
            Output::Syslog(syslog) => syslog.flush(),
            Output::File(file) => {
                file.flush();
                let lost = file.recovered();
                if lost > 0 {
                    let text = format!("{lost} log lines were lost: the log could not be written");
                    file.push(&stderr::stamped(Pid::this(), Level::Warning, &text));
                    file.flush();
                }
            }
            _ => {}
        }
    }

    /// Writes into a new file, where the old one has been put away.
    pub fn reopen(&mut self) {
        if let Output::File(file) = self {
            file.reopen();
        }
    }

    /// Whether something waits that could not be written yet.
    pub fn is_behind(&self) -> bool {
        match self {
            Output::Syslog(syslog) => syslog.is_behind(),
            Output::File(file) => file.is_behind(),
            _ => false,
        }
    }
}
