//! How long a trash keeps things, as an operator writes it: `30d`, `12h`, `2w`.

use crate::proto::limits;
use std::str::FromStr;
use thiserror::Error;

/// A time to keep things, in seconds, from [`limits::TRASH_LEAST`] to [`limits::TRASH_MOST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep(pub u64);

/// Why a text is no such time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadKeep {
    /// It is no number with a unit.
    #[error("write a whole number with a unit: 30d, 12h or 2w")]
    Malformed,
    /// Too short or too long.
    #[error("from 1h to 3650d")]
    Beyond,
}

impl FromStr for Keep {
    type Err = BadKeep;
    fn from_str(text: &str) -> Result<Self, BadKeep> {
        let cut = text.find(|c: char| !c.is_ascii_digit()).ok_or(BadKeep::Malformed)?;
        let (digits, unit) = text.split_at(cut);
        let seconds = match unit {
            "h" => 3600,
            "d" => 24 * 3600,
            "w" => 7 * 24 * 3600,
            _ => return Err(BadKeep::Malformed),
        };
        if digits.is_empty() {
            return Err(BadKeep::Malformed);
        }
        let total = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds));
        let total = total.filter(|total| (limits::TRASH_LEAST..=limits::TRASH_MOST).contains(total));
        total.map(Keep).ok_or(BadKeep::Beyond)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_and_is_neither_nothing_nor_for_ever() {
        for (text, seconds) in
            [("1h", 3600), ("12h", 43_200), ("30d", 2_592_000), ("2w", 1_209_600), ("3650d", limits::TRASH_MOST)]
        {
            assert_eq!(text.parse(), Ok(Keep(seconds)), "{text}");
        }
        for text in ["", "30", "d", "30 d", "-1d", "+1d", "1.5d", "30m", "30D", "1d2h", "\u{663}d"] {
            assert_eq!(text.parse::<Keep>(), Err(BadKeep::Malformed), "{text}");
        }
        for text in ["0d", "0h", "3651d", "18446744073709551615w", "99999999999999999999d"] {
            assert_eq!(text.parse::<Keep>(), Err(BadKeep::Beyond), "{text}");
        }
    }
}
