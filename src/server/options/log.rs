//! Where the server tells what happens: the log, and the audit.

use crate::server::level::Level;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Where log lines go, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TargetName {
    /// Standard error, with time stamps; with priorities instead where systemd's journal reads it
    Stderr,
    /// The system log: facility auth for logins and connections that were turned away, daemon for all else
    Syslog,
    /// The file that --log-file names
    File,
    /// Standard error, with priorities for systemd's journal
    Journal,
}

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error.
    Stderr,
    /// Standard error, which the journal reads.
    Journal,
    /// The system log, at this socket or where it usually is.
    Syslog(Option<PathBuf>),
    /// This file.
    File(PathBuf),
}

/// The log and the audit.
#[derive(Debug, Clone, Args)]
pub struct LogOptions {
    /// Where log lines go
    #[arg(long, value_name = "TARGET", value_enum, default_value_t = TargetName::Stderr)]
    pub log_target: TargetName,
    /// The file for --log-target file; made anew on HUP where it has been put away
    #[arg(long, value_name = "FILE", required_if_eq("log_target", "file"))]
    pub log_file: Option<PathBuf>,
    /// Where syslogd listens, for --log-target syslog [default: /dev/log]
    #[arg(long, value_name = "PATH")]
    pub syslog_socket: Option<PathBuf>,
    /// Write one line of JSON to this file for each login, request and connection; made anew on HUP where it has been put away
    #[arg(long, value_name = "FILE")]
    pub audit: Option<PathBuf>,
    /// Refuse what cannot be written to the audit, before it happens
    #[arg(long, requires = "audit")]
    pub audit_required: bool,
    /// Log each request, also those that change nothing
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl LogOptions {
    /// Where log lines go. Standard error that is the journal's own stream (`JOURNAL_STREAM`, systemd.exec(5)) is written for the journal.
    pub fn target(&self) -> LogTarget {
        match (self.log_target, &self.log_file) {
            (TargetName::Syslog, _) => LogTarget::Syslog(self.syslog_socket.clone()),
            (TargetName::File, Some(file)) => LogTarget::File(file.clone()),
            (TargetName::Journal, _) => LogTarget::Journal,
            _ if is_the_journals(std::env::var("JOURNAL_STREAM").ok().as_deref()) => LogTarget::Journal,
            _ => LogTarget::Stderr,
        }
    }

    /// The files of lines that are written, each with what it is called.
    pub fn files(&self) -> Vec<(&'static str, PathBuf)> {
        let log = match self.target() {
            LogTarget::File(path) => Some(path),
            _ => None,
        };
        let files = [("the audit", self.audit.clone()), ("the log", log)];
        files.into_iter().filter_map(|(what, path)| Some((what, path?))).collect()
    }

    /// What the log takes.
    pub fn level(&self) -> Level {
        if self.verbose > 0 { Level::Debug } else { Level::Info }
    }
}

/// Whether standard error is the stream that systemd has named: its device and its number.
fn is_the_journals(stream: Option<&str>) -> bool {
    let Some((device, number)) = stream.and_then(|stream| stream.split_once(':')) else { return false };
    let Ok(found) = nix::sys::stat::fstat(std::io::stderr()) else { return false };
    device.parse() == Ok(found.st_dev) && number.parse() == Ok(found.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_error_is_the_journals_where_systemd_says_so_and_nowhere_else() {
        let found = nix::sys::stat::fstat(std::io::stderr()).unwrap();
        assert!(is_the_journals(Some(&format!("{}:{}", found.st_dev, found.st_ino))));
        for other in [None, Some(""), Some("1"), Some("x:y"), Some("0:0")] {
            assert!(!is_the_journals(other), "{other:?}");
        }
    }
}
