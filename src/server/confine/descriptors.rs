//! What a session holds. Its numbers matter: the client's connection is descriptor 0, as inetd(8) had it, and /dev/null is 1 and 2.
//!
//! The log's socket is shared by all sessions, so no session may shut it down for the others; seccomp cannot tell one
//! descriptor from another but by number. It allows shutdown(2) of descriptor 0 alone; and since no call is allowed that gives a
//! descriptor a number of the caller's choice below 3, the log can never become number 0.

use crate::server::level::Level;
use crate::server::record::Log;
use crate::sys::descriptors::as_standard_input;
pub use crate::sys::descriptors::close_inherited;
use nix::unistd::{dup2_stderr, dup2_stdout};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;

/// Makes the client's connection standard input, and nothing of the other two. All else that this process still has open it needs.
pub fn arrange(socket: OwnedFd) -> io::Result<OwnedFd> {
    let socket = as_standard_input(socket)?;
    let nothing = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdout(&nothing)?;
    dup2_stderr(&nothing)?;
    Ok(socket)
}

/// A panic is told to the log: there is no standard error to write it to.
pub fn report_panics(log: &Log) {
    let log = log.sender();
    std::panic::set_hook(Box::new(move |panic| {
        Log::new(log.clone(), Level::Error).line(Level::Error, panic);
    }));
}
