//! The values that options carry: numbers, times, digests.

use super::limits;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Why a word is not a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadNumber {
    /// Not decimal digits, a sign, a leading zero, nothing at all.
    #[error("not a decimal number")]
    Malformed,
    /// Digits, but above [`limits::NUMBER`].
    #[error("larger than 2^63-1")]
    TooLarge,
}

/// Parses a number as the protocol writes it: decimal digits, no sign, no leading zero, at most 2^63-1.
pub fn number(word: &str) -> Result<u64, BadNumber> {
    let digits = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    if !digits || (word.len() > 1 && word.starts_with('0')) {
        return Err(BadNumber::Malformed);
    }
    match word.parse::<u64>() {
        Ok(n) if n <= limits::NUMBER => Ok(n),
        _ => Err(BadNumber::TooLarge),
    }
}

/// A SHA-256 digest; prints as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

/// A word that is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a digest is exactly 64 hexadecimal digits")]
pub struct BadDigest;

impl FromStr for Digest {
    type Err = BadDigest;
    fn from_str(word: &str) -> Result<Self, BadDigest> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(word, &mut bytes).map_err(|_| BadDigest)?;
        Ok(Digest(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A file's time: whole seconds since 1970 UTC, rounded down, and the nanoseconds that follow them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtime {
    /// Seconds since 1970-01-01 UTC, rounded towards the past.
    pub seconds: i64,
    /// 0 to 999,999,999, counted forward from `seconds`.
    pub nanos: u32,
}

/// A word that is not a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a time is seconds since 1970, then optionally a dot and nine digits")]
pub struct BadTime;

impl FromStr for Mtime {
    type Err = BadTime;
    fn from_str(word: &str) -> Result<Self, BadTime> {
        let (whole, fraction) = word.split_once('.').unwrap_or((word, "000000000"));
        if fraction.len() != 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return Err(BadTime);
        }
        let (sign, digits) = match whole.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, whole),
        };
        let seconds = number(digits).map_err(|_| BadTime)? as i64 * sign;
        Ok(Mtime { seconds, nanos: fraction.parse().map_err(|_| BadTime)? })
    }
}

impl fmt::Display for Mtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.seconds, self.nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_plain_digits_up_to_2_63() {
        assert_eq!(number("0"), Ok(0));
        assert_eq!(number("9223372036854775807"), Ok(i64::MAX as u64));
        for large in ["9223372036854775808", "18446744073709551616", "99999999999999999999999"] {
            assert_eq!(number(large), Err(BadNumber::TooLarge), "{large}");
        }
        for bad in ["", "-1", "+5", "0x10", "007", "1 ", "1e3", "٣"] {
            assert_eq!(number(bad), Err(BadNumber::Malformed), "{bad}");
        }
    }

    #[test]
    fn digests_have_64_digits() {
        let ok = "a".repeat(64);
        assert_eq!(ok.parse::<Digest>().unwrap().to_string(), ok);
        for bad in [String::new(), "a".repeat(63), "a".repeat(65), "g".repeat(64), "a".repeat(1_000_000)] {
            assert!(bad.parse::<Digest>().is_err());
        }
    }

    #[test]
    fn times_reject_what_is_no_time() {
        for bad in ["", "-", ".5", "1.5", "1.", "1.0000000000", "--1", "1.00000000x", "+1"] {
            assert!(bad.parse::<Mtime>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn times_survive_the_wire(seconds in -i64::MAX..=i64::MAX, nanos in 0u32..1_000_000_000) {
            let time = Mtime { seconds, nanos };
            prop_assert_eq!(time.to_string().parse::<Mtime>(), Ok(time));
        }
    }
}
