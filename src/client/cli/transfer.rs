//! The options of `put` and `get`.

use super::which::{Filters, List, RULES};
use crate::client::jobs::Jobs;
use crate::client::throttle::Rate;
use crate::client::transfer::rules::Clobber;
use clap::Args;
use std::ffi::OsString;

/// Upload.
#[derive(Debug, Clone, Args)]
#[command(after_help = RULES)]
#[allow(missing_docs)] // the help texts say it
pub struct Put {
    /// Local files or directories; - is standard input and needs --to (`put - NAME` is short for it)
    #[arg(required_unless_present = "files_from", conflicts_with = "files_from", value_name = "LOCAL")]
    pub local: Vec<OsString>,
    /// Under this name; if it ends in / or is a directory, into it
    #[arg(long, value_name = "REMOTE")]
    pub to: Option<OsString>,
    /// Take directories with all that is in them
    #[arg(short, long)]
    pub recursive: bool,
    /// Move files over N connections at once; auto is up to four, where many files or bytes are to be moved
    #[arg(short, long, value_name = "N", default_value = "auto")]
    pub jobs: Jobs,
    #[command(flatten)]
    pub list: List,
    #[command(flatten)]
    pub filters: Filters,
    #[command(flatten)]
    pub manner: Manner,
}

/// Download.
#[derive(Debug, Clone, Args)]
#[command(after_help = RULES)]
#[allow(missing_docs)]
pub struct Get {
    /// Remote files, directories or patterns (*, ? and **, {a,b} beside one of them); a last - is short for `--to -`
    #[arg(required_unless_present = "files_from", conflicts_with = "files_from", value_name = "REMOTE")]
    pub remote: Vec<OsString>,
    /// Under this name; if it ends in / or is a directory, into it; - is standard output
    #[arg(long, value_name = "LOCAL")]
    pub to: Option<OsString>,
    /// Into this directory
    #[arg(long, value_name = "DIR", conflicts_with = "to")]
    pub dir: Option<OsString>,
    /// Take directories with all that is in them
    #[arg(short, long)]
    pub recursive: bool,
    /// Move files over N connections at once; auto is up to four, where many files or bytes are to be moved
    #[arg(short, long, value_name = "N", default_value = "auto")]
    pub jobs: Jobs,
    #[command(flatten)]
    pub list: List,
    #[command(flatten)]
    pub filters: Filters,
    #[command(flatten)]
    pub manner: Manner,
}

/// How files are moved, whichever way.
#[derive(Debug, Clone, Args)]
#[allow(missing_docs)]
pub struct Manner {
    /// Change nothing, and list what would be done: in the order and the words of -v, where directories of the server are named also if
    /// they are there
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Leave alone what exists at the other end
    #[arg(long, conflicts_with = "newer")]
    pub no_clobber: bool,
    /// Move only files that are missing at the other end, or newer than what is there
    #[arg(short = 'u', long)]
    pub newer: bool,
    /// Move at most so many bytes a second over all connections together: 500k, 2MiB
    #[arg(long, value_name = "RATE")]
    pub bwlimit: Option<Rate>,
}

impl Manner {
    /// What becomes of a file whose name is taken.
    pub fn clobber(&self) -> Clobber {
        match (self.no_clobber, self.newer) {
            (true, _) => Clobber::Never,
            (_, true) => Clobber::Older,
            _ => Clobber::Always,
        }
    }
}
