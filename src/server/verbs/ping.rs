//! PING: a sign of life, and what who looks for a fault compares: the server's clock and version. Only those who have logged in are
//! told; before, the answer is the bare `OK pong`.

use crate::proto::{Answer, Fields, Mtime};
use std::time::{SystemTime, UNIX_EPOCH};

/// The version, as `--version` tells it.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Answers.
pub(super) fn ping() -> Answer {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = Mtime { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() };
    Answer::Ok(Fields::words("pong").with("time", time).with("version", VERSION))
}
