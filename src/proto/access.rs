//! What an account may do: the one place that decides it, from the table of verbs.

use super::verb::Row;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What an account may do in its own tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Everything.
    #[default]
    Full,
    /// Only verbs that change nothing. Its session writes nothing at all into the tree, notes of its own neither.
    ReadOnly,
    /// Only verbs that add something new: a letter box.
    UploadOnly,
}

/// A word that names no access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownAccess;

impl Access {
    /// All of them.
    pub const ALL: [Access; 3] = [Access::Full, Access::ReadOnly, Access::UploadOnly];

    /// As it is written in the limits file.
    pub fn as_str(self) -> &'static str {
        match self {
            Access::Full => "full",
            Access::ReadOnly => "read-only",
            Access::UploadOnly => "upload-only",
        }
    }

    /// Whether the verb of `row` is left to the account.
    pub fn permits(self, row: &Row) -> bool {
        match self {
            Access::Full => true,
            Access::ReadOnly => !row.writes,
            Access::UploadOnly => row.adds || !row.needs_login,
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Access {
    type Err = UnknownAccess;
    fn from_str(word: &str) -> Result<Self, UnknownAccess> {
        Access::ALL.into_iter().find(|access| access.as_str() == word).ok_or(UnknownAccess)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::verb::TABLE;

    fn left(access: Access) -> Vec<&'static str> {
        TABLE.iter().filter(|row| access.permits(row)).map(|row| row.name).collect()
    }

    #[test]
    fn each_access_leaves_the_verbs_that_the_manual_names() {
        assert_eq!(left(Access::Full).len(), TABLE.len());
        let reading = [
            "HELP", "AUTH", "LOGIN", "LIST", "STAT", "DOWNLOAD", "VIEW", "DIGEST", "QUOTA", "PASSWD", "PING", "LOGOUT",
        ];
        assert_eq!(left(Access::ReadOnly), reading);
        assert_eq!(left(Access::UploadOnly), ["HELP", "AUTH", "LOGIN", "UPLOAD", "MKDIR", "QUOTA", "PING", "LOGOUT"]);
    }

    #[test]
    fn the_words_are_those_that_are_read() {
        for access in Access::ALL {
            assert_eq!(access.as_str().parse(), Ok(access));
            assert_eq!(serde_json::to_string(&access).unwrap(), format!("\"{access}\""));
        }
        assert_eq!("readonly".parse::<Access>(), Err(UnknownAccess));
    }
}
