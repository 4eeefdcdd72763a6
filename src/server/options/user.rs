//! What `dfos-forkd user` takes.

use crate::auth::limits_file;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// What to do with the users file.
#[derive(Debug, Clone, Args)]
pub struct UserOptions {
    #[command(subcommand)]
    /// What to do.
    pub action: UserAction,
    /// The configuration file, TOML; 'none' for none [default: /etc/dfos/forkd.toml, for root and if it is there]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// The users file [default: the one that the configuration names, else ./id_passwd.txt]
    #[arg(long, value_name = "FILE", default_value = "./id_passwd.txt", hide_default_value = true, global = true)]
    pub users: PathBuf,
    /// The file of users' limits, for 'list' [default: user_limits.toml beside the users file, if it is there]
    #[arg(long, value_name = "FILE", global = true)]
    pub user_limits: Option<PathBuf>,
    /// Read the password from standard input (its first line) instead of asking for it
    #[arg(long, global = true)]
    pub password_stdin: bool,
}

/// One change of the users file.
#[derive(Debug, Clone, Subcommand)]
pub enum UserAction {
    /// Add a user
    Add {
        /// The user's name: small letters, digits, '_', '.', '-'; at most 32
        name: String,
    },
    /// Give a user a new password
    Passwd {
        /// The user's name
        name: String,
    },
    /// Remove a user; the user's files stay
    Remove {
        /// The user's name
        name: String,
    },
    /// List the users, and what is wrong with the file
    List,
}

/// The limits file beside a users file, if something of that name is there.
pub fn usual_limits_file(users: &Path) -> Option<PathBuf> {
    let path = users.with_file_name(limits_file::USUAL_NAME);
    let gone = path.symlink_metadata().is_err_and(|why| why.kind() == std::io::ErrorKind::NotFound);
    (!gone).then_some(path)
}
