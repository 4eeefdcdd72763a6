//! Lines on standard error: with a time stamp for people, or with a priority before them for the journal, which has its own time
//! (sd-daemon(3)).

use super::syslog::severity;
use crate::server::audit::STAMP;
use crate::server::level::Level;
use nix::unistd::Pid;
use std::io::{self, Write};
use time::OffsetDateTime;

/// Writes a line.
pub fn write(line: &str) {
    let _ = io::stderr().write_all(line.as_bytes()); // nobody is left to tell
}

/// A line that tells its time, as a file has it too.
pub fn stamped(sender: Pid, level: Level, text: &str) -> String {
    let stamp = OffsetDateTime::now_utc().format(STAMP).unwrap_or_default();
    format!("{stamp} dfos-forkd[{sender}] {} {text}\n", level.as_str())
}

/// A line as the journal takes it. Who wrote it the journal takes for the scribe: so whose it is stands in the line.
pub fn for_the_journal(sender: Pid, level: Level, text: &str) -> String {
    format!("<{}>[{sender}] {text}\n", severity(level) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_gets_a_priority_and_no_time() {
        assert_eq!(for_the_journal(Pid::from_raw(7), Level::Warning, "hello"), "<4>[7] hello\n");
    }
}
