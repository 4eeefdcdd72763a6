//! The terminal while bars stand on it.

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};
use std::io;

/// As long as this lives, Ctrl+C is not shown as `^C`: behind a line that is full it would begin a new one, and the lines that
/// bars take away again would be miscounted.
pub struct HiddenControls {
    before: Termios,
}

impl HiddenControls {
    /// Hides them on the terminal of standard error. `None` where there is none, or where it belongs to another job now:
    /// the kernel would stop a background job that changes it (termios(3), TOSTOP).
    pub fn new() -> Option<Self> {
        if tcgetpgrp(io::stderr()) != Ok(getpgrp()) {
            return None;
        }
        let before = tcgetattr(io::stderr()).ok()?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHOCTL);
        tcsetattr(io::stderr(), SetArg::TCSANOW, &hidden).ok()?;
        Some(HiddenControls { before })
    }
}

impl Drop for HiddenControls {
    fn drop(&mut self) {
        if tcgetpgrp(io::stderr()) == Ok(getpgrp()) {
            let _ = tcsetattr(io::stderr(), SetArg::TCSANOW, &self.before); // a terminal that is gone needs no repair
        }
    }
}
