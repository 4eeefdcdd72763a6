//! The harness proves itself: on a disk that only pretends to flush, it must soon find something lost.

use super::disk::Without;
use super::{Torture, in_a_mount_namespace};
use crate::run::{Account, Run};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// So long it may take.
const WITHIN: Duration = Duration::from_secs(60);

/// Finds, so often, a loss where fsync of files does nothing, and one where fsync of directories does nothing.
pub fn run(run: &Run, account: &mut Account) {
    in_a_mount_namespace(account, |account| {
        for time in 0..run.times {
            let run = Run { seed: run.seed.wrapping_add(time), ..*run };
            find(&run, account, "files", Without { fsync_file: true, ..Without::default() });
            find(&run, account, "directories", Without { fsync_directory: true, ..Without::default() });
        }
    });
}

fn find(run: &Run, account: &mut Account, what: &str, without: Without) {
    let begin = Instant::now();
    let mut rounds = Account::default();
    let mut torture = Torture::new(run, without);
    while begin.elapsed() < WITHIN {
        // A server that does not start any more on what it finds is a loss too.
        let lost = catch_unwind(AssertUnwindSafe(|| torture.round(&mut rounds)));
        let lost = lost.unwrap_or_else(|_| vec!["the server did not come back".into()]);
        if let Some(loss) = lost.first() {
            let milliseconds = begin.elapsed().as_millis() as u64;
            println!(
                "  without fsync of {what}, found after {milliseconds} ms and {} cuts: {loss}",
                rounds.counted("cuts")
            );
            account.count(&format!("losses found without fsync of {what}"), 1);
            account.count(&format!("milliseconds until then ({what})"), milliseconds);
            return;
        }
    }
    account.lost(format!(
        "without fsync of {what} nothing was found lost in {WITHIN:?} and {} cuts",
        rounds.counted("cuts")
    ));
}
