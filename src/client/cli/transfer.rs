//! The options of `put` and `get`.

use crate::client::transfer::jobs::Jobs;
use clap::Args;
use std::ffi::OsString;

/// Upload.
#[derive(Debug, Clone, Args)]
#[allow(missing_docs)] // the help texts say it
pub struct Put {
    /// Local files or directories; - is standard input and needs --to (`put - NAME` is short for it)
    #[arg(required = true, value_name = "LOCAL")]
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
}

/// Download.
#[derive(Debug, Clone, Args)]
#[allow(missing_docs)]
pub struct Get {
    /// Remote files, directories or patterns (* and ?); a last - is short for `--to -`
    #[arg(required = true, value_name = "REMOTE")]
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
}
