//! Times: those of the lines, those of the command line, and where a clock on the wall stands then.

use crate::sys::zone::ahead_of_utc;
use std::str::FromStr;
use time::{Date, Month, OffsetDateTime};

/// Microseconds of a second.
pub const SECOND: i64 = 1_000_000;

/// Seconds of a day.
const DAY: i64 = 86_400;

/// A time as RFC 3339 writes it, in microseconds since 1970. Finer digits are cut off; a leap second is the one before.
pub fn stamp(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let (t, rest) = rest.split_at_checked(1)?;
    let (clock, mut rest) = rest.split_at_checked(8)?;
    if !matches!(t, "T" | "t" | " ") {
        return None;
    }
    let mut micros = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        let mut unit = SECOND / 10;
        for digit in fraction.bytes().take(digits) {
            micros += i64::from(digit - b'0') * unit;
            unit /= 10;
        }
        rest = fraction.get(digits..).filter(|_| digits > 0)?;
    }
    let offset = match rest {
        "Z" | "z" => 0,
        zone => {
            let (sign, clock) = zone.split_at_checked(1)?;
            let (hours, minutes) = clock.split_once(':')?;
            let ahead = number(hours, 2, 23)? * 3600 + number(minutes, 2, 59)? * 60;
            match sign {
                "+" => ahead,
                "-" => -ahead,
                _ => return None,
            }
        }
    };
    Some((day(date)? * DAY + seconds_of_day(clock)? - offset) * SECOND + micros)
}

/// Digits, exactly so many, of a value that is not higher.
fn number(text: &str, digits: usize, highest: i64) -> Option<i64> {
    let fits = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|value| fits && *value <= highest)
}

/// Days since 1970 of `2026-11-21`.
fn day(text: &str) -> Option<i64> {
    let (year, rest) = text.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let year = i32::try_from(number(year, 4, 9999)?).ok()?;
    let month = Month::try_from(u8::try_from(number(month, 2, 12)?).ok()?).ok()?;
    let date = Date::from_calendar_date(year, month, u8::try_from(number(day, 2, 31)?).ok()?).ok()?;
    Some(i64::from(date.to_julian_day() - Date::from_ordinal_date(1970, 1).ok()?.to_julian_day()))
}

/// Seconds of `18:20:01`.
fn seconds_of_day(text: &str) -> Option<i64> {
    let (hour, rest) = text.split_once(':')?;
    let (minute, second) = rest.split_once(':')?;
    Some(number(hour, 2, 23)? * 3600 + number(minute, 2, 59)? * 60 + number(second, 2, 60)?.min(59))
}

/// A time that somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// So many seconds ago.
    Ago(i64),
    /// Microseconds since 1970.
    At(i64),
    /// So many seconds after 1970 began, by the clocks of the report.
    Clock(i64),
}

impl Moment {
    /// In microseconds since 1970.
    pub fn resolve(self, now: i64, zone: &mut Zone) -> i64 {
        match self {
            Moment::Ago(seconds) => now.saturating_sub(seconds.saturating_mul(SECOND)),
            Moment::At(micros) => micros,
            // The clock there and then, asked for twice: at the first guess it may stand elsewhere, for summer time.
            Moment::Clock(clock) => {
                let guess = clock - zone.ahead(clock);
                (clock - zone.ahead(guess)).saturating_mul(SECOND)
            }
        }
    }
}

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let whole = || stamp(text).map(Moment::At);
        let clock = || {
            let (date, clock) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
            let seconds = seconds_of_day(clock).or_else(|| seconds_of_day(&format!("{clock}:00")))?;
            Some(Moment::Clock(day(date)? * DAY + seconds))
        };
        let ago = || {
            let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
            let unit = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3600,
                "d" => DAY,
                "w" => 7 * DAY,
                _ => return None,
            };
            let number = i64::from(digits.parse::<u32>().ok()?);
            Some(Moment::Ago(number * unit))
        };
        whole().or_else(clock).or_else(ago).ok_or(
            "a time is 2026-11-21T18:20:00Z, 2026-11-21, 2026-11-21T18:20 by the clock here, or back from now: 90m, 24h, 7d",
        )
    }
}

/// By which clocks hours and days are told.
#[derive(Debug, Clone)]
pub struct Zone {
    utc: bool,
    /// The hour that was asked for last, and how far its clocks are ahead: lines stand in their order, nearly.
    last: (i64, i64),
}

/// Where the clocks stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// From Monday, 0.
    pub weekday: usize,
    /// From 0.
    pub hour: usize,
}

impl Zone {
    /// Those here, or UTC.
    pub fn new(utc: bool) -> Self {
        Zone { utc, last: (i64::MIN, 0) }
    }

    /// Seconds that they are ahead of UTC at a time in seconds since 1970.
    pub fn ahead(&mut self, seconds: i64) -> i64 {
        if self.utc {
            return 0;
        }
        let quarter = seconds.div_euclid(900); // clocks change at whole quarters of an hour
        if self.last.0 != quarter {
            self.last = (quarter, ahead_of_utc(quarter.saturating_mul(900)).into());
        }
        self.last.1
    }

