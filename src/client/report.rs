//! What transfers tell while they run. The transfers know nothing of terminals; bars, plain lines and JSON are reporters.

use super::failure::Failure;
use super::trust::Introduction;
use crate::proto::Digest;
use std::time::Duration;

/// Which way a file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the server.
    Put,
    /// From the server.
    Get,
}

/// One thing that happened. `file` numbers the files of one command; `name` is what the user would call it, as bytes.
#[derive(Debug)]
#[allow(missing_docs)] // the fields are named for what they are
pub enum Event<'a> {
    /// So many more files and bytes are to come; may come several times.
    Planned { files: u64, bytes: u64 },
    /// A file's turn has come. `size` is `None` for standard input.
    Started { file: u64, direction: Direction, name: &'a [u8], size: Option<u64> },
    /// The file goes on where an earlier attempt ended.
    Resumed { file: u64, at: u64 },
    /// One thing is done now, or, in a dry run, would be: `verb` says what to `name`, and where that goes.
    Step { verb: &'static str, name: &'a [u8], to: Option<&'a [u8]>, bytes: Option<u64> },
    /// A file was left alone on purpose: its name is taken. `file` is its number if it was begun.
    Kept { file: Option<u64>, name: &'a [u8], why: &'a str },
    /// So many more bytes of the file have passed.
    Advanced { file: u64, bytes: u64 },
    /// All bytes have passed; the digest is being checked, the flush waited for.
    Settling { file: u64 },
    /// The file is whole, verified, and has its name. `bytes` is its size, `moved` what this command sent or received.
    Finished { file: u64, bytes: u64, moved: u64, digest: Digest, took: Duration },
    /// The file failed for good.
    Failed { file: u64, failure: &'a Failure },
    /// Something that is not a file was passed over (a symbolic link, a socket), and why.
    Skipped { name: &'a [u8], why: &'a str },
    /// The connection was lost; another attempt follows after `wait`.
    Retrying { attempt: u32, of: u32, wait: Duration, why: &'a Failure },
    /// The server was met for the first time; its key is known from now on.
    Introduced { introduction: &'a Introduction },
    /// A connection stands, logged in.
    Connected,
    /// The connection is back after a retry.
    Reconnected,
}

/// Takes events from transfers, from several threads at once.
pub trait Report: Sync {
    /// Takes one event.
    fn event(&self, event: Event<'_>);
}

/// Tells nobody.
pub struct Silent;

impl Report for Silent {
    fn event(&self, _: Event<'_>) {}
}
