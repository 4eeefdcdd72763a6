//! The codes of `ERR` and `ABORT`, and what `dfos-client` exits with for each: the one table.

use std::fmt;
use std::str::FromStr;

macro_rules! codes {
    ($($variant:ident $word:literal $status:literal $doc:literal,)*) => {
        /// What an `ERR` or an `ABORT` says went wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $(#[doc = $doc] $variant,)* }

        impl Code {
            /// All codes, in the order of docs/PROTOCOL.md.
            pub const ALL: &[Code] = &[$(Code::$variant,)*];

            /// The code as it stands on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $word,)* }
            }

            /// What it means, in a few words.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$variant => $doc,)* }
            }

            /// The exit status that `dfos-client` ends with when this is the reason.
            pub fn exit_status(self) -> u8 {
                match self { $(Code::$variant => $status,)* }
            }
        }
    };
}

codes! {
    NotFound "not-found" 7 "no such file or directory",
    Exists "exists" 8 "the name is taken",
    Denied "denied" 6 "not allowed",
    LoginRefused "login-refused" 5 "wrong name or password",
    BadRequest "bad-request" 12 "the line is not a request, or its arguments are wrong",
    BadPath "bad-path" 2 "the path breaks a rule, or a link or a special file stands in it",
    NameTooLong "name-too-long" 2 "the name or the path is too long",
    IsDirectory "is-directory" 8 "a directory where a file is meant",
    NotDirectory "not-directory" 8 "a file where a directory is meant",
    NotEmpty "not-empty" 8 "the directory is not empty",
    NoSpace "no-space" 9 "the disk is full",
    OverQuota "over-quota" 9 "the user's quota is used up",
    TooLarge "too-large" 9 "larger than the server or the file system takes",
    ChecksumMismatch "checksum-mismatch" 11 "the bytes received are not the bytes meant",
    Changed "changed" 11 "the file is not, or no longer, what was asked for",
    CrossDevice "cross-device" 8 "a rename between two file systems",
    ReadOnly "read-only" 6 "the file system is read-only",
    IoError "io-error" 1 "the disk failed",
    Uncertain "uncertain" 1 "the change was made but its flush failed: old or new, whole",
    Busy "busy" 3 "too many clients or open files, or in use; try again",
    Aborted "aborted" 17 "the client gave the upload up",
    Timeout "timeout" 13 "the other end kept still for too long",
    ShuttingDown "shutting-down" 17 "the server is ending",
    Internal "internal" 1 "a fault of the server",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no code of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownCode;

impl FromStr for Code {
    type Err = UnknownCode;
    fn from_str(word: &str) -> Result<Self, UnknownCode> {
        Code::ALL.iter().copied().find(|code| code.as_str() == word).ok_or(UnknownCode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/PROTOCOL.md holds the same table; a code or a status that differs there misleads whoever reads it.
    #[test]
    fn the_manual_has_every_code_with_its_exit_status() {
        let manual = include_str!("../../docs/PROTOCOL.md");
        for code in Code::ALL {
            let row = manual
                .lines()
                .find(|line| line.starts_with(&format!("| `{code}` |")))
                .unwrap_or_else(|| panic!("{code} is not in docs/PROTOCOL.md"));
            assert!(row.ends_with(&format!("| {} |", code.exit_status())), "{row}");
        }
    }
}