    /// Hour and weekday at a time in microseconds.
    pub fn clock(&mut self, at: i64) -> Clock {
        let seconds = at.div_euclid(SECOND);
        let local = seconds + self.ahead(seconds);
        let weekday = (local.div_euclid(DAY) + 3).rem_euclid(7); // 1970 began on a Thursday
        Clock {
            weekday: usize::try_from(weekday).unwrap_or(0),
            hour: usize::try_from(local.rem_euclid(DAY) / 3600).unwrap_or(0),
        }
    }

    /// A time to the minute, as these clocks show it.
    pub fn minute(&mut self, at: i64) -> String {
        self.shown(at).map_or_else(String::new, |time| {
            let (year, month, day) = time.to_calendar_date();
            format!("{year:04}-{:02}-{day:02} {:02}:{:02}", u8::from(month), time.hour(), time.minute())
        })
    }

    /// A time on these clocks, as if they were those of UTC.
    pub fn shown(&mut self, at: i64) -> Option<OffsetDateTime> {
        let seconds = at.div_euclid(SECOND);
        OffsetDateTime::from_unix_timestamp(seconds + self.ahead(seconds)).ok()
    }

    /// What clocks these are, at a time in microseconds.
    pub fn name(&mut self, at: i64) -> String {
        if self.utc {
            return "UTC".into();
        }
        let ahead = self.ahead(at.div_euclid(SECOND));
        let sign = if ahead < 0 { '-' } else { '+' };
        format!("local time, UTC{sign}{:02}:{:02}", ahead.abs() / 3600, ahead.abs() / 60 % 60)
    }
}

/// A time in microseconds as RFC 3339 writes it, in UTC, with microseconds: as the audit does.
pub fn rfc3339(at: i64) -> String {
    let Ok(time) = OffsetDateTime::from_unix_timestamp(at.div_euclid(SECOND)) else { return String::new() };
    let ((year, month, day), (hour, minute, second)) = (time.to_calendar_date(), time.to_hms());
    let (month, micros) = (u8::from(month), at.rem_euclid(SECOND));
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_of_lines_are_read_to_the_microsecond() {
        for (text, at) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.000001Z", 1),
            ("1970-01-01T01:00:00.5+01:00", 500_000),
            ("1969-12-31T23:59:59.999999Z", -1),
            ("2026-11-21T18:20:01.123456Z", 1_795_285_201_123_456),
            ("2026-11-21T18:20:01.123456789Z", 1_795_285_201_123_456),
            ("2024-02-29T12:00:00-00:30", 1_709_209_800_000_000),
        ] {
            assert_eq!(stamp(text), Some(at), "{text}");
        }
        for text in [
            "",
            "2026-11-21",
            "2026-02-30T00:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T18:20:01",
            "+026-11-21T18:20:01Z",
        ] {
            assert_eq!(stamp(text), None, "{text}");
        }
        assert_eq!(rfc3339(1_795_285_201_123_456), "2026-11-21T18:20:01.123456Z");
    }

    #[test]
    fn times_of_the_command_line_are_spans_dates_and_stamps() {
        let now = 1_795_285_201_000_000;
        let resolved = |text: &str| text.parse::<Moment>().map(|moment| moment.resolve(now, &mut Zone::new(true)));
        assert_eq!(resolved("24h"), Ok(now - 86_400 * SECOND));
        assert_eq!(resolved("7d"), Ok(now - 7 * 86_400 * SECOND));
        assert_eq!(resolved("1970-01-02"), Ok(86_400 * SECOND));
        assert_eq!(resolved("1970-01-01T00:01"), Ok(60 * SECOND));
        assert_eq!(resolved("1970-01-01 00:00:02"), Ok(2 * SECOND));
        assert_eq!(resolved("1970-01-01T01:00:00+01:00"), Ok(0));
        for text in ["", "h", "-1h", "7y", "é", "1970-13-01", "99999999999d"] {
            assert!(resolved(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hours_and_weekdays_are_those_of_the_calendar() {
        let clock = |text| Zone::new(true).clock(stamp(text).unwrap());
        assert_eq!(clock("2026-11-21T18:20:01Z"), Clock { weekday: 5, hour: 18 });
        assert_eq!(clock("1969-12-31T23:59:59Z"), Clock { weekday: 2, hour: 23 });
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}", digits in "[0-9:TZ.+ -]{0,40}", at in any::<i64>()) {
            let _ = (stamp(&text), stamp(&digits), text.parse::<Moment>(), rfc3339(at));
            if let Ok(moment) = digits.parse::<Moment>() {
                let _ = moment.resolve(at, &mut Zone::new(false));
            }
        }

        #[test]
        fn what_is_written_is_read_again(at in -62_135_596_800_000_000..253_402_300_799_000_000i64) {
            prop_assert_eq!(stamp(&rfc3339(at)), Some(at));
        }
    }
}
