//! What `dfos-forkd report` takes.

use crate::server::report::when::Moment;
use clap::Args;
use std::path::PathBuf;

/// Of what to report, and how.
#[derive(Debug, Clone, Args)]
pub struct ReportOptions {
    /// What --audit wrote, in any order; rotated files that gzip has compressed as they are; - is standard input
    #[arg(required = true, value_name = "AUDIT")]
    pub audits: Vec<PathBuf>,
    /// Only what happened from then on: 24h, 7d (back from now), 2026-11-21, 2026-11-21T18:20:00Z; a date is its midnight
    #[arg(long, value_name = "TIME")]
    pub since: Option<Moment>,
    /// Only what happened before then
    #[arg(long, value_name = "TIME")]
    pub until: Option<Moment>,
    /// Only what this user did, or was refused; may be given several times
    #[arg(long, value_name = "NAME")]
    pub user: Vec<String>,
    /// Tell hours and weekdays in UTC [default: local time, as TZ says]
    #[arg(long)]
    pub utc: bool,
    /// Write a web page with plots to FILE, which needs nothing besides
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    // With '=' alone: a file that stands behind it is an audit to be read, never one to be overwritten.
    /// Write the figures as one JSON object instead of the tables, or beside them to FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub json: Option<PathBuf>,
}
