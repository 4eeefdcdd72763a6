//! `--bwlimit`: how fast the bytes of files may pass, over all connections of a command together.

use crate::client::limits;
use bytesize::ByteSize;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(u64);

impl Rate {
    /// So many bytes a second, but not fewer than the server's patience asks for.
    pub fn new(bytes: u64) -> Self {
        Rate(bytes.max(limits::LEAST_RATE))
    }

    /// Bytes a second.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// The bytes that may pass at once: a tenth of a second's.
    pub fn piece(self) -> usize {
        usize::try_from(self.0 / 10).unwrap_or(usize::MAX).clamp(1, limits::PIECE)
    }

    /// The connections that share it: each gets so much that the server does not take it for stalled.
    pub fn connections(self) -> usize {
        usize::try_from(self.0 / limits::LEAST_RATE).unwrap_or(usize::MAX).max(1)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<ByteSize>() {
            Ok(ByteSize(bytes)) if bytes >= limits::LEAST_RATE => Ok(Rate(bytes)),
            Ok(_) => Err(format!("at least {} bytes a second: a server gives up what is slower", limits::LEAST_RATE)),
            Err(_) => Err("say a size, for one second: 500k, 2MiB".to_owned()),
        }
    }
}

/// Tells each who moves bytes when to. Shared by threads.
#[derive(Debug)]
pub struct Throttle {
    /// What is kept.
    pub rate: Rate,
    /// When the bytes that have been granted will have passed.
    free: Mutex<Instant>,
}

impl Throttle {
    /// Nothing has passed yet.
    pub fn new(rate: Rate) -> Self {
        Throttle { rate, free: Mutex::new(Instant::now()) }
    }

    /// Grants `bytes`: they may be moved after that long. What was not used before is gone: a pause earns no burst.
    pub fn grant(&self, bytes: usize) -> Duration {
        let took = Duration::from_secs_f64(bytes as f64 / self.rate.0 as f64);
        let now = Instant::now();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        *free = (*free).max(now) + took;
        free.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_size_a_second() {
        let rate = |text: &str| text.parse::<Rate>().map(Rate::bytes);
        assert_eq!((rate("500k"), rate("2MiB"), rate("65536")), (Ok(500_000), Ok(2 << 20), Ok(65_536)));
        for wrong in ["", "fast", "0", "1", "-5", "1k"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_are_granted_one_after_the_other_and_a_pause_earns_nothing() {
        let throttle = Throttle::new(Rate::new(1_000_000));
        let first = throttle.grant(100_000);
        assert!(first <= Duration::from_millis(100) && first > Duration::from_millis(50), "{first:?}");
        let waits: Duration = (0..9).map(|_| throttle.grant(100_000)).last().unwrap();
        assert!(waits <= Duration::from_secs(1) && waits > Duration::from_millis(500), "{waits:?}");
        // Time in which nothing passed: the next bytes wait as the first did.
        *throttle.free.lock().unwrap() = Instant::now() - Duration::from_secs(60);
        assert!(throttle.grant(100_000) > Duration::from_millis(50));
    }

    #[test]
    fn pieces_are_a_tenth_of_a_second_and_connections_are_worth_one() {
        assert_eq!(Rate::new(1 << 20).piece(), 104_857);
        assert_eq!(Rate::new(1 << 40).piece(), limits::PIECE);
        assert_eq!((Rate::new(0).connections(), Rate::new(limits::LEAST_RATE * 3).connections()), (1, 3));
    }
}
