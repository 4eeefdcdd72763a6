//! The kernel's monotonic clock as a number, which several processes can compare (clock_gettime(2)); [`std::time::Instant`] cannot be
//! written into memory that is shared. Reading it is no system call where the kernel offers a vdso(7).

use nix::time::{ClockId, clock_gettime};

/// Microseconds since some moment before the machine's start; 0 where there is no such clock.
pub fn monotonic() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |now| now.tv_sec() as u64 * 1_000_000 + now.tv_nsec() as u64 / 1_000)
}
