//! How much a line of the log matters.

use crate::proto::Code;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed that the operator must know of.
    Error,
    /// Something that the operator may want to change.
    Warning,
    /// What happened.
    Info,
    /// What else happened (`-v`).
    Debug,
}

impl Level {
    /// As it stands in a line.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }

    /// How much it matters that a request failed with `code`.
    pub fn of(code: Code) -> Level {
        match code {
            Code::IoError | Code::Uncertain | Code::Internal => Level::Error,
            Code::NoSpace | Code::ReadOnly | Code::Busy => Level::Warning,
            _ => Level::Info,
        }
    }

    /// The level that a record names by this byte: a digit.
    pub fn from_byte(byte: u8) -> Option<Level> {
        [Level::Error, Level::Warning, Level::Info, Level::Debug].into_iter().find(|level| *level as u8 + b'0' == byte)
    }
}
