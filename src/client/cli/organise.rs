//! The options of the commands that delete, make and move.

use super::which::{Filters, List, RULES};
use crate::client::trash::options::TrashChoice;
use clap::{Args, Subcommand};
use std::ffi::OsString;

/// Deletion.
#[derive(Debug, Clone, Args)]
#[command(after_help = RULES)]
#[allow(missing_docs)]
pub struct Rm {
    /// Remote files or patterns
    #[arg(required_unless_present = "files_from", conflicts_with = "files_from", value_name = "REMOTE")]
    pub remote: Vec<OsString>,
    /// Delete directories with all that is in them; asks first, and needs --yes where nobody can answer
    #[arg(short, long)]
    pub recursive: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Delete nothing, and list what would be: in the order and the words of -v
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub list: List,
    #[command(flatten)]
    pub filters: Filters,
    #[command(flatten)]
    pub trash: TrashChoice,
}

/// Making directories.
#[derive(Debug, Clone, Args)]
#[allow(missing_docs)]
pub struct Mkdir {
    /// Remote directories
    #[arg(required = true, value_name = "REMOTE")]
    pub remote: Vec<OsString>,
    /// Make missing parents too, and take a directory that exists for done
    #[arg(short, long)]
    pub parents: bool,
}

/// Renaming.
#[derive(Debug, Clone, Args)]
#[allow(missing_docs)]
pub struct Mv {
    /// What it is called now
    #[arg(value_name = "FROM")]
    pub from: OsString,
    /// What it shall be called; if it ends in / or is a directory, it moves into it
    #[arg(value_name = "TO")]
    pub to: OsString,
    /// Replace a file that has the new name
    #[arg(short, long, conflicts_with = "no_clobber")]
    pub force: bool,
    /// Refuse if the new name is taken (this is the default)
    #[arg(short, long)]
    pub no_clobber: bool,
}

/// The words that other systems have for directories.
#[derive(Debug, Clone, Subcommand)]
pub enum Subfolder {
    /// Make a directory
    Create {
        /// Its name
        #[arg(value_name = "NAME")]
        name: OsString,
    },
    /// Delete a directory with all that is in it; asks first, and needs --yes where nobody can answer
    Delete {
        /// Its name
        #[arg(value_name = "NAME")]
        name: OsString,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}
