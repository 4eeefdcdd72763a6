//! The server's configuration: what the command line, the environment and a file say of one list of keys.
//!
//! Each long option of `dfos-forkd serve` is at once a key of the file ([`mod@file`]) and a variable ([`environment`]): the list is read from
//! the command line's own definition ([`keys`]), so nobody keeps a second one. A flag comes before the environment, that before the
//! file, and that before the default ([`layers`]). What has been decided is written down as a command line again, so that one parser
//! says what each value means: at the start ([`mod@line`]), and after SIGHUP ([`running`]).

pub mod environment;
pub mod file;
pub mod keys;
pub mod layers;
pub mod line;
#[cfg(test)]
mod packaged;
pub mod running;
pub mod show;

pub use line::{Gathered, Trouble, gather};
pub use running::Configuration;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// Read where no other is named, by root alone, if it is there.
pub const USUAL_FILE: &str = "/etc/dfos/forkd.toml";
/// In place of a file's name: read none.
pub const NO_FILE: &str = "none";

/// Who said what a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line.
    Flag,
    /// This variable.
    Environment(String),
    /// This line of this file.
    File(PathBuf, usize),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag => f.write_str("flag"),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
        }
    }
}

/// What is said of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub key: String,
    /// Its values, as a flag would have them: one, or as many as the list has. A switch has `true` or `false`.
    pub values: Vec<OsString>,
    /// Who said so.
    pub origin: Origin,
}
