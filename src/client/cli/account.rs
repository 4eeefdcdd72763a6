//! The options of what concerns the user's own account.

use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

/// Another password.
#[derive(Debug, Clone, Args)]
#[allow(missing_docs)]
pub struct Passwd {
    /// Read the new password from the first line of FILE, which nobody else may be able to read; - is standard input
    #[arg(long, value_name = "FILE")]
    pub new_password_file: Option<PathBuf>,
    /// Run CMD with /bin/sh and take the first line that it prints as the new password
    #[arg(long, value_name = "CMD", conflicts_with = "new_password_file")]
    pub new_password_command: Option<OsString>,
}
