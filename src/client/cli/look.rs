//! The options of the commands that look and change nothing.

use super::which::{Filters, RULES};
use clap::Args;
use std::ffi::OsString;

/// Preview.
#[derive(Debug, Clone, Args)]
#[allow(missing_docs)]
pub struct View {
    /// Remote files or patterns
    #[arg(required = true, value_name = "REMOTE")]
    pub remote: Vec<OsString>,
    /// Begin at byte N
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub offset: u64,
    /// Show N bytes, at most 65536
    #[arg(long, value_name = "N", default_value_t = crate::proto::limits::VIEW_DEFAULT, value_parser = clap::value_parser!(u64).range(1..=crate::proto::limits::VIEW))]
    pub length: u64,
}

/// Listing.
#[derive(Debug, Clone, Args)]
#[command(after_help = RULES)]
#[allow(missing_docs)]
pub struct Ls {
    /// Remote directories, files or patterns [default: the current directory]
    #[arg(value_name = "REMOTE")]
    pub remote: Vec<OsString>,
    /// Tell type, size and time (UTC) as well
    #[arg(short, long)]
    pub long: bool,
    /// List all that is below, too
    #[arg(short = 'R', long)]
    pub recursive: bool,
    #[command(flatten)]
    pub filters: Filters,
}

/// Names and nothing else.
#[derive(Debug, Clone, Args)]
#[allow(missing_docs)]
pub struct Names {
    /// Remote names or patterns
    #[arg(required = true, value_name = "REMOTE")]
    pub remote: Vec<OsString>,
}
