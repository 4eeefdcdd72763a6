//! Over how many connections a transfer goes.

use super::limits::{self, JOB_BYTES, JOB_FILES, JOBS_UNASKED};
use std::str::FromStr;
use std::thread::available_parallelism;

/// How many connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jobs {
    /// As many as promise to pay.
    Auto,
    /// So many, but not more than there are files.
    Just(usize),
}

impl Jobs {
    /// Connections for so many files of so many bytes in all, at least one.
    ///
    /// One connection fills a long line, for it does not wait for answers; but while its session makes one file after the other, other
    /// processors have nothing to do. On two of them a second connection pays (docs/PERFORMANCE.md), more only where there are more.
    pub fn connections(self, files: usize, bytes: u64) -> usize {
        let wanted = match self {
            Jobs::Just(count) => count.min(limits::JOBS),
            Jobs::Auto => {
                let processors = available_parallelism().map_or(1, usize::from);
                let worth = (files / JOB_FILES).max(usize::try_from(bytes / JOB_BYTES).unwrap_or(JOBS_UNASKED));
                worth.saturating_add(1).min(processors.clamp(2, JOBS_UNASKED))
            }
        };
        wanted.min(files).max(1)
    }
}

impl FromStr for Jobs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "auto" => Ok(Jobs::Auto),
            Ok(count) if (1..=limits::JOBS).contains(&count) => Ok(Jobs::Just(count)),
            _ => Err(format!("say auto, or a number from 1 to {}", limits::JOBS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_connections_are_made_where_there_is_work_for_them() {
        let auto = |files, bytes| Jobs::Auto.connections(files, bytes);
        assert_eq!([auto(0, 0), auto(1, 0), auto(1, u64::MAX), auto(JOB_FILES - 1, JOB_BYTES - 1)], [1; 4]);
        assert_eq!([auto(JOB_FILES, 0), auto(2, JOB_BYTES)], [2; 2]);
        assert!((2..=JOBS_UNASKED).contains(&auto(usize::MAX, u64::MAX)));
        let just = |count, files| Jobs::Just(count).connections(files, u64::MAX);
        assert_eq!([just(1, 1000), just(5, 1000), just(5, 3), just(5, 0)], [1, 5, 3, 1]);
    }

    #[test]
    fn a_number_or_the_word_auto() {
        let parsed = |text: &str| text.parse::<Jobs>().ok();
        assert_eq!([parsed("auto"), parsed("1"), parsed("64")], [Jobs::Auto, Jobs::Just(1), Jobs::Just(64)].map(Some));
        assert_eq!(["", "0", "65", "-1", "many", "1x"].map(parsed), [None; 6]);
    }
}
