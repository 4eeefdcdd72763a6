//! Figures as people read them.

use bytesize::ByteSize;
use std::time::Duration;

/// A time: three digits and a unit.
pub fn time(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s < 1e-3 => (s * 1e6, "µs"),
        s if s < 1.0 => (s * 1e3, "ms"),
        s => (s, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

/// A size as people read it.
pub fn human(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

/// A rate in bytes a second.
pub fn rate(bytes_a_second: f64) -> String {
    format!("{}/s", human(bytes_a_second.max(0.0) as u64))
}

/// A whole number, a comma after each three digits.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many of something, a second; small ones with a digit behind the point.
pub fn per_second(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.1}") } else { count(rate.round() as u64) }
}

/// How long something lasts.
pub fn span(time: Duration) -> String {
    match time.as_secs() {
        0..120 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 120..7200 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// "1 error", "2 errors", "no errors".
pub fn several(number: u64, thing: &str) -> String {
    match number {
        0 => format!("no {thing}s"),
        1 => format!("1 {thing}"),
        _ => format!("{} {thing}s", count(number)),
    }
}

fn three_digits(value: f64) -> String {
    match value {
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_have_their_units() {
        assert_eq!(time(0.0000123), "12.3 µs");
        assert_eq!(time(0.00999999), "10.0 ms");
        assert_eq!(time(0.5), "500 ms");
        assert_eq!(time(61.0), "61.0 s");
        assert_eq!(rate(1536.0), "1.5 KiB/s");
        assert_eq!((count(7), count(1234), count(1_234_567)), ("7".into(), "1,234".into(), "1,234,567".into()));
        assert_eq!((per_second(1.26), per_second(12345.6)), ("1.3".into(), "12,346".into()));
        assert_eq!(span(Duration::from_secs(150)), "2 min 30 s");
        assert_eq!(
            several(0, "error") + &several(1, "error") + &several(1200, "error"),
            "no errors1 error1,200 errors"
        );
    }
}
