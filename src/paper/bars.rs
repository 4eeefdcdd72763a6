//! Bars of characters, an eighth of one fine (Unicode, block elements).

/// A bar of a share from 0 to 1 of so many characters. What is there shows, however little.
pub fn bar(share: f64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let eighths = (share * width as f64 * 8.0).round() as usize;
    let eighths = if share > 0.0 { eighths.max(1) } else { eighths };
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS.get(eighths % 8).unwrap_or(&""))
}

/// A column of one character; nothing is a dot, so that one sees where it stands.
pub fn column(share: f64) -> char {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    match share {
        share if share > 0.0 => HEIGHTS.get((share * 8.0).ceil() as usize - 1).copied().unwrap_or('█'),
        _ => '·',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_share() {
        let bars = [0.0, 0.001, 0.5, 0.55, 1.0, 7.0, f64::NAN].map(|share| bar(share, 4));
        assert_eq!(bars, ["", "▏", "██", "██▎", "████", "████", ""]);
        assert_eq!([0.0, 0.01, 0.5, 1.0, 9.0, f64::NAN].map(column), ['·', '▁', '▄', '█', '█', '·']);
    }
}
