//! localtime_r(3): how far the clocks of this machine stand from UTC at a given time, summer time included. The time crate refuses this
//! in a process of several threads, because one might change TZ meanwhile; nothing in DFOS changes its environment.

use std::mem::MaybeUninit;

/// Seconds that local time is ahead of UTC at `at`, in seconds since 1970; 0 for times that no calendar holds.
pub fn ahead_of_utc(at: libc::time_t) -> i32 {
    let mut found = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both point to memory of the right type that lives through the call; the result is either `found`, written whole, or null.
    let filled = unsafe { libc::localtime_r(&at, found.as_mut_ptr()) };
    if filled.is_null() {
        return 0;
    }
    // SAFETY: localtime_r returned its argument, so it has written all of it.
    let found = unsafe { found.assume_init() };
    i32::try_from(found.tm_gmtoff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_clock_is_further_from_utc_than_a_day_and_no_time_is_too_far() {
        for at in [0, 1_763_749_201, -1, i64::MAX, i64::MIN] {
            assert!(ahead_of_utc(at).abs() < 86_400, "{at}");
        }
    }
}
