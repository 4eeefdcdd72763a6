//! What it means for a whole command that its connection is lost for good: said here alone, whatever was under way.

use super::queue::Left;
use crate::client::failure::{Exit, Failure};
use crate::client::retry::Context;
use crate::paper::units::human;
use crate::proto::Code;

/// The end of a command that goes on when it is run again. Before the server let it in nothing was begun, and what the
/// failure says is enough.
pub fn resumable(context: &Context, failure: Failure, left: Option<Left>) -> Failure {
    if !failure.retry || !context.met() {
        return failure;
    }
    let left = match left {
        Some(Left { files: 1, bytes }) => format!("{} of 1 file are left; ", human(bytes)),
        Some(Left { files, bytes }) if files > 1 => format!("{files} files ({}) are left; ", human(bytes)),
        _ => String::new(),
    };
    let exit = match failure.exit {
        Exit::Timeout | Exit::Integrity => failure.exit,
        _ => Exit::Interrupted,
    };
    let text = format!("{failure}; {left}run the same command again to go on");
    Failure { exit, text, ..failure }
}

/// The end of a command that sent standard input, which nobody can read again.
pub fn unrepeatable(context: &Context, failure: Failure) -> Failure {
    let lost = failure.exit == Exit::Connect || failure.code == Some(Code::ShuttingDown);
    let damaged = failure.exit == Exit::Integrity && failure.code.is_none();
    if !context.met() || !(lost || damaged || matches!(failure.exit, Exit::Timeout | Exit::Interrupted)) {
        return failure;
    }
    let exit = if lost { Exit::Connect } else { failure.exit };
    let what = if failure.exit == Exit::Interrupted && !lost { "interrupted" } else { failure.text.as_str() };
    let text = format!("{what}; standard input cannot be read again: all of it must be sent again");
    Failure { exit, text, ..failure }
}
